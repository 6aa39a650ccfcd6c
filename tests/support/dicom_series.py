"""Series of real DICOM files in the layout of /data, made for tests. Pixels and places are known by construction."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pydicom
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from readingroom_hub.deid.engine import Deidentified
from readingroom_hub.model.dataset import Instance, manifest_of
from readingroom_hub.model.ids import DatasetName, ProjectId
from readingroom_hub.mount.texts import index_csv
from readingroom_hub.services.intake_describe import describe

VERSION = "sha256:" + "3f2a91bc04de" * 5 + "abcd"
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def level(index: int) -> int:
    """The value (HU) that fills the border of slice `index` of a phantom."""
    return -1000 + 16 * (index % 125) + 8


def phantom(slices: int, rows: int = 64, columns: int = 48) -> np.ndarray:
    """(slices, rows, columns) of int16 HU: a ramp inside, so that order and flips show; the level at the border."""
    array = np.empty((slices, rows, columns), np.int16)
    ramp = np.arange(rows)[:, None] * 8 + np.arange(columns)[None, :] - 200
    for k in range(slices):
        array[k] = ramp + k
        array[k, :8] = array[k, -8:] = level(k)
    return array


def instance(
    pixels: np.ndarray,
    *,
    position: Sequence[float] | None = (0.0, 0.0, 0.0),
    orientation: Sequence[float] | None = AXIAL,
    spacing: Sequence[float] | None = (0.5, 0.75),
    number: int = 1,
    modality: str = "CT",
    description: str = "Phantom",
    slope: float | str = 1,
    intercept: float | str = -1024,
    **elements: object,
) -> pydicom.Dataset:
    """One monochrome instance that stores `pixels` (uint16 or int16) as they are."""
    made = pydicom.Dataset()
    made.file_meta = pydicom.dataset.FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    made.Modality, made.SeriesDescription, made.InstanceNumber = modality, description, number
    if position is not None:
        made.ImagePositionPatient = [f"{v:.10g}"[:16] for v in position]
    if orientation is not None:
        made.ImageOrientationPatient = [f"{v:.10g}"[:16] for v in orientation]
    if spacing is not None:
        made.PixelSpacing = list(spacing)
    made.RescaleSlope, made.RescaleIntercept = slope, intercept
    made.WindowCenter, made.WindowWidth = 40, 400
    made.Rows, made.Columns = pixels.shape[-2:]
    if pixels.ndim == 3:
        made.NumberOfFrames = pixels.shape[0]
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated = made.BitsStored = pixels.dtype.itemsize * 8
    made.HighBit, made.PixelRepresentation = made.BitsStored - 1, int(pixels.dtype.kind == "i")
    made.PixelData = np.ascontiguousarray(pixels).tobytes()
    made["PixelData"].VR = "OW"
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    return made


def ct(array: np.ndarray, step: float = 2.5, **options: object) -> Iterator[pydicom.Dataset]:
    """One axial CT instance a slice of `array` (HU), `step` mm apart, stored as uint16 with intercept -1024."""
    for k, hounsfield in enumerate(array):
        stored = (hounsfield.astype(np.int32) + 1024).astype(np.uint16)
        yield instance(stored, position=(-10.0, 20.0, 100.0 + k * step), number=k + 1, **options)


def write_series(root: Path, dataset: str, instances: Sequence[pydicom.Dataset], study: str = "1.2.3") -> Path:
    """Write one series below `root`/`dataset` under random file names, and count it in dataset.json."""
    folder = root / dataset / study / generate_uid()
    folder.mkdir(parents=True)
    for one in instances:
        one.SeriesInstanceUID, one.StudyInstanceUID = folder.name, study
        one.save_as(folder / f"{one.SOPInstanceUID}.dcm", enforce_file_format=True)
    write_card(root, dataset)
    return folder


def described(path: Path) -> Instance:
    """A file as ingest describes it."""
    h = pydicom.dcmread(path, stop_before_pixels=True)
    uids = str(h.StudyInstanceUID), str(h.SeriesInstanceUID), str(h.SOPInstanceUID), str(h.SOPClassUID)
    data, number = path.read_bytes(), int(h.InstanceNumber)
    return describe(Deidentified(data, h, *uids, h.Modality, number, Counter(), {}, ("PatientID", "")))


def write_index(root: Path, dataset: str) -> None:
    """Write index.csv as the mount generates it, from the headers that are there."""
    top = root / dataset
    instances = [described(path) for path in sorted(top.rglob("*.dcm"))]
    manifest = manifest_of(ProjectId("demo"), DatasetName(dataset), "test profile", instances)
    (top / "index.csv").write_bytes(index_csv(manifest))


def write_card(root: Path, dataset: str, version: str = VERSION) -> None:
    """Write dataset.json as the mount generates it."""
    files = list((root / dataset).rglob("*.dcm"))
    series = {f.parent for f in files}
    card = {
        "format": "readingroom-dataset/1",
        "dataset": dataset,
        "version": version,
        "label": f"{dataset}@{version[7:19]}",
        "instances": len(files),
        "series": len(series),
        "studies": len({f.parent for f in series}),
        "bytes": sum(f.stat().st_size for f in files),
    }
    (root / dataset / "dataset.json").write_text(json.dumps(card))
