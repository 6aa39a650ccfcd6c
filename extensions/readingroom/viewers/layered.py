"""The part of a view that lays masks, segmentations and contours over its pictures."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import traitlets

from readingroom.errors import BadInput
from readingroom.files import dataset_at
from readingroom.objects import class_of
from readingroom.viewers import contours as structure_set
from readingroom.viewers import dose, presentation
from readingroom.viewers import labels as label_maps
from readingroom.viewers import overlay as layers
from readingroom.viewers.brush import PaintedMasks
from readingroom.viewers.brushed import Brushed
from readingroom.viewers.overlay import COLOURS, Colour, Overlay
from readingroom.viewers.pictures import FramePictures
from readingroom.viewers.presented import PresentedPictures
from readingroom.viewers.washed import Washed

_ELSEWHERE = {
    dose.CLASS: "a dose: lay it over the pictures by view.dose(path)",
    presentation.CLASS: "a presentation state: look at its images by series.present(path)",
}


class Layered(Washed, Brushed):
    """Overlays with their names and colours, lying one over the other in the order in which they came."""

    overlays = traitlets.List(traitlets.Dict(), read_only=True, help="Name, colour, opacity, largest slice.").tag(
        sync=True
    )

    # Where all that is shown was read from, with the names of the datasets.
    _folders: dict[Path, str]

    def overlay(self, source: Any, name: str = "", colour: Colour | None = None, opacity: float = 0.4) -> Self:
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
