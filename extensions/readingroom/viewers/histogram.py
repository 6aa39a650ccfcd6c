"""How often each value occurs in the slice on the screen, or in an area drawn on it, beside the window's limits."""

import threading
from collections import OrderedDict
from typing import Any, cast

import anywidget
import ipywidgets
import numpy as np
import numpy.typing as npt
import traitlets

from readingroom.errors import BadInput, ReadingRoomError
from readingroom.planes import Stored
from readingroom.viewers import measure
from readingroom.viewers.pictures import About, Pictures
from readingroom.viewers.scripts import STATIC, script

_BINS = 128
_RECENT_BYTES = 8 << 20


def counted(values: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Counts (n,) and edges (n + 1,) over the finite values; n is 128, or fewer for few whole numbers.

    Whole numbers have bins of whole width around them: no comb of empty bins appears between them."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return np.zeros(0, np.int64), np.zeros(1)
    low, high = float(finite.min()), float(finite.max())
    if (finite == np.floor(finite)).all():
        width = max(int(np.ceil((high - low + 1) / _BINS)), 1)
        edges = low - 0.5 + width * np.arange(int(np.ceil((high - low + 1) / width)) + 1)
    else:
        edges = np.linspace(low, high, _BINS + 1)
    counts, edges = np.histogram(finite, edges)
    return counts.astype(np.int64), edges.astype(np.float64)


class HistogramView(anywidget.AnyWidget):  # type: ignore[misc,unused-ignore]
    """A histogram that follows its view. `chart` holds counts, edges, the window's limits and the words."""

    _esm = script("histogram")
    _css = STATIC / "histogram.css"

    chart = traitlets.Dict(read_only=True).tag(sync=True)

    def __init__(self, view: "Charted", area: str | None) -> None:
        super().__init__()
        self._view, self._area = view, area
        self._renew()
        view.observe(self._renew, ["index", "window", "annotations"])

    def _renew(self, _change: Any = None) -> None:
        try:
            values, unit = self._view.values(self._area)
        except ReadingRoomError as error:
            self.set_trait("chart", {"counts": [], "edges": [], "limits": [], "text": str(error)})
            return
        counts, edges = counted(values)
        centre, width = self._view.window
        text = "no values"
        if counts.size:
            most = int(counts.argmax())
            text = (
                f"{int(counts.sum())} pixels, {values[np.isfinite(values)].min():.5g} to "
                f"{values[np.isfinite(values)].max():.5g}{unit and ' '}{unit}, the most from {edges[most]:.5g} to "
                f"{edges[most + 1]:.5g}; window from {centre - width / 2:.5g} to {centre + width / 2:.5g}"
            )
        limits = [centre - width / 2, centre + width / 2]
        self.set_trait("chart", {"counts": counts.tolist(), "edges": edges.tolist(), "limits": limits, "text": text})

    def close(self) -> None:
        """Follow the view no longer."""
        self._view.unobserve(self._renew, ["index", "window", "annotations"])
        super().close()

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """The live chart, and its words for wherever no kernel runs."""
        bundle = super()._repr_mimebundle_(**kwargs)
        if bundle is None:
            return None
        data, metadata = bundle
        return {**data, "text/plain": f"Histogram: {self.chart['text']}"}, metadata


class Charted(ipywidgets.DOMWidget):  # type: ignore[misc,unused-ignore]
    """The part of a view that hands its values out."""

    _pictures: Pictures
    _about: About

    def values(self, area: str | None = None) -> tuple[npt.NDArray[np.float64], str]:
        """Modality values of the slice on the screen, or of an area on it, flat, and their unit.

        `area`: the label or id of an annotation; on other slices, the same place is meant. Raises BadInput,
        AccessEnded, Damaged, NotFound."""
        view = cast("Any", self)
        stored = self._shown(view.index)
        if stored.pixels.ndim != 2:
            raise BadInput("A picture in colour has no values to count.")
        values = stored.pixels.astype(np.float64) * stored.slope + stored.intercept
        if area is None:
            return values.ravel(), self._about.unit
        for one in view.annotations:
            if area in {one["id"], one["label"]} and one["kind"] in measure.AREAS:
                pixels = self._pictures.place(view.index).pixels(np.array(one["points"]))
                return values[measure.inside(one["kind"], pixels, values.shape)], self._about.unit
        raise BadInput(f"There is no area {area!r} in this view: draw an ellipse, a rectangle or a freehand area.")

    # What the browser was sent a moment ago, or is about to ask for: a chart of it costs no read of its own, and the
    # record no second entry. Only where there is a chart, for a few slices, and for as long as they may be read.
    def _remember(self, index: int, stored: Stored) -> None:
        known: OrderedDict[int, Stored] | None = self.__dict__.get("_recent")
        if known is None:
            return
        with self.__dict__["_recent_lock"]:
            known.pop(index, None)
            known[index] = stored
            while len(known) > 1 and sum(one.pixels.nbytes for one in known.values()) > _RECENT_BYTES:
                known.popitem(last=False)

    def _shown(self, index: int) -> Stored:
        view = cast("Any", self)
        kept: Stored | None = self.__dict__.get("_recent", {}).get(index)
        if kept is None:
            return cast("Stored", view._at(index))  # noqa: SLF001 it is the view's own
        try:
            view.check()
        except ReadingRoomError:
            self.__dict__["_recent"].clear()
            raise
        return kept

    def histogram(self, area: str | None = None) -> HistogramView:
        """A histogram of the slice on the screen, or of an area on it, that follows the view. `area`: see values."""
        self.__dict__.setdefault("_recent_lock", threading.Lock())
        self.__dict__.setdefault("_recent", OrderedDict())
        return HistogramView(self, area)
