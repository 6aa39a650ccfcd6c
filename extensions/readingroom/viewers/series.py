"""The series viewer: small observable traits, pixels pulled by the browser a few slices at a time."""

import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import numpy.typing as npt
import traitlets

from readingroom import saved, settings
from readingroom.errors import AccessEnded, BadInput, NotFound, ReadingRoomError
from readingroom.files import check_readable, dataset_at
from readingroom.objects import class_of
from readingroom.planes import Stored
from readingroom.viewers import contours as structure_set
from readingroom.viewers import dose, overlay_planes, presentation, render
from readingroom.viewers import labels as label_maps
from readingroom.viewers import overlay as layers
from readingroom.viewers.annotated import Annotated
from readingroom.viewers.brush import PaintedMasks
from readingroom.viewers.brushed import Brushed
from readingroom.viewers.colours import PALETTES, Coloured
from readingroom.viewers.histogram import Charted
from readingroom.viewers.overlay import COLOURS, Colour, Overlay
from readingroom.viewers.pictures import FramePictures, Pictures, pictures_of
from readingroom.viewers.presented import PresentedPictures
from readingroom.viewers.scripts import STATIC, script
from readingroom.viewers.washed import Washed
from readingroom.viewers.wire import packed

# Windows that radiologists use (centre, width in HU).
_CT_PRESETS = [
    ["Brain", 40, 80], ["Subdural", 75, 215], ["Soft tissue", 40, 400], ["Mediastinum", 50, 350],
    ["Lung", -600, 1500], ["Bone", 400, 1800],
]  # fmt: skip

# An answer holds as many of the slices that were asked for as fit: a message costs the browser more than a slice does,
# and what the browser wishes for next waits until the answer is out.
_ANSWER_SECONDS = 0.03
_ANSWER_BYTES = 2 << 20
# Deflated for a slow line, which needs longer for it than the kernel.
_SLOW_ANSWER_BYTES = 128 << 10

_ELSEWHERE = {
    dose.CLASS: "a dose: lay it over the pictures by view.dose(path)",
    presentation.CLASS: "a presentation state: look at its images by series.present(path)",
}


