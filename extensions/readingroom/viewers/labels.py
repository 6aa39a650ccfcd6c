"""NIfTI label maps (NIfTI-1 and -2, .nii and .nii.gz), laid on pictures where their affine says."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from readingroom.errors import BadInput
from readingroom.files import reading
from readingroom.viewers.grids import on_picture
from readingroom.viewers.measure import Place
from readingroom.viewers.overlay import COLOURS, Overlay

SUFFIXES = (".nii", ".nii.gz")
_MOST = 255


@dataclass(frozen=True, slots=True, eq=False)
class LabelMasks:
    """One label of a map as masks: the map is held once, whatever the number of labels."""

    laid: npt.NDArray[np.uint8]
    """(slices, rows, columns) of the pictures: 0, or the number of a label."""
    number: int
    largest: int | None
    """The picture with the most of it."""

    def __len__(self) -> int:
        return len(self.laid)

    def __getitem__(self, index: int) -> npt.NDArray[np.bool_]:
        """(rows, columns) of one picture."""
        mask: npt.NDArray[np.bool_] = self.laid[index] == self.number
        return mask


def labels_of(path: Path, dataset: str, places: Sequence[Place], shape: tuple[int, int], name: str) -> list[Overlay]:
    """The labels of a NIfTI file that lie in these pictures, the nearest voxel of each pixel's centre.

    NIfTI counts millimetres to the right, front and head (RAS), DICOM to the left, back and head (LPS): the file's
    qform or sform is turned. It tells no Frame of Reference, so nobody can check that it was made from these pictures.
    Raises BadInput, which says why it is no label map or lies elsewhere, AccessEnded, Damaged, NotFound."""
    image, values = _read(path, dataset)
    laid = np.stack([on_picture(image, place, shape, linear=False, outside=0) for place in places])
    counts = np.array([np.bincount(picture.ravel(), minlength=len(values) + 1) for picture in laid])
    if not counts[:, 1:].any():
        raise BadInput(
            f"{path.name} lies elsewhere: none of its labels meets these pictures. Was it made from another series, or "
            "saved without its affine?"
        )
    made = []
    for number, value in enumerate(values, 1):
        largest = int(counts[:, number].argmax()) if counts[:, number].any() else None
        label = (name if len(values) == 1 else f"{name} {value}") if name else f"label {value}"
        made.append(Overlay(label, LabelMasks(laid, number, largest), COLOURS[(number - 1) % len(COLOURS)], 0.4))
    return made


def _read(path: Path, dataset: str) -> tuple[Any, list[int]]:
    """The map as a SimpleITK image of numbers from 1, and the value that each number stands for."""
    import SimpleITK

    with reading(path, dataset), path.open("rb") as file:
        file.read(1)
    try:
        found = SimpleITK.ReadImage(str(path), imageIO="NiftiImageIO")
    except RuntimeError as error:
        raise BadInput(
            f"{path.name} could not be read as NIfTI: it is damaged, or its affine is sheared ({_reason(error)})."
        ) from error
    if found.GetDimension() != 3 or found.GetNumberOfComponentsPerPixel() != 1:
        raise BadInput(
            f"{path.name} is no label map: it has {found.GetDimension()} dimensions, or several values a voxel."
        )
    forms = {found.GetMetaData(key) for key in ("qform_code", "sform_code") if found.HasMetaDataKey(key)}
    if not forms - {"0"}:
        raise BadInput(
            f"{path.name} tells no place: its qform and its sform are both unknown. Save it with its affine."
        )
    array = SimpleITK.GetArrayViewFromImage(found)
    values = np.unique(array)
    if not np.isfinite(values).all() or (values != np.floor(values)).any() or (values < 0).any():
        raise BadInput(f"{path.name} is no label map: its values are not all whole numbers from 0 on.")
    kept = values[values > 0]
    if not 0 < len(kept) <= _MOST:
        raise BadInput(f"{path.name} holds {len(kept)} labels: a view shows 1 to {_MOST}.")
    numbers = np.searchsorted(kept, array) + 1
    image = SimpleITK.GetImageFromArray(np.where(array > 0, numbers, 0).astype(np.uint8))
    image.CopyInformation(found)
    return image, [int(v) for v in kept]


def _reason(error: RuntimeError) -> str:
    return str(error).splitlines()[-1].removeprefix("ITK ERROR: ").removeprefix("sitk::ERROR: ")
