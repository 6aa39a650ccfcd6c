"""One received object: its data set as it was sent, under a file meta of our own, and whose study it belongs to."""

import io
import warnings
import zlib
from dataclasses import dataclass

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_file_meta_info
from pydicom.tag import BaseTag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from readingroom_hub.deid.part10 import IMPLEMENTATION_UID
from readingroom_hub.errors import BadInput

_PREFIX = bytes(128) + b"DICM"
_SOP_CLASS, _INSTANCE, _STUDY = 0x00080016, 0x00080018, 0x0020000D
_META = 2
# Mostly enough of a data set for everything up to the study's UID. No more of a deflated one is inflated (zip bombs).
_HEAD = 4 << 20


class NotThatObject(BadInput):
    """The data set is another object than the request that carries it says (PS3.4 B.2.3, status A900)."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """A received object. UIDs are the originals: they identify, and are written nowhere in the clear."""

    sop_class: str
    instance: str
    study: str
    """Empty where the data set does not say, or cannot be read."""
    data: bytes
    """A whole file (PS3.10 7.1)."""


def from_data_set(data_set: bytes | memoryview, syntax: str, sop_class: str, instance: str) -> Arrived:
    """What a C-STORE request carries (PS3.7 9.1.1.1). Raises NotThatObject.

    A data set that cannot be read is taken as it is: the sender has done what it could, and it goes to quarantine."""
    named = _named(data_set, UID(syntax))
    for wanted, found in ((sop_class, named.get(_SOP_CLASS)), (instance, named.get(_INSTANCE))):
        if found and found != wanted:
            raise NotThatObject("the data set is another object than its request says: correct the sender")
    return Arrived(sop_class, instance, named.get(_STUDY, ""), _file(data_set, syntax, sop_class, instance))


def from_file(data: bytes) -> Arrived:
    """What a request of PS3.18 10.5 carries: a file. Raises BadInput where it has no file meta that can be read.

    Preamble and file meta are made anew, so that one object is the same whichever way it came."""
    if data[128:132] != b"DICM":
        raise BadInput("not a DICOM file: it lacks the prefix DICM (PS3.10 7.1)")
    stream = io.BytesIO(data)
    stream.seek(len(_PREFIX))
    try:
        with warnings.catch_warnings(), pydicom.config.disable_value_validation():
            warnings.simplefilter("ignore")
            meta = read_dataset(stream, is_implicit_VR=False, is_little_endian=True, stop_when=_behind_meta)
            syntax = _text(meta, 0x00020010)
    except Exception as error:  # a parser of hostile input may raise anything; all of it means the same here
        raise BadInput("its file meta cannot be read (PS3.10 7.1)") from error
    if not syntax:
        raise BadInput("its file meta names no transfer syntax (PS3.10 7.1)")
    data_set = memoryview(data)[stream.tell() :]
    named = _named(data_set, UID(syntax))
    sop_class, instance = named.get(_SOP_CLASS, ""), named.get(_INSTANCE, "")
    if not sop_class or not instance:
        raise BadInput("its data set cannot be read, or has no SOP Class or SOP Instance UID")
    return Arrived(sop_class, instance, named.get(_STUDY, ""), _file(data_set, syntax, sop_class, instance))


def _named(data_set: bytes | memoryview, syntax: UID) -> dict[int, str]:
    """The three UIDs, of those that can be read. Nothing behind the study's UID is looked at."""
    try:
        if syntax == DeflatedExplicitVRLittleEndian:
            return _read(zlib.decompressobj(-zlib.MAX_WBITS).decompress(data_set, _HEAD), syntax)
        found = _read(data_set[:_HEAD], syntax)
        return found if _STUDY in found or len(data_set) <= _HEAD else _read(data_set, syntax)
    except Exception:  # noqa: BLE001  # damaged elements raise anything at all
        return {}


def _read(data_set: bytes | memoryview, syntax: UID) -> dict[int, str]:
    with warnings.catch_warnings(), pydicom.config.disable_value_validation():
        warnings.simplefilter("ignore")  # pydicom's remarks on odd values quote them
        found = read_dataset(
            io.BytesIO(data_set),
            is_implicit_VR=syntax.is_implicit_VR,
            is_little_endian=syntax.is_little_endian,
            stop_when=_behind_study,
            specific_tags=[_SOP_CLASS, _INSTANCE, _STUDY],
        )
        return {tag: text for tag in (_SOP_CLASS, _INSTANCE, _STUDY) if (text := _text(found, tag))}


def _text(found: Dataset, tag: int) -> str:
    return str(found[tag].value or "").strip(" \0") if tag in found else ""


def _behind_study(tag: BaseTag, _vr: str | None, _length: int) -> bool:
    return int(tag) > _STUDY


def _behind_meta(tag: BaseTag, _vr: str | None, _length: int) -> bool:
    return int(tag) >> 16 != _META


def _file(data_set: bytes | memoryview, syntax: str, sop_class: str, instance: str) -> bytes:
    """A file meta without AE titles or private information, whatever the source had (PS3.10 7.1)."""
    buffer = DicomBytesIO()
    with warnings.catch_warnings(), pydicom.config.disable_value_validation():
        warnings.simplefilter("ignore")
        meta = FileMetaDataset()
        meta.FileMetaInformationGroupLength = 0  # pydicom writes what it is
        meta.FileMetaInformationVersion = b"\0\1"
        meta.MediaStorageSOPClassUID = UID(sop_class)
        meta.MediaStorageSOPInstanceUID = UID(instance)
        meta.TransferSyntaxUID = UID(syntax)
        meta.ImplementationClassUID = IMPLEMENTATION_UID
        write_file_meta_info(buffer, meta, enforce_standard=False)
    return b"".join((_PREFIX, buffer.getvalue(), data_set))
