"""Several series side by side, linked by where their pictures lie in the patient."""

import contextlib
from collections.abc import Sequence
from typing import Any

import anywidget
import ipywidgets
import numpy as np
import traitlets

from readingroom import saved
from readingroom.errors import BadInput
from readingroom.viewers import linking, render
from readingroom.viewers.linking import Stack
from readingroom.viewers.pictures import pictures_of
from readingroom.viewers.scripts import STATIC, script
from readingroom.viewers.series import SeriesView
from readingroom.volume import Frames, Volume

MOST = 6


class HangBar(anywidget.AnyWidget):  # type: ignore[misc,unused-ignore]
    """What is linked, to press. ipywidgets' own buttons leave their keys to the notebook, where `x` cuts a cell."""

    _esm = script("hang")
    _css = STATIC / "series.css"

    position, window, zoom, blink = (traitlets.Bool().tag(sync=True) for _ in range(4))
    front, count = (traitlets.Int().tag(sync=True) for _ in range(2))
    notes = traitlets.Unicode().tag(sync=True)


class HangView(ipywidgets.VBox):  # type: ignore[misc,unused-ignore]
    """Views side by side. `position`, `window` and `zoom` link what they name; they can be set and observed, and
    `blink` shows one series at a time. `views`: each a view like any other."""

    position = traitlets.Bool(True, help="Scroll series together that lie in the same patient coordinates.")
    window = traitlets.Bool(False, help="The same window, inversion and colours everywhere.")
    zoom = traitlets.Bool(True, help="The same zoom and part of the picture everywhere.")
    blink = traitlets.Bool(False, help="One series at a time, in the same place.")
    front = traitlets.Int(0, help="The series that is shown while blinking, from 0.")

    def __init__(self, sources: Sequence[Any], *, static: str | None = None, **traits: Any) -> None:
        if not 2 <= len(sources) <= MOST:
            raise BadInput(f"hang() was given {len(sources)} series: give 2 to {MOST} in a list.")
        # A Series has frames(); arrays, volumes and frames are shown as readingroom.view shows them.
        self._sources = [one.frames() if hasattr(one, "frames") else one for one in sources]
        pictures = [pictures_of(one) for one in self._sources]
        self._frames_of_reference = [one.about.frame_of_reference for one in pictures]
        self._stacks = [Stack.of(one) for one in pictures]
        self._sizes = [(one.about.columns, one.about.rows) for one in pictures]
        # What to take away from a place in a series to find it in the first one's coordinates; None while unknown.
        self._shifts = [
            np.zeros(3) if found and found == self._frames_of_reference[0] else None
            for found in self._frames_of_reference
        ]
        self._static = saved.kept(static)
        layout = {"flex": "1 1 0", "min_width": "0"}
        self.views = [SeriesView(one, static=self._static, layout=dict(layout)) for one in pictures]
        self._following = False
        self._bar = HangBar(count=len(pictures), layout={"width": "100%"})
        self._bar.on_msg(lambda _bar, content, _buffers: self.link() if content == {"k": "link"} else None)
        super().__init__([ipywidgets.HBox(self.views, layout={"width": "100%"}), self._bar], **traits)
        for name in ("position", "window", "zoom", "blink", "front"):
            traitlets.link((self, name), (self._bar, name))
        self.observe(self._show, ["blink", "front"])
        self.observe(self._renew, ["position"])
        self.observe(self._link_windows, ["window"])
        for number, view in enumerate(self.views):
            view.observe(lambda _change, n=number: self._scrolled(n), ["index"])
            view.observe(self._windowed, ["window", "invert", "colours"])
            view.observe(lambda _change, n=number: self._zoomed(n), ["zoom", "pan"])
        self._show()
        self._scrolled(0)
        self._renew()

    @traitlets.validate("front")
    def _valid_front(self, proposal: Any) -> int:
        return int(min(max(proposal["value"], 0), len(self._sources) - 1))

    def link(self) -> None:
        """Take it that the pictures on the screen show the same place: series scroll together from here, whatever
        their patient coordinates. Pictures without a place in the patient stay unlinked."""
        first = self._stacks[0]
        if first is not None:
            here = first.centres[self.views[0].index]
            for number, (stack, view) in enumerate(zip(self._stacks, self.views, strict=True)):
                if stack is not None:
                    # Along the slices only: what is seen tells nothing of a shift within them.
                    along = (stack.centres[view.index] - here) @ stack.normal
                    self._shifts[number] = along * stack.normal
        self.position = True
        self._renew()

    def linked(self, number: int) -> str:
        """Why series `number` (from 0) does not scroll with the first; an empty text where it does."""
        stack, first = self._stacks[number], self._stacks[0]
        if stack is None or first is None:
            return "its pictures have no place in the patient, or are not parallel"
        if not stack.beside(first):
            return "it is cut in another direction"
        if self._shifts[number] is None:
            return "it lies in other patient coordinates: scroll both to the same place, then Link what is shown"
        return ""

    def _scrolled(self, number: int) -> None:
        if self._following or not self.position or self.linked(number):
            return
        stack, shift = self._stacks[number], self._shifts[number]
        if stack is None or shift is None:
            return
        point = stack.centres[self.views[number].index] - shift
        self._following = True
        try:
            for n, (other, view) in enumerate(zip(self._stacks, self.views, strict=True)):
                away = self._shifts[n]
                if n == number or other is None or away is None or self.linked(n):
                    continue
                index = other.nearest(point + away)
                if index is not None:
                    view.index = index
        finally:
            self._following = False

    def _windowed(self, change: Any) -> None:
        if self.window:
            for view in self.views:
                # A width below 1 is none for whole numbers: that view keeps its own.
                with contextlib.suppress(traitlets.TraitError):
                    setattr(view, change["name"], change["new"])

    def _link_windows(self, _change: Any) -> None:
        for name in ("window", "invert", "colours"):
            self._windowed({"name": name, "new": getattr(self.views[0], name)})

    def _zoomed(self, number: int) -> None:
        if self._following or not self.zoom:
            return
        view, (columns, rows) = self.views[number], self._sizes[number]
        self._following = True
        try:
            for other, (wide, high) in zip(self.views, self._sizes, strict=True):
                if other is not view:
                    other.zoom = view.zoom
                    other.pan = (view.pan[0] * wide / columns, view.pan[1] * high / rows)
        finally:
            self._following = False

    def _show(self, _change: Any = None) -> None:
        for number, view in enumerate(self.views):
            view.layout.display = "none" if self.blink and number != self.front else None

    def _renew(self, _change: Any = None) -> None:
        why = [(n, self.linked(n)) for n in range(1, len(self.views))] if self.position else []
        self._bar.notes = " ".join(f"Series {n + 1} does not follow: {text}." for n, text in why if text)

    def difference(self, number: int = 1, **traits: Any) -> SeriesView:
        """A view of series `number` minus the first one, on the first one's grid; reads both. `traits`: see view.

        Raises BadInput, which says why there is none; NotAVolume, AccessEnded, Damaged, NotFound."""
        if not 1 <= number < len(self.views):
            raise BadInput(f"There is no series {number} to compare with the first: they are counted from 0.")
        shift = self._shifts[number]
        if shift is None:
            raise BadInput(
                "These series lie in other patient coordinates (Frame of Reference UID), so there is no difference to "
                "show: register them first, or scroll both to the same place and call link()."
            )
        first, second = (_volume(self._sources[n]) for n in (0, number))
        return SeriesView(pictures_of(linking.difference(first, second, shift)), **{"static": self._static} | traits)

    def describe(self) -> str:
        """What is on the screen, in words."""
        return "; ".join(view.describe() for view in self.views)

    def snapshot(self) -> bytes:
        """A PNG of all pictures, side by side."""
        return render.side_by_side([view.snapshot() for view in self.views])

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """The live views, and a still picture with its words for wherever no kernel runs."""

        def still() -> bytes:
            return render.side_by_side([view.first_snapshot() for view in self.views])

        return saved.beside(super()._repr_mimebundle_(**kwargs), self._static, still, self.describe)


def _volume(source: Any) -> Volume:
    if isinstance(source, Frames):
        return source.volume()
    if isinstance(source, Volume):
        return source
    raise BadInput("An array has no place in the patient: give series or volumes to see a difference.")
