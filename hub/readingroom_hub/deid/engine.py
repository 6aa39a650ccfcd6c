"""De-identification of one DICOM file: PS3.15 Annex E applied to every element, sequences included."""

import warnings
from collections import Counter
from dataclasses import dataclass
from typing import BinaryIO

import pydicom
from pydicom.dataset import Dataset

from readingroom_hub.deid import documents, identifiers, part10, refusals, residual
from readingroom_hub.deid.actions import Action
from readingroom_hub.deid.cleaner import NOBODY, Cleaner, Others
from readingroom_hub.deid.elements import Case
from readingroom_hub.deid.folding import fold
from readingroom_hub.deid.identifiers import Identifiers
from readingroom_hub.deid.part10 import CannotDeidentify
from readingroom_hub.deid.pixels import comments, search
from readingroom_hub.deid.pixels.clean import Cleaned, clean, clear_overlays
from readingroom_hub.deid.policy import Policy
from readingroom_hub.deid.pseudonyms import Pseudonyms
from readingroom_hub.deid.table import Option
from readingroom_hub.deid.uids import UIDMap

_CLEANERS = 64


@dataclass(frozen=True, slots=True)
class Deidentified:
    """A de-identified file, and what its manifest line needs."""

    data: bytes
    header: Dataset
    """What was encoded into `data`, Pixel Data apart."""
    study: str
    series: str
    instance: str
    sop_class: str
    modality: str
    number: int
    actions: Counter[tuple[str, Action]]
    """How often which action was done to which attribute (by keyword)."""
    samples: dict[tuple[str, Action], str]
    """What an attribute says now (`elements.Case.samples`)."""
    pixels: Cleaned | None = None
    """What the Clean Pixel Data Option did; None where no text was looked for."""


