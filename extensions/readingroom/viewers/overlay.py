"""Label maps over pictures: NumPy masks, and DICOM segmentations (PS3.3 A.51) that refer to the pictures shown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pydicom

from readingroom.errors import BadInput
from readingroom.objects import UNREADABLE, object_given

Colour = tuple[int, int, int]
Labels = npt.NDArray[np.uint8]
Contours = tuple[npt.NDArray[np.float64], ...]

# Okabe and Ito's: told apart by people who see colours differently.
COLOURS: tuple[Colour, ...] = (
    (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167),
)  # fmt: skip


class Masks(Protocol):
    """Masks that are made when a picture is shown: (rows, columns) of bool each."""

    @property
    def largest(self) -> int | None:
        """The picture to go to; None where all are empty."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> npt.NDArray[np.bool_]:
        """One picture's. Raises AccessEnded, Damaged, NotFound."""


@dataclass(frozen=True, slots=True, eq=False)
class Overlay:
    """One segment: where it is, and how it is shown."""

    name: str
    mask: npt.NDArray[np.bool_] | Masks | None
    """(slices, rows, columns), like the pictures, or made one by one; none of contours."""
    colour: Colour
    opacity: float
    """0 shows nothing, 1 hides the picture."""
    weights: npt.NDArray[np.uint8] | None = None
    """Of a fractional segment, like the mask: 255 shows the whole opacity."""
    contours: Mapping[int, Contours] = field(default_factory=dict)
    """By picture, closed lines of (row, column), fractions included, from the first pixel's centre."""

    @property
    def largest(self) -> int | None:
        """The picture that shows the most of it; None where none does."""
        if self.mask is None:
            sizes = {i: sum(map(_extent, lines)) for i, lines in self.contours.items()}
            return max(sizes, key=lambda i: (sizes[i], -i)) if sizes else None
        if not isinstance(self.mask, np.ndarray):
            return self.mask.largest
        counts = np.count_nonzero(self.mask, axis=(1, 2))
        return int(counts.argmax()) if counts.any() else None


def _extent(line: npt.NDArray[np.float64]) -> float:
    (y, x), (y1, x1) = line.T, np.roll(line, -1, axis=0).T
    return abs(float((x * y1 - x1 * y).sum())) / 2


def mask_of(mask: Any, shape: tuple[int, int, int]) -> npt.NDArray[np.bool_]:
    """A mask of the pictures' shape; anything but 0 belongs to it. Raises BadInput."""
    found: npt.NDArray[np.bool_] = np.asarray(mask) != 0
    if found.ndim == 2:
        found = found[np.newaxis]
    if found.shape != shape:
        raise BadInput(f"The mask has the shape {found.shape}, the view {shape} (slices, rows, columns).")
    return found


def segments_of(
    path: Path, dataset: str, images: Sequence[tuple[str, int]], shape: tuple[int, int, int]
) -> list[Overlay]:
    """The segments of a DICOM SEG, binary, fractional or label map, each laid on the pictures that it was drawn on.

    `images`: SOP Instance UID and frame (from 0) of each picture. Raises BadInput, AccessEnded, Damaged, NotFound."""
    found = object_given(path, dataset)
    try:
        if str(found.get("SegmentationType")) not in {"BINARY", "FRACTIONAL", "LABELMAP"}:
            raise BadInput(f"{path.name} is no DICOM segmentation or structure set: give one, or a NumPy mask.")
        return _segments(found, path, images, shape)
    except UNREADABLE as error:
        raise BadInput(f"{path.name} could not be understood: {error}") from error


def _segments(
    found: pydicom.Dataset, path: Path, images: Sequence[tuple[str, int]], shape: tuple[int, int, int]
) -> list[Overlay]:
    import highdicom

    seg = highdicom.seg.Segmentation.from_dataset(found, copy=False)
    referred = {uid for _, _, uid in seg.get_source_image_uids()}
    known = [i for i, (uid, _) in enumerate(images) if uid in referred]
    if not known:
        raise BadInput(f"{path.name} was drawn on another series: it refers to no picture of this view.")
    if (int(found.Rows), int(found.Columns)) != shape[1:]:
        raise BadInput(f"{path.name} has pictures of {found.Rows} x {found.Columns}, the view {shape[1]} x {shape[2]}.")
    pixels = _pixels(seg, [images[i] for i in known])
    made = []
    # Number 0 is a label map's background.
    for at, item in enumerate(one for one in found.SegmentSequence if one.SegmentNumber):
        weights = np.zeros(shape, np.uint8)
        # Fractions come as 0 to 1, whatever Maximum Fractional Value is; the others as 0 and 1.
        weights[known] = np.floor(pixels[..., at] * 255.0 + 0.5)
        partial = weights if found.SegmentationType == "FRACTIONAL" else None
        made.append(Overlay(str(item.SegmentLabel), weights != 0, _colour(item, at), 0.4, partial))
    return made


