"""No GPL among what is needed at run time, so that all of Reading Room can be used under BSD-3-Clause."""

import json
import re
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.requirements import Requirement

GPL = re.compile(r"(?<!L)GPL|(?<!LESSER )GENERAL PUBLIC", re.IGNORECASE)
NPM_LICENCES = {
    "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "Python-2.0", "(MIT AND Zlib)", "(WTFPL OR MIT)",
}  # fmt: skip
_OLD_FORM = "node_modules/rechoir"  # says MIT in a form that npm reads no more
LESSER = re.compile(r"LGPL|LESSER GENERAL PUBLIC", re.IGNORECASE)


def licence(found: Distribution) -> str:
    """Every word that the package's metadata has on its licence; long texts only by their first line."""
    metadata = found.metadata
    words = [metadata.get("License-Expression") or "", (metadata.get("License") or "").split("\n")[0]]
    words += [c for c in metadata.get_all("Classifier") or [] if c.startswith("License ::")]
    return " | ".join(words)


def needed(name: str, extras: frozenset[str], seen: dict[str, Distribution]) -> None:
    try:
        found = distribution(name)
    except PackageNotFoundError:  # of another platform
        return
    key = re.sub(r"[-_.]+", "-", found.metadata["Name"]).lower()
    if key in seen and not extras:
        return
    seen[key] = found
    for line in found.requires or []:
        requirement = Requirement(line)
        if requirement.marker is None or any(
            requirement.marker.evaluate({"extra": extra}) for extra in (extras or {""})
        ):
            needed(requirement.name, frozenset(requirement.extras), seen)


def test_nothing_that_is_needed_at_run_time_is_under_the_gpl():
    seen: dict[str, Distribution] = {}
    needed("readingroom", frozenset({"hub"}), seen)
    assert len(seen) > 100
    gpl = {n: licence(d) for n, d in seen.items() if GPL.search(licence(d)) and not LESSER.search(licence(d))}
    # A choice of licences that offers a permissive one is that one.
    gpl = {n: text for n, text in gpl.items() if not re.search(r"\bOR\b|BSD|MIT|Apache", text)}
    assert gpl == {}


def test_the_tools_of_the_widgets_scripts_are_free_of_the_gpl_pinned_and_from_no_named_host(pytestconfig):
    lock = json.loads((pytestconfig.rootpath / "package-lock.json").read_text())
    packages = {name: found for name, found in lock["packages"].items() if name}
    assert len(packages) > 5
    licences = {name: found.get("license") for name, found in packages.items() if name != _OLD_FORM}
    assert {name: told for name, told in licences.items() if told not in NPM_LICENCES} == {}
    assert [name for name, found in packages.items() if not found["integrity"].startswith("sha512-")] == []
    # A mirror or an offline cache serves as well as the registry that wrote the lock.
    assert [name for name, found in packages.items() if "resolved" in found] == []
    named = json.loads((pytestconfig.rootpath / "package.json").read_text())["devDependencies"]
    assert {name: wanted for name, wanted in named.items() if not re.fullmatch(r"\d+\.\d+\.\d+", wanted)} == {}
