"""Masks as a DICOM SEG (PS3.3 A.51), binary, with highdicom."""

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

from readingroom.errors import BadInput
from readingroom.objects import UNREADABLE
from readingroom.planes import Plane
from readingroom.viewers.overlay import Colour
from readingroom.viewers.report import header

Named = tuple[str, Colour, npt.NDArray[np.bool_]]


def segmentation(masks: Sequence[Named], planes: Sequence[Plane]) -> Any:
    """A binary SEG of (name, colour, mask), each mask (pictures, rows, columns), drawn by hand on these pictures.

    Nobody has said what the segments are: they are coded as tissue, and their names are labels. Raises BadInput,
    AccessEnded, Damaged, NotFound."""
    import highdicom

    filled = [(name, colour, mask) for name, colour, mask in masks if mask.any()]
    if not filled:
        raise BadInput("The masks are empty: there is no segment to write.")
    sources, order = _sources(planes)
    described = [
        highdicom.seg.SegmentDescription(
            segment_number=number,
            segment_label=name[:64],
            segmented_property_category=codes.SCT.Tissue,
            segmented_property_type=codes.SCT.Tissue,
            algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.MANUAL,
            display_color=highdicom.color.CIELabColor(*cielab(colour)),
            tracking_id=name[:64],
            tracking_uid=generate_uid(),
        )
        for number, (name, colour, _) in enumerate(filled, 1)
    ]
    try:
        return highdicom.seg.Segmentation(
            source_images=sources,
            pixel_array=np.stack([mask[order] for _, _, mask in filled], axis=-1).astype(np.uint8),
            segmentation_type="BINARY",
            segment_descriptions=described,
            series_instance_uid=generate_uid(),
            series_number=1,
            sop_instance_uid=generate_uid(),
            instance_number=1,
            manufacturer="Reading Room",
            manufacturer_model_name="Viewer",
            software_versions=version("readingroom"),
            device_serial_number="1",
            content_label="PAINTED",
        )
    except UNREADABLE as error:
        raise BadInput(f"No segmentation can be written for these pictures: {error}") from error


def _sources(planes: Sequence[Plane]) -> tuple[list[pydicom.Dataset], list[int]]:
    """Headers of the files, and the pictures in the order in which highdicom takes them: by file, then by frame."""
    files = {plane.path for plane in planes}
    if 1 < len(files) < len(planes):
        raise BadInput("The pictures come from several multi-frame files: a segmentation refers to one of them.")
    if len(files) == len(planes):
        return [_with_thickness(header(plane), planes) for plane in planes], list(range(len(planes)))
    return [header(planes[0])], sorted(range(len(planes)), key=lambda i: planes[i].frame)


def _with_thickness(found: pydicom.Dataset, planes: Sequence[Plane]) -> pydicom.Dataset:
    """Slice Thickness may be empty (PS3.3 C.7.6.2), but highdicom needs one: the distance of neighbours stands in."""
    positions = [plane.position for plane in planes if plane.position]
    if not found.get("SliceThickness") and len(positions) == len(planes) > 1:
        found.SliceThickness = round(float(np.median(np.linalg.norm(np.diff(positions, axis=0), axis=1))), 6)
    return found


def cielab(colour: Colour) -> tuple[float, float, float]:
    """L*, a*, b* of an sRGB colour for Recommended Display CIELab Value (PS3.3 C.10.7.1.1): PCS values, whose white is
    D50 by ICC.1 6.3.4. highdicom's own conversion takes D65, which tints every colour."""
    coded = np.array(colour, np.float64) / 255
    linear = np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)
    # IEC 61966-2-1's primaries, adapted to D50 by Bradford's matrix: the inverse of what overlay.srgb uses.
    matrix = np.array([
        [0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169], [0.0139322, 0.0971045, 0.7141733],
    ])  # fmt: skip
    share = (matrix @ linear) / np.array([0.9642, 1.0, 0.8249])
    f = np.where(share > (6 / 29) ** 3, np.cbrt(share), share / (3 * (6 / 29) ** 2) + 4 / 29)
    lightness, a, b = 116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])
    return float(np.clip(lightness, 0, 100)), float(np.clip(a, -128, 127)), float(np.clip(b, -128, 127))
