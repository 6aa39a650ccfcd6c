"""What is drawn on pictures: annotations in patient millimetres as a trait, measured in words and as a table."""

from pathlib import Path
from typing import Any

import ipywidgets
import numpy as np
import traitlets

from readingroom.errors import BadInput, ReadingRoomError
from readingroom.planes import Stored
from readingroom.viewers import measure
from readingroom.viewers.pictures import About, FramePictures, Pictures
from readingroom.volume import Frames


class Annotated(ipywidgets.DOMWidget):  # type: ignore[misc,unused-ignore]
    """The part of a view that measures. Lengths and areas need no pixels; values are those stored with the picture."""

    annotations = traitlets.List(
        traitlets.Dict(),
        help="Dicts of kind (length, angle, cobb, ellipse, rectangle, freehand), points in mm (LPS), label, id.",
    ).tag(sync=True)
    drawings = traitlets.List(traitlets.Dict(), read_only=True, help="What the browser draws of them.").tag(sync=True)

    _pictures: Pictures
    _about: About

    def _at(self, index: int) -> Stored:
        raise NotImplementedError

    @traitlets.validate("annotations")
    def _valid_annotations(self, proposal: Any) -> list[dict[str, Any]]:
        try:
            return measure.cleaned(proposal["value"])
        except BadInput as error:
            raise traitlets.TraitError(str(error)) from error

    @traitlets.observe("annotations")
    def _measure_again(self, _change: Any) -> None:
        made = []
        for one in self.annotations:
            found = self._measured(one)
            index = found["slice"]
            lines = []
            if index is not None:
                pixels = self._pictures.place(index).pixels(np.array(one["points"]))
                lines = measure.outline(one["kind"], pixels)
            text = measure.said(one["kind"], found)
            label = f"{one['label']}: {text}" if one["label"] else text
            made.append({"id": one["id"], "index": index, "lines": lines, "text": label})
        self.set_trait("drawings", made)

    def _measured(self, one: dict[str, Any]) -> dict[str, Any]:
        kind, points = one["kind"], np.array(one["points"])
        key = (kind, points.tobytes())
        if key in self._known:
            return self._known[key]
        index = self._places.nearest(points)
        found: dict[str, Any] = {
            "slice": index,
            "size": measure.size(kind, points),
            "length_unit": self._about.length_unit,
            "unit": self._about.unit,
        }
        if kind in measure.AREAS and index is not None:
            try:
                values = self._at(index)
            except ReadingRoomError:
                # The shape stays; its values come when the picture can be read.
                return found
            if values.pixels.ndim == 2:
                pixels = self._pictures.place(index).pixels(points)
                mask = measure.inside(kind, pixels, values.pixels.shape)
                found |= measure.statistics(values.pixels[mask] * values.slope + values.intercept)
        self._known[key] = found
        return found

    @property
    def _known(self) -> dict[Any, dict[str, Any]]:
        known: dict[Any, dict[str, Any]] = self.__dict__.setdefault("_known_measurements", {})
        if len(known) > 4 * measure.MOST:
            known.clear()
        return known

    @property
    def _places(self) -> measure.Places:
        if "_all_places" not in self.__dict__:
            self.__dict__["_all_places"] = measure.Places(self._pictures.place(i) for i in range(self._about.count))
        places: measure.Places = self.__dict__["_all_places"]
        return places

    def _draw(self, content: dict[str, Any]) -> None:
        """What was drawn in the browser, in pixels of one picture, becomes an annotation in mm. Raises BadInput."""
        index = content.get("z")
        if type(index) is not int or not 0 <= index < self._about.count:
            raise BadInput("What was drawn lies on no picture of this view.")
        made = measure.drawn(content.get("kind"), content.get("points"), self._places[index])
        try:
            self.annotations = [*(one for one in self.annotations if one["id"] != made["id"]), made]
        except traitlets.TraitError as error:
            raise BadInput(str(error)) from error

    def report(self) -> Any:
        """The annotations as a DICOM measurement report (Comprehensive 3D SR, TID 1500): `save_as` keeps it.

        Raises BadInput, AccessEnded, Damaged, NotFound."""
        from readingroom.viewers import report

        frames = self._frames()
        rows = [(one, self._measured(one)) for one in self.annotations]
        return report.report(rows, frames.planes, frames.frame_of_reference)

    def read_report(self, path: str | Path) -> None:
        """Add the annotations of a DICOM SR (TID 1500) in the same patient coordinates, or on these images.

        Raises BadInput, which says why it is none; AccessEnded, Damaged, NotFound."""
        from readingroom.viewers import report

        frames = self._frames()
        by = {(plane.instance, plane.frame): self._places[i] for i, plane in enumerate(frames.planes)}
        first = frames.planes[0].dataset
        found = report.annotations_of(Path(path), first, frames.frame_of_reference, lambda *image: by.get(image))
        new = {one["id"] for one in found}
        self.annotations = [*(one for one in self.annotations if one["id"] not in new), *found]

    def _frames(self) -> Frames:
        if not isinstance(self._pictures, FramePictures):
            raise BadInput("A report refers to the files that were measured: use series.view().")
        return self._pictures.frames

    def measurements(self) -> Any:
        """A pandas DataFrame, a row for each annotation: id, kind, label, slice (from 0), length_mm, angle_deg,
        area_mm2, and of an area n, mean, sd, min, median, max in `unit`. Lengths without known Pixel Spacing are in
        pixels: their columns are length_px and area_px2."""
        import pandas as pd

        length = self._about.length_unit
        columns = {"length": f"length_{length}", "angle": "angle_deg", "cobb": "angle_deg"}
        rows = []
        for one in self.annotations:
            found = self._measured(one)
            column = columns.get(one["kind"], f"area_{length}2")
            row = {name: one[name] for name in ("id", "kind", "label")} | {"slice": found["slice"]}
            numbers = {name: found.get(name) for name in ("n", "mean", "sd", "min", "median", "max")}
            rows.append(row | {column: found["size"]} | numbers | {"unit": found["unit"]})
        names = ["id", "kind", "label", "slice", f"length_{length}", "angle_deg", f"area_{length}2", "n", "mean", "sd"]
        table = pd.DataFrame(rows, columns=[*names, "min", "median", "max", "unit"])
        return table.astype({"slice": "Int64", "n": "Int64"})
