"""A synthetic hospital's export: CT and MR volumes, an ultrasound with burnt-in text, and files that are no use.

Deterministic, made here, downloaded from nowhere; about 70 MB."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, MRImageStorage, UltrasoundImageStorage

from readingroom_hub.demo import phantom
from readingroom_hub.demo.patients import (
    HARROWGATE,
    HOSPITAL,
    KOWALCZYK,
    MWANGAZA,
    STRANDBERG,
    Patient,
    examination,
    instance,
)

_AXIAL = [1, 0, 0, 0, 1, 0]


@dataclass(frozen=True, slots=True)
class Scan:
    """One series to make."""

    folder: str
    patient: Patient
    what: str
    painter: phantom.Painter
    slices: int
    rows: int
    field: float
    """Width of the image in mm."""
    step: float
    """Between slices, mm."""
    window: tuple[int, int]


SCANS = (
    Scan("ct/HARROWGATE_EDITH/CHEST", HARROWGATE, "CT chest", phantom.chest, 72, 512, 400, 4, (-500, 1500)),
    Scan("ct/STRANDBERG_OLOF/ABDOMEN", STRANDBERG, "CT abdomen", phantom.abdomen, 64, 256, 400, 4, (50, 400)),
    Scan("mr/MWANGAZA_JUMA/HEAD", MWANGAZA, "MR head T1", phantom.head, 88, 256, 240, 2, (450, 900)),
    Scan("mr/KOWALCZYK_B/HEAD", KOWALCZYK, "MR head T1", phantom.head, 80, 256, 240, 2, (450, 900)),
)


def generate(folder: Path) -> None:
    """Write the export below `folder`: departments `ct` and `mr`. Does nothing where it is there already."""
    if folder.exists():
        return
    new = folder.with_name(folder.name + ".new")
    shutil.rmtree(new, ignore_errors=True)  # of a run that was stopped
    for scan in SCANS:
        _write_scan(new, scan)
    _write_oddities(new)
    new.rename(folder)


def real_files(folder: Path) -> int:
    """Copy the DICOM files that pydicom's own installation holds (no download) to `folder`; returns how many."""
    from pydicom.data.data_manager import DATA_ROOT

    folder.mkdir(parents=True, exist_ok=True)
    names: set[str] = set()
    for source in sorted((Path(DATA_ROOT) / "test_files").rglob("*")):
        if source.is_file() and source.suffix in {".dcm", ""} and source.name not in names:
            names.add(source.name)
            shutil.copyfile(source, folder / source.name)
    return len(names)


def _write_scan(root: Path, scan: Scan) -> None:
    folder = root / scan.folder
    folder.mkdir(parents=True)
    modality = scan.what[:2]
    shared = examination(scan.patient, 2, modality, scan.what)
    sop_class = CTImageStorage if modality == "CT" else MRImageStorage
    (_describe_ct if modality == "CT" else _describe_mr)(shared, scan)
    for number, pixels in enumerate(_paint(scan), start=1):
        ds = instance(shared, scan.patient, 2, number, sop_class)
        height = (number - 1 - scan.slices / 2) * scan.step
        ds.ImagePositionPatient = [-scan.field / 2, -scan.field / 2, height]
        ds.SliceLocation = height
        ds.ImageComments = f"{scan.patient.family} slice {number}" if number == 1 else "none"
        _set_pixels(ds, pixels)
        ds.save_as(folder / f"IM{number:04}.dcm", enforce_file_format=True)


def _paint(scan: Scan) -> Iterator[NDArray[np.int16]]:
    return scan.painter(np.random.default_rng(scan.patient.number), scan.slices, scan.rows)


def _describe_ct(ds: Dataset, scan: Scan) -> None:
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.BodyPartExamined = scan.what[3:].upper()
    ds.KVP, ds.XRayTubeCurrent, ds.ExposureTime, ds.ConvolutionKernel = "120", "210", "500", "SOFT"
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "0", "1", "HU"
    ds.ContrastBolusAgent = "Iohexol"
    ds.PatientPosition = "HFS"
    _describe_geometry(ds, scan)


