"""The demo hospital's people and paper work: invented names, and every place where real files hide them."""

from dataclasses import dataclass

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

_ROOT = "1.2.826.0.1.3680043.10.1561"  # followed by dates and numbers, as scanners do


@dataclass(frozen=True, slots=True)
class Patient:
    """One invented person and one examination."""

    number: int
    name: str
    id: str
    born: str
    sex: str
    address: str
    phone: str
    day: str
    """Of the examination."""
    time: str
    physician: str
    operator: str
    accession: str

    @property
    def family(self) -> str:
        """The name that free text uses."""
        return self.name.split("^")[0]

    def uid(self, *parts: int) -> UID:
        """A UID with the examination's date and time in it."""
        return UID(".".join([_ROOT, self.day, self.time.lstrip("0"), str(self.number), *map(str, parts)]))


HOSPITAL = "St Brannoc's Infirmary"
HARROWGATE = Patient(
    1,
    "Harrowgate^Edith^Maud",
    "SBI-4471902",
    "19480214",
    "F",
    "17 Cordwainer Lane, Ilverton",
    "+44 1632 960147",
    "20240312",
    "101544",
    "Pemberthy^Lucian",
    "Quillfeather^Dorcas",
    "ACC7730911",
)
STRANDBERG = Patient(
    2,
    "Strandberg^Olof",
    "SBI-5520364",
    "19610930",
    "M",
    "3 Tannery Wynd, Ilverton",
    "+44 1632 960822",
    "20240405",
    "083012",
    "Pemberthy^Lucian",
    "Quillfeather^Dorcas",
    "ACC7731408",
)
MWANGAZA = Patient(
    3,
    "Mwangaza^Juma^Baraka",
    "SBI-6018837",
    "19751103",
    "M",
    "88 Saltmarket Row, Porthaven",
    "+44 1632 960455",
    "20240418",
    "142233",
    "Ellingworth^Saoirse",
    "Vantongeren^Piet",
    "ACC7731950",
)
KOWALCZYK = Patient(
    4,
    "Kowalczyk^Bronislawa",
    "SBI-6120055",
    "19820627",
    "F",
    "2 Lantern Court, Porthaven",
    "+44 1632 960903",
    "20240502",
    "091807",
    "Ellingworth^Saoirse",
    "Vantongeren^Piet",
    "ACC7732266",
)


def examination(patient: Patient, series: int, modality: str, what: str) -> Dataset:
    """What every instance of one series shares: patient, study, series, equipment, with identifiers in every corner."""
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.Modality, ds.Manufacturer, ds.ManufacturerModelName = modality, "Imaginary Imaging", "Phantom 3"
    ds.InstitutionName, ds.InstitutionAddress, ds.StationName = HOSPITAL, "1 Priory Road, Ilverton", "SBI-" + modality
    ds.InstitutionalDepartmentName, ds.DeviceSerialNumber, ds.SoftwareVersions = "Radiology", "IMG-00417", "3.2"
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = ds.InstanceCreationDate = patient.day
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = ds.InstanceCreationTime = patient.time
    ds.AccessionNumber, ds.StudyID = patient.accession, f"S{patient.number:04}"
    ds.ReferringPhysicianName, ds.OperatorsName = patient.physician, patient.operator
    ds.PerformingPhysicianName = "Wintringham^Oriel"
    ds.StudyDescription = f"{what} for {patient.family}, Dr {patient.physician.split('^')[0]}"
    ds.SeriesDescription = f"{what} {patient.family}"
    ds.ProtocolName = f"{what} routine"
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = (
        patient.name,
        patient.id,
        patient.born,
        patient.sex,
    )
    ds.OtherPatientNames, ds.PatientAddress = f"{patient.family}^Former", patient.address
    ds.PatientTelephoneNumbers, ds.PatientWeight, ds.PatientSize = patient.phone, "71", "1.68"
    ds.PatientAge = f"{int(patient.day[:4]) - int(patient.born[:4]):03}Y"
    ds.AdditionalPatientHistory = f"{patient.family} of {patient.address}; phone {patient.phone}"
    ds.PatientComments = f"Seen by Dr {patient.physician.split('^')[0]} on {patient.day}"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = patient.uid(), patient.uid(series)
    ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = patient.uid(series, 0, 1), None
    ds.SeriesNumber, ds.AcquisitionNumber = series, 1
    _add_nested(ds, patient, what)
    _add_private(ds, patient)
    return ds


def _add_nested(ds: Dataset, patient: Patient, what: str) -> None:
    request = Dataset()
    request.RequestedProcedureID, request.ScheduledProcedureStepID = f"RP{patient.number:05}", f"SP{patient.number:05}"
    request.RequestedProcedureDescription = f"{what}, {patient.family} {patient.id}"
    request.ScheduledProcedureStepDescription = f"{what} on {patient.day}"
    ds.RequestAttributesSequence = [request]
    other = Dataset()
    other.PatientID, other.IssuerOfPatientID, other.TypeOfPatientID = (
        f"NHS{4_000_000_000 + patient.number}",
        HOSPITAL,
        "TEXT",
    )
    ds.OtherPatientIDsSequence = [other]
    image = Dataset()
    image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", patient.uid(7, 1)
    ds.ReferencedImageSequence = [image]


def _add_private(ds: Dataset, patient: Patient) -> None:
    block = ds.private_block(0x0029, "IMAGINARY IMAGING CSA", create=True)
    block.add_new(0x10, "LO", f"{patient.name} {patient.id}")
    block.add_new(0x11, "UN", f"ward 4, {patient.address}".encode())
    inner = Dataset()
    inner.PatientName, inner.PatientBirthDate = patient.name, patient.born
    block.add_new(0x12, "SQ", [inner])


def instance(shared: Dataset, patient: Patient, series: int, number: int, sop_class: str) -> pydicom.FileDataset:
    """A copy of the shared part as instance `number`, with file meta that names the sending station."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = UID(sop_class), patient.uid(series, number)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.SourceApplicationEntityTitle = "SBI_STORE"
    ds = pydicom.FileDataset("", Dataset(), file_meta=meta, preamble=b"SBI EXPORT".ljust(128, b"\0"))
    ds.update(shared)
    ds.SOPClassUID, ds.SOPInstanceUID, ds.InstanceNumber = UID(sop_class), meta.MediaStorageSOPInstanceUID, number
    return ds
