"""Both container images, built for real from a Debian that debootstrap makes, and tried."""

import ast
import json
import mmap
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from packaging.utils import canonicalize_name

pytestmark = [pytest.mark.images, pytest.mark.timeout(2400)]

ROOT = Path(__file__).parents[2]
BASE = "localhost/readingroom-base"
NEEDED = ("buildah", "debootstrap", "make", "git")
SYSTEM_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
PRIVATE_KEY = rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/=\s]{64}"
PUBLISHED_KEYS = ("/tornado/test/test.key", "/libgnutls.so.")
"""For the self-tests of Tornado and GnuTLS; the whole world has them."""


HELP = ("env", "COLUMNS=100", "LANG=C.UTF-8", "TERM=dumb")


def listed(text: str) -> list[str]:
    """Commands and options in a help text."""
    return re.findall(r"^│ ([a-z-]+)", text, re.MULTILINE)


def missing() -> list[str]:
    wanted = [name for name in NEEDED if shutil.which(name) is None]
    return wanted if os.geteuid() == 0 else ["root", *wanted]


def run(*argv: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run(list(map(str, argv)), capture_output=True, text=True, check=False, cwd=cwd)
    assert done.returncode == 0, f"{argv}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@dataclass(frozen=True)
class Workshop:
    """buildah with a storage of its own, which goes away with the folder."""

    folder: Path

    @property
    def command(self) -> list[str]:
        return [
            "env",
            f"TMPDIR={self.folder}",
            "buildah",
            f"--root={self.folder}/storage",
            f"--runroot={self.folder}/run",
            "--storage-driver=vfs",
        ]

    def __call__(self, *argv: str | Path) -> str:
        return run(*self.command, *argv)


@dataclass(frozen=True)
class Image:
    """One built image, with a container of it to look into and to run things in."""

    workshop: Workshop
    name: str
    container: str
    root: Path

    def run(self, *argv: str, options: tuple[str, ...] = ()) -> str:
        return self.workshop("run", "--isolation=chroot", *options, self.container, "--", *argv)

    @property
    def settings(self) -> dict[str, object]:
        return json.loads(self.workshop("inspect", "--type=image", self.name))["OCIv1"]["config"]

    def files(self) -> Iterator[Path]:
        for folder, _, names in os.walk(self.root):
            yield from (p for p in (Path(folder, n) for n in names) if p.is_file() and not p.is_symlink())


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    if missing():
        pytest.skip(f"building images needs: {', '.join(missing())}")
    made = Workshop(tmp_path_factory.mktemp("images"))
    try:
        yield made
    finally:
        made("rm", "--all")
        shutil.rmtree(made.folder)


@pytest.fixture(scope="module")
def base(workshop):
    """Debian from debootstrap, as an image. The archive is kept below ~/.cache: it takes a minute."""
    cache = Path.home() / ".cache" / "readingroom-tests"
    archive = cache / "bookworm-minbase.tar"
    context = workshop.folder / "base"
    context.mkdir()
    if not archive.exists():
        cache.mkdir(parents=True, exist_ok=True)
        run("debootstrap", "--variant=minbase", "bookworm", context / "root")
        new = archive.with_suffix(f".{os.getpid()}")
        run("tar", "--numeric-owner", "-C", context / "root", "-cf", new, ".")
        new.replace(archive)
        shutil.rmtree(context / "root")
    shutil.copy(archive, context / "base.tar")
    (context / "Containerfile").write_text("FROM scratch\nADD base.tar /\n")
    workshop("bud", "--isolation=chroot", "--quiet", "--tag", BASE, context)
    shutil.rmtree(context)


def pip_settings() -> dict[str, str]:
    """What the caller's pip is told, by file or by PIP_ variable; the variable wins."""
    listed = [line.partition("=") for line in run(sys.executable, "-m", "pip", "config", "list").splitlines()]
    named = {name: str(ast.literal_eval(value)) for name, _, value in listed}
    plain = {name.removeprefix("global."): value for name, value in named.items() if name.startswith("global.")}
    return plain | {n.removeprefix(":env:."): v for n, v in named.items() if n.startswith(":env:.")}


def indexes(settings: dict[str, str]) -> dict[str, str]:
    """The settings that say where packages come from, without folders of this machine."""
    urls = {
        name: " ".join(u for u in settings.get(name, "").split() if urlsplit(u).scheme in {"http", "https"})
        for name in ("index-url", "extra-index-url", "proxy")
    }
    rest = {name: settings[name] for name in ("trusted-host", "timeout", "default-timeout") if name in settings}
    return {name: value for name, value in (urls | rest).items() if value}


@pytest.fixture(scope="module")
def build(workshop, base):
    """Runs `make images`; the caller's package index and certificates go in as secrets of the build.

    Returns the commands that the command line had then."""
    settings = pip_settings()
    conf = workshop.folder / "pip.conf"
    lines = [f"{name} = {value}" for name, value in indexes(settings).items()]
    secrets = [f"--secret=id=pip.conf,src={conf}"]
    certificates = Path(settings.get("cert", SYSTEM_CERTIFICATES))
    if certificates.is_file():
        lines.append("cert = /run/secrets/ca.pem")
        secrets.append(f"--secret=id=ca.pem,src={certificates}")
    conf.write_text("\n".join(["[global]", *lines, ""]))
    commands = listed(run(*HELP, sys.executable, "-m", "readingroom_hub.cli.main", "--help"))
    run(
        "make",
        "images",
        f"BASE={BASE}",
        f"BUILDAH={' '.join(workshop.command)}",
        f"BUILD_ARGS=--isolation=chroot {' '.join(secrets)}",
        cwd=ROOT,
    )
    return commands


def version() -> str:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def opened(workshop: Workshop, name: str) -> Image:
    image = f"localhost/readingroom-{name}:{version()}"
    container = workshop("from", image).strip()
    return Image(workshop, image, container, Path(workshop("mount", container).strip()))


@pytest.fixture(scope="module")
def server(workshop, build):
    return opened(workshop, "singleuser")


@pytest.fixture(scope="module")
def hub(workshop, build):
    return opened(workshop, "hub")


@pytest.fixture(params=["server", "hub"])
def image(request):
    return request.getfixturevalue(request.param)


def test_the_server_image_holds_the_untrusted_wing_only(server):
    server.run("python", "-c", "import readingroom, readingroom.rerun.cli")
    found = server.run("python", "-c", "import importlib.util as u; print(u.find_spec('readingroom_hub'))")
    assert found.strip() == "None"
    assert [p for p in server.files() if "readingroom_hub" in str(p.relative_to(server.root))] == []


def test_nobody_becomes_root_or_compiles_in_the_server_image(server):
    assert server.run("id", "-u").strip() == "1000"
    assert [p for p in server.files() if p.stat().st_mode & 0o6000] == []
    tools = ("cc", "gcc", "g++", "c++", "clang", "ld", "as", "make", "pip", "pip3", "sudo")
    assert server.run("sh", "-c", f"command -v {' '.join(tools)} || true") == ""
    written = server.run("find", "/opt", "/usr", "/etc", "-xdev", "-writable", "-not", "-type", "l")
    assert written == ""


def test_the_server_image_starts_jupyterlab_on_a_socket(server):
    script = ROOT / "tests/support/image_server.py"
    entrypoint = server.settings["Entrypoint"]
    answers = json.loads(
        server.run("python", "/opt/try.py", *entrypoint, options=(f"--volume={script}:/opt/try.py:ro",)).splitlines()[
            -1
        ]
    )
    status, body = answers["api"]
    assert status == 200
    assert json.loads(body)["version"]
    assert answers["lab"] == 302, "without a sign-in, JupyterLab sends to the hub"
    assert {"data", "shared"} <= set(answers["home"])
    assert re.match(r"\d+\.\d+", server.run("jupyterhub-singleuser", "--version"))


def test_a_notebook_in_the_server_image_says_a_refusal_plainly(server):
    loaded = "print('readingroom.plain_errors' in get_ipython().extension_manager.loaded)"
    assert server.run("ipython", "-c", loaded).strip() == "True"


def test_the_hub_image_has_every_command_and_program(hub, build):
    assert "serve" in build
    assert listed(hub.run(*HELP, "readingroom", "--help")) == build
    hub.run("python", "-c", "import readingroom_hub.compose, readingroom_hub.jhub.configure")
    hub.run("sh", "-c", "command -v traefik fusermount3 mkfs.ext4 mount")


def test_the_hub_image_keeps_a_catalogue_as_an_ordinary_user(hub):
    make = (
        "from readingroom_hub import compose; from readingroom_hub.config import load; "
        "s = load(); s.paths.make(); print(len(compose.open_catalogue(s).projects.all()))"
    )
    assert hub.run("id", "-u").strip() == "990"
    assert hub.run("python", "-c", make).strip() == "0"
    assert hub.run("stat", "-c", "%a %u %g", "/var/lib/readingroom").strip() == "700 990 990"


def test_an_image_says_what_it_is(image):
    labels = image.settings["Labels"]
    assert labels["org.opencontainers.image.version"] == version()
    assert labels["org.opencontainers.image.licenses"] == "BSD-3-Clause"
    assert labels["org.opencontainers.image.title"].startswith("Reading Room")


def test_an_image_has_the_packages_of_its_lock_file(image):
    code = "import importlib.metadata as m; [print(d.name, d.version) for d in m.distributions()]"
    rows = [line.split() for line in image.run("python", "-c", code).splitlines()]
    installed: dict[str, str] = {canonicalize_name(name): release for name, release in rows}
    assert installed.pop("readingroom") == version()
    folder = image.name.split("-")[1].split(":")[0]
    lines = (ROOT / "images" / folder / "requirements.lock").read_text().splitlines()
    pinned = [re.match(r"([^= ]+)==(\S+)( ;)?", line) for line in lines if line[:1] not in {" ", "#", ""}]
    assert {n: v for n, v in installed.items() if (n, v) not in {(p[1], p[2]) for p in pinned}} == {}
    assert {p[1] for p in pinned if not p[3]} <= set(installed)


def test_an_image_holds_nothing_of_where_it_was_built(image):
    hosts = {urlsplit(u).hostname for v in indexes(pip_settings()).values() for u in v.split() if "://" in u}
    words = [str(ROOT), str(image.workshop.folder), *(hosts - {"pypi.org"})]
    hostile = re.compile(b"|".join([PRIVATE_KEY, *(re.escape(w.encode()) for w in words)]))
    found = {}
    for path in image.files():
        if path.stat().st_size:
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
                if hit := hostile.search(text):
                    found[str(path.relative_to(image.root))] = hit[0][:80]
    found = {name: hit for name, hit in found.items() if not any(known in name for known in PUBLISHED_KEYS)}
    assert found == {}
    assert not (image.root / "etc/pip.conf").exists()
    assert not (image.root / "run/secrets").exists()
