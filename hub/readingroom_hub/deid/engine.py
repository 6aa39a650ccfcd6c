"""De-identification of one DICOM file: PS3.15 Annex E applied to every element, sequences included."""

import re
import warnings
from collections import Counter
from dataclasses import dataclass, field

import pydicom
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from readingroom_hub.deid import identifiers, part10, refusals, residual
from readingroom_hub.deid.actions import Action, action, vr_of
from readingroom_hub.deid.dummies import WORD, dummy
from readingroom_hub.deid.part10 import CannotDeidentify
from readingroom_hub.deid.policy import Policy
from readingroom_hub.deid.pseudonyms import Pseudonyms, shift
from readingroom_hub.deid.table import Option, keyword
from readingroom_hub.deid.uids import UIDMap

_LIMITS = {"AE": 16, "CS": 16, "SH": 16, "LO": 64, "PN": 64, "ST": 1024, "LT": 10240, "UC": 1 << 31, "UT": 1 << 31}
_LIMITS |= {"UR": 1 << 31, "UN": 1 << 31}
_Element = DataElement | RawDataElement


@dataclass(frozen=True, slots=True)
class Deidentified:
    """A de-identified file, and what its manifest line needs."""

    data: bytes
    study: str
    series: str
    instance: str
    sop_class: str
    modality: str
    number: int
    actions: Counter[tuple[str, Action]]
    """How often which action was done to which attribute (by keyword)."""


@dataclass(slots=True)
class _Case:
    """What holds for all elements of one file."""

    sop_class: str
    pseudonym: str
    days: int
    identifiers: re.Pattern[bytes] | None
    actions: Counter[tuple[str, Action]] = field(default_factory=Counter)


