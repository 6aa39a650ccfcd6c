"""A series as pictures, decoded one at a time, and as one volume in patient coordinates."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt
from tqdm.auto import tqdm

from readingroom import geometry
from readingroom.errors import NotAVolume
from readingroom.planes import Plane, Stored, Vector, decode, read_header
from readingroom.voi import Window

T = TypeVar("T")
_PATIENCE_SECONDS = 2.0


def _waiting(items: Iterable[T], what: str, total: int) -> Iterable[T]:
    """`items`, with a progress bar once it takes long enough to wonder."""
    bar: Iterable[T] = tqdm(items, desc=what, total=total, delay=_PATIENCE_SECONDS, leave=False)
    return bar


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """A regular grid of modality values, for example Hounsfield units."""

    array: npt.NDArray[Any]
    """(slices, rows, columns); int16 or int32 exactly, float32 only where slope or intercept are fractions."""
    affine: npt.NDArray[np.float64]
    """4 x 4: `affine @ (slice, row, column, 1)` is a voxel's centre in patient mm, LPS (+x left, +y back, +z head)."""
    spacing: tuple[float, float, float]
    """Between slices, rows, columns, in mm."""
    instances: tuple[tuple[str, int], ...]
    """SOP Instance UID and frame (from 0) of each slice."""
    modality: str
    description: str
    window: Window | None
    """Centre and width, as stored with the middle slice."""
    function: str = "LINEAR"
    """VOI LUT Function of that window."""
    unit: str = ""
    """Of the values: HU, BQML, g/ml{SUVbw}, ...; empty where unknown."""
    frame_of_reference: str = ""
    """Frame of Reference UID: what shares it lies in the same coordinates."""
    folder: Path | None = None
    """Where the files lie that it was read from; their viewer goes blank when they may not be read any more."""

    @property
    def orientation(self) -> Vector:
        """Direction cosines of the rows, then of the columns."""
        axes = self.affine[:3, [2, 1]] / np.linalg.norm(self.affine[:3, [2, 1]], axis=0)
        return tuple(float(v) for v in axes.T.ravel())

    def __repr__(self) -> str:
        size, step = " x ".join(map(str, self.array.shape)), " x ".join(f"{s:.3g}" for s in self.spacing)
        return f"Volume({self.modality} {self.description!r}, {size} {self.array.dtype}, spacing {step} mm)"


@dataclass(frozen=True, slots=True, eq=False)
class Frames(Sequence[npt.NDArray[Any]]):
    """The pictures of a series in display order. Indexing decodes one; nothing is held."""

    planes: tuple[Plane, ...]
    modality: str
    description: str
    photometric: str
    function: str
    flipped: bool
    unit: str
    frame_of_reference: str
    rate: float | None

    @classmethod
    def of_files(cls, paths: Sequence[Path], dataset: str) -> Self:
        """Read the headers of one series' files, in any order. Raises AccessEnded, Damaged, NotFound."""
        headers = [read_header(path, dataset) for path in _waiting(paths, "headers", len(paths))]
        found = [plane for header in headers for plane in header.planes]
        if not found:
            raise NotAVolume("The series holds no images (a report, a plan, a waveform?): there is nothing to show.")
        first = min((h for h in headers if h.planes), key=lambda h: (h.planes[0].number, h.planes[0].instance))
        return cls(
            planes=tuple(geometry.in_order(found)),
            modality=first.modality,
            description=first.description,
            photometric=first.photometric,
            function=first.function,
            flipped=first.flipped,
            unit=first.unit,
            frame_of_reference=first.frame_of_reference,
            rate=first.rate,
        )

    def __len__(self) -> int:
        return len(self.planes)

    def __getitem__(self, index: Any) -> Any:
        """Modality values of one picture, (rows, columns), or (rows, columns, 3) of uint8 for colour."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return self.stored(index).values()

    def __iter__(self) -> Iterator[npt.NDArray[Any]]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        first = self.planes[0]
        return f"Frames({self.modality} {self.description!r}, {len(self)} of {first.rows} x {first.columns})"

    def stored(self, index: int) -> Stored:
        """Decode one picture; values and the line to modality values stay apart."""
        return decode(self.planes[index])

    @property
    def window(self) -> Window | None:
        """Centre and width, as stored with the middle picture."""
        return self.planes[len(self) // 2].window

    def volume(self) -> Volume:
        """Decode all pictures into one volume. Raises NotAVolume, which says why they do not form one."""
        grid, first = geometry.grid_of(self.planes), self.planes[0]
        array = _stacked(self)
        return Volume(
            array=array,
            affine=grid.affine,
            spacing=grid.spacing,
            instances=tuple((p.instance, p.frame) for p in self.planes),
            modality=self.modality,
            description=self.description,
            window=self.window,
            function=self.function,
            unit=self.unit,
            frame_of_reference=self.frame_of_reference,
            folder=first.path.parent,
        )


def _stacked(frames: Frames) -> npt.NDArray[Any]:
    """All frames in one array of the narrowest type of int16, int32, float32 that holds every value exactly enough."""
    first = frames.planes[0]
    array: npt.NDArray[Any] = np.empty((len(frames), first.rows, first.columns), np.int16)
    for i, values in enumerate(_waiting(frames, "pictures", len(frames))):
        needed = np.promote_types(array.dtype, values.dtype)
        if needed != array.dtype:
            # int32 and float32 promote to float64, which no scanner's values need.
            array = array.astype(np.float32 if needed.kind == "f" else np.int32)
        array[i] = values
    return array
