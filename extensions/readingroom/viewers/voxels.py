"""A volume as a browser can draw it whole: signed 16 bits, and no more voxels than fit its memory."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from readingroom.errors import BadInput
from readingroom.viewers.grids import on_grid
from readingroom.volume import Volume

MOST = 256
"""Voxels along an edge: 32 MiB of them, four times that in the memory of a graphics card at worst."""
_STILL = 192
"""Pixels along an edge of a still picture."""
_TOP = 32767


@dataclass(frozen=True, slots=True, eq=False)
class Voxels:
    """A regular grid of stored values; `stored * slope + intercept` is the modality value."""

    array: npt.NDArray[np.int16]
    """(slices, rows, columns)"""
    affine: npt.NDArray[np.float64]
    """4 x 4: `affine @ (slice, row, column, 1)` is a voxel's centre in patient mm, LPS."""
    slope: float
    intercept: float
    whole: tuple[int, ...]
    """The shape of the volume that it was made of."""

    @property
    def centre(self) -> npt.NDArray[np.float64]:
        """Of the grid, in mm, LPS."""
        x, y, z, _ = self.affine @ np.array([*((n - 1) / 2 for n in self.array.shape), 1.0])
        return np.array([x, y, z])

    @property
    def reach(self) -> float:
        """From the centre to a corner, in mm: what fits at any angle."""
        return float(np.linalg.norm(np.array(self.array.shape) * np.linalg.norm(self.affine[:3, :3], axis=0)) / 2)

    def range(self, low: float, high: float) -> tuple[float, float]:
        """The modality values that `low` and `high` percent of the voxels lie below; of each eighth voxel along an edge
        where there are many."""
        sample = self.array[tuple(slice(None, None, max(n // 32, 1)) for n in self.array.shape)]
        found = np.percentile(sample, [low, high]) * self.slope + self.intercept
        return float(found[0]), float(max(found[1], found[0] + abs(self.slope)))

    def projected(
        self, towards: npt.NDArray[np.float64], up: npt.NDArray[np.float64], zoom: float
    ) -> npt.NDArray[np.float32]:
        """The highest modality value behind each pixel of a square picture, in parallel rays; no number where no voxel
        lies. `towards`: from the volume to who looks; `up` on the picture: unit vectors in the patient, LPS."""
        across = np.cross(up, towards)
        step, half = 2 * self.reach / zoom / _STILL, (_STILL - 1) / 2
        # Along a ray no finer than the voxels: what lies between two of them is not higher than both.
        deep = max(float(np.linalg.norm(self.affine[:3, :3], axis=0).min()), 2 * self.reach / _STILL)
        count = int(np.ceil(2 * self.reach / deep))
        grid = np.eye(4)
        grid[:3, :3] = np.stack([-towards * deep, -up * step, across * step], axis=1)
        grid[:3, 3] = self.centre - grid[:3, :3] @ np.array([(count - 1) / 2, half, half])
        values = on_grid(self.array, self.affine, (count, _STILL, _STILL), grid)
        highest: npt.NDArray[np.float32] = np.fmax.reduce(values)
        return highest * np.float32(self.slope) + np.float32(self.intercept)


def voxels_of(volume: Volume) -> Voxels:
    """The volume, its voxels averaged in blocks where an edge has more than MOST. Raises BadInput where it holds no
    number at all."""
    factors = [-(-n // MOST) for n in volume.array.shape]
    affine = volume.affine.copy()
    affine[:3, :3] *= factors
    affine[:3, 3] += volume.affine[:3, :3] @ np.array([(f - 1) / 2 for f in factors])
    slabs = (volume.array[i : i + factors[0]] for i in range(0, len(volume.array), factors[0]))
    if volume.array.dtype == np.int16:
        array = np.stack([np.rint(_averaged(slab, factors)).astype(np.int16) for slab in slabs])
        return Voxels(array, affine, 1.0, 0.0, volume.array.shape)
    means = [_averaged(slab, factors) for slab in slabs]
    known = [mean[np.isfinite(mean)] for mean in means]
    if not any(one.size for one in known):
        raise BadInput("The volume holds no numbers: there is nothing to draw.")
    low = min(float(one.min()) for one in known if one.size)
    high = max(float(one.max()) for one in known if one.size)
    slope, middle = (high - low) / (2 * _TOP) or 1.0, (high + low) / 2
    stored = [np.rint((np.nan_to_num(mean, nan=low, posinf=high, neginf=low) - middle) / slope) for mean in means]
    return Voxels(np.stack(stored).astype(np.int16), affine, slope, middle, volume.array.shape)


def _averaged(slab: npt.NDArray[Any], factors: list[int]) -> npt.NDArray[np.float32]:
    """The mean of a slab's blocks, (rows, columns). A block that reaches over the end repeats the last voxels."""
    missing = [(0, -n % f) for n, f in zip(slab.shape, factors, strict=True)]
    if any(after for _, after in missing):
        slab = np.pad(slab, missing, mode="edge")
    # Whole slices are added first: that is memory read in order.
    total = slab.sum(axis=0, dtype=np.float64)
    rows, columns = total.shape[0] // factors[1], total.shape[1] // factors[2]
    blocks = total.reshape(rows, factors[1], columns, factors[2]).sum(axis=(1, 3))
    return np.asarray(blocks / np.prod(factors), np.float32)