class Deidentifier:
    """One project's de-identification: `policy`, and the 32 secret bytes that key its pseudonyms, dates and UIDs."""

    def __init__(self, policy: Policy, secret: bytes) -> None:
        self._policy = policy
        self._uids = UIDMap(secret)
        self._pseudonyms = Pseudonyms(secret)

    def __call__(self, data: bytes) -> Deidentified:
        """De-identify a whole file. Pixel Data comes out byte for byte as it went in.

        Raises CannotDeidentify, whose message is free of identifiers, where the result would not be safe or valid."""
        with warnings.catch_warnings(), pydicom.config.disable_value_validation():
            warnings.simplefilter("ignore")  # pydicom's remarks on odd values quote them
            file = part10.read(data)
            try:
                refusals.check(file, self._policy)
                return self._run(file)
            except CannotDeidentify:
                raise
            except (
                Exception
            ) as error:  # damaged elements raise anything at all; the file is left out, the batch goes on
                raise CannotDeidentify(f"an element cannot be read or written ({type(error).__name__})") from error

    def _run(self, file: part10.Part10) -> Deidentified:
        header = file.header
        patient = next(
            p for k in ("PatientID", "PatientName", "StudyInstanceUID") if (p := str(header.get(k) or "").strip())
        )
        case = _Case(
            str(header.SOPClassUID),
            self._pseudonyms.patient(patient),
            self._pseudonyms.days(patient),
            identifiers.pattern(header),
        )
        self._apply(header, 0, case)
        self._mark(header, case)
        header.preamble = bytes(128)
        header.file_meta = part10.file_meta(header, file.transfer_syntax)
        result = part10.write(header, file.pixels)
        residual.check(result[: len(result) - len(file.pixels)], case.identifiers)
        return Deidentified(
            result,
            study=str(header.StudyInstanceUID),
            series=str(header.SeriesInstanceUID),
            instance=str(header.SOPInstanceUID),
            sop_class=case.sop_class,
            modality=str(header.get("Modality") or "OT"),
            number=_number(header),
            actions=case.actions,
        )

    def _apply(self, ds: Dataset, parent: int, case: _Case) -> None:
        for tag in list(ds.keys()):
            todo = action(self._policy.options, case.sop_class, parent, tag)
            element = ds.get_item(tag)
            vr = _vr(tag, element)
            if todo is Action.SHIFT:
                todo = self._shift(ds, tag, vr, case) or action(frozenset(), case.sop_class, parent, tag)
            if todo is Action.KEEP:
                todo = self._keep(ds, parent, tag, vr, case)
            elif todo is Action.REMOVE:
                del ds[tag]
            elif todo is not Action.SHIFT:
                ds[tag] = self._replaced(ds, tag, vr, todo, case)
            if todo is not Action.KEEP:
                case.actions[keyword(tag), todo] += 1

    def _keep(self, ds: Dataset, parent: int, tag: BaseTag, vr: str, case: _Case) -> Action:
        """Go into a sequence; take the patient's own identifiers out of a text."""
        if vr == "SQ":
            element = ds[tag]
            if element.VR != "SQ":
                del ds[tag]  # of unknown VR, and no sequence could be read from it
                return Action.REMOVE
            for item in element.value or ():
                self._apply(item, tag, case)
            return Action.KEEP
        if case.identifiers is None or vr not in _LIMITS:
            return Action.KEEP
        text = identifiers.encoded(ds, tag)
        if not case.identifiers.search(text) or residual.exempt(tag, text, top=not parent):
            return Action.KEEP
        text = b"\\".join(_cleaned(v, _LIMITS[vr], case.identifiers) for v in text.split(b"\\"))
        text += b" " * (len(text) % 2)
        implicit, little = ds.original_encoding
        ds[tag] = RawDataElement(tag, vr, len(text), text, 0, bool(implicit), bool(little))
        return Action.DUMMY

    def _replaced(self, ds: Dataset, tag: BaseTag, vr: str, todo: Action, case: _Case) -> DataElement:
        if todo is Action.PSEUDONYM:
            return DataElement(tag, vr, case.pseudonym)
        if todo is Action.UID:
            return DataElement(tag, "UI", [self._uids(u) for u in _texts(ds, tag)] or None)
        if todo is Action.EMPTY:
            return DataElement(tag, vr, None if vr != "SQ" else [])
        if vr != "SQ":
            return dummy(tag, vr, None, self._uids)
        source = ds[tag]
        return dummy(tag, vr, source.value if source.VR == "SQ" else None, self._uids)

    def _shift(self, ds: Dataset, tag: BaseTag, vr: str, case: _Case) -> Action | None:
        """Move a date back; a time of day stays. None where the value is no date: then the basic profile decides."""
        if vr == "TM":
            return Action.SHIFT
        texts = _texts(ds, tag) if vr in {"DA", "DT"} else []
        moved = [shift(t.strip(), case.days) for t in texts]
        if not moved or None in moved:
            return None
        ds[tag] = DataElement(tag, vr, moved)
        return Action.SHIFT

    def _mark(self, header: Dataset, case: _Case) -> None:
        """PS3.15 E.1.1 items 5 to 7, and (0028,0303) of PS3.3 C.12.1.1."""
        header.PatientID = header.PatientName = case.pseudonym
        header.PatientIdentityRemoved = "YES"
        header.DeidentificationMethod = self._policy.method
        header.DeidentificationMethodCodeSequence = [_code(*c) for c in self._policy.codes]
        shifted = Option.MODIFIED_DATES in self._policy.options
        header.LongitudinalTemporalInformationModified = "MODIFIED" if shifted else "REMOVED"


def _code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
    return item


def _vr(tag: BaseTag, element: _Element) -> str:
    vr = element.VR
    return vr_of(tag) or "UN" if vr in {None, "UN"} else str(vr)


def _texts(ds: Dataset, tag: BaseTag) -> list[str]:
    """The values of an ASCII element, without padding."""
    value = ds.get_item(tag).value
    if isinstance(value, bytes):
        value = value.decode("ascii", "surrogateescape").split("\\")
    values = [value] if isinstance(value, str) else list(value or ())
    return [t for v in values if (t := str(v).strip(" \0"))]


def _cleaned(value: bytes, limit: int, found: re.Pattern[bytes]) -> bytes:
    text = found.sub(WORD.encode(), value)
    return text if len(text) <= limit else WORD.encode()


def _number(header: Dataset) -> int:
    try:
        return int(str(header.get("InstanceNumber") or 0))
    except ValueError:
        return 0
