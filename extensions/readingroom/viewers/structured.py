"""A structured report as a tree that people can read (PS3.3 C.17.3), and as a table."""

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pydicom

from readingroom.headers import printable
from readingroom.objects import read_object, undecodable

# What is shown of one report: more than any real one has, less than would stop a browser.
_ITEMS, _LEVELS = 5000, 64
_OPEN_LEVELS = 2
_STYLE = """<style>
.rr-sr { font: 13px/1.5 var(--jp-ui-font-family, system-ui, sans-serif); color: var(--jp-ui-font-color1, CanvasText);
  max-width: 80ch; }
.rr-sr ul { list-style: none; margin: 0; padding-left: 1.4em;
  border-left: 1px solid var(--jp-border-color2, GrayText); }
.rr-sr summary { cursor: pointer; font-weight: 600; }
.rr-sr summary:focus-visible { outline: 3px solid var(--jp-brand-color1, Highlight); }
.rr-sr b { font-weight: 600; } .rr-sr span { white-space: pre-wrap; overflow-wrap: anywhere; }
.rr-sr i { color: var(--jp-ui-font-color2, GrayText); }
</style>"""


@dataclass(frozen=True, slots=True)
class Item:
    """One content item, in document order."""

    level: int
    """0 is the document's own title."""
    relationship: str
    """To its parent, for example CONTAINS; empty at level 0."""
    kind: str
    """Value Type, for example NUM."""
    concept: str
    """Code Meaning of its Concept Name."""
    value: str
    """As people write it; empty for a container."""
    unit: str = ""
    code: str = ""
    """(value, scheme) of a coded value."""


