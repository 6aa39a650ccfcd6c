"""Private elements that are known to be safe: PS3.15 E.3.10 and TCIA's knowledge base, by creator, group and offset."""

from functools import lru_cache
from importlib.resources import files

from pydicom.dataset import Dataset
from pydicom.tag import BaseTag


@lru_cache(maxsize=1)
def _known() -> frozenset[tuple[str, int, int]]:
    rows = (files(__package__) / "data" / "safe_private.tsv").read_text("utf-8").splitlines()
    return frozenset(
        (creator, int(group, 16), int(offset, 16))
        for creator, group, offsets in (row.split("\t") for row in rows)
        for offset in offsets.split()
    )


@lru_cache(maxsize=1)
def _creators() -> frozenset[tuple[str, int]]:
    return frozenset((creator, group) for creator, group, _ in _known())


def is_safe(ds: Dataset, tag: BaseTag) -> bool:
    """Whether the private element `tag`, or the block that creator `tag` reserves (PS3.5 7.8.1), is on the lists."""
    if tag.element <= 0xFF:
        return (_creator(ds, tag), tag.group) in _creators()
    reserved = BaseTag(tag.group << 16 | tag.element >> 8)
    return (_creator(ds, reserved), tag.group, tag.element & 0xFF) in _known()


def _creator(ds: Dataset, tag: BaseTag) -> str:
    if tag not in ds or not 0x10 <= tag.element <= 0xFF:
        return ""
    value = ds.get_item(tag).value
    return value.decode("ascii", "replace").strip(" \0") if isinstance(value, bytes) else str(value or "").strip()
