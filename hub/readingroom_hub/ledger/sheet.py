"""Audit records as rows of a spreadsheet (RFC 4180). A copy for people, not the record.

Display names, reasons and claims come from outside, and spreadsheet programs run a cell that begins like a formula; so
such a cell gets an apostrophe in front, and control characters are shown as escapes."""

import csv
import io
import json
from collections.abc import Iterable
from typing import Any

from readingroom_hub.ledger.note import printable

COLUMNS = (
    "index", "time", "event", "outcome", "late", "person", "person_name", "project", "session", "reason", "subject",
    "claims", "process", "id",
)  # fmt: skip
_FORMULA = frozenset("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
"""What a formula begins with, or is found behind, in spreadsheet programs (OWASP, CSV injection); the last four are
the full-width forms."""


def cell(value: object) -> str:
    """A value as text that a spreadsheet shows and never runs."""
    text = str(value)
    return printable(f"'{text}" if text[:1] in _FORMULA or text.lstrip()[:1] in _FORMULA else text)


def line(values: Iterable[object]) -> bytes:
    """One row, every cell in quotes."""
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL).writerow([cell(v) for v in values])
    return text.getvalue().encode()


def sheet_row(index: int, row: dict[str, Any], person_name: str | None) -> bytes:
    """The row of one record, in the order of COLUMNS; nested maps as JSON."""
    maps = {k: json.dumps(row[k], ensure_ascii=False, sort_keys=True) for k in ("subject", "claims") if k in row}
    source = row["source"]
    late = "its caller was told no" if source.get("late") else ""
    known = {"index": index, "person_name": person_name or "", "process": source["process"], "late": late}
    known |= {k: row[k] for k in COLUMNS if k in row}
    return line((known | maps).get(name, "") for name in COLUMNS)