class StructuredReport:
    """The reports of one series. Shown as a tree; `to_frame()` is the same as a table. Holds no pixels."""

    def __init__(self, paths: Sequence[Path], dataset: str) -> None:
        """Read them. Raises AccessEnded, Damaged, NotFound."""
        self.documents: list[list[Item]] = []
        for path in paths:
            found = read_object(path, dataset)
            try:
                self.documents.append(list(_items(found)))
            except (ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
                raise undecodable(path, dataset) from error

    def to_frame(self) -> pd.DataFrame:
        """One row a content item: document (from 0), level, relationship, kind, concept, value, unit, code."""
        columns = ["document", *Item.__slots__]
        rows = [
            (n, *(getattr(item, name) for name in Item.__slots__))
            for n, items in enumerate(self.documents)
            for item in items
        ]
        return pd.DataFrame(rows, columns=columns)

    def __repr__(self) -> str:
        return "\n\n".join("\n".join(map(_indented, items)) for items in self.documents)

    def _repr_html_(self) -> str:
        trees = "".join(map(_tree, self.documents))
        return f'{_STYLE}<div class="rr-sr" data-lm-suppress-shortcuts="true">{trees}</div>'


def _items(document: pydicom.Dataset) -> Iterator[Item]:
    """Depth first, without recursion: a document may be nested as deep as its sender likes."""
    waiting: list[tuple[int, pydicom.Dataset]] = [(0, document)]
    count = 0
    while waiting:
        level, found = waiting.pop()
        if count == _ITEMS:
            yield Item(1, "", "", "", f"and more: the first {_ITEMS:,} items are shown")
            return
        count += 1
        yield _item(level, found)
        children = list(found.get("ContentSequence") or ())
        if children and level == _LEVELS:
            yield Item(level + 1, "", "", "", f"{len(children)} items below are nested too deep to be shown")
        else:
            waiting.extend((level + 1, child) for child in reversed(children))


def _item(level: int, found: pydicom.Dataset) -> Item:
    relationship = str(found.get("RelationshipType") or "")
    if pointed := found.get("ReferencedContentItemIdentifier"):
        return Item(level, relationship, "", "", f"see item {_joined(pointed, '.')}")
    kind = str(found.get("ValueType") or "")
    value, unit, code = _value(kind, found)
    return Item(level, relationship, kind, _meaning(found.get("ConceptNameCodeSequence")), value, unit, code)


def _value(kind: str, found: pydicom.Dataset) -> tuple[str, str, str]:
    """Value, unit, code."""
    if kind == "NUM":
        return *_measured(found), ""
    if kind == "CODE":
        coded = found.get("ConceptCodeSequence")
        return _meaning(coded), "", _code(coded)
    return _text(kind, found), "", ""


def _measured(found: pydicom.Dataset) -> tuple[str, str]:
    """Number and unit."""
    measured = found.get("MeasuredValueSequence")
    if not measured:  # PS3.3 C.18.1: empty where there is none, with a reason
        why = _meaning(found.get("NumericValueQualifierCodeSequence")) or "no reason is given"
        return f"no value: {why}", ""
    unit = measured[0].get("MeasurementUnitsCodeSequence")
    return _joined(measured[0].get("NumericValue")), str(unit[0].get("CodeValue") or "") if unit else ""


def _text(kind: str, found: pydicom.Dataset) -> str:
    if kind in {"IMAGE", "COMPOSITE", "WAVEFORM"}:
        return ", ".join(map(_reference, found.get("ReferencedSOPSequence") or ()))
    if kind in {"SCOORD", "SCOORD3D"}:
        points = len(found.get("GraphicData") or ()) // (3 if kind == "SCOORD3D" else 2)
        return f"{str(found.get('GraphicType') or 'shape').lower()} of {points} points"
    if kind == "TCOORD":
        return str(found.get("TemporalRangeType") or "").lower()
    texts = (found.get(keyword) for keyword in ("TextValue", "PersonName", "DateTime", "Date", "Time", "UID"))
    return next((_joined(text) for text in texts if text is not None), "")


def _reference(found: pydicom.Dataset) -> str:
    kind = pydicom.uid.UID(str(found.get("ReferencedSOPClassUID") or "")).name.removesuffix(" Storage")
    frames = found.get("ReferencedFrameNumber")
    said = f", frame {_joined(frames)}" if frames else ""
    return f"{kind} ...{str(found.get('ReferencedSOPInstanceUID') or '')[-12:]}{said}"


def _meaning(sequence: Any) -> str:
    return str(sequence[0].get("CodeMeaning") or _code(sequence)) if sequence else ""


def _code(sequence: Any) -> str:
    if not sequence:
        return ""
    return f"({sequence[0].get('CodeValue') or '?'}, {sequence[0].get('CodingSchemeDesignator') or '?'})"


def _joined(value: Any, by: str = ", ") -> str:
    several = isinstance(value, (list, tuple, pydicom.multival.MultiValue))
    return by.join(map(str, value)) if several else str("" if value is None else value)


def _said(item: Item) -> str:
    value = f"{item.value} {item.unit}".strip()
    return f"{item.concept}: {value}" if item.concept and value else item.concept or value or item.kind


def _indented(item: Item) -> str:
    # A line of a text stands further in than its item: it cannot pass for another item.
    indent = "  " * item.level
    return indent + f"\n{indent}    ".join(_lines(_said(item)))


def _lines(text: str) -> list[str]:
    return [printable(line) for line in text.splitlines()] or [""]


def _tree(items: Sequence[Item]) -> str:
    """Nested lists: what holds others folds and unfolds, by mouse or keyboard, without a script."""
    parts: list[str] = []
    open_lists = 0
    for item, after in zip(items, [*items[1:], None], strict=True):
        while open_lists > item.level:
            parts.append("</ul></details></li>")
            open_lists -= 1
        shown = _line(item)
        if after is not None and after.level > item.level:
            unfolded = " open" if item.level < _OPEN_LEVELS else ""
            parts.append(f"<li><details{unfolded}><summary data-lm-suppress-shortcuts>{shown}</summary><ul>")
            open_lists += 1
        else:
            parts.append(f"<li>{shown}</li>")
    parts.append("</ul></details></li>" * open_lists)
    return f"<ul>{''.join(parts)}</ul>"


def _line(item: Item) -> str:
    told = (item.concept, f"{item.value} {item.unit}".strip(), item.code)
    concept, value, code = (html.escape("\n".join(_lines(text))) for text in told)
    if not value:
        return f"<b>{concept or html.escape(printable(item.kind))}</b>"
    named = f"<b>{concept}</b>: " if concept else ""
    return f"{named}<span>{value}</span>" + (f" <i>{code}</i>" if code else "")
