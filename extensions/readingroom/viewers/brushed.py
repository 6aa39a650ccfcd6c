"""The part of a view that paints: masks by brush, their statistics, and a DICOM SEG of them."""

from collections.abc import Mapping
from typing import Any, Self

import ipywidgets
import numpy as np
import numpy.typing as npt
import traitlets

from readingroom.errors import BadInput, ReadingRoomError
from readingroom.planes import Stored
from readingroom.viewers import measure
from readingroom.viewers import overlay as layers
from readingroom.viewers.brush import PaintedMasks, Stroke
from readingroom.viewers.overlay import COLOURS, Colour, Overlay
from readingroom.viewers.pictures import About, FramePictures, Pictures


class Brushed(ipywidgets.DOMWidget):  # type: ignore[misc,unused-ignore]
    """Overlays that are painted. `brush_name` and `brush_radius` can be set and observed."""

    brush_name = traitlets.Unicode("", help="The overlay that the brush paints; empty for none.").tag(sync=True)
    brush_radius = traitlets.Float(5.0, help="In mm, or pixels where Pixel Spacing is unknown.").tag(sync=True)

    _pictures: Pictures
    _about: About
    _layers: tuple[Overlay, ...]

    @property
    def _places(self) -> measure.Places:
        raise NotImplementedError

    def _at(self, index: int) -> Stored:
        raise NotImplementedError

    def _show_layers(self, shown: tuple[Overlay, ...]) -> None:
        raise NotImplementedError

    def mask(self, name: str) -> npt.NDArray[np.bool_]:
        """See SeriesView."""
        raise NotImplementedError

    @traitlets.validate("brush_radius")
    def _valid_radius(self, proposal: Any) -> float:
        radius = float(proposal["value"])
        if not 0 < radius <= 1000:
            raise traitlets.TraitError(f"brush_radius={radius:g}: give mm of more than 0, up to 1000.")
        return radius

    def paint(self, name: str = "", mask: Any = None, colour: Colour | None = None) -> Self:
        """Make an overlay that the brush paints on, and choose it; answers the view itself.

        `name`: where an overlay has this name already, a segmentation say, it is what is painted on. `mask`: what to
        begin with, an array like the pictures; nothing where none is given. Raises BadInput."""
        names = [one.name for one in self._layers]
        name = name or next(f"brush {n}" for n in range(1, 1000) if f"brush {n}" not in names)
        shape = (self._about.count, self._about.rows, self._about.columns)
        if mask is not None:
            painted = PaintedMasks.of(layers.mask_of(mask, shape))
        else:
            painted = PaintedMasks.of(self.mask(name)) if name in names else PaintedMasks(shape)
        at = names.index(name) if name in names else len(names)
        known = self._layers[at : at + 1]
        chosen = colour or (known[0].colour if known else COLOURS[at % len(COLOURS)])
        made = Overlay(name, painted, chosen, known[0].opacity if known else 0.4)
        self._show_layers((*self._layers[:at], made, *self._layers[at + 1 :]))
        self.brush_name = name
        return self

    def _brush(self, content: Mapping[str, Any]) -> None:
        """What the browser asks of the brush. Raises BadInput."""
        if content.get("what") == "new":
            self.paint()
            return
        name = content.get("name")
        masks = next((one.mask for one in self._layers if one.name == name), None)
        if not isinstance(masks, PaintedMasks):
            raise BadInput("The brush has nothing to paint on: begin a new mask.")
        if content.get("what") == "undo":
            index = masks.undo()
            if index is None:
                raise BadInput("There is no stroke to take back.")
        else:
            stroke = Stroke.of(content, len(masks))
            masks.paint(stroke, self._about.spacing)
            index = stroke.index
        self._repainted(index, str(name), masks[index])

    def _repainted(self, index: int, name: str, mask: npt.NDArray[np.bool_]) -> None:
        """Tell all views of this one what the picture looks like now; nothing else has to come again."""
        labels = layers.labels_at(self._layers, index)
        if labels is None:
            return
        weights = layers.weights_at(self._layers, labels, index)
        found = {
            "size": float(mask.sum()) * self._about.spacing[0] * self._about.spacing[1],
            "length_unit": self._about.length_unit,
            "unit": self._about.unit,
            **self._statistics_of(index, mask),
        }
        text = f"{name}: {measure.said('area', found)}"
        buffers = [one.data.cast("B") for one in (labels, weights) if one is not None]
        self.send({"k": "labels", "z": index, "weighted": weights is not None, "text": text}, buffers)
        self._show_layers(self._layers)

    def _statistics_of(self, index: int, mask: npt.NDArray[np.bool_]) -> dict[str, float]:
        try:
            stored = self._kept(index)
        except ReadingRoomError:
            # The mask stays; its values come when the picture can be read.
            return {}
        if stored.pixels.shape != mask.shape:
            return {}
        return measure.statistics(stored.pixels[mask] * stored.slope + stored.intercept)

    def _kept(self, index: int) -> Stored:
        # Stroke by stroke on one picture: it is read once, and on the record once.
        kept: tuple[int, Stored] | None = self.__dict__.get("_last_painted")
        if kept is None or kept[0] != index:
            kept = self.__dict__["_last_painted"] = (index, self._at(index))
        return kept[1]

    def mask_statistics(self) -> Any:
        """A pandas DataFrame, a row for each overlay: name, n (pixels), volume_ml, and mean, sd, min, median, max of
        the values stored with the pictures, in `unit`. Reads the pictures that have any of it.

        volume_ml is missing where the pictures have no place in the patient, or there is only one."""
        import pandas as pd

        rows = [{"name": one.name} | self._whole(self.mask(one.name)) for one in self._layers]
        names = ["name", "n", "volume_ml", "mean", "sd", "min", "median", "max", "unit"]
        return pd.DataFrame(rows, columns=names).astype({"n": "Int64"})

    def _whole(self, mask: npt.NDArray[np.bool_]) -> dict[str, Any]:
        values, steps = [], self._steps()
        for index in np.flatnonzero(mask.any(axis=(1, 2))):
            stored = self._at(int(index))
            if stored.pixels.shape == mask.shape[1:]:
                values.append(stored.pixels[mask[index]] * stored.slope + stored.intercept)
        counts = mask.sum(axis=(1, 2))
        area = self._about.spacing[0] * self._about.spacing[1]
        found: dict[str, Any] = {"n": int(counts.sum())}
        if steps is not None:
            found["volume_ml"] = float((counts * steps).sum() * area / 1000)
        numbers = measure.statistics(np.concatenate(values)) if values else {}
        return found | {k: v for k, v in numbers.items() if k != "n"} | {"unit": self._about.unit}

    def _steps(self) -> npt.NDArray[np.float64] | None:
        """What each picture stands for in mm: half of the way to both neighbours."""
        if not self._about.located or self._about.count < 2:
            return None
        first = self._places[0]
        normal = np.cross(first.right, first.down)
        along = np.array([place.origin for place in self._places]) @ (normal / np.linalg.norm(normal))
        steps: npt.NDArray[np.float64] = np.abs(np.gradient(along))
        return steps

    def segmentation(self, *names: str) -> Any:
        """A binary DICOM SEG of the painted overlays, or of those named: `save_as` keeps it.

        Raises BadInput, AccessEnded, Damaged, NotFound."""
        from readingroom.viewers import segmentation

        if not isinstance(self._pictures, FramePictures):
            raise BadInput("A segmentation refers to the files that were painted on: use series.view().")
        chosen = [
            one for one in self._layers if one.name in names or (not names and isinstance(one.mask, PaintedMasks))
        ]
        if missing := set(names) - {one.name for one in chosen}:
            raise BadInput(f"There is no overlay {', '.join(map(repr, sorted(missing)))} in this view.")
        if not chosen:
            raise BadInput("Nothing was painted: name the overlays that the segmentation is to hold.")
        return segmentation.segmentation(
            [(one.name, one.colour, self.mask(one.name)) for one in chosen], self._pictures.frames.planes
        )
