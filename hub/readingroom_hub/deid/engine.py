"""De-identification of one DICOM file: PS3.15 Annex E applied to every element, sequences included."""

import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import BinaryIO

import pydicom
from pydicom.dataset import Dataset

from readingroom_hub.deid import documents, identifiers, part10, refusals, residual
from readingroom_hub.deid.actions import Action
from readingroom_hub.deid.cleaner import NOBODY, Cleaner, Others
from readingroom_hub.deid.elements import Case
from readingroom_hub.deid.faces import cut, outlines, plan, risk
from readingroom_hub.deid.faces.geometry import Plane
from readingroom_hub.deid.faces.plan import NO_FACES, Faces, Series
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
    original: tuple[str, str]
    """Keyword and value of what told the patient apart in the original. It identifies."""
    pixels: Cleaned | None = None
    """What the Clean Pixel Data Option did; None where no text was looked for."""


class Deidentifier:
    """One project's de-identification: `policy`, and the 32 secret bytes that key its pseudonyms, dates and UIDs.

    `others` is what identifies the people of the whole batch: no object may name any of them. `faces` is where to cut
    the faces of its heads (Clean Recognizable Visual Features Option); heads that it does not know are left out."""

    def __init__(self, policy: Policy, secret: bytes, others: Others = NOBODY, faces: Faces = NO_FACES) -> None:
        self._policy = policy
        self._others = others
        self._faces = faces
        self._cleaners: dict[tuple[Identifiers, int | None], Cleaner] = {}
        self._codes = [_code(*c) for c in policy.codes]
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
                done: dict[Action, str] = {}
                if file.missing:
                    done[Action.PAD] = f"Pixel Data cut short: {file.missing} bytes padded"
                file, defaced = self._cut_face(file)
                file, cleaned = self._clean_pixels(file)
                if defaced:
                    done[Action.DEFACE] = cut.METHOD
                return self._run(file, cleaned, done)
            except CannotDeidentify:
                raise
            except (
                Exception
            ) as error:  # damaged elements raise anything at all; the file is left out, the batch goes on
                raise CannotDeidentify(f"an element cannot be read or written ({type(error).__name__})") from error

    def _cut_face(self, file: part10.Part10) -> tuple[part10.Part10, bool]:
        """PS3.15 E.3.2."""
        if Option.CLEAN_FACES not in self._policy.options:
            return file, False
        outlines.check(file, self._faces)
        if not (file.pixels or "PixelData" in file.header) or not risk.to_cut(file.header):
            return file, False
        return cut.cut(file, self._faces.plane(file.header)), True

    def _clean_pixels(self, file: part10.Part10) -> tuple[part10.Part10, Cleaned | None]:
        """PS3.15 E.3.1, before the header loses the words that are looked for."""
        if Option.CLEAN_PIXELS not in self._policy.options or not (file.pixels or "PixelData" in file.header):
            return file, None
        if bits := refusals.overlay_bits(file.header):
            file = clear_overlays(file, bits)
        if not refusals.text_may_be_in(file.header, self._policy):
            return file, None
        return clean(file, self._policy, lambda text: any(True for _ in self._others.find(fold(text))))

    def _run(self, file: part10.Part10, cleaned: Cleaned | None, done: dict[Action, str]) -> Deidentified:
        header = file.header
        self._complete(header)
        keyword, patient = next(
            (k, p) for k in ("PatientID", "PatientName", "StudyInstanceUID") if (p := str(header.get(k) or "").strip())
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
        if done:
            header.DeidentificationMethod = [*self._policy.method, *done.values()]
            case.actions.update(("PixelData", action) for action in done)
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
            original=(keyword, patient),
            pixels=cleaned,
        )

    def _beside(self, file: part10.Part10, words: frozenset[bytes], case: Case) -> bytes | memoryview:
        """Pixel Data without what compressed frames carry beside it; refused where its values spell one of `words`."""
        pixels = file.pixels
        if file.transfer_syntax.is_encapsulated and pixels:
            pixels, count = comments.blank(pixels)
            if count:
                case.actions["PixelData", Action.CLEAN] += count
        batch = self._others.spelt
        own = frozenset(w for w in words if len(w) >= search.SHORTEST)
        if search.spells(pixels, batch) or (not own <= batch and search.spells(pixels, own)):
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
        header.DeidentificationMethodCodeSequence = self._codes
        header.LongitudinalTemporalInformationModified = self._policy.dates


def _code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
    return item


@dataclass(frozen=True, slots=True)
class Surveyed:
    """What one file says before any is de-identified."""

    people: Identifiers = field(default_factory=Identifiers)
    head: Series | None = None
    """Its series, where a face has to be cut from that."""


def survey(stream: BinaryIO, options: frozenset[Option]) -> Surveyed:
    """What identifies people in one file, Pixel Data unread, and whether it may show a face.

    A file that cannot be read is no reason to stop here: it is left out, with its reason, when its turn comes."""
    with warnings.catch_warnings(), pydicom.config.disable_value_validation():
        warnings.simplefilter("ignore")
        try:
            header = part10.header(stream)
            head = plan.wanted(header) if Option.CLEAN_FACES in options else None
            return Surveyed(identifiers.collect(header, options), head)
        except Exception:  # noqa: BLE001  # damaged elements raise anything at all
            return Surveyed()


def find_face(files: Iterable[bytes]) -> Plane | CannotDeidentify:
    """Where to cut the face from the files of one series, or why nobody knows.

    Files that cannot be read are passed over: they are left out themselves."""
    with warnings.catch_warnings(), pydicom.config.disable_value_validation():
        warnings.simplefilter("ignore")
        try:
            from readingroom_hub.deid.faces import look  # SciPy costs half a second: only who looks at heads pays

            return look.find(_read(files))
        except CannotDeidentify as error:
            return error
        except Exception as error:  # noqa: BLE001  # damaged elements raise anything at all
            return CannotDeidentify(f"its images cannot be read ({type(error).__name__})")


def _read(files: Iterable[bytes]) -> Iterator[part10.Part10]:
    for data in files:
        with suppress(CannotDeidentify):
            yield part10.read(data)


def _number(header: Dataset) -> int:
    try:
        return int(str(header.get("InstanceNumber") or 0))
    except ValueError:
        return 0