def _pixels(seg: Any, images: Sequence[tuple[str, int]]) -> npt.NDArray[Any]:
    """(pictures, rows, columns, segments), nothing where a segment has no frame for a picture."""
    options = {"ignore_spatial_locations": True, "assert_missing_frames_are_empty": True}
    instances = [uid for uid, _ in images]
    if len(set(instances)) == len(instances):
        found = seg.get_pixels_by_source_instance(instances, **options)
    elif len(set(instances)) == 1:
        found = seg.get_pixels_by_source_frame(instances[0], [frame + 1 for _, frame in images], **options)
    else:
        raise ValueError("they come from several multi-frame files")
    return np.asarray(found)


def _colour(item: pydicom.Dataset, at: int) -> Colour:
    """The Recommended Display CIELab Value (PS3.3 C.10.7.1.1) in sRGB, else one of our own."""
    lab = item.get("RecommendedDisplayCIELabValue")
    return colour_of(lab) if lab else COLOURS[at % len(COLOURS)]


def colour_of(lab: Sequence[int]) -> Colour:
    """Three PCS values of 16 bits, as DICOM stores them, in sRGB."""
    lightness, a, b = (int(v) for v in lab)
    return srgb(lightness * 100 / 65535, a * 255 / 65535 - 128, b * 255 / 65535 - 128)


def srgb(lightness: float, a: float, b: float) -> Colour:
    """CIELab with D50 white, as in DICOM's PCS values, to sRGB (IEC 61966-2-1), by Bradford's adaptation to D65."""
    y = (lightness + 16) / 116
    f = np.array([y + a / 500, y, y - b / 200])
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * np.array([0.9642, 1.0, 0.8249])
    matrix = np.array([
        [3.1338561, -1.6168667, -0.4906146], [-0.9787684, 1.9161415, 0.0334540], [0.0719453, -0.2289914, 1.4052427],
    ])  # fmt: skip
    linear = np.clip(matrix @ xyz, 0, 1)
    coded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    red, green, blue = (int(v) for v in np.floor(coded * 255 + 0.5))
    return red, green, blue


def labels_at(overlays: Sequence[Overlay], index: int) -> Labels | None:
    """(rows, columns): 0 for none, else the number from 1 of the overlay on top, which is the last.

    None where no overlay has a mask."""
    labels = None
    for number, overlay in enumerate(overlays, 1):
        if overlay.mask is not None:
            mask = overlay.mask[index]
            labels = np.zeros(mask.shape, np.uint8) if labels is None else labels
            labels[mask] = number
    return labels


def weights_at(overlays: Sequence[Overlay], labels: Labels, index: int) -> Labels | None:
    """(rows, columns): how much of its opacity each label shows, of 255. None where all show the whole of it."""
    if not any(one.weights is not None for one in overlays):
        return None
    weights = np.full(labels.shape, 255, np.uint8)
    for number, overlay in enumerate(overlays, 1):
        if overlay.weights is not None:
            here = labels == number
            weights[here] = overlay.weights[index][here]
    return weights


def edges(labels: Labels) -> Labels:
    """The labels of those pixels only that touch another label, or the picture's edge, above, below, left or right."""
    around = np.pad(labels, 1)
    within = np.ones(labels.shape, np.bool_)
    for other in (around[:-2, 1:-1], around[2:, 1:-1], around[1:-1, :-2], around[1:-1, 2:]):
        within &= other == labels
    return np.where(within, 0, labels).astype(np.uint8)


def blended(
    grey: npt.NDArray[np.uint8], labels: Labels, overlays: Sequence[Overlay], weights: Labels | None = None
) -> npt.NDArray[np.uint8]:
    """Colours (rows, columns, 3): `grey * (1 - opacity) + colour * opacity`, rounded half up, as in the browser."""
    colours = coloured(grey)
    for number, overlay in enumerate(overlays, 1):
        here = labels == number
        part: Any = overlay.opacity if weights is None else (overlay.opacity * weights[here] / 255)[:, None]
        mixed = colours[here] * (1 - part) + np.array(overlay.colour, np.float64) * part
        colours[here] = np.floor(mixed + 0.5).astype(np.uint8)
    return colours


def outlined(grey: npt.NDArray[np.uint8], labels: Labels, overlays: Sequence[Overlay]) -> npt.NDArray[np.uint8]:
    """Colours (rows, columns, 3): the edges of each segment in its colour, and nothing else of it."""
    colours, rim = coloured(grey), edges(labels)
    for number, overlay in enumerate(overlays, 1):
        colours[rim == number] = overlay.colour
    return colours


def coloured(grey: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """A picture in grey as one in colours, always a copy."""
    return np.repeat(grey[..., None], 3, axis=2) if grey.ndim == 2 else grey.copy()
