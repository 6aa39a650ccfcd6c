"""Images with a place of their own, resampled by SimpleITK onto one picture at a time."""

from typing import Any

import numpy as np
import numpy.typing as npt

from readingroom.viewers.measure import Place


def on_picture(image: Any, place: Place, shape: tuple[int, int], *, linear: bool, outside: float) -> npt.NDArray[Any]:
    """The values of a SimpleITK image (mm, LPS) at the centres of a picture's pixels, (rows, columns).

    Linear interpolation, or the nearest voxel. A voxel reaches half a step around its centre; what lies beyond the last
    one is `outside`."""
    import SimpleITK

    down, right = np.linalg.norm(place.down), np.linalg.norm(place.right)
    axes = np.stack([place.right / right, place.down / down, np.zeros(3)], axis=1)
    axes[:, 2] = np.cross(axes[:, 0], axes[:, 1])
    found = SimpleITK.Resample(
        image,
        (shape[1], shape[0], 1),
        SimpleITK.Transform(),
        SimpleITK.sitkLinear if linear else SimpleITK.sitkNearestNeighbor,
        [float(v) for v in place.origin],
        [float(right), float(down), 1.0],
        [float(v) for v in axes.ravel()],
        outside,
    )
    return np.asarray(SimpleITK.GetArrayFromImage(found)[0])