def _describe_mr(ds: Dataset, scan: Scan) -> None:
    ds.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
    ds.BodyPartExamined = "HEAD"
    ds.ScanningSequence, ds.SequenceVariant, ds.ScanOptions, ds.MRAcquisitionType = "GR", "SP", None, "3D"
    ds.RepetitionTime, ds.EchoTime, ds.EchoTrainLength = "23", "2.98", "1"
    ds.FlipAngle, ds.MagneticFieldStrength, ds.SequenceName = "9", "3", "fl3d1"
    ds.PatientPosition = "HFS"
    _describe_geometry(ds, scan)


def _describe_geometry(ds: Dataset, scan: Scan) -> None:
    ds.SliceThickness = ds.SpacingBetweenSlices = scan.step
    ds.PixelSpacing = [scan.field / scan.rows] * 2
    ds.ImageOrientationPatient = _AXIAL
    ds.WindowCenter, ds.WindowWidth = scan.window


def _set_pixels(ds: Dataset, pixels: NDArray[np.int16]) -> None:
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = pixels.shape
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.PixelRepresentation = 15, 1
    ds.PixelData = pixels.tobytes()
    ds["PixelData"].VR = "OW"


def _write_oddities(root: Path) -> None:
    """What an export holds besides: an ultrasound frame with its patient's name in it, notes, a broken copy."""
    patient = HARROWGATE
    folder = root / "ct" / "HARROWGATE_EDITH"
    (folder / "US").mkdir()
    _ultrasound(patient).save_as(folder / "US" / "IM0001.dcm", enforce_file_format=True)
    (folder / "NOTES.TXT").write_text(f"Export for {patient.name}, requested by {patient.physician}, {HOSPITAL}\n")
    whole = (folder / "CHEST" / "IM0040.dcm").read_bytes()
    (folder / "CHEST" / "IM0040_copy.dcm").write_bytes(whole[: len(whole) * 2 // 3])


def _ultrasound(patient: Patient) -> pydicom.FileDataset:
    from PIL import Image, ImageDraw

    rng = np.random.default_rng(5)
    rows, columns = 480, 640
    y, x = np.mgrid[0:rows, 0:columns].astype(np.float32)
    radius, angle = np.hypot(x - 320, y + 60), np.arctan2(x - 320, y + 60)
    speckle = rng.rayleigh(46, (rows, columns)) * np.exp(-radius / 420) * (1 + 0.6 * np.sin(radius / 31 + 3 * angle))
    cyst = np.hypot(x - 350, y - 230) < 46
    frame = np.where((np.abs(angle) < 0.62) & (radius > 110) & (radius < 500), np.where(cyst, 4, speckle * 2.2), 0)
    picture = Image.fromarray(np.clip(frame, 0, 255).astype(np.uint8)).convert("RGB")
    pen = ImageDraw.Draw(picture)
    pen.text((12, 8), f"{patient.name.replace('^', ' ')}  {patient.id}", fill=(255, 255, 120))
    pen.text((12, 24), f"{HOSPITAL}  {patient.day}  MI 0.9", fill=(255, 255, 120))
    ds = instance(examination(patient, 5, "US", "US abdomen"), patient, 5, 1, UltrasoundImageStorage)
    ds.ImageType = ["ORIGINAL", "PRIMARY", "ABDOMINAL"]
    ds.Laterality = ds.PatientOrientation = None
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
    ds.Rows, ds.Columns, ds.BitsAllocated, ds.BitsStored, ds.HighBit = rows, columns, 8, 8, 7
    ds.PixelRepresentation, ds.PixelData = 0, np.asarray(picture).tobytes()
    ds["PixelData"].VR = "OB"
    return ds
