"""DICOM objects for de-identification tests: a valid CT image with an invented patient, as a data set or as bytes."""

import io

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from readingroom_hub.deid.engine import Deidentifier
from readingroom_hub.deid.policy import Policy

NAME, PATIENT_ID = "Zwiebelturm^Hannelore", "ZT-990417"
STUDY, SERIES, INSTANCE = "1.2.276.99.20200101.1", "1.2.276.99.20200101.2", "1.2.276.99.20200101.3"


def ct_image(**elements: object) -> Dataset:
    """A small CT image with what its IOD needs; `elements` are set on top, by keyword."""
    with pydicom.config.disable_value_validation():
        return _ct_image(elements)


def _ct_image(elements: dict[str, object]) -> Dataset:
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID, ds.StudyInstanceUID, ds.SeriesInstanceUID = (
        CTImageStorage,
        INSTANCE,
        STUDY,
        SERIES,
    )
    ds.Modality, ds.PatientName, ds.PatientID, ds.InstanceNumber = "CT", NAME, PATIENT_ID, 7
    ds.PatientBirthDate, ds.StudyDate, ds.StudyTime = "19620817", "20200101", "101112"
    ds.Rows = ds.Columns = 4
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.PixelRepresentation, ds.SamplesPerPixel, ds.PhotometricInterpretation = 15, 1, 1, "MONOCHROME2"
    ds.PixelData = bytes(range(32))
    ds["PixelData"].VR = "OW"
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    return ds


def as_file(ds: Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    """Encode as a file, values as they are."""
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
    ds.file_meta.MediaStorageSOPClassUID = ds.get("SOPClassUID", CTImageStorage)
    ds.file_meta.MediaStorageSOPInstanceUID = ds.get("SOPInstanceUID", INSTANCE)
    buffer = io.BytesIO()
    with pydicom.config.disable_value_validation():
        pydicom.dcmwrite(buffer, ds, enforce_file_format=True)
    return buffer.getvalue()


def deidentifier(secret: bytes = b"s" * 32, **policy: object) -> Deidentifier:
    return Deidentifier(Policy(**policy), secret)


def read(data: bytes) -> pydicom.FileDataset:
    return pydicom.dcmread(io.BytesIO(data))