class SeriesView(Annotated, Washed, Brushed, Coloured, Charted, anywidget.AnyWidget):  # type: ignore[misc,unused-ignore]
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
    overlays = traitlets.List(traitlets.Dict(), read_only=True, help="Name, colour, opacity, largest slice.").tag(
        sync=True
    )
    about = traitlets.Dict(read_only=True, help="Count, size, title, edges: see viewers.pictures.About.").tag(sync=True)

    def __init__(self, source: Any, **traits: Any) -> None:
        self._pictures: Pictures = source if hasattr(source, "about") else pictures_of(source)
        self._about = self._pictures.about
        self._layers: tuple[Overlay, ...] = ()
        # Where all that is shown was read from, with the names of the datasets.
        self._folders: dict[Path, str] = {}
        if self._about.folder is not None:
            self._folders[self._about.folder] = dataset_at(self._about.folder / "file")
        self._static = saved.kept(traits.pop("static", None))
        # ipykernel runs comm handlers on other threads than cells; the decoders are not all made for that.
        self._lock = threading.Lock()
        self._is_sent = False
        self._at_hand: tuple[int, Stored] | None = None
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

    # The browser always pulls: what Python sends before a view is up is lost.
    def _answer(self, _widget: Any, content: Any, _buffers: Any) -> None:
        if not isinstance(content, dict):
            return
        try:
            self._do(content)
        except ReadingRoomError as error:
            self._refuse(content, str(error))
        except Exception as error:
            # Who waits is told; all of it is for the kernel's log.
            self._refuse(
                content, f"This failed, by an error of the viewer ({type(error).__name__}): tell the operator."
            )
            raise

    def _do(self, content: dict[str, Any]) -> None:
        kind = content.get("k")
        if kind == "draw":
            self._draw(content)
        elif kind == "brush":
            self._brush(content)
        elif kind == "where":
            self.send({"k": "where", "n": content.get("n"), "files": self._files()})
        elif kind == "still":
            self._answer_still(content.get("n"))
        elif kind == "get":
            self._answer_slices([int(z) for z in content["z"]], content.get("n"), deflate=bool(content.get("deflate")))

    def _refuse(self, content: dict[str, Any], text: str) -> None:
        kind = "refused" if content.get("k") in {"draw", "brush"} else "error"
        self.send({"k": kind, "n": content.get("n"), "text": text})

    def _answer_slices(self, wanted: Sequence[int], number: Any, *, deflate: bool) -> None:
        """Send the first of the slices, and of the others, in their order, as many as fit into one answer. `fits` says
        how many would, for the next question; what is left out may be asked for again, or not wished for any more."""
        told, buffers = list[dict[str, Any]](), list[Any]()
        bytes_held = _SLOW_ANSWER_BYTES if deflate else _ANSWER_BYTES
        start, size, worked, share = time.monotonic(), 0, 0.0, 0.0
        for index in wanted:
            try:
                head, more = self._slice(index, deflate=deflate)
            except AccessEnded as error:
                self.send({"k": "error", "n": number, "text": str(error), "ended": True})
                return
            except ReadingRoomError as error:
                head, more = {"k": "error", "z": index, "text": str(error)}, []
            except Exception:
                # An error of the viewer is the answer to a question of its own.
                if told:
                    break
                raise
            told.append({**head, "buffers": len(more)})
            buffers += more
            size += sum(len(one) for one in more)
            worked = time.monotonic() - start
            share = max(size / bytes_held, worked / _ANSWER_SECONDS)
            if share >= 1:
                break
        fits = max(int(len(told) / share), 1) if share else 1
        head = {"k": "slices", "n": number, "slices": told, "fits": fits}
        self.send(head, buffers)

    def _slice(self, index: int, *, deflate: bool) -> tuple[dict[str, Any], list[Any]]:
        """The head and the buffers of one slice with all that lies over it. Raises as Pictures.stored does."""
        if self._about.held:
            # A volume in memory, too, is shown for as long as its files may be read.
            self.check()
        stored = self._at(index)
        labels = layers.labels_at(self._layers, index)
        codes = self._dose_codes(index)
        head, buffers, luts = packed(stored, index, deflate=deflate)
        if labels is not None:
            weights = layers.weights_at(self._layers, labels, index)
            head |= {"labelled": True, "weighted": weights is not None}
            buffers += [one.data.cast("B") for one in (labels, weights) if one is not None]
        if lines := self._contours(index):
            head["contours"] = [[number, np.round(line, 3).tolist()] for number, line in lines]
        if isinstance(self._pictures, PresentedPictures):
            head |= {"graphics": self._pictures.graphics(index), "texts": self._pictures.texts(index)}
        buffers += luts
        if codes is not None:
            head["dosed"] = True
            buffers.append(np.ascontiguousarray(codes, "<u2").data.cast("B"))
        return head, buffers

    def _files(self) -> list[tuple[str, int]]:
        """Where below /data each picture lies, and its frame: for a source that can do without the kernel."""
        if not isinstance(self._pictures, FramePictures):
            return []
        root = settings.data_root().absolute()
        try:
            return [
                (one.path.absolute().relative_to(root).as_posix(), one.frame) for one in self._pictures.frames.planes
            ]
        except ValueError:
            return []

    def _answer_still(self, number: Any) -> None:
        try:
            self.check()
        except ReadingRoomError as error:
            # A folder that was there and is not: what it held is not shown any longer either.
            ended = isinstance(error, (AccessEnded, NotFound))
            self.send({"k": "error", "n": number, "text": str(error), "ended": ended})
        else:
            self.send({"k": "still", "n": number})

    def check(self) -> None:
        """Raise AccessEnded or NotFound where something that is shown may not be read any more. Reads no file."""
        for folder, dataset in self._folders.items():
            check_readable(folder, dataset)

    def _at(self, index: int) -> Stored:
        if not 0 <= index < self._about.count:
            raise BadInput(f"There is no slice {index + 1}: the view has {self._about.count}.")
        at_hand = self._at_hand
        if at_hand and at_hand[0] == index:
            return at_hand[1]
        with self._lock:
            stored = self._pictures.stored(index)
        self._remember(index, stored)
        return stored

    def overlay(self, source: Any, name: str = "", colour: Colour | None = None, opacity: float = 0.4) -> "SeriesView":
        """Lay a mask over the pictures; answers the view itself.

        `source`: an array like the pictures, where anything but 0 belongs to it, or the path of a DICOM SEG (binary,
        fractional, label map) or RTSTRUCT that was drawn on this series, which brings names and colours along, or of a
        NIfTI label map (.nii, .nii.gz), which is laid where its affine says.
        Raises BadInput, AccessEnded, Damaged, NotFound."""
        if not 0 <= opacity <= 1 or (colour and not all(0 <= part <= 255 for part in colour)):
            raise BadInput(f"colour={colour}, opacity={opacity}: give (red, green, blue) of 0 to 255, and 0 to 1.")
        shape = (self._about.count, self._about.rows, self._about.columns)
        if isinstance(source, (str, Path)):
            found = self._drawn_elsewhere(Path(source), shape, name)
            made = [replace(one, colour=colour or one.colour, opacity=opacity) for one in found]
        else:
            number = len(self._layers)
            chosen = colour or COLOURS[number % len(COLOURS)]
            made = [Overlay(name or f"mask {number + 1}", layers.mask_of(source, shape), chosen, opacity)]
        self._show_layers((*self._layers, *made))
        return self

    def _drawn_elsewhere(self, path: Path, shape: tuple[int, int, int], name: str) -> list[Overlay]:
        if path.name.lower().endswith(label_maps.SUFFIXES):
            if not self._about.located:
                raise BadInput("These pictures have no place in the patient, so no label map can be laid on them.")
            self._folders[path.absolute().parent] = dataset_at(path)
            return label_maps.labels_of(path, dataset_at(path), self._places, shape[1:], name)
        dataset = dataset_at(path)
        self._folders[path.absolute().parent] = dataset
        kind = class_of(path, dataset)
        if kind in _ELSEWHERE:
            raise BadInput(f"{path.name} is {_ELSEWHERE[kind]}.")
        if not isinstance(self._pictures, (FramePictures, PresentedPictures)):
            raise BadInput("A DICOM segmentation is laid on the series that it was drawn on: use series.view().")
        frames = self._pictures.frames
        if kind == structure_set.CLASS:
            return structure_set.structures_of(path, dataset, self._places, frames.frame_of_reference)
        images = [(plane.instance, plane.frame) for plane in frames.planes]
        if isinstance(self._pictures, FramePictures):
            return layers.segments_of(path, dataset, images, shape)
        return self._pictures.turned(layers.segments_of(path, dataset, images, self._pictures.stored_shape))

    def _named(self, name: str) -> Overlay:
        for one in self._layers:
            if one.name == name:
                return one
        there = ", ".join(repr(one.name) for one in self._layers) or "none"
        raise BadInput(f"There is no overlay {name!r} in this view; there are: {there}.")

    def jump(self, name: str) -> None:
        """Show the slice with the most of an overlay. Raises BadInput where there is none, or it is empty."""
        index = self._named(name).largest
        if index is None:
            raise BadInput(f"The overlay {name!r} is empty: there is no slice to show.")
        self.index = index

    def mask(self, name: str) -> npt.NDArray[np.bool_]:
        """An overlay as an array like the pictures (slices, rows, columns). Of contours: the pixels whose centres lie
        inside. Raises BadInput where there is none of this name."""
        one = self._named(name)
        shape = (self._about.count, self._about.rows, self._about.columns)
        if one.mask is None:
            return structure_set.filled(one.contours, shape)
        return np.stack([one.mask[i] for i in range(self._about.count)])

    def _contours(self, index: int) -> list[tuple[int, npt.NDArray[np.float64]]]:
        """(number from 1, line) of what is drawn in lines on one picture."""
        return [(n, line) for n, one in enumerate(self._layers, 1) for line in one.contours.get(index, ())]

    def clear_overlays(self) -> None:
        """Take all overlays away, the dose too."""
        self._show_layers(())
        self.clear_dose()
        self._folders = {folder: name for folder, name in self._folders.items() if folder == self._about.folder}

    def _show_layers(self, shown: tuple[Overlay, ...]) -> None:
        if len(shown) > 255:
            raise BadInput(f"A view shows up to 255 segments at once, not {len(shown)}.")
        self._layers = shown
        told = [
            {"name": one.name, "colour": list(one.colour), "opacity": one.opacity, "slice": one.largest}
            | ({"painted": True} if isinstance(one.mask, PaintedMasks) else {})
            for one in shown
        ]
        self.set_trait("overlays", told)

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
