"""The slide viewer: the browser asks for the tiles of the field on the screen, at the resolution it shows them in."""

import math
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import traitlets

from readingroom import saved
from readingroom.errors import AccessEnded, BadInput, NotFound, ReadingRoomError
from readingroom.files import check_readable
from readingroom.slide_jpeg import Jpeg
from readingroom.slides import Pixels, Slide
from readingroom.viewers.scripts import STATIC, script
from readingroom.viewers.slide_pictures import ASPECT, WIDTH, Shades, has_overview, length, level_for, still

_CLOSEST = 1 / 16
"""Of a pixel of the finest level, that a pixel of the screen may show."""

Told = tuple[dict[str, Any], list[Any]]
"""What an answer says, and its buffers."""


class SlideView(anywidget.AnyWidget):  # type: ignore[misc,unused-ignore]
    """A slide to move about in. `centre`, `field`, `path` and `plane` can be set and observed."""

    _esm = script("slide")
    _css = STATIC / "slide.css"

    centre = traitlets.Tuple(
        traitlets.Float(), traitlets.Float(), help="Middle of the view: x, y in pixels of the finest level."
    ).tag(sync=True)
    field = traitlets.Float(help="How many pixels of the finest level the view is wide.").tag(sync=True)
    path = traitlets.Int(0, help="Which optical path, from 0.").tag(sync=True)
    plane = traitlets.Int(0, help="Which focal plane, from 0.").tag(sync=True)
    about = traitlets.Dict(read_only=True, help="Title, levels, paths, planes, notes.").tag(sync=True)

    def __init__(self, paths: Sequence[Path], dataset: str, **traits: Any) -> None:
        """Raises BadInput where the series holds no slide, AccessEnded, Damaged, NotFound."""
        self._static = saved.kept(traits.pop("static", None))
        if unknown := set(traits) - {"centre", "field", "path", "plane", "layout"}:
            raise BadInput(
                f"A view of a slide has no {', '.join(sorted(unknown))}: it has centre, field, path and plane."
            )
        self.slide = Slide(paths, dataset)
        """Its levels; `slide.tile` and `slide.region` read from them."""
        self._folders = {path.parent for path in paths}
        self._shades = Shades(self.slide)
        first = self.slide.levels[0]
        middle = (first.width / 2, first.height / 2)
        # All of it, with a little around; or as much of the middle as may be read for one field.
        whole = max(first.width, first.height * ASPECT) * 1.05
        fields = (whole * 0.8**n for n in range(100))
        traits.setdefault("field", next((f for f in fields if level_for(self.slide, middle, f) is not None), whole))
        traits.setdefault("centre", middle)
        traits.setdefault("plane", len(self.slide.planes) // 2)
        super().__init__(**traits)
        self.set_trait("about", self._description())
        self.on_msg(self._answer)

    def _description(self) -> dict[str, Any]:
        slide = self.slide
        notes = list(slide.notes)
        if slide.left_out:
            notes.append(
                f"Not shown: {slide.left_out} label, overview or thumbnail images of this series; a label may name the "
                "patient."
            )
        if not has_overview(slide):
            notes.append("This slide has no level small enough to show all of it at once.")
        return {
            "title": slide.title,
            "levels": [
                {"width": one.width, "height": one.height, "tile": list(one.tile), "downsample": one.downsample}
                for one in slide.levels
            ],
            "spacing": list(slide.levels[0].spacing),
            "paths": list(slide.names),
            "planes": list(slide.planes),
            "magnification": self._objective(),
            "overview": has_overview(slide),
            "notes": notes,
        }

    def _objective(self) -> float:
        """Magnification where a pixel of the screen is one of the finest level."""
        # 0.01 mm a pixel is what is called 1 x where the objective is not told: 0.25 µm, 40 x.
        return self.slide.objective or 0.01 / self.slide.levels[0].spacing[1]

    @traitlets.validate("centre")
    def _valid_centre(self, proposal: Any) -> tuple[float, float]:
        first = self.slide.levels[0]
        x, y = (v if math.isfinite(v) else 0.0 for v in proposal["value"])
        return min(max(x, 0.0), float(first.width)), min(max(y, 0.0), float(first.height))

    @traitlets.validate("field")
    def _valid_field(self, proposal: Any) -> float:
        first = self.slide.levels[0]
        most = 1.2 * max(first.width, first.height * ASPECT)
        value = float(proposal["value"])
        return min(max(value, min(WIDTH * _CLOSEST, most)), most) if math.isfinite(value) else most

    @traitlets.validate("path", "plane")
    def _valid_choice(self, proposal: Any) -> int:
        count = len(self.slide.paths if proposal["trait"].name == "path" else self.slide.planes)
        return min(max(int(proposal["value"]), 0), count - 1)

    # The browser always pulls: what Python sends before a view is up is lost.
    def _answer(self, _widget: Any, content: Any, _buffers: Any) -> None:
        kind = content.get("k") if isinstance(content, dict) else None
        if kind not in {"tile", "profile", "still"}:
            return
        number = content.get("n")
        try:
            self.check()
            told, data = getattr(self, f"_tell_{kind}")(content)
        except ReadingRoomError as error:
            ended = isinstance(error, (AccessEnded, NotFound))
            self.send({"k": "error", "n": number, "text": str(error), "ended": ended})
            return
        self.send({"k": kind, "n": number, **told}, data)

    def _tell_still(self, _content: dict[str, Any]) -> Told:
        return {}, []

    def _tell_profile(self, content: dict[str, Any]) -> Told:
        asked = content.get("number")
        if not (isinstance(asked, int) and 0 <= asked < len(self.slide.profiles)):
            raise BadInput(f"This slide has no ICC profile {asked}.")
        return {}, [self.slide.profiles[asked].data]

    def _tell_tile(self, content: dict[str, Any]) -> Told:
        asked: list[Any] = [content.get(name) for name in ("level", "x", "y", "path", "plane")]
        if not all(isinstance(one, int) for one in asked):
            raise BadInput(f"A tile is asked for by whole numbers, not {asked}.")
        level, _, _, path, plane = asked
        # `decoded`: the browser could not read what it got.
        tile = self.slide.tile(*asked) if content.get("decoded") else self.slide.encoded(*asked)
        if isinstance(tile, Jpeg):
            profile = self.slide.profile(level, path, plane)
            return {"rows": tile.rows, "columns": tile.columns, "jpeg": True, "profile": profile}, [tile.data]
        pixels = self._shades.shown(tile, level, path, plane)
        told = {"rows": pixels.shape[0], "columns": pixels.shape[1], "samples": 1 if pixels.ndim == 2 else 3}
        data: Any = np.ascontiguousarray(pixels).data.cast("B")
        if content.get("deflate") and len(packed := zlib.compress(data, 1)) < len(data):
            return {**told, "deflated": True}, [packed]
        return told, [data]

    def check(self) -> None:
        """Raise AccessEnded or NotFound where the slide may not be read any more. Reads no file."""
        for folder in self._folders:
            check_readable(folder, self.slide.dataset)

    def region(self, x: int, y: int, width: int, height: int, level: int = 0) -> Pixels:
        """A rectangle in pixels of `level`, of the optical path and focal plane on the screen, as it is stored: see
        Slide.region. Raises BadInput, AccessEnded, Damaged, NotFound."""
        return self.slide.region(x, y, width, height, level, self.path, self.plane)

    def describe(self) -> str:
        """What is on the screen in words."""
        first, (rows, columns) = self.slide.levels[0], self.slide.levels[0].spacing
        size = f"{length(self.field * columns)} by {length(self.field / ASPECT * rows)}"
        place = f"{self.centre[0] * columns:.2f}, {self.centre[1] * rows:.2f} mm"
        words = [
            f"{self.slide.title}: {self._objective() * WIDTH / self.field:.3g} x",
            f"{size} at {place} of {first.width * columns:.3g} by {first.height * rows:.3g} mm",
        ]
        if len(self.slide.paths) > 1:
            words.append(f"optical path {self.slide.names[self.path]}")
        if len(self.slide.planes) > 1:
            words.append(f"focal plane {self.slide.planes[self.plane]:g} µm")
        return ", ".join(words)

    def snapshot(self) -> bytes:
        """A PNG of the field, drawn in Python from the same state. Raises as viewers.slide_pictures.still does."""
        return still(self.slide, self._shades, self.centre, self.field, self.path, self.plane, self.describe())

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """The live view, and a still picture with its words for wherever no kernel runs: saved pages, nbconvert."""
        return saved.beside(super()._repr_mimebundle_(**kwargs), self._static, self.snapshot, self.describe)
