"""A patient's and the staff's own identifying values, as one object gives them: what no other element may repeat."""

import re
from collections.abc import Iterable, Iterator

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset

from readingroom_hub.deid.actions import vr_of
from readingroom_hub.deid.dummies import WORD

_KEYWORDS = (
    "AccessionNumber AdmissionID FillerOrderNumberImagingServiceRequest InstitutionAddress "
    "InstitutionName InsurancePlanIdentification IssuerOfPatientID MedicalRecordLocator OtherPatientIDs PatientAddress "
    "PatientBirthDate PatientID PatientTelecomInformation PatientTelephoneNumbers PersonAddress "
    "PersonTelecomInformation PersonTelephoneNumbers PlacerOrderNumberImagingServiceRequest ReferringPhysicianAddress "
    "ReferringPhysicianTelephoneNumbers"
)
_TAGS = frozenset(tag for k in _KEYWORDS.split() if (tag := tag_for_keyword(k)))
_NAME_PARTS = re.compile(rb"[\^=\\ ,;/()]+")
# Words that stand where a name is missing. Hunting for them would remove ordinary words and find nobody.
_NOBODY = frozenset(
    w.encode()
    for w in (
        "anon anonymous anonymized anonymised deidentified unknown unnamed none null nil test phantom patient person "
        f"removed name doctor doe study series image head brain chest body {WORD.lower()}"
    ).split()
)
_LONG_WORD = 6
_CUT = 8


def pattern(header: Dataset) -> re.Pattern[bytes] | None:
    """What finds any identifier of `header` in encoded text, whatever its case; None where it has none.

    Short ones and numbers count only where no letter or digit is next to them; long words also within words, since
    people glue names to other text."""
    words = {w.lower() for w in _values(header)} - _NOBODY
    if not words:
        return None
    inside = [re.escape(w) + rb"[A-Za-z]*" for w in words if len(w) >= _LONG_WORD and not w.isdigit()]
    alone = [re.escape(w) for w in words if len(w) < _LONG_WORD or w.isdigit()]
    parts: list[bytes] = inside + (
        [rb"(?<![0-9A-Za-z])(?:" + b"|".join(sorted(alone)) + rb")(?![0-9A-Za-z])"] if alone else []
    )
    return re.compile(b"|".join(sorted(parts, key=lambda p: (-len(bytes(p)), p))), re.IGNORECASE)


def _values(ds: Dataset) -> Iterator[bytes]:
    for tag in ds.keys():  # noqa: SIM118  # iterating the dataset itself would convert every element
        vr = vr_of(tag)
        if vr == "SQ" and not tag.is_private:
            element = ds[tag]
            for item in element.value if element.VR == "SQ" and element.value else ():
                yield from _values(item)
        elif vr == "PN":
            for word in _NAME_PARTS.split(encoded(ds, tag)):
                yield from (w for w in _forms(word) if len(w) >= 3 and not w.isdigit())
        elif tag in _TAGS:
            for value in encoded(ds, tag).split(b"\\"):
                word = value.strip(b" \0\r\n")
                if len(word) >= (4 if word.isdigit() else 3):
                    yield word


def _forms(name: bytes) -> Iterator[bytes]:
    """How people write one name: whole, in parts, glued together, or cut to fit."""
    yield name
    parts = re.split(rb"[-'._]", name)
    if len(parts) > 1:
        yield from parts
        yield b"".join(parts)
    yield from (p[:_CUT] for p in parts if len(p) > _CUT)


def encoded(ds: Dataset, tag: int) -> bytes:
    """The element's value as the file has it, so that no character set stands between the value and its copies."""
    value = ds.get_item(tag).value
    if isinstance(value, bytes):
        return value.strip(b" \0")
    values = [value] if isinstance(value, str) or not isinstance(value, Iterable) else value
    return "\\".join(str(v) for v in values if v is not None).encode(errors="replace")
