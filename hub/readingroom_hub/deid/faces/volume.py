"""Parallel frames as one volume, sampled on an even grid along the axes of the patient."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from readingroom_hub.deid.faces.geometry import Bits, Frame, Points, Unsuited

Grid = np.ndarray[Any, np.dtype[np.float32]]
STEP = 2.0
"""Millimetres between grid points."""
_PARALLEL, _WIDEST_GAP, _SAME_PLACE = 0.9995, 8.5, 0.05
_FEWEST, _LONGEST, _SLIP = 12, 2400.0, 2.0


@dataclass(frozen=True, slots=True)
class Volume:
    """`values[i, j, k]` lie at `origin` + STEP * (i, j, k): towards the left, the back and the head."""

    values: Grid
    origin: Points
    seen: Bits
    """Where there was an image; elsewhere `values` are those of the darkest place."""

    def points(self, indices: Points) -> Points:
        """Places of grid indices, in millimetres."""
        return np.asarray(self.origin + STEP * indices)


def shrink(frame: Frame, values: Grid) -> tuple[Frame, Grid]:
    """The frame with at most STEP between pixels, by means of blocks, so that what follows costs little."""
    down, right = (max(1, int(STEP / np.linalg.norm(v))) for v in (frame.down, frame.right))
    rows, columns = frame.rows // down, frame.columns // right
    if (down, right) == (1, 1) or not rows or not columns:
        return frame, values
    means = values[: rows * down, : columns * right].reshape(rows, down, columns, right).mean(axis=(1, 3))
    origin = frame.origin + (down - 1) / 2 * frame.down + (right - 1) / 2 * frame.right
    return Frame(origin, frame.right * right, frame.down * down, rows, columns), means.astype(np.float32)


def build(stack: Sequence[tuple[Frame, Grid]]) -> Volume:
    """The volume of frames, of which the first at each place counts. Raises Unsuited where they make none.

    Slices need not be even, square to their axis (gantry tilt) or along an axis of the patient."""
    first = stack[0][0]
    normal = first.normal
    alike = [(f, v) for f, v in stack if abs(f.normal @ normal) > _PARALLEL and v.shape == stack[0][1].shape]
    places = np.array([f.origin @ normal for f, _ in alike])
    order = np.argsort(places, kind="stable")
    chosen = [int(order[0])]
    for index in map(int, order[1:]):
        if places[index] - places[chosen[-1]] > _SAME_PLACE:
            chosen.append(index)
    if len(chosen) < _FEWEST:
        raise Unsuited(f"{len(chosen)} slices: too few to find the brain in")
    z = places[chosen]
    if np.diff(z).max() > _WIDEST_GAP:
        raise Unsuited("slices too far apart, or some are missing: the brain cannot be found in them")
    origins = np.array([alike[i][0].origin for i in chosen])
    _check_straight(z, origins)
    return _resample(first, z, origins, np.stack([alike[i][1] for i in chosen]))


def _check_straight(z: Points, origins: Points) -> None:
    """One scan moves along one line, square to the slices or tilted."""
    terms = np.stack([z, np.ones_like(z)], axis=1)
    fitted = terms @ np.linalg.lstsq(terms, origins, rcond=None)[0]
    if np.abs(origins - fitted).max() > _SLIP:
        raise Unsuited("slices that do not lie in one row: the brain cannot be found in them")


def _resample(frame: Frame, z: Points, origins: Points, stack: Grid) -> Volume:
    far_down, far_right = frame.down * (frame.rows - 1), frame.right * (frame.columns - 1)
    corners = np.concatenate([origins + a + b for a in (0, far_down) for b in (0, far_right)])
    low, high = corners.min(axis=0), corners.max(axis=0)
    if (high - low).max() > _LONGEST:
        raise Unsuited("slices over more than two metres: the brain cannot be found in them")
    shape = np.ceil((high - low) / STEP).astype(int) + 1
    axes = [low[a] + STEP * np.arange(shape[a]) for a in range(3)]
    darkest = float(stack.min())
    values = np.full(shape, darkest, np.float32)
    seen = np.zeros(shape, np.bool_)
    row, column = frame.down / (frame.down @ frame.down), frame.right / (frame.right @ frame.right)
    grid = np.stack(np.meshgrid(axes[1], axes[2], indexing="ij"), axis=-1)
    for i, x in enumerate(axes[0]):  # a sheet at a time: memory stays small
        points = np.concatenate([np.full((*grid.shape[:2], 1), x), grid], axis=-1)
        along = points @ frame.normal
        index = np.interp(along, z, np.arange(len(z)))
        inside = points - np.stack([np.interp(along, z, origins[:, a]) for a in range(3)], axis=-1)
        places = np.stack([index, inside @ row, inside @ column])
        values[i] = ndimage.map_coordinates(stack, places, order=1, cval=darkest, output=np.float32)
        limits = np.array(stack.shape)[:, None, None] - 0.5
        margin = STEP / 2
        seen[i] = ((places > -0.5) & (places < limits)).all(axis=0) & (along > z[0] - margin) & (along < z[-1] + margin)
        values[i][~seen[i]] = darkest
    return Volume(values, low, seen)
