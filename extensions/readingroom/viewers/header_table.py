"""A header as a table to search in, and the difference between two."""

import html
from collections.abc import Sequence
from typing import Any

import anywidget
import traitlets

from readingroom.headers import Row
from readingroom.viewers.scripts import STATIC, script

_CUT = 120
"""Characters of a value that are shown at first."""
_SAVED_ROWS = 200
"""Rows in a saved page, where nothing can be searched for."""
_TEXT_ROWS = 50


class HeaderTable(anywidget.AnyWidget):  # type: ignore[misc,unused-ignore]
    """A header's elements. `search` and `differences` choose the rows that are shown; they can be set and observed."""

    _esm = script("header_table")
    _css = STATIC / "header_table.css"

    search = traitlets.Unicode(
        "", help="Show rows with this text in tag, name or value; upper and lower case alike."
    ).tag(sync=True)
    differences = traitlets.Bool(False, help="Of two headers, show what differs only.").tag(sync=True)
    table = traitlets.Dict(read_only=True, help="Titles of the columns, and the rows.").tag(sync=True)

    def __init__(self, rows: Sequence[Row], titles: Sequence[str]) -> None:
        self._rows = list(rows)
        self._titles = [str(title) for title in titles]
        super().__init__(differences=len(self._titles) > 1)
        told = [
            [row.depth, row.tag, row.element.name, row.element.vr, *self._cells(row), row.differs] for row in self._rows
        ]
        self.set_trait("table", {"titles": self._titles, "cut": _CUT, "rows": told})
        self.on_msg(self._answer)

    @staticmethod
    def _cells(row: Row) -> list[str | None]:
        # One character more than is shown tells the browser that there are more.
        return [None if one is None else one.text[: _CUT + 1] for one in row.elements]

    def _answer(self, _widget: Any, message: Any, _buffers: Any) -> None:
        """Send the whole of a value that was cut."""
        if not isinstance(message, dict) or message.get("k") != "whole":
            return
        row, side = message.get("row"), message.get("side")
        if (
            isinstance(row, int)
            and isinstance(side, int)
            and 0 <= row < len(self._rows)
            and 0 <= side < len(self._titles)
        ):
            element = self._rows[row].elements[side]
            self.send({"k": "whole", "row": row, "side": side, "text": element.text if element else ""})

    @property
    def shown(self) -> list[Row]:
        """The rows that `search` and `differences` choose."""
        return [row for row in self._rows if self._chosen(row)]

    def _chosen(self, row: Row) -> bool:
        if self.differences and not row.differs:
            return False
        sought = self.search.lower()
        texts = [row.path, row.element.name, *(one.text for one in row.elements if one)]
        return any(sought in text.lower() for text in texts)

    def frame(self) -> Any:
        """A pandas DataFrame, a row for each element: path, name, vr, value (whole) and, of two, other and differs."""
        import pandas as pd

        names = ["value"] if len(self._titles) == 1 else ["value", "other"]
        made = []
        for row in self._rows:
            values = [None if one is None else one.text for one in row.elements]
            cells = {"path": row.path, "name": row.element.name, "vr": row.element.vr}
            more = {"differs": row.differs} if len(names) > 1 else {}
            made.append(cells | dict(zip(names, values, strict=True)) | more)
        columns = ["path", "name", "vr", *names, *(["differs"] if len(names) > 1 else [])]
        return pd.DataFrame(made, columns=columns)

    def describe(self) -> str:
        """How many elements there are, and how many are shown."""
        compared = f", {sum(row.differs for row in self._rows)} differ" if len(self._titles) > 1 else ""
        return f"{' and '.join(self._titles)}: {len(self._rows)} elements{compared}, {len(self.shown)} shown"

    def _lines(self, most: int) -> tuple[list[list[str]], str]:
        """Cells of the rows that are shown, and what is said of the rest."""
        shown = self.shown
        lines = []
        for row in shown[:most]:
            values = ["(absent)" if v is None else v[:_CUT] + ("…" if len(v) > _CUT else "") for v in self._cells(row)]
            lines.append(["  " * row.depth + row.tag, row.element.name, row.element.vr, *values])
        rest = len(shown) - most
        return lines, f"and {rest} more: set .search, or look at .frame()" if rest > 0 else ""

    def _text(self) -> str:
        lines, rest = self._lines(_TEXT_ROWS)
        return "\n".join([self.describe(), *("  ".join(line).rstrip() for line in lines), *([rest] if rest else [])])

    def _html(self) -> str:
        lines, rest = self._lines(_SAVED_ROWS)
        heads = "".join(f'<th scope="col">{html.escape(h)}</th>' for h in ("tag", "name", "VR", *self._titles))
        body = "".join(
            "<tr>" + "".join(f'<td style="text-align:left">{_indented(cell)}</td>' for cell in line) + "</tr>"
            for line in lines
        )
        caption = f"<caption>{html.escape(self.describe())}</caption>"
        return f"<table>{caption}<thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table><p>{html.escape(rest)}</p>"

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """The live table, and a plain one for wherever no kernel runs: saved pages, nbconvert."""
        bundle = super()._repr_mimebundle_(**kwargs)
        if bundle is None:
            return None
        data, metadata = bundle
        return {**data, "text/html": self._html(), "text/plain": self._text()}, metadata


def _indented(cell: str) -> str:
    inner = cell.lstrip(" ")
    return "&nbsp;" * (len(cell) - len(inner)) + html.escape(inner)
