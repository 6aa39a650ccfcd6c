"""Whole slide images, small and with pixels that are known by construction: each names its place and its level."""

import io

import numpy as np
import pydicom
from PIL import Image, ImageCms
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit, generate_uid

CLASS = "1.2.840.10008.5.1.4.1.1.77.1.6"
BASE_SPACING = 0.0005
FRAME_OF_REFERENCE = generate_uid()


def place_coded(width, height, level):
    """(height, width, 3) of uint8: red runs along the columns, green down the rows, blue is the level's."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    return np.stack([x % 256, y % 256, np.full_like(x, 40 + 60 * level)], axis=-1).astype(np.uint8)


def tissue(width, height, downsample=1):
    """(height, width, 3) of uint8 that looks like stained tissue: the same slide at any resolution."""
    x, y = (v * downsample for v in np.meshgrid(np.arange(width), np.arange(height)))
    random = np.random.default_rng(7)
    full = (width * downsample, height * downsample)
    made = np.full((height, width, 3), 244.0)
    inside = ((x / full[0] - 0.5) / 0.42) ** 2 + ((y / full[1] - 0.5) / 0.38) ** 2 < 1 + 0.1 * np.sin(x / 90) * np.cos(
        y / 70
    )
    made[inside] = (232, 170, 196)
    for cx, cy, r in zip(*(random.uniform(0, n, 900) for n in full), random.uniform(5, 13, 900), strict=True):
        reach = int(r / downsample) + 2
        left, top = int(cx / downsample), int(cy / downsample)
        box = (slice(max(top - reach, 0), top + reach), slice(max(left - reach, 0), left + reach))
        near = inside[box] & ((x[box] - cx) ** 2 + (y[box] - cy) ** 2 < r**2)
        made[box][near] = (96, 60, 140)
    return made.astype(np.uint8)


def tiles_of(pixels, tile):
    """((column, row), pixels) of each tile, row by row; what lies over the edge is black."""
    height, width = pixels.shape[:2]
    for top in range(0, height, tile):
        for left in range(0, width, tile):
            part = pixels[top : top + tile, left : left + tile]
            whole = np.zeros((tile, tile, *pixels.shape[2:]), pixels.dtype)
            whole[: part.shape[0], : part.shape[1]] = part
            yield (left // tile, top // tile), whole


def jpeg(pixels, **options):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", **{"quality": 90, "subsampling": 0, **options})
    return out.getvalue()


def unmarked_rgb(pixels, before=b""):
    """A JPEG of RGB that does not say so, as DICOM has them: without Adobe's segment, components numbered from 1.
    `before`: segments that it has instead."""
    made = jpeg(pixels, keep_rgb=True)
    kept, at = [b"\xff\xd8", before], 2
    while made[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(made[at + 2 : at + 4])
        segment = bytearray(made[at:end])
        if made[at + 1] == 0xC0:
            segment[10::3] = b"\1\2\3"
        if not 0xE0 <= made[at + 1] < 0xF0:
            kept.append(bytes(segment))
        at = end
    scan = bytearray(made[at:])
    scan[5:11:2] = b"\1\2\3"
    return b"".join((*kept, scan))


def swapped_primaries():
    """An ICC profile in which red and blue have changed places, in sRGB's curves."""
    made = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    names = {b"rXYZ": b"bXYZ", b"bXYZ": b"rXYZ"}
    for at in range(132, 132 + 12 * int.from_bytes(made[128:132]), 12):
        made[at : at + 4] = names.get(bytes(made[at : at + 4]), made[at : at + 4])
    return bytes(made)


