"""The images' lock files are parts of the one lock file: same versions, same hashes, exactly what each wing needs."""

import importlib.metadata
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
WING = PROJECT["project"]["dependencies"]
WANTED = {
    "images/build.lock": PROJECT["dependency-groups"]["build"],
    "images/singleuser/requirements.lock": WING,
    "images/hub/requirements.lock": [*WING, *PROJECT["project"]["optional-dependencies"]["hub"]],
}
CURE = "run `make lock`"


def pins(path: Path) -> dict[str, set[str]]:
    """Hashes by `name==version`; a marker after it is left out."""
    found: dict[str, set[str]] = {}
    pin = ""
    for line in path.read_text().splitlines():
        word = line.strip().removesuffix("\\").strip()
        if word.startswith("--hash="):
            found[pin].add(word)
        elif word and not word.startswith("#"):
            pin = word.partition(";")[0].strip()
            found[pin] = set()
    return found


def here(path: Path) -> set[str]:
    """Names of the lines whose marker holds on this machine."""
    lines = [
        line.removesuffix("\\").strip() for line in path.read_text().splitlines() if line[:1] not in {" ", "#", ""}
    ]
    wanted = [Requirement(line) for line in lines]
    return {canonicalize_name(r.name) for r in wanted if r.marker is None or r.marker.evaluate()}


def needed(texts: list[str]) -> set[str]:
    """Everything that these requirements bring on this machine, by the metadata of what is installed."""
    todo, seen = [(Requirement(t), "") for t in texts], set()
    while todo:
        wanted, extra = todo.pop()
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": extra}):
            continue
        for asked in ("", *wanted.extras):
            key = (canonicalize_name(wanted.name), asked)
            if key not in seen:
                seen.add(key)
                todo += [(Requirement(t), asked) for t in importlib.metadata.requires(wanted.name) or []]
    return {name for name, _ in seen}


@pytest.mark.parametrize("name", WANTED)
def test_an_image_has_the_versions_and_hashes_of_the_one_lock_file(name):
    whole, part = pins(ROOT / "requirements.lock"), pins(ROOT / name)
    assert {pin: hashes for pin, hashes in part.items() if whole.get(pin) != hashes} == {}, CURE
    assert all(part.values())


@pytest.mark.parametrize("name", [n for n in WANTED if n != "images/build.lock"])
def test_an_image_gets_all_that_its_wings_need_and_nothing_else(name):
    assert here(ROOT / name) == needed(WANTED[name]), CURE
