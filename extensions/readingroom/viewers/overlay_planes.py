"""Overlay planes of the pictures themselves (groups 60xx, PS3.3 C.9.2), read when their picture is shown."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pydicom

from readingroom.errors import Damaged
from readingroom.files import reading
from readingroom.objects import UNREADABLE
from readingroom.planes import Plane
from readingroom.viewers.overlay import COLOURS, Overlay


@dataclass(frozen=True, slots=True, eq=False)
class PlaneMasks:
    """The overlay planes of one group as masks, one a picture; pictures without it have an empty one."""

    planes: tuple[Plane, ...]
    group: int

    @property
    def largest(self) -> int | None:
        """The first picture that has one: to know the largest, all files would have to be read."""
        return next((i for i, plane in enumerate(self.planes) if self._has(plane)), None)

    def _has(self, plane: Plane) -> bool:
        return any(group == self.group for group, _ in plane.overlaid)

    def __len__(self) -> int:
        return len(self.planes)

    def __getitem__(self, index: int) -> npt.NDArray[np.bool_]:
        """(rows, columns) of the picture. Raises AccessEnded, Damaged, NotFound."""
        plane = self.planes[index]
        mask = np.zeros((plane.rows, plane.columns), np.bool_)
        if not self._has(plane):
            return mask
        try:
            with reading(plane.path, plane.dataset):
                found = pydicom.dcmread(
                    plane.path, stop_before_pixels=True, specific_tags=[(self.group << 16) + e for e in _ELEMENTS]
                )
            _lay(mask, found, self.group, plane.frame)
        except UNREADABLE as error:
            raise Damaged(
                f"{plane.path.name} of {plane.dataset} has an overlay plane (group {self.group:04X}) that could not be "
                "decoded; view.clear_overlays() shows the pictures without it; tell your data steward."
            ) from error
        return mask


# Rows, Columns, Number of Frames in Overlay, Origin, Image Frame Origin, Bits Allocated, Bit Position, Data.
_ELEMENTS = (0x0010, 0x0011, 0x0015, 0x0050, 0x0051, 0x0100, 0x0102, 0x3000)


def _lay(mask: npt.NDArray[np.bool_], found: pydicom.Dataset, group: int, frame: int) -> None:
    """Put one frame's overlay where Overlay Origin says, counted from 1; what lies outside the picture is cut off."""

    def value(element: int, default: int) -> int:
        tag = (group << 16) + element
        return int(found[tag].value) if tag in found and found[tag].value is not None else default

    drawn = found.overlay_array(group) != 0
    drawn = drawn if drawn.ndim == 3 else drawn[None]
    # A single overlay that names no frame belongs to all of them.
    origin = value(0x0051, 0)
    at = frame - max(origin - 1, 0) if origin or len(drawn) > 1 else 0
    if not 0 <= at < len(drawn):
        return
    top, left = (int(v) - 1 for v in found[(group << 16) + 0x0050].value)
    rows, columns = drawn.shape[1:]
    part = drawn[at][max(-top, 0) : max(mask.shape[0] - top, 0), max(-left, 0) : max(mask.shape[1] - left, 0)]
    inside = mask[max(top, 0) : max(top + rows, 0), max(left, 0) : max(left + columns, 0)]
    inside[:] = part


def planes_of(planes: tuple[Plane, ...]) -> list[Overlay]:
    """An overlay for each group that a header names. Reads no file.

    Graphics hide what they lie on; a region of interest (Overlay Type R) lets it be seen."""
    kinds = {group: kind for plane in planes for group, kind in plane.overlaid}
    return [
        Overlay(
            f"overlay plane {(group - 0x6000) // 2 + 1}",
            PlaneMasks(planes, group),
            COLOURS[at % len(COLOURS)],
            0.4 if kinds[group] == "R" else 1.0,
        )
        for at, group in enumerate(sorted(kinds))
    ]
