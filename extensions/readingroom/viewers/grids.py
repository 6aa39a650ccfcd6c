"""Images with a place of their own, resampled by SimpleITK onto pictures."""

from typing import Any

import numpy as np
import numpy.typing as npt

from readingroom.viewers.measure import Place
from readingroom.viewers.pictures import placed


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


def on_grid(
    array: npt.NDArray[np.generic],
    affine: npt.NDArray[np.float64],
    shape: tuple[int, ...],
    grid: npt.NDArray[np.float64],
) -> npt.NDArray[np.float32]:
    """The values of `array`, whose voxels lie as its `affine` says, at those of another grid of `shape` (slices, rows,
    columns): interpolated linearly, no number where the array does not reach."""
    import SimpleITK

    image = SimpleITK.GetImageFromArray(array.astype(np.float32))
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing([float(v) for v in lengths[::-1]])
    image.SetOrigin([float(v) for v in affine[:3, 3]])
    image.SetDirection([float(v) for v in (affine[:3, :3] / lengths)[:, ::-1].ravel()])
    made = np.empty(shape, np.float32)
    for index in range(len(made)):
        made[index] = on_picture(image, placed(grid, index), (shape[1], shape[2]), linear=True, outside=float("nan"))
    return made
