"""Grayscale softcopy presentation states (PS3.3 A.33.1): what they say of each picture, and what is not followed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom

from readingroom import voi
from readingroom.errors import BadInput
from readingroom.objects import UNREADABLE, object_given
from readingroom.viewers.overlay import Colour, colour_of
from readingroom.viewers.shutter import KNOWN, Shutter, shapes_of, shutter_of

CLASS = "1.2.840.10008.5.1.4.1.1.11.1"
_PLAIN: Colour = (255, 213, 74)
_MOST_POINTS = 20000

Points = npt.NDArray[np.float64]
"""(n, 2) of x and y, from the corner of the first pixel."""


@dataclass(frozen=True, slots=True, eq=False)
class Graphic:
    """A line or an area over a picture."""

    points: Points
    display: bool
    """In shares of the displayed area, after it was turned; else in pixels, before (C.10.5.1.1)."""
    closed: bool
    filled: bool
    colour: Colour


@dataclass(frozen=True, slots=True, eq=False)
class Text:
    """Words over a picture."""

    text: str
    points: Points
    """The corners of its box, top left and bottom right, or its anchor alone."""
    display: bool
    colour: Colour
    anchor: Points | None = None
    """What a line leads to from the box; None where none is to be drawn."""
    anchor_display: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Presented:
    """What a state says of one picture."""

    windows: tuple[voi.NamedWindow, ...]
    function: str
    luts: tuple[voi.VoiLut, ...]
    area: tuple[float, float, float, float] | None
    """Left, top, right, bottom of the displayed area, in pixels before it is turned."""
    graphics: tuple[Graphic, ...]
    texts: tuple[Text, ...]


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """A presentation state."""

    found: pydicom.Dataset
    label: str
    rotation: int
    """Quarter turns clockwise, before the flip (C.10.6)."""
    flip: bool
    inverse: bool
    """Presentation LUT Shape is INVERSE."""
    curve: voi.VoiLut | None
    """A Presentation LUT: from the range of the VOI, 0 to one below its number of entries, to grey levels."""
    slope: float
    intercept: float
    """From stored values to what enters its window: 1 and 0 where it has no Modality LUT (PS3.4 N.2.1)."""
    shutter: Shutter | None
    notes: tuple[str, ...]
    """What of it this view does not follow, in words."""

    def of(self, instance: str, frame: int, least: float) -> Presented | None:
        """What it says of one picture; None where it does not refer to it. `frame`: from 0.

        `least`: the lowest value that can enter a VOI LUT. Raises what pydicom and NumPy raise for nonsense."""
        series = self.found.get("ReferencedSeriesSequence") or ()
        if not any(_refers(item, instance, frame, empty=False) for item in series):
            return None
        chosen = next(self._items("SoftcopyVOILUTSequence", instance, frame), pydicom.Dataset())
        area = next(self._items("DisplayedAreaSelectionSequence", instance, frame), None)
        notes = list(self._items("GraphicAnnotationSequence", instance, frame))
        colours = _layer_colours(self.found)
        return Presented(
            windows=voi.windows_of(chosen),
            function=voi.function_of(chosen),
            luts=voi.voi_luts(chosen, least),
            area=None if area is None else _area(area),
            graphics=tuple(
                _graphic(one, colours.get(str(item.get("GraphicLayer")), _PLAIN))
                for item in notes
                for one in item.get("GraphicObjectSequence") or ()
                if str(one.GraphicType) in _SHAPES and str(one.GraphicAnnotationUnits) in _UNITS
            ),
            texts=tuple(
                made
                for item in notes
                for one in item.get("TextObjectSequence") or ()
                if (made := _text(one, colours.get(str(item.get("GraphicLayer")), _PLAIN)))
            ),
        )

    def _items(self, name: str, instance: str, frame: int) -> Iterator[pydicom.Dataset]:
        for item in self.found.get(name) or ():
            if _refers(item, instance, frame, empty=True):
                yield item


_UNITS = ("PIXEL", "DISPLAY")
_SHAPES = ("POINT", "POLYLINE", "INTERPOLATED", "CIRCLE", "ELLIPSE")


def state_of(path: Path, dataset: str) -> State:
    """Read a presentation state. Raises BadInput where it is none, AccessEnded, Damaged, NotFound."""
    found = object_given(path, dataset)
    try:
        if found.get("SOPClassUID") != CLASS:
            raise BadInput(f"{path.name} is no Grayscale Softcopy Presentation State.")
        rotation = int(found.get("ImageRotation") or 0)
        if rotation % 90:
            raise BadInput(f"{path.name} turns its images by {rotation} degrees: a view turns by 90, 180 or 270.")
        curves = found.get("PresentationLUTSequence") or ()
        return State(
            found=found,
            label=str(found.get("ContentLabel") or ""),
            rotation=rotation // 90 % 4,
            flip=found.get("ImageHorizontalFlip") == "Y",
            inverse=found.get("PresentationLUTShape") == "INVERSE",
            curve=voi.lut_of(curves[0], 0) if curves else None,
            slope=float(found.get("RescaleSlope", 1)),
            intercept=float(found.get("RescaleIntercept", 0)),
            shutter=shutter_of(found),
            notes=tuple(_notes(found)),
        )
    except UNREADABLE as error:
        raise BadInput(f"{path.name} could not be understood: {error}") from error


def _refers(item: pydicom.Dataset, instance: str, frame: int, *, empty: bool) -> bool:
    """`empty`: what holds where an item refers to no image: then it is meant for all that the state refers to."""
    images = item.get("ReferencedImageSequence") or ()
    if not images:
        return empty
    for image in images:
        frames = image.get("ReferencedFrameNumber")
        known = [] if frames is None else [int(f) for f in np.atleast_1d(np.asarray(frames, int))]
        if str(image.ReferencedSOPInstanceUID) == instance and (not known or frame + 1 in known):
            return True
    return False


def _area(item: pydicom.Dataset) -> tuple[float, float, float, float]:
    # Corners are those after turning, in columns and rows from 1 of the image before it (C.10.4): either may be larger.
    one, other = (
        [int(v) for v in item[name].value]
        for name in ("DisplayedAreaTopLeftHandCorner", "DisplayedAreaBottomRightHandCorner")
    )
    left, right = sorted((one[0], other[0]))
    top, bottom = sorted((one[1], other[1]))
    return left - 1.0, top - 1.0, float(right), float(bottom)


def _layer_colours(found: pydicom.Dataset) -> dict[str, Colour]:
    made = {}
    for item in found.get("GraphicLayerSequence") or ():
        lab, grey = (
            item.get("GraphicLayerRecommendedDisplayCIELabValue"),
            item.get("GraphicLayerRecommendedDisplayGrayscaleValue"),
        )
        level = None if grey is None else int(grey) >> 8
        made[str(item.GraphicLayer)] = colour_of(lab) if lab else (level, level, level) if level is not None else _PLAIN
    return made


def _points(value: Any) -> Points:
    points = np.array([float(v) for v in np.atleast_1d(np.asarray(value, np.float64))]).reshape(-1, 2)
    if not np.isfinite(points).all() or not 0 < len(points) <= _MOST_POINTS:
        raise ValueError(f"a graphic of {len(points)} points")
    return points


def _graphic(item: pydicom.Dataset, colour: Colour) -> Graphic:
    points, kind = _points(item.GraphicData), str(item.GraphicType)
    drawn = points
    turns = np.linspace(0, 2 * np.pi, 65)[:-1, None]
    if kind == "CIRCLE":
        radius = float(np.linalg.norm(points[1] - points[0]))
        drawn = points[0] + radius * np.hstack([np.cos(turns), np.sin(turns)])
    elif kind == "ELLIPSE":
        # Both ends of the major axis, then of the minor one (C.10.5.1.2).
        across, along = (points[1] - points[0]) / 2, (points[3] - points[2]) / 2
        drawn = points[:2].mean(axis=0) + np.cos(turns) * across + np.sin(turns) * along
    elif kind == "INTERPOLATED":
        drawn = _curve(points)
    closed = kind in {"CIRCLE", "ELLIPSE"} or (len(drawn) > 2 and bool((points[0] == points[-1]).all()))
    return Graphic(
        drawn, item.GraphicAnnotationUnits == "DISPLAY", closed, closed and item.get("GraphicFilled") == "Y", colour
    )


def _curve(points: Points) -> Points:
    """Catmull and Rom's curve through the points: the standard leaves the choice to who shows it."""
    if len(points) < 3:
        return points
    whole = bool((points[0] == points[-1]).all())
    around = np.vstack([points[-2 if whole else 0], points, points[1 if whole else -1]])
    t = np.linspace(0, 1, 9)[:-1, None]
    made = [
        0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
        for a, b, c, d in zip(around, around[1:], around[2:], around[3:], strict=False)
    ]
    return np.vstack([*made, points[-1:]])


