"""Policies as TOML files: the options by the standard's names (PS3.15 E.3), and which images pass unseen."""

import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

from readingroom_hub.deid.pixels import tesseract
from readingroom_hub.deid.pixels.regions import KEYWORDS, Region
from readingroom_hub.deid.policy import BELIEVED, TEXT_FREE, CutShort, Policy, UnsureText
from readingroom_hub.deid.table import BASIC_CODE, Option
from readingroom_hub.errors import BadInput

FORMAT = "readingroom-policy/1"
SHIPPED = ("basic", "research")
_KEYS = {"format", "profile", "options", "images"}
_IMAGES = {"text_free", "believed", "unsure_text", "cut_short", "regions", "second_reader"}
_READERS = ("none", "tesseract")
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
    texts = UnsureText(_choice(images, "unsure_text", tuple(UnsureText), name))
    short = CutShort(_choice(images, "cut_short", tuple(CutShort), name))
    second = _choice(images, "second_reader", _READERS, name) != _READERS[0]
    if second and not tesseract.installed():
        raise BadInput(f"{name}: images.second_reader: tesseract is not installed: install tesseract-ocr")
    places = _regions(images.get("regions", []), name)
    try:
        return Policy(options, frozenset(text_free), frozenset(believed), texts, short, places, second)
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
            "second_reader": _READERS[policy.second_reader],
            "regions": [dict(r.where) | {"boxes": [list(b) for b in r.boxes]} for r in policy.regions],
        },
    }


def _option(title: str, name: str) -> Option:
    found = _TITLES.get(title.strip().casefold().removesuffix(" option"))
    if found is None:
        names = "; ".join(o.standard_name for o in Option)
        raise BadInput(f"{name}: options: {title!r} is no option of PS3.15 E.3; there are: {names}")
    return found


def _choice(images: dict[str, Any], key: str, choices: tuple[str, ...], name: str) -> str:
    """One of `choices`, of which the first is the default."""
    value = images.get(key, choices[0])
    if value not in choices:
        raise BadInput(f"{name}: images.{key}: write one of {', '.join(choices)}")
    return str(value)


def _regions(value: object, name: str) -> tuple[Region, ...]:
    if not isinstance(value, list):
        raise BadInput(f"{name}: images.regions: write tables [[images.regions]]")
    return tuple(_region(r, name, f"images.regions[{i}]") for i, r in enumerate(value))


def _region(value: object, name: str, key: str) -> Region:
    if not isinstance(value, dict):
        raise BadInput(f"{name}: {key}: write a table")
    _known(value, {*KEYWORDS, "boxes"}, name, f"{key}.")
    where = tuple((k, str(value[k])) for k in KEYWORDS if k in value)
    if not where:
        raise BadInput(f"{name}: {key}: say of which images, by one of {', '.join(KEYWORDS)}")
    boxes = value.get("boxes")
    if not isinstance(boxes, list) or not boxes or not all(map(_is_box, boxes)):
        raise BadInput(f"{name}: {key}.boxes: write a list of [left, top, right, bottom] in pixels")
    return Region(where, tuple((b[0], b[1], b[2], b[3]) for b in boxes))


def _is_box(value: object) -> bool:
    if not isinstance(value, list) or len(value) != 4 or not all(type(v) is int for v in value):
        return False
    left, top, right, bottom = value
    return bool(0 <= left < right and 0 <= top < bottom)


def _texts(value: object, name: str, key: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise BadInput(f"{name}: {key}: write a list of texts")
    return value


def _known(table: dict[str, Any], keys: set[str], name: str, prefix: str) -> None:
    for key in table.keys() - keys:
        raise BadInput(f"{name}: {prefix}{key}: no such key; there are {', '.join(sorted(keys))}")