class Deidentifier:
    """One project's de-identification: `policy`, and the 32 secret bytes that key its pseudonyms, dates and UIDs.

    `others` is what identifies the people of the whole batch: no object may name any of them."""

    def __init__(self, policy: Policy, secret: bytes, others: Others = NOBODY) -> None:
        self._policy = policy
        self._others = others
        self._cleaners: dict[tuple[Identifiers, int | None], Cleaner] = {}
        self._uids = UIDMap(secret)
        self._pseudonyms = Pseudonyms(secret)

    def __call__(self, data: bytes) -> Deidentified:
        """De-identify a whole file. Pixel Data comes out byte for byte as it went in, but for text that is masked
        and what compressed frames carry beside their pixels (`pixels.comments`).

        Raises CannotDeidentify, whose message is free of identifiers, where the result would not be safe or valid."""
        with warnings.catch_warnings(), pydicom.config.disable_value_validation():
            warnings.simplefilter("ignore")  # pydicom's remarks on odd values quote them
            file = part10.read(data)
            try:
                refusals.check(file, self._policy)
                missing = file.missing
                file, cleaned = self._clean_pixels(file)
                return self._run(file, cleaned, missing)
            except CannotDeidentify:
                raise
            except (
                Exception
            ) as error:  # damaged elements raise anything at all; the file is left out, the batch goes on
                raise CannotDeidentify(f"an element cannot be read or written ({type(error).__name__})") from error

    def _clean_pixels(self, file: part10.Part10) -> tuple[part10.Part10, Cleaned | None]:
        """PS3.15 E.3.1, before the header loses the words that are looked for."""
        if Option.CLEAN_PIXELS not in self._policy.options or not (file.pixels or "PixelData" in file.header):
            return file, None
        if bits := refusals.overlay_bits(file.header):
            file = clear_overlays(file, bits)
        if not refusals.text_may_be_in(file.header, self._policy):
            return file, None
        return clean(file, self._policy, lambda text: any(True for _ in self._others.find(fold(text))))

    def _run(self, file: part10.Part10, cleaned: Cleaned | None, missing: int) -> Deidentified:
        header = file.header
        self._complete(header)
        patient = next(
            p for k in ("PatientID", "PatientName", "StudyInstanceUID") if (p := str(header.get(k) or "").strip())
        )
        own = identifiers.collect(header, self._policy.options)
        words = residual.words(header, own)
        raw = residual.pattern(words, own)
        days = self._pseudonyms.days(patient)
        case = Case(
            self._policy,
            str(header.SOPClassUID),
            self._pseudonyms.patient(patient),
            days,
            self._cleaner(own, days if Option.MODIFIED_DATES in self._policy.options else None),
            self._uids,
        )
        case.apply(header)
        documents.blank(header)
        self._mark(header, case.pseudonym)
        if missing:
            header.DeidentificationMethod = [*self._policy.method, f"Pixel Data cut short: {missing} bytes padded"]
            case.actions["PixelData", Action.PAD] += 1
        header.preamble = bytes(128)
        header.file_meta = part10.file_meta(header, file.transfer_syntax)
        pixels = self._beside(file, words | residual.numbers(own), case)
        result = part10.write(header, pixels)
        residual.check(result[: len(result) - len(pixels)], raw, self._others, self._policy.options)
        return Deidentified(
            result,
            header,
            study=str(header.StudyInstanceUID),
            series=str(header.SeriesInstanceUID),
            instance=str(header.SOPInstanceUID),
            sop_class=case.sop_class,
            modality=str(header.get("Modality") or "OT"),
            number=_number(header),
            actions=case.actions,
            samples=case.samples,
            pixels=cleaned,
        )

    def _beside(self, file: part10.Part10, words: frozenset[bytes], case: Case) -> bytes | memoryview:
        """Pixel Data without what compressed frames carry beside it; refused where its values spell one of `words`."""
        pixels = file.pixels
        if file.transfer_syntax.is_encapsulated and pixels:
            pixels, count = comments.blank(pixels)
            if count:
                case.actions["PixelData", Action.CLEAN] += count
        if search.spells(pixels, words):
            raise CannotDeidentify("a name or number of its patient stands as text among the values of its Pixel Data")
        return pixels

    def _complete(self, header: Dataset) -> None:
        """Give an object without study or series (type 1, PS3.3 C.7.2.1, C.7.3.1) ones of its own."""
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID"):
            if not str(header.get(keyword) or "").strip(" \0"):
                setattr(header, keyword, self._uids(f"{keyword} of {header.SOPInstanceUID}"))

    def _cleaner(self, own: Identifiers, days: int | None) -> Cleaner:
        """The cleaner for one patient's objects, kept for the next ones: the texts of a series are mostly the same."""
        key = own, days
        cleaner = self._cleaners.get(key)
        if cleaner is None:
            if len(self._cleaners) >= _CLEANERS:
                self._cleaners.clear()
            cleaner = self._cleaners[key] = Cleaner(own, self._others, self._uids, days)
        return cleaner

    def _mark(self, header: Dataset, pseudonym: str) -> None:
        """PS3.15 E.1.1 items 5 to 7, and (0028,0303) of PS3.3 C.12.1.1."""
        header.PatientID = header.PatientName = pseudonym
        header.PatientIdentityRemoved = "YES"
        header.DeidentificationMethod = self._policy.method
        header.DeidentificationMethodCodeSequence = [_code(*c) for c in self._policy.codes]
        header.LongitudinalTemporalInformationModified = self._policy.dates


def _code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
    return item


def survey(stream: BinaryIO, options: frozenset[Option]) -> Identifiers:
    """What identifies people in one file, Pixel Data unread; nothing where it cannot be read.

    A file that cannot be read is no reason to stop here: it is left out, with its reason, when its turn comes."""
    with warnings.catch_warnings(), pydicom.config.disable_value_validation():
        warnings.simplefilter("ignore")
        try:
            return identifiers.collect(part10.header(stream), options)
        except Exception:  # noqa: BLE001  # damaged elements raise anything at all
            return Identifiers()


def _number(header: Dataset) -> int:
    try:
        return int(str(header.get("InstanceNumber") or 0))
    except ValueError:
        return 0
