"""Attribute types of PS3.3 IODs, which settle the table's choices (PS3.15 E.1.1: X/Z, X/D, Z/D, X/Z/D, X/Z/U*)."""

import json
from enum import StrEnum
from functools import lru_cache
from importlib.resources import files

_STRENGTH = ("3", "2C", "2", "1C", "1")


class Need(StrEnum):
    """What the IOD wants of an attribute that its source had."""

    NOTHING = "3"
    PRESENT = "2"
    VALUE = "1"
    UNKNOWN = "?"


@lru_cache(maxsize=1)
def _content() -> dict[str, dict[str, dict[str, str] | list[str] | str]]:
    content: dict[str, dict[str, dict[str, str] | list[str] | str]] = json.loads(
        (files(__package__) / "data" / "iod_types.json").read_bytes()
    )
    return content


@lru_cache(maxsize=64)
def _types(sop_class: str) -> dict[str, str] | None:
    content = _content()
    iod = content["sop_classes"].get(sop_class)
    if iod is None:
        return None
    merged: dict[str, str] = {}
    for module in content["iods"][str(iod)]:
        rows = content["modules"][module]
        assert isinstance(rows, dict)  # noqa: S101  # the file's own form
        for key, kind in rows.items():
            merged[key] = max(merged.get(key, "3"), kind, key=_STRENGTH.index)
    return merged


@lru_cache(maxsize=65536)
def need(sop_class: str, parent: int, tag: int) -> Need:
    """How much of attribute `tag`, in items of sequence `parent` (0 at the top), the IOD of `sop_class` wants.

    Where several modules name it, the strongest type counts. A condition (1C, 2C) is taken as met."""
    types = _types(sop_class)
    if types is None:
        return Need.UNKNOWN
    kind = types.get(f"{parent:08X}.{tag:08X}" if parent else f"{tag:08X}")
    if kind is None:  # a standard extended SOP class at the top; a macro that the source of types lacks further in
        return Need.UNKNOWN if parent else Need.NOTHING
    return Need(kind[0])
