"""What the viewer can show: one narrow interface over frames of files and over arrays in memory."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from readingroom import geometry
from readingroom.errors import BadInput
from readingroom.planes import Stored
from readingroom.viewers.measure import Place
from readingroom.voi import NamedWindow, Window
from readingroom.volume import Frames, Volume


@dataclass(frozen=True, slots=True)
class About:
    """What the viewer says about its pictures."""

    count: int
    rows: int
    columns: int
    title: str
    modality: str
    spacing: tuple[float, float]
    """Between rows, between columns; only the ratio shows."""
    edges: tuple[str, str, str, str]
    """Patient directions at left, right, top, bottom."""
    window: Window | None
    function: str
    """VOI LUT Function: LINEAR, LINEAR_EXACT or SIGMOID (PS3.3 C.11.2.1.3)."""
    flipped: bool
    """The least value is white (PS3.3 C.7.6.3.1.2, C.11.6.1.2)."""
    held: bool = False
    """The pixels are in memory already, so the browser may ask for all of them; files are read only when looked at."""
    windows: tuple[NamedWindow, ...] = ()
    """All windows that are stored with the pictures: explanation, centre, width."""
    luts: tuple[str, ...] = ()
    """Names of the VOI LUTs that are stored with the pictures."""
    unit: str = ""
    """Of the modality values; empty where unknown."""
    rate: float | None = None
    """Pictures a second that a cine is meant to be shown with."""
    length_unit: str = "mm"
    """px where Pixel Spacing is unknown."""
    located: bool = False
    """All pictures have a place in the patient."""
    frame_of_reference: str = ""
    """Frame of Reference UID of those places; empty where unknown."""
    folder: Path | None = None
    """Where the files lie that the pixels come from; None for an array of no known origin."""


class Pictures(Protocol):
    """Pictures that a viewer shows one at a time."""

    @property
    def about(self) -> About:
        """Size, title and how to show them. Reads no pixels."""

    def stored(self, index: int) -> Stored:
        """One picture. Raises AccessEnded, Damaged, NotFound."""

    def place(self, index: int) -> Place:
        """Where it lies. Reads no pixels."""


@dataclass(frozen=True, slots=True)
class FramePictures:
    """Frames of files, decoded when asked for."""

    frames: Frames

    @property
    def about(self) -> About:
        """See Pictures."""
        frames, first = self.frames, self.frames.planes[0]
        return About(
            count=len(frames),
            rows=max(p.rows for p in frames.planes),
            columns=max(p.columns for p in frames.planes),
            title=f"{frames.modality} {frames.description}".strip(),
            modality=frames.modality,
            spacing=first.spacing or (1.0, 1.0),
            edges=geometry.letters(first.orientation),
            window=frames.window,
            function=frames.function,
            flipped=frames.flipped,
            windows=frames.planes[len(frames) // 2].windows,
            luts=tuple(lut.name for lut in frames.planes[len(frames) // 2].luts),
            unit=frames.unit,
            rate=frames.rate,
            length_unit="mm" if all(p.spacing for p in frames.planes) else "px",
            located=all(p.position and p.orientation and p.spacing for p in frames.planes),
            frame_of_reference=frames.frame_of_reference,
            folder=first.path.parent,
        )

    def stored(self, index: int) -> Stored:
        """See Pictures."""
        return self.frames.stored(index)

    def place(self, index: int) -> Place:
        """See Pictures."""
        plane = self.frames.planes[index]
        rows, columns = plane.spacing or (1.0, 1.0)
        if plane.position is None or plane.orientation is None:
            return _nowhere(index, (rows, columns))
        along = np.array(plane.orientation)
        return Place(np.array(plane.position), along[3:] * rows, along[:3] * columns)


@dataclass(frozen=True, slots=True, eq=False)
class ArrayPictures:
    """An array that its user holds anyway: (slices, rows, columns), or with 3 colours last."""

    array: npt.NDArray[Any]
    about: About
    affine: npt.NDArray[np.float64] | None = None

    def stored(self, index: int) -> Stored:
        """See Pictures."""
        return Stored(self.array[index])

    def place(self, index: int) -> Place:
        """See Pictures."""
        return _nowhere(index, self.about.spacing) if self.affine is None else placed(self.affine, index)


def placed(affine: npt.NDArray[np.float64], index: int) -> Place:
    """The place of one slice of a volume."""
    return Place(affine[:3, 3] + index * affine[:3, 0], affine[:3, 1], affine[:3, 2])


def _nowhere(index: int, spacing: tuple[float, float]) -> Place:
    return Place(np.array([0.0, 0.0, index]), np.array([0.0, spacing[0], 0.0]), np.array([spacing[1], 0.0, 0.0]))


def pictures_of(source: Any, spacing: tuple[float, ...] | None = None) -> Pictures:
    """Make pictures of an array, a Volume or Frames. Raises BadInput."""
    if isinstance(source, Frames):
        return FramePictures(source)
    if isinstance(source, Volume):
        return _array(source.array, source.spacing, source)
    return _array(np.asarray(source), spacing, None)


def _array(array: npt.NDArray[Any], spacing: tuple[float, ...] | None, volume: Volume | None) -> ArrayPictures:
    if array.ndim == 2:
        array = array[np.newaxis]
    coloured = array.ndim == 4 and array.shape[-1] == 3 and array.dtype == np.uint8
    if array.dtype.kind not in "biuf" or not (array.ndim == 3 or coloured) or 0 in array.shape:
        raise BadInput(
            f"An array of shape {array.shape} and type {array.dtype} cannot be shown: give numbers as (slices, rows, "
            "columns) or (rows, columns), or colours as uint8 (slices, rows, columns, 3)."
        )
    pair = (1.0, 1.0) if spacing is None else tuple(float(s) for s in spacing[-2:])
    if len(pair) != 2 or min(pair) <= 0:
        raise BadInput(f"spacing={spacing!r} is not (rows, columns) or (slices, rows, columns) in mm.")
    about = About(
        count=array.shape[0],
        rows=array.shape[1],
        columns=array.shape[2],
        title=f"{volume.modality} {volume.description}".strip() if volume else "array",
        modality=volume.modality if volume else "",
        spacing=(pair[0], pair[1]),
        edges=geometry.letters(volume.orientation if volume else None),
        window=volume.window if volume else None,
        function=_function(array, volume),
        flipped=False,
        held=True,
        unit=volume.unit if volume else "",
        length_unit="mm" if volume or spacing is not None else "px",
        located=volume is not None,
        frame_of_reference=volume.frame_of_reference if volume else "",
        folder=volume.folder if volume else None,
    )
    return ArrayPictures(array, about, volume.affine if volume else None)


def _function(array: npt.NDArray[Any], volume: Volume | None) -> str:
    # LINEAR's half step is one of whole numbers: it means nothing for fractions.
    said = volume.function if volume else "LINEAR"
    return "LINEAR_EXACT" if said == "LINEAR" and array.dtype.kind == "f" else said