def slide_instance(
    planes,
    *,
    tile=64,
    spacing=BASE_SPACING,
    flavour="VOLUME",
    organisation="TILED_FULL",
    compressed=False,
    missing=(),
    extended=False,
    paths=("1",),
    number=1,
    encode=jpeg,
    profile=None,
    **elements,
):
    """One instance of a slide. `planes`: pictures of one size, focal planes of the first optical path, then of the
    second. `missing`: places (column, row) that a TILED_SPARSE instance has no tile of. `profile`: an ICC profile of
    all paths."""
    height, width = planes[0].shape[:2]
    samples = 3 if planes[0].ndim == 3 else 1
    depth = len(planes) // len(paths)
    frames = [
        (place, plane % depth, paths[plane // depth], pixels)
        for plane, picture in enumerate(planes)
        for place, pixels in tiles_of(picture, tile)
        if organisation == "TILED_FULL" or place not in missing
    ]
    made = pydicom.Dataset()
    made.file_meta = pydicom.dataset.FileMetaDataset()
    made.file_meta.TransferSyntaxUID = JPEGBaseline8Bit if compressed else ExplicitVRLittleEndian
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = CLASS
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    made.ImageType = [
        "ORIGINAL" if number == 1 else "DERIVED",
        "PRIMARY",
        flavour,
        "NONE" if number == 1 else "RESAMPLED",
    ]
    made.Modality, made.SeriesDescription, made.InstanceNumber = "SM", "H and E", number
    made.FrameOfReferenceUID, made.PositionReferenceIndicator = FRAME_OF_REFERENCE, "SLIDE_CORNER"
    made.ContainerIdentifier = "c"
    made.DimensionOrganizationType = organisation
    made.Rows = made.Columns = tile
    made.NumberOfFrames = len(frames)
    made.SamplesPerPixel = samples
    made.PhotometricInterpretation = "MONOCHROME2" if samples == 1 else "YBR_FULL" if compressed else "RGB"
    if samples == 3:
        made.PlanarConfiguration = 0
    made.BitsAllocated = made.BitsStored = planes[0].dtype.itemsize * 8
    made.HighBit, made.PixelRepresentation = made.BitsStored - 1, 0
    made.LossyImageCompression = "01" if compressed else "00"
    made.TotalPixelMatrixColumns, made.TotalPixelMatrixRows = width, height
    made.TotalPixelMatrixFocalPlanes = depth
    made.NumberOfOpticalPaths = len(paths)
    made.ImagedVolumeWidth, made.ImagedVolumeHeight = float(width * spacing), float(height * spacing)
    made.ImagedVolumeDepth = 0.001
    made.ExtendedDepthOfField, made.FocusMethod = "NO", "AUTO"
    made.ImageOrientationSlide = [0, -1, 0, -1, 0, 0]
    origin = pydicom.Dataset()
    origin.XOffsetInSlideCoordinateSystem, origin.YOffsetInSlideCoordinateSystem = 20, 40
    made.TotalPixelMatrixOriginSequence = [origin]
    made.OpticalPathSequence = []
    for path in paths:
        optical = pydicom.Dataset()
        optical.OpticalPathIdentifier, optical.OpticalPathDescription = path, "bright field" if samples == 3 else "dye"
        optical.ObjectiveLensPower = 20
        if profile is not None:
            optical.ICCProfile = profile + b"\0" * (len(profile) % 2)
        made.OpticalPathSequence.append(optical)
    measures, shared = pydicom.Dataset(), pydicom.Dataset()
    measures.PixelSpacing, measures.SliceThickness, measures.SpacingBetweenSlices = [spacing] * 2, 0.001, 0.001
    shared.PixelMeasuresSequence = [measures]
    made.SharedFunctionalGroupsSequence = [shared]
    if organisation == "TILED_SPARSE":
        made.PerFrameFunctionalGroupsSequence, made.DimensionIndexSequence = [], []
        for tag in (0x0048021E, 0x0048021F):  # column and row position
            index = pydicom.Dataset()
            index.DimensionIndexPointer, index.FunctionalGroupPointer = tag, 0x0048021A
            made.DimensionIndexSequence.append(index)
        for (column, row), z, path, _ in frames:
            place, identified, content, group = (pydicom.Dataset() for _ in range(4))
            content.DimensionIndexValues = [column + 1, row + 1]
            group.FrameContentSequence = [content]
            place.ColumnPositionInTotalImagePixelMatrix = column * tile + 1
            place.RowPositionInTotalImagePixelMatrix = row * tile + 1
            place.XOffsetInSlideCoordinateSystem = place.YOffsetInSlideCoordinateSystem = 0
            place.ZOffsetInSlideCoordinateSystem = z
            identified.OpticalPathIdentifier = path
            group.PlanePositionSlideSequence, group.OpticalPathIdentificationSequence = [place], [identified]
            made.PerFrameFunctionalGroupsSequence.append(group)
    if compressed:
        stored = [encode(pixels) for *_, pixels in frames]
        if extended:
            made.PixelData, made.ExtendedOffsetTable, made.ExtendedOffsetTableLengths = encapsulate_extended(stored)
        else:
            made.PixelData = encapsulate(stored)
        made["PixelData"].VR = "OB"
    else:
        made.PixelData = b"".join(pixels.tobytes() for *_, pixels in frames)
        made["PixelData"].VR = "OB" if made.BitsAllocated == 8 else "OW"
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    return made


def pyramid(width=300, height=200, steps=(1, 2, 4), draw=None, **options):
    """(instances, pictures): a slide's levels, finest first."""
    pictures = [
        (draw or place_coded)(width // step, height // step, step if draw else level)
        for level, step in enumerate(steps)
    ]
    made = [
        slide_instance([picture], spacing=BASE_SPACING * step, number=number, **options)
        for number, (step, picture) in enumerate(zip(steps, pictures, strict=True), start=1)
    ]
    return made, pictures
