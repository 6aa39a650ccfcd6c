"""`dataset.browse()`: a grid of thumbnails with filters, and below it the series that was opened."""

import html
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets
import numpy as np
import traitlets

from readingroom import saved
from readingroom.errors import AccessEnded, BadInput, NotFound, ReadingRoomError
from readingroom.files import check_readable, dicom_files
from readingroom.index import SeriesRow
from readingroom.viewers import thumbnails
from readingroom.viewers.found import FACETS, Findable
from readingroom.viewers.render import Grey
from readingroom.viewers.scripts import STATIC, script
from readingroom.viewers.series import SeriesView

_KEPT_BYTES = 16 * 1024 * 1024
_MOST_ROWS = 400
"""Series that one message to the browser tells of."""
_SHEET = 12
_LISTED = 20

Make = Callable[[Sequence[SeriesRow]], Sequence[Any]]
"""Series objects of rows, in a list that shows itself."""


class SeriesGrid(anywidget.AnyWidget):  # type: ignore[misc,unused-ignore]
    """The grid itself. The browser asks for the words and pictures of what is on the screen, and holds no list."""

    _esm = script("browse")
    _css = STATIC / "browse.css"

    filters = traitlets.Dict(help="Filter to list of values, see viewers.found.FACETS; [''] for what is not told.").tag(
        sync=True
    )
    search = traitlets.Unicode("", help="Words that description, pseudonym or a UID contain.").tag(sync=True)
    about = traitlets.Dict(read_only=True, help="Name, count, and what may be filtered.").tag(sync=True)
    found = traitlets.Dict(read_only=True, help="How many series fit, counts, and a number for the answer.").tag(
        sync=True
    )

    def __init__(
        self, folder: Path, dataset: str, label: str, rows: Sequence[SeriesRow], opener: Any, ended: Any
    ) -> None:
        self._folder = folder
        self._dataset = dataset
        self._label = label
        self._findable = Findable(rows)
        self._opener = opener
        self._ended = ended
        self._kept = thumbnails.Kept(_KEPT_BYTES)
        # ipykernel runs comm handlers on other threads than cells; the decoders are not all made for that.
        self._lock = threading.Lock()
        self._answers = 0
        self.matched = np.arange(len(rows))
        super().__init__()
        known = {name: self._findable.known(name) for name in FACETS}
        self.set_trait("about", {"label": label, "count": len(rows), "facets": FACETS, "known": known})
        self._find()
        self.observe(lambda _change: self._find(), ["filters", "search"])
        self.on_msg(self._answer)

    @traitlets.validate("filters")
    def _valid_filters(self, proposal: Any) -> dict[str, list[str]]:
        try:
            self._findable.check(proposal["value"])
        except BadInput as error:
            raise traitlets.TraitError(str(error)) from error
        return {name: list(chosen) for name, chosen in proposal["value"].items() if chosen}

    def _find(self) -> None:
        self.matched, counts = self._findable.matching(self.filters, self.search)
        self._answers += 1
        self.set_trait("found", {"total": len(self.matched), "counts": counts, "answer": self._answers})

    # The browser always pulls: what Python sends before a view is up is lost.
    def _answer(self, _widget: Any, content: Any, _buffers: Any) -> None:
        kind = content.get("k") if isinstance(content, dict) else None
        number = content.get("n") if kind else None
        try:
            if kind == "rows":
                self._send_rows(number, int(content["from"]), int(content["answer"]))
            elif kind == "thumb":
                picture = self.thumbnail(int(content["id"]))
                head = {"k": "thumb", "n": number, "id": content["id"], "shape": list(picture.shape)}
                self.send(head, [np.ascontiguousarray(picture).data.cast("B")])
            elif kind == "open":
                self._opener(int(content["id"]))
                self.send({"k": "opened", "n": number})
            elif kind == "still":
                self.check()
                self.send({"k": "still", "n": number})
        except ReadingRoomError as error:
            ended = isinstance(error, AccessEnded)
            if ended:
                self._kept.clear()
                self._ended()
            self.send({"k": "error", "n": number, "text": str(error), "ended": ended})

    def _send_rows(self, number: Any, first: int, answer: int) -> None:
        if answer != self._answers:
            # Filters have changed meanwhile: places mean other series.
            self.send({"k": "rows", "n": number, "rows": None})
            return
        told = [[int(i), *_words(self.row(i))] for i in self.matched[max(first, 0) :][:_MOST_ROWS]]
        self.send({"k": "rows", "n": number, "rows": told})

    def row(self, number: int) -> SeriesRow:
        """A series by its place in the index. Raises BadInput."""
        if not 0 <= number < len(self._findable.rows):
            raise BadInput(f"There is no series {number} in {self._dataset}: it has {len(self._findable.rows)}.")
        return self._findable.rows[number]

    def thumbnail(self, number: int) -> Grey:
        """The thumbnail of a series, by its place in the index: a read of its middle image, on the record; of a slide,
        of its smallest level.

        Raises AccessEnded, Damaged, NotFound, BadInput, NotAVolume where it holds no picture."""
        row = self.row(number)
        if not row.middle:
            raise NotFound(f"index.csv of {self._dataset} does not name the images of this series.")
        with self._lock:
            picture = self._kept.get(number)
            if picture is None:
                series = self._folder / row.study / row.series
                if row.modality == "SM":
                    # Its middle image may be a label, and a frame of it is a tile.
                    picture = thumbnails.of_slide(dicom_files(series, self._dataset), self._dataset)
                else:
                    picture = thumbnails.thumbnail(series / f"{row.middle}.dcm", self._dataset)
                self._kept.put(number, picture)
        return picture

    def check(self) -> None:
        """Raise AccessEnded where the dataset may not be read any more. Reads no file."""
        check_readable(self._folder, self._dataset)

    def describe(self) -> str:
        """How many series fit, of how many, and by which filters."""
        chosen = [f"{FACETS[name]}: {', '.join(v or 'not told' for v in vs)}" for name, vs in self.filters.items()]
        chosen += [f"containing {self.search!r}"] if self.search.strip() else []
        words = f"; {'; '.join(chosen)}" if chosen else ""
        return f"{self._label}: {len(self.matched):,} of {len(self._findable.rows):,} series{words}"

    def snapshot(self) -> bytes:
        """A PNG of the first series that fit. Reads their middle images. Raises AccessEnded."""
        tiles: list[tuple[Grey | None, str]] = []
        for number in map(int, self.matched[:_SHEET]):
            row = self.row(number)
            try:
                tiles.append((self.thumbnail(number) if row.frames else None, _title(row)))
            except AccessEnded:
                raise
            except ReadingRoomError:
                tiles.append((None, _title(row)))
        return thumbnails.sheet(tiles)

    def table(self) -> str:
        """The first series that fit as a table in HTML: words, no picture."""
        rows = [(_title(row), *_words(row)[2:]) for row in (self.row(int(i)) for i in self.matched[:_LISTED])]
        body = "".join("<tr>" + "".join(f"<td>{html.escape(str(c))}</td>" for c in row) + "</tr>" for row in rows)
        head = "".join(f'<th scope="col">{name}</th>' for name in ("series", "what", "images"))
        return (
            f"<p>{html.escape(self.describe())}</p><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        )


def _title(row: SeriesRow) -> str:
    return f"{row.modality} {row.description}".strip() or "series"


def _words(row: SeriesRow) -> tuple[str, bool, str, int]:
    """What a tile says: its title, whether it has pictures, a line of what else is known, and images."""
    told = (
        row.body_part,
        f"{row.thickness} mm" if row.thickness else "",
        row.kernel,
        " ".join(filter(None, (row.sex, row.age))),
        row.patient,
    )
    return _title(row), row.frames > 0, ", ".join(filter(None, told)), row.n


class DatasetBrowser(ipywidgets.VBox):  # type: ignore[misc,unused-ignore]
    """The grid, and below it the series that was opened. `filters` and `search` can be set and observed."""

    filters = traitlets.Dict()
    search = traitlets.Unicode("")

    def __init__(
        self, folder: Path, dataset: str, label: str, rows: Sequence[SeriesRow], make: Make, static: str | None = None
    ) -> None:
        static = saved.kept(static)
        self._make = make
        self._static = static
        self.grid = SeriesGrid(folder, dataset, label, rows, self.show, self.close_series)
        self.opened: Any = None
        """What `series.view()` gave for the series that was opened last."""
        self._open = ""
        self._shown: Any = None
        super().__init__([self.grid], layout={"width": "100%"})
        traitlets.link((self.grid, "filters"), (self, "filters"))
        traitlets.link((self.grid, "search"), (self, "search"))

    def series(self) -> Sequence[Any]:
        """The series that fit the filters, as `dataset.series()` gives them."""
        return self._make([self.grid.row(int(i)) for i in self.grid.matched])

    def show(self, number: int) -> None:
        """Show a series below the grid, by its place in the index; the one shown before closes.

        Raises AccessEnded, Damaged, NotFound, BadInput, NotAVolume for what has no viewer."""
        view = self._make([self.grid.row(number)])[0].view(static=self._static)
        self.close_series()
        self.opened = view
        self._open = view.describe() if isinstance(view, SeriesView) else _title(self.grid.row(number))
        # A report is a page, and no widget.
        self._shown = view if isinstance(view, ipywidgets.Widget) else ipywidgets.HTML(view._repr_html_())
        self.set_trait("children", (self.grid, self._shown))

    def close_series(self) -> None:
        """Take the series below the grid away, as when access to it has ended."""
        shown, self._shown, self.opened, self._open = self._shown, None, None, ""
        self.set_trait("children", (self.grid,))
        if shown is not None:
            shown.close()

    def describe(self) -> str:
        """Grid and open series in words."""
        return self.grid.describe() + (f". Open: {self._open}" if self._open else "")

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """The live grid; a still picture of its first series for wherever no kernel runs, or their table."""
        live: dict[str, Any] = super()._repr_mimebundle_(**kwargs)
        if self._static == "none":
            live = {**live, "text/html": self.grid.table()}
        return saved.beside(live, self._static, self.grid.snapshot, self.describe)
