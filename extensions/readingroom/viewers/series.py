"""The series viewer: small observable traits, pixels pulled by the browser a few slices at a time."""

import threading
from typing import Any

import anywidget
import numpy as np
import traitlets

from readingroom import saved
from readingroom.errors import BadInput
from readingroom.files import dataset_at
from readingroom.viewers import overlay as layers
from readingroom.viewers import overlay_planes, render
from readingroom.viewers.answering import Answering
from readingroom.viewers.colours import PALETTES
from readingroom.viewers.pictures import FramePictures, Pictures, pictures_of
from readingroom.viewers.presented import PresentedPictures
from readingroom.viewers.scripts import STATIC, script

# Windows that radiologists use (centre, width in HU).
_CT_PRESETS = [
    ["Brain", 40, 80], ["Subdural", 75, 215], ["Soft tissue", 40, 400], ["Mediastinum", 50, 350],
    ["Lung", -600, 1500], ["Bone", 400, 1800],
]  # fmt: skip


class SeriesView(Answering, anywidget.AnyWidget):  # type: ignore[misc,unused-ignore]
    """Show pictures one at a time. `index`, `window`, `invert`, `zoom` and `pan` can be set and observed."""

    _esm = script("series")
    _css = STATIC / "series.css"

    index = traitlets.Int(0, help="The slice on the screen, from 0.").tag(sync=True)
    window = traitlets.Tuple(traitlets.Float(), traitlets.Float(), help="Centre and width.").tag(sync=True)
    invert = traitlets.Bool(False, help="Black for white.").tag(sync=True)
    lut = traitlets.Int(
        None, allow_none=True, help="The stored VOI LUT, from 0, that takes the window's place; None for the window."
    ).tag(sync=True)
    zoom = traitlets.Float(1.0, help="1 fits the picture into the view.").tag(sync=True)
    pan = traitlets.Tuple(traitlets.Float(), traitlets.Float(), default_value=(0.0, 0.0)).tag(sync=True)
    cross = traitlets.List(traitlets.Int(), help="Row and column of the crosshair; empty for none.").tag(sync=True)
    playing = traitlets.Bool(False, help="Cine: one picture after the other, over and over.").tag(sync=True)
    rate = traitlets.Float(10.0, help="Pictures a second of a cine, 0.1 to 60; less where they come slower.").tag(
        sync=True
    )
    graphics = traitlets.Bool(True, help="Show the graphics and words of a presentation state.").tag(sync=True)
    outline = traitlets.Bool(False, help="Show the edges of masks only.").tag(sync=True)
    about = traitlets.Dict(read_only=True, help="Count, size, title, edges: see viewers.pictures.About.").tag(sync=True)

    def __init__(self, source: Any, **traits: Any) -> None:
        self._pictures: Pictures = source if hasattr(source, "about") else pictures_of(source)
        self._about = self._pictures.about
        self._layers = ()
        self._folders = {}
        if self._about.folder is not None:
            self._folders[self._about.folder] = dataset_at(self._about.folder / "file")
        self._static = saved.kept(traits.pop("static", None))
        self._lock = threading.Lock()
        self._is_sent = False
        self._at_hand = None
        unknown = set(traits) - {
            "index",
            "window",
            "lut",
            "invert",
            "zoom",
            "pan",
            "cross",
            "outline",
            "colours",
            "playing",
            "rate",
            "annotations",
            "layout",
        }
        if unknown:
            raise BadInput(
                f"A view has no {', '.join(sorted(unknown))}: it has index, window, lut, invert, zoom and pan."
            )
        middle = self._about.count // 2
        traits.setdefault("rate", min(max(self._about.rate or 10.0, 0.1), 60.0))
        traits.setdefault("index", middle)
        if "window" not in traits:
            traits["window"] = self._about.window or render.full_window(self._pictures.stored(middle))
            if not self._about.window and self._about.luts:
                traits.setdefault("lut", 0)
        # Set before the browser is told of the view: another message costs its page more than what is in it.
        self.window = traits.pop("window")
        self.set_trait("about", self._description())
        super().__init__(**traits)
        self.observe(self._windowed, "window")
        if isinstance(self._pictures, FramePictures):
            self._show_layers(tuple(overlay_planes.planes_of(self._pictures.frames.planes)))
        elif isinstance(self._pictures, PresentedPictures):
            self._show_layers(tuple(self._pictures.shutters()))
        self.on_msg(self._answer)

    def _description(self) -> dict[str, Any]:
        about = self._about
        stored = about.windows or ((("", *about.window),) if about.window else ())
        presets = [[name or "As stored", *window] for name, *window in stored] or [["Full", *self.window]]
        return {
            "count": about.count,
            "rows": about.rows,
            "columns": about.columns,
            "title": about.title,
            "spacing": about.spacing,
            "length_unit": about.length_unit,
            "edges": about.edges,
            "function": about.function,
            "luts": [name or f"VOI LUT {n}" for n, name in enumerate(about.luts, 1)],
            "flipped": about.flipped,
            "held": about.held,
            "palettes": list(PALETTES),
            "notes": list(self._pictures.notes) if isinstance(self._pictures, PresentedPictures) else None,
            "presets": presets + (_CT_PRESETS if about.modality == "CT" else []),
        }

    @traitlets.validate("index")
    def _valid_index(self, proposal: Any) -> int:
        return int(min(max(proposal["value"], 0), self._about.count - 1))

    @traitlets.validate("window")
    def _valid_window(self, proposal: Any) -> tuple[float, float]:
        centre, width = proposal["value"]
        least = 1.0 if self._about.function == "LINEAR" else 0.0
        if not (np.isfinite(centre) and np.isfinite(width)) or width < least or width <= 0:
            need = "at least 1" if least else "more than 0"
            raise traitlets.TraitError(f"window=({centre:g}, {width:g}): give (centre, width), width {need}.")
        return centre, width

    @traitlets.validate("lut")
    def _valid_lut(self, proposal: Any) -> int | None:
        value: int | None = proposal["value"]
        if value is not None and not 0 <= value < len(self._about.luts):
            raise traitlets.TraitError(f"lut={value}: these pictures have {len(self._about.luts)} VOI LUTs, from 0.")
        return value

    def _windowed(self, _change: Any) -> None:
        # Whoever sets a window wants to see it.
        self.lut = None

    @traitlets.validate("rate")
    def _valid_rate(self, proposal: Any) -> float:
        rate = float(proposal["value"])
        if not 0.1 <= rate <= 60:
            raise traitlets.TraitError(f"rate={rate:g}: give pictures a second, 0.1 to 60.")
        return rate

    @traitlets.validate("zoom")
    def _valid_zoom(self, proposal: Any) -> float:
        return float(min(max(proposal["value"], 0.1), 32.0))

    @traitlets.validate("cross")
    def _valid_cross(self, proposal: Any) -> list[int]:
        value = proposal["value"]
        if len(value) not in {0, 2}:
            raise traitlets.TraitError(f"cross={value}: give [row, column], or [] for none.")
        ends = (self._about.rows, self._about.columns)
        return [min(max(v, 0), end - 1) for v, end in zip(value, ends, strict=False)]

    def describe(self) -> str:
        """What is on the screen in words: title, slice, window."""
        centre, width = self.window
        inverted = ", inverted" if self.invert else ""
        inverted += f", colours {self.colours}" if self.colours else ""
        shown = f"W {width:g} L {centre:g}" if self.lut is None else self.about["luts"][self.lut]
        return (
            f"{self._about.title}: slice {self.index + 1} of {self._about.count}, {shown}{inverted}{self._dose_words()}"
        )

    def grey(self) -> render.Grey:
        """The grey levels on the screen, (rows, columns) of uint8, or colours (rows, columns, 3)."""
        grey = render.grey_levels(
            self._at(self.index),
            self.window,
            function=self._about.function,
            lut=self.lut,
            inverted=self.invert != self._about.flipped,
        )
        grey = self._wash_over(self._tinted(grey), self.index)
        labels = layers.labels_at(self._layers, self.index)
        if labels is None:
            return grey
        if self.outline:
            return layers.outlined(grey, labels, self._layers)
        return layers.blended(grey, labels, self._layers, layers.weights_at(self._layers, labels, self.index))

    def snapshot(self) -> bytes:
        """A PNG of what the view shows, drawn in Python from the same state."""
        return render.still(
            self.grey(),
            self._about.spacing,
            self.zoom,
            self.pan,
            self.describe(),
            self.cross,
            self._lines(),
            self._dose_bar(),
            self._presented(),
        )

    def _presented(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        if not isinstance(self._pictures, PresentedPictures) or not self.graphics:
            return [], []
        return self._pictures.graphics(self.index), self._pictures.texts(self.index)

    def _lines(self) -> list[Any]:
        found = [(np.concatenate([c, c[:1]]), self._layers[n - 1].colour) for n, c in self._contours(self.index)]
        drawn = [line for one in self.drawings if one["index"] == self.index for line in one["lines"]]
        return [*found, *((line, None) for line in drawn)]

    def _words(self) -> str:
        notes = self._pictures.notes if isinstance(self._pictures, PresentedPictures) else ()
        return self.describe() + (f"; not as the presentation state says: {'; '.join(notes)}" if notes else "")

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """The live view, and a still picture with its words for wherever no kernel runs: saved pages, nbconvert."""
        return saved.beside(super()._repr_mimebundle_(**kwargs), self._static, self.first_snapshot, self._words)

    def first_snapshot(self) -> bytes:
        """The snapshot for a page where the view is about to be. The first time, what is read for it goes there, too:
        it is the slice that the view would ask for. It is read once, and no other one is. See keepFirst in
        browser/source.ts."""
        if self._is_sent:
            return self.snapshot()
        self._is_sent = True
        index = self.index
        self._at_hand = (index, self._at(index))
        try:
            self._answer_slices([index], "first", deflate=True)
            return self.snapshot()
        finally:
            self._at_hand = None