def _text(item: pydicom.Dataset, colour: Colour) -> Text | None:
    """None where it has no words, or no place that this view knows."""
    words = str(item.get("UnformattedTextValue") or "").replace("\r\n", "\n").strip()[:1024]
    anchor = _points(item.AnchorPoint) if item.get("AnchorPointAnnotationUnits") in _UNITS else None
    of_display = item.get("AnchorPointAnnotationUnits") == "DISPLAY"
    if words and item.get("BoundingBoxAnnotationUnits") in _UNITS:
        box = np.vstack([_points(item.BoundingBoxTopLeftHandCorner), _points(item.BoundingBoxBottomRightHandCorner)])
        shown = anchor if item.get("AnchorPointVisibility") == "Y" else None
        return Text(words, box, item.BoundingBoxAnnotationUnits == "DISPLAY", colour, shown, of_display)
    return Text(words, anchor, of_display, colour) if words and anchor is not None else None


_UNFOLLOWED = {
    "ModalityLUTSequence": "a Modality LUT of its own",
    "MaskSubtractionSequence": "the subtraction of a mask",
    "CompoundGraphicSequence": "compound graphics, such as axes and rulers",
}


def _notes(found: pydicom.Dataset) -> Iterator[str]:
    for name, words in _UNFOLLOWED.items():
        if found.get(name):
            yield words
    if unknown := shapes_of(found) - KNOWN:
        yield f"a shutter ({', '.join(sorted(unknown)).lower()}): what it hides is shown"
    if any(tag.group & 0xFF00 == 0x6000 for tag in found.keys()):  # noqa: SIM118  # a Dataset iterates over elements
        yield "overlay planes"
    items: Sequence[pydicom.Dataset] = found.get("DisplayedAreaSelectionSequence") or ()
    modes = {str(item.get("PresentationSizeMode") or "SCALE TO FIT") for item in items}
    if modes - {"SCALE TO FIT"}:
        yield f"the size {', '.join(sorted(modes - {'SCALE TO FIT'})).lower()}: its area is fitted into the view"
    objects = [
        one for item in found.get("GraphicAnnotationSequence") or () for one in item.get("GraphicObjectSequence") or ()
    ]
    texts = [
        one for item in found.get("GraphicAnnotationSequence") or () for one in item.get("TextObjectSequence") or ()
    ]
    strange = sum(
        str(one.get("GraphicType")) not in _SHAPES or one.get("GraphicAnnotationUnits") not in _UNITS for one in objects
    )
    strange += sum(bool(one.get("UnformattedTextValue")) and _text(one, _PLAIN) is None for one in texts)
    if strange:
        yield f"{strange} graphics or texts whose place or kind this view does not know"
