"""Objects that this de-identification cannot make safe. Each check raises CannotDeidentify with one plain reason."""

from pydicom.dataset import Dataset
from pydicom.pixels.utils import get_expected_length
from pydicom.uid import UID, MediaStorageDirectoryStorage, VLWholeSlideMicroscopyImageStorage

from readingroom_hub.deid import documents
from readingroom_hub.deid.faces import risk
from readingroom_hub.deid.part10 import CannotDeidentify, Part10
from readingroom_hub.deid.policy import CutShort, Policy
from readingroom_hub.deid.table import Option

_REQUIRED = ("SOPClassUID", "SOPInstanceUID")
_RAW_DATA = "1.2.840.10008.5.1.4.1.1.66"
_ENCAPSULATED = "1.2.840.10008.5.1.4.1.1.104."
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7."
_SCREENS = ("SCREEN", "CAPTURE", "DOSE_INFO", "LABEL", "OVERVIEW")


def check(file: Part10, policy: Policy) -> None:
    """Raise CannotDeidentify for what must be left out."""
    header = file.header
    if file.missing and policy.cut_short is CutShort.LEAVE_OUT:
        raise CannotDeidentify("cut short: the file ends before its last element, or has bytes that are no element")
    _check_kind(header)
    if file.pixels or "PixelData" in header:
        _check_pixels(file)
        if Option.CLEAN_FACES in policy.options:
            risk.to_cut(header)
        if Option.CLEAN_PIXELS not in policy.options:
            _check_burned_in(header, policy)
            if overlay_bits(header):
                raise CannotDeidentify("an overlay in the unused bits of its Pixel Data: text may be in it")
    elif "Rows" in header:
        raise CannotDeidentify("it describes an image but has no Pixel Data: cut short")


def _check_kind(header: Dataset) -> None:
    sop_class = UID(str(header.get("SOPClassUID", "")))
    if sop_class == MediaStorageDirectoryStorage or "DirectoryRecordSequence" in header:
        raise CannotDeidentify("a DICOMDIR: it lists patients, and the files it points to are taken in without it")
    missing = [k for k in _REQUIRED if not str(header.get(k) or "").strip(" \0")]
    if missing:
        raise CannotDeidentify(f"no {' and no '.join(missing)}")
    if sop_class.startswith(_ENCAPSULATED) and sop_class not in documents.CLASSES:
        raise CannotDeidentify("an encapsulated document: its content cannot be cleaned")
    if sop_class == _RAW_DATA:
        raise CannotDeidentify("Raw Data: its content is private to its maker")
    if sop_class.type != "SOP Class" or sop_class.is_private:
        raise CannotDeidentify("an unknown or private SOP class: nobody can tell what it holds")


def _check_pixels(file: Part10) -> None:
    if file.pixel_length is None:
        return  # encapsulated: its fragments were walked to their end
    try:
        expected = get_expected_length(file.header)
    except Exception as error:
        raise CannotDeidentify("its attributes do not describe its Pixel Data") from error
    if file.pixel_length not in {expected, expected + expected % 2}:
        raise CannotDeidentify(f"Pixel Data is {file.pixel_length} bytes long, its attributes describe {expected}")


def text_may_be_in(header: Dataset, policy: Policy) -> bool:
    """Whether pixels have to be searched for text (Clean Pixel Data Option): what an image declares is no proof."""
    try:
        _check_burned_in(header, policy)
    except CannotDeidentify:
        return True
    return str(header.get("Modality") or "").strip() in policy.believed or any(r.fits(header) for r in policy.regions)


def overlay_bits(header: Dataset) -> list[int]:
    """The bits of stored values that hold retired overlays (PS3.5 8.1.2): they can show text."""
    groups = [int(tag) - 0x0100 for tag in header.keys() if int(tag) & 0xFF01FFFF == 0x60000100]  # noqa: SIM118
    return [
        int(header[g | 0x0102].value if (g | 0x0102) in header else 0)
        for g in sorted(groups)
        if (g | 0x3000) not in header
    ]


def _check_burned_in(header: Dataset, policy: Policy) -> None:
    declared = str(header.get("BurnedInAnnotation") or "").strip().upper()
    if declared == "YES":
        raise CannotDeidentify(
            "BurnedInAnnotation is YES: text in the pixels is cleaned by the Clean Pixel Data Option"
        )
    kind = "\\".join(str(v) for v in _many(header.get("ImageType"))).upper()
    sop_class = str(header.SOPClassUID)
    if (
        sop_class == VLWholeSlideMicroscopyImageStorage
        and str(header.get("SpecimenLabelInImage") or "").strip().upper() != "NO"
    ):
        raise CannotDeidentify("a slide without SpecimenLabelInImage NO: its label may be in it, and name the patient")
    # With the dot: the visible light classes, slides among them, are 1.2.840.10008.5.1.4.1.1.77.
    captured = f"{sop_class}.".startswith(_SECONDARY_CAPTURE) or header.get("ConversionType")
    if captured or any(word in kind for word in _SCREENS):
        raise CannotDeidentify("a screen, secondary capture or label image: text may be burnt in")
    modality = str(header.get("Modality") or "").strip()
    if modality in policy.believed and declared != "NO":
        raise CannotDeidentify(f"{modality} without BurnedInAnnotation NO: text may be burnt in")
    if modality not in policy.text_free | policy.believed:
        raise CannotDeidentify(f"an image of modality {_known(modality)}: text may be burnt in")


def _many(value: object) -> list[object]:
    if value is None:
        return []
    return [value] if isinstance(value, str) else list(value)  # type: ignore[call-overload]


def _known(modality: str) -> str:
    """The modality where it is a plain defined term: anything longer is somebody's text, and reasons carry none."""
    return modality if modality.isalpha() and modality.isupper() and len(modality) <= 5 else "unknown"
