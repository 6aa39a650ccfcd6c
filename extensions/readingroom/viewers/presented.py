"""Pictures as a presentation state shows them: turned, windowed, with graphics and words over them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from readingroom import geometry
from readingroom.errors import BadInput
from readingroom.files import dataset_at
from readingroom.objects import UNREADABLE
from readingroom.planes import Plane, Stored
from readingroom.viewers import render
from readingroom.viewers.measure import Place
from readingroom.viewers.overlay import Colour, Overlay
from readingroom.viewers.pictures import About, FramePictures
from readingroom.viewers.presentation import Points, Presented, State, state_of
from readingroom.voi import VoiLut
from readingroom.volume import Frames


@dataclass(frozen=True, slots=True, eq=False)
class PresentedPictures:
    """The pictures that a state refers to, as it shows them."""

    frames: Frames
    """Of these pictures alone."""
    state: State
    said: tuple[Presented, ...]
    """Of each picture."""

    @property
    def about(self) -> About:
        """See Pictures."""
        base, turned = FramePictures(self.frames).about, self.state.rotation % 2 == 1
        middle = self.said[len(self.said) // 2]
        sizes = (base.columns, base.rows) if turned else (base.rows, base.columns)
        name = f"{base.title}, as presented{' in ' + self.state.label if self.state.label else ''}"
        windows = middle.windows or (() if middle.luts else base.windows)
        luts = self._luts(self.frames.planes[len(self.said) // 2], middle)
        return replace(
            base,
            rows=sizes[0],
            columns=sizes[1],
            title=name,
            spacing=base.spacing[::-1] if turned else base.spacing,
            edges=geometry.letters(self._orientation()),
            window=windows[0][1:] if windows and not self.state.curve else None,
            windows=() if self.state.curve else windows,
            function=middle.function if middle.windows else base.function,
            unit="" if self._rescaled else base.unit,
            # The state's grey scale stands for the whole of the images' own (PS3.4 N.2), MONOCHROME1 included.
            flipped=self.state.inverse,
            luts=tuple(lut.name or "Presentation state" for lut in luts),
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What of the state is not followed."""
        differ = len({(one.windows[:1], one.area) for one in self.said}) > 1
        return (
            *self.state.notes,
            *(["windows and areas that differ from picture to picture"] if differ else []),
            *([] if all(one.windows or one.luts for one in self.said) else ["no window: that of the images is used"]),
            *(
                ["the images' own values: windows and values are those of the state's rescale"]
                if self._rescaled
                else []
            ),
        )

    @property
    def _rescaled(self) -> bool:
        own = (self.state.slope, self.state.intercept)
        return any((plane.slope, plane.intercept) != own for plane in self.frames.planes if not plane.looked_up)

    def stored(self, index: int) -> Stored:
        """See Pictures."""
        found = self.frames.stored(index)
        luts = self._luts(self.frames.planes[index], self.said[index])
        turned = np.ascontiguousarray(self._turn(found.pixels))
        if self.frames.planes[index].looked_up:
            return replace(found, pixels=turned, luts=luts)
        return Stored(turned, self.state.slope, self.state.intercept, luts)

    def place(self, index: int) -> Place:
        """See Pictures."""
        place, plane = FramePictures(self.frames).place(index), self.frames.planes[index]
        first, right, down = self._untwisted(
            np.array([[0.5, 0.5], [1.5, 0.5], [0.5, 1.5]]), (plane.rows, plane.columns)
        )
        at = [place.points(one[None, ::-1] - 0.5)[0] for one in (first, right, down)]
        return Place(at[0], at[2] - at[0], at[1] - at[0])

    def graphics(self, index: int) -> list[dict[str, Any]]:
        """What is drawn over a picture: line (rows, columns from the first pixel's centre), filled, colour."""
        made = []
        for one in self.said[index].graphics:
            line = self._on_screen(index, one.points, display=one.display)
            line = np.vstack([line, line[:1]]) if one.closed else line
            # A point is a cross.
            lines = [line] if len(line) > 1 else [line + np.array(arm) for arm in _CROSS]
            made += [_drawn(part, one.colour, filled=one.filled) for part in lines]
        for text in self.said[index].texts:
            if text.anchor is not None:
                box = self._on_screen(index, text.points, display=text.display)
                anchor = self._on_screen(index, text.anchor, display=text.anchor_display)
                made.append(_drawn(np.vstack([anchor, np.clip(anchor, box.min(axis=0), box.max(axis=0))]), text.colour))
        return made

    def texts(self, index: int) -> list[dict[str, Any]]:
        """Words over a picture: text, top left corner (row, column), colour."""
        made = []
        for one in self.said[index].texts:
            corners = self._on_screen(index, one.points, display=one.display)
            made.append({"text": one.text, "at": np.round(corners.min(axis=0), 3).tolist(), "colour": list(one.colour)})
        return made

    @property
    def stored_shape(self) -> tuple[int, int, int]:
        """(pictures, rows, columns) before they are turned."""
        base = FramePictures(self.frames).about
        return base.count, base.rows, base.columns

    def turned(self, overlays: Sequence[Overlay]) -> list[Overlay]:
        """Masks that were drawn on the stored pictures, turned with them."""

        def turn(array: Any) -> Any:
            return None if array is None else np.stack([self._turn(picture) for picture in array])

        return [replace(one, mask=turn(one.mask), weights=turn(one.weights)) for one in overlays]

    def shutters(self) -> list[Overlay]:
        """What the state's shutter hides, as one overlay on top of all pictures; none where it has none."""
        if self.state.shutter is None:
            return []
        level = self.state.shutter.level
        masks = np.stack([self._turn(self.state.shutter.hidden((p.rows, p.columns))) for p in self.frames.planes])
        return [Overlay("shutter", masks, (level, level, level), 1.0)]

    def shown_area(self) -> dict[str, Any]:
        """Zoom and pan that fit the displayed area of the middle picture into the view."""
        index = len(self.said) // 2
        area, about = self.said[index].area, self.about
        if area is None:
            return {}
        corners = self._twisted(np.array(area).reshape(2, 2), index)
        low, high = corners.min(axis=0), corners.max(axis=0)
        zoom = float(min(about.columns / (high[0] - low[0]), about.rows / (high[1] - low[1])))
        x, y = (low + high) / 2
        return {"zoom": min(max(zoom, 0.1), 32.0), "pan": (about.columns / 2 - float(x), about.rows / 2 - float(y))}

    def _luts(self, plane: Plane, said: Presented) -> tuple[VoiLut, ...]:
        curve = self.state.curve
        if curve is None:
            return said.luts
        return (_through(self.state, curve, plane, said),)

    def _turn(self, pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
        turned = np.rot90(pixels, -self.state.rotation)
        return turned[:, ::-1] if self.state.flip else turned

    def _twisted(self, points: Points, index: int) -> Points:
        """Points (x, y) of the stored picture, from its corner, in the turned one."""
        plane = self.frames.planes[index]
        size = np.array([plane.columns, plane.rows], np.float64)
        found = points
        for _ in range(self.state.rotation):
            # Clockwise: what was at the bottom is at the left.
            found, size = np.stack([size[1] - found[:, 1], found[:, 0]], axis=1), size[::-1]
        return _mirrored(found, size) if self.state.flip else found

    def _untwisted(self, points: Points, shape: tuple[int, int]) -> Points:
        """The other way round."""
        size = np.array(shape[::-1] if self.state.rotation % 2 == 0 else shape, np.float64)
        found = _mirrored(points, size) if self.state.flip else points
        for _ in range(self.state.rotation):
            found, size = np.stack([found[:, 1], size[0] - found[:, 0]], axis=1), size[::-1]
        return found

    def _on_screen(self, index: int, points: Points, *, display: bool) -> Points:
        """(n, 2) of rows and columns from the first pixel's centre, in the turned picture."""
        if display:
            plane = self.frames.planes[index]
            area = self.said[index].area or (0.0, 0.0, float(plane.columns), float(plane.rows))
            corners = self._twisted(np.array(area).reshape(2, 2), index)
            low, high = corners.min(axis=0), corners.max(axis=0)
            found = low + points * (high - low)
        else:
            found = self._twisted(points, index)
        pixels: Points = found[:, ::-1] - 0.5
        return pixels

    def _orientation(self) -> tuple[float, ...] | None:
        if self.frames.planes[0].orientation is None or self.frames.planes[0].position is None:
            return None
        place = self.place(0)
        axes = [place.right / np.linalg.norm(place.right), place.down / np.linalg.norm(place.down)]
        return tuple(float(v) for v in np.concatenate(axes))


def _mirrored(points: Points, size: Points) -> Points:
    return np.stack([size[0] - points[:, 0], points[:, 1]], axis=1)


_CROSS = ([(-3, 0), (3, 0)], [(0, -3), (0, 3)])


def _drawn(line: Points, colour: Colour, *, filled: bool = False) -> dict[str, Any]:
    return {"line": np.round(line, 3).tolist(), "filled": filled, "colour": list(colour)}


def _through(state: State, curve: VoiLut, plane: Plane, said: Presented) -> VoiLut:
    """One table for window (or VOI LUT) and Presentation LUT together, over the values that a window tells apart."""
    if said.luts:
        source = said.luts[0]
        levels = source.levels.astype(np.float64)
        first, share = source.first, levels / 255
    else:
        if not (state.slope.is_integer() and state.intercept.is_integer()):
            raise BadInput("A Presentation LUT over values with fractions is more than this view can show.")
        centre, width = (said.windows or plane.windows or (("", 128.0, 256.0),))[0][1:]
        first, count = int(np.floor(centre - 2 * width)), int(np.ceil(4 * width)) + 1
        if count > 1 << 17:
            raise BadInput(f"A Presentation LUT behind a window of {width:g} is more than this view can show.")
        share = render.shares(np.arange(first, first + count, dtype=np.float64), (centre, width), said.function)
    at = np.floor(share * (len(curve.levels) - 1) + 0.5).astype(np.int64)
    return VoiLut("Presentation state", first, np.ascontiguousarray(curve.levels[at]))


def presented(frames: Frames, path: Path) -> PresentedPictures:
    """The pictures of a series that a presentation state refers to. Raises BadInput, which says why it cannot be shown;
    AccessEnded, Damaged, NotFound."""
    state = state_of(path, dataset_at(path))
    try:
        said = [state.of(plane.instance, plane.frame, plane.least) for plane in frames.planes]
    except UNREADABLE as error:
        raise BadInput(f"{path.name} could not be understood: {error}") from error
    kept: Sequence[tuple[Plane, Presented]] = [
        (plane, one) for plane, one in zip(frames.planes, said, strict=True) if one is not None
    ]
    if not kept:
        raise BadInput(f"{path.name} was made for other images: it refers to no picture of this series.")
    if any(plane.coloured for plane, _ in kept):
        raise BadInput(f"{path.name} is a state for grey images, and these are coloured.")
    return PresentedPictures(
        replace(frames, planes=tuple(plane for plane, _ in kept)), state, tuple(one for _, one in kept)
    )
