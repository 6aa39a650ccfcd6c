"""All that a DICOM file's header says (PS3.5 7), as rows: nested sequences below their own element, two files side by
side. Pixels are not read."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pydicom
from pydicom.multival import MultiValue

from readingroom.objects import UNREADABLE

_SHOWN_BYTES = 32

Key = tuple[int, ...]
"""Where an element stands: its tag; in a sequence: tag, item from 0, tag, and so on."""


@dataclass(frozen=True, slots=True)
class Element:
    """One element, or one item of a sequence, in words."""

    name: str
    vr: str
    """Empty for an item."""
    text: str
    """The whole value. What cannot be printed stands as an escape, such as \\n: a header may hold anything."""
    raw: bytes | None = None
    """Values that are no text, to compare."""


@dataclass(frozen=True, slots=True)
class Row:
    """The same element of one file, or of two."""

    key: Key
    elements: tuple[Element | None, ...]
    """One for each file; None where it has no such element."""

    @property
    def depth(self) -> int:
        """0 for what stands in no sequence; an item is one deeper than its sequence, its elements one deeper still."""
        return len(self.key) - 1

    @property
    def tag(self) -> str:
        """(gggg,eeee), or the item's number from 1."""
        last = self.key[-1]
        return f"item {last + 1}" if self.depth % 2 else f"({last >> 16:04X},{last & 0xFFFF:04X})"

    @property
    def path(self) -> str:
        """The tag with the tags and items of the sequences that it stands in."""
        return "".join(f"[{k + 1}]" if i % 2 else f"({k >> 16:04X},{k & 0xFFFF:04X})" for i, k in enumerate(self.key))

    @property
    def element(self) -> Element:
        """The first there is."""
        return next(one for one in self.elements if one is not None)

    @property
    def differs(self) -> bool:
        """Whether two files say different things, or one of them nothing."""
        return any(one != self.elements[0] for one in self.elements)


def rows_of(*files: pydicom.Dataset) -> list[Row]:
    """Rows of one header, or of several beside each other, in the order of their tags; file meta information first."""
    found = [dict(_elements(file)) for file in files]
    keys = sorted({key for elements in found for key in elements})
    return [Row(key, tuple(elements.get(key) for elements in found)) for key in keys]


def printable(text: str) -> str:
    """The same text with escapes for what cannot be printed: line ends, terminal codes, marks that turn text around."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _elements(file: pydicom.Dataset) -> Iterator[tuple[Key, Element]]:
    with warnings.catch_warnings():
        # A value that its VR does not allow is shown as it is: that is what a header table is for.
        warnings.simplefilter("ignore")
        if meta := getattr(file, "file_meta", None):
            yield from _within(meta, ())
        yield from _within(file, ())


def _within(items: pydicom.Dataset, above: Key) -> Iterator[tuple[Key, Element]]:
    for tag in sorted(items.keys()):
        key = (*above, int(tag))
        try:
            element = items[tag]
            if element.VR != "SQ":
                yield key, Element(printable(element.name), element.VR, *_value(element.value))
                continue
            inner = list(element.value)
        except UNREADABLE as error:
            stored = items.get_item(tag)
            raw = stored.value if isinstance(stored.value, bytes) else b""
            said = f"cannot be understood ({printable(str(error))}), {_bytes(raw)}"
            yield key, Element("Unreadable", str(stored.VR or "UN"), said, raw)
            continue
        count = len(inner)
        yield key, Element(printable(element.name), "SQ", f"{count} item{'' if count == 1 else 's'}")
        for number, item in enumerate(inner):
            yield (*key, number), Element("Item", "", "")
            yield from _within(item, (*key, number))


def _value(value: Any) -> tuple[str, bytes | None]:
    if value is None:
        return "", None
    if isinstance(value, bytes):
        return _bytes(value), value
    many = value if isinstance(value, (MultiValue, list)) else [value]
    return printable("\\".join(str(one) for one in many)), None


def _bytes(value: bytes) -> str:
    more = " ..." if len(value) > _SHOWN_BYTES else ""
    return f"{len(value)} bytes: {value[:_SHOWN_BYTES].hex(' ')}{more}" if value else "0 bytes"
