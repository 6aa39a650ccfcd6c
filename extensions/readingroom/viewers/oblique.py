"""Planes that lie across the voxels: a volume resampled along any direction in the patient."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from readingroom.errors import BadInput
from readingroom.viewers.grids import on_grid
from readingroom.volume import Volume

_MOST_VOXELS = 256 * 1024 * 1024
"""1 GiB of float32."""


def oblique(volume: Volume, normal: Sequence[float], spacing: float | None = None) -> Volume:
    """The volume in planes across `normal` (x, y, z in the patient, LPS), interpolated linearly by SimpleITK; float32,
    no number outside.

    The planes follow each other along the normal; rows run towards the patient's left, or, where the normal does so
    itself, towards the back. `spacing`: mm between slices, rows and columns; the volume's finest where it is left out.
    Raises BadInput."""
    along = np.array(normal, np.float64)
    length = float(np.linalg.norm(along)) if along.shape == (3,) else 0.0
    step = min(volume.spacing) if spacing is None else float(spacing)
    if not (np.isfinite(length) and length > 0 and np.isfinite(step) and step > 0):
        raise BadInput(f"normal={normal!r}, spacing={spacing!r}: give a direction (x, y, z), and mm, more than 0.")
    axes = _axes(along / length)
    # Voxels reach half a step around their centres.
    ends = [(-0.5, n - 0.5) for n in volume.array.shape]
    corners = np.array([[*corner, 1.0] for corner in np.stack(np.meshgrid(*ends), -1).reshape(-1, 3)])
    reach = (volume.affine @ corners.T)[:3].T @ axes
    low, high = reach.min(axis=0), reach.max(axis=0)
    shape = np.maximum(np.ceil((high - low) / step - 1e-6).astype(int), 1)
    if int(np.prod(shape, dtype=np.int64)) > _MOST_VOXELS:
        raise BadInput(
            f"spacing={step:g} mm makes {' x '.join(map(str, shape))} voxels, more than fit: give a larger spacing."
        )
    affine = np.eye(4)
    affine[:3, :3] = axes * step
    affine[:3, 3] = axes @ (low + ((high - low) - (shape - 1) * step) / 2)
    slices, rows, columns = (int(n) for n in shape)
    return replace(
        volume,
        array=on_grid(volume.array, volume.affine, (slices, rows, columns), affine),
        affine=affine,
        spacing=(step, step, step),
        instances=(),
        function="LINEAR_EXACT" if volume.function == "LINEAR" else volume.function,
    )


def _axes(normal: np.ndarray[tuple[int], np.dtype[np.float64]]) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Unit vectors from slice to slice, from row to row, from column to column, as columns of a matrix."""
    towards = np.array([1.0, 0.0, 0.0]) if abs(normal[0]) < 0.9 else np.array([0.0, 1.0, 0.0])
    right = towards - (towards @ normal) * normal
    right /= np.linalg.norm(right)
    down = np.cross(normal, right)
    # As at a workstation: the head is up, or, in planes across the body's length, the front.
    wrong_way_up = down[2] > 0 if abs(down[2]) > 0.3 else down[1] < 0
    return np.stack([normal, -down if wrong_way_up else down, right], axis=1)
