"""Policies as TOML files: the options by the standard's names (PS3.15 E.3), and which images pass unseen."""

import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

from readingroom_hub.deid.policy import BELIEVED, TEXT_FREE, CutShort, Policy, UnsureText
from readingroom_hub.deid.table import BASIC_CODE, Option
from readingroom_hub.errors import BadInput

FORMAT = "readingroom-policy/1"
SHIPPED = ("basic", "research")
_KEYS = {"format", "profile", "options", "images"}
_IMAGES = {"text_free", "believed", "unsure_text", "cut_short"}
_TITLES = {o.standard_name.casefold(): o for o in Option}


def load(name: str) -> Policy:
    """The policy that ships under `name`, or that of the file `name`. Raises BadInput naming the key that is wrong."""
    if name in SHIPPED:
        return parse((files(__package__) / "data" / "policies" / f"{name}.toml").read_text("utf-8"), name)
    try:
        return parse(Path(name).read_text("utf-8"), name)
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(
            f"the policy {name} cannot be read ({error.__class__.__name__}): give a TOML file, or one of {SHIPPED}"
        ) from error


def parse(text: str, name: str) -> Policy:
    """A policy from TOML. Raises BadInput naming file and key."""
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{name}: no TOML: {error}") from error
    _known(content, _KEYS, name, "")
    if content.get("format") != FORMAT:
        raise BadInput(f'{name}: format: write format = "{FORMAT}"')
    if content.get("profile") != BASIC_CODE[1]:
        raise BadInput(f'{name}: profile: write profile = "{BASIC_CODE[1]}", the only one there is')
    images = content.get("images", {})
    if not isinstance(images, dict):
        raise BadInput(f"{name}: images: write a table [images]")
    _known(images, _IMAGES, name, "images.")
    options = frozenset(_option(t, name) for t in _texts(content.get("options", []), name, "options"))
    text_free = _texts(images.get("text_free", sorted(TEXT_FREE)), name, "images.text_free")
    believed = _texts(images.get("believed", sorted(BELIEVED)), name, "images.believed")
    unsure = images.get("unsure_text", UnsureText.MASK)
    if unsure not in set(UnsureText):
        raise BadInput(f"{name}: images.unsure_text: write one of {', '.join(UnsureText)}")
    cut_short = images.get("cut_short", CutShort.LEAVE_OUT)
    if cut_short not in set(CutShort):
        raise BadInput(f"{name}: images.cut_short: write one of {', '.join(CutShort)}")
    try:
        texts = UnsureText(unsure)
        return Policy(options, frozenset(text_free), frozenset(believed), texts, CutShort(cut_short))
    except BadInput as error:
        raise BadInput(f"{name}: options: {error}") from error


def content(policy: Policy) -> dict[str, Any]:
    """What `parse` makes `policy` of, whatever a file leaves to defaults written out: for cards and reports."""
    return {
        "format": FORMAT,
        "profile": BASIC_CODE[1],
        "options": sorted(o.standard_name for o in policy.options),
        "images": {
            "text_free": sorted(policy.text_free),
            "believed": sorted(policy.believed),
            "unsure_text": policy.unsure_text.value,
            "cut_short": policy.cut_short.value,
        },
    }


def _option(title: str, name: str) -> Option:
    found = _TITLES.get(title.strip().casefold().removesuffix(" option"))
    if found is None:
        names = "; ".join(o.standard_name for o in Option)
        raise BadInput(f"{name}: options: {title!r} is no option of PS3.15 E.3; there are: {names}")
    return found


def _texts(value: object, name: str, key: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise BadInput(f"{name}: {key}: write a list of texts")
    return value


def _known(table: dict[str, Any], keys: set[str], name: str, prefix: str) -> None:
    for key in table.keys() - keys:
        raise BadInput(f"{name}: {prefix}{key}: no such key; there are {', '.join(sorted(keys))}")
