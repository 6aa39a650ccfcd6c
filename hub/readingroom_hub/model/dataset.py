"""Datasets and their immutable versions. `Dataset` here is never pydicom's: `import pydicom` and qualify."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import lru_cache
from sys import intern
from typing import Any

from readingroom_hub.errors import IntegrityError
from readingroom_hub.model.ids import UID, DatasetName, KeyId, ProjectId, VersionDigest

MANIFEST_FORMAT = "readingroom-manifest/1"


@dataclass(frozen=True, slots=True, order=True)
class Instance:
    """One stored SOP Instance of a dataset version, described by its de-identified plaintext."""

    study: UID
    series: UID
    instance: UID
    sop_class: UID
    modality: str
    number: int
    """InstanceNumber, or 0 where the object has none."""
    size: int
    """Bytes of the plaintext file."""
    sha256: str
    """Of the plaintext file, hexadecimal."""
    patient: str = ""
    """Patient ID: the pseudonym."""
    study_date: str = ""
    """YYYYMMDD, shifted."""
    description: str = ""
    """Series Description."""
    body_part: str = ""
    """Body Part Examined."""
    rows: int = 0
    columns: int = 0
    frames: int = 0
    """Pictures in it; 0, like rows and columns, where it is no image."""
    spacing: str = ""
    """Pixel Spacing as DICOM writes it: row\\column in mm."""
    thickness: str = ""
    """Slice Thickness in mm."""
    kernel: str = ""
    """Convolution Kernel; several are joined by a backslash."""
    sex: str = ""
    """Patient's Sex: M, F or O."""
    age: str = ""
    """Ten-year band of Patient's Age: 0-9 and so on, 90+."""
    model: str = ""
    """Manufacturer's Model Name."""

    @property
    def object_name(self) -> str:
        """The object's name below its data key's folder: spread over 256 folders by the SOP Instance UID's hash."""
        return _object_name(self.instance)


@lru_cache(maxsize=1024)  # a read asks for its own and for those of the next instances, which ask again
def _object_name(instance: UID) -> str:
    h = hashlib.sha256(instance.encode()).hexdigest()
    return f"{h[:2]}/{h}"


_OMITTED = ("thickness", "kernel", "sex", "age", "model")
"""Not written where they are empty: versions that were published before there were such fields keep their bytes."""


def fields_of(instance: Instance) -> dict[str, Any]:
    """An instance's fields as its line in the manifest has them; `instance_of` reads them back."""
    return {name: value for name, value in asdict(instance).items() if value or name not in _OMITTED}


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a dataset version holds. Its canonical bytes name the version, so they hold nothing random:
    the same input, policy and keys give the same manifest, whatever data key encrypts the objects."""

    project: ProjectId
    dataset: DatasetName
    profile: str
    """The de-identification in words and edition, for example `PS3.15 2026d Basic Application Level ...`."""
    instances: tuple[Instance, ...]
    """Sorted by study, series, instance."""

    def to_bytes(self) -> bytes:
        """One JSON line of head, then one line an instance, keys sorted: readable by anything, hashed as it is."""
        return b"".join(self._lines())

    def _lines(self) -> Iterator[bytes]:
        head: dict[str, Any] = {
            "format": MANIFEST_FORMAT,
            "project": self.project,
            "dataset": self.dataset,
            "profile": self.profile,
            "instances": len(self.instances),
        }
        for row in (head, *(fields_of(i) for i in sorted(self.instances))):
            yield json.dumps(row, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"

    def digest(self) -> VersionDigest:
        """The dataset version's name."""
        h = hashlib.sha256()
        for line in self._lines():
            h.update(line)
        return VersionDigest("sha256:" + h.hexdigest())

    @classmethod
    def from_bytes(cls, data: bytes, expected: VersionDigest) -> "Manifest":
        """Parse, and refuse anything whose digest is not `expected`.

        Raises IntegrityError where digest, format or instance count differ."""
        found = "sha256:" + hashlib.sha256(data).hexdigest()
        if found != expected:
            raise IntegrityError(f"manifest of {expected} has the digest {found}: it was changed or swapped")
        head, *rows = (json.loads(line) for line in data.splitlines())
        if head["format"] != MANIFEST_FORMAT or head["instances"] != len(rows):
            raise IntegrityError(f"manifest of {expected} is of format {head['format']!r} with {len(rows)} instances")
        return cls(
            ProjectId(head["project"]),
            DatasetName(head["dataset"]),
            head["profile"],
            tuple(instance_of(r) for r in rows),
        )


_uid = lru_cache(4096)(UID)


def instance_of(row: dict[str, Any]) -> Instance:
    """An instance from its fields, as JSON gives them.

    They are only ever appended: an older manifest lacks the later ones. What repeats is kept once in memory."""
    for name in ("study", "series", "sop_class"):
        row[name] = _uid(row[name])
    for name in ("modality", "patient", "study_date", "description", "body_part", "spacing", *_OMITTED):
        if name in row:
            row[name] = intern(row[name])
    row["instance"] = UID(row["instance"])
    return Instance(**row)


def manifest_of(project: ProjectId, dataset: DatasetName, profile: str, instances: Iterable[Instance]) -> Manifest:
    """A manifest with its instances in their one order."""
    return Manifest(project, dataset, profile, tuple(sorted(instances)))


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """A data key under a key-encrypting key (NIST SP 800-38F)."""

    id: KeyId
    kek: str
    wrapped: bytes


@dataclass(frozen=True, slots=True)
class DatasetVersion:
    """A published version, as the catalogue lists it. The manifest itself is an encrypted object."""

    digest: VersionDigest
    project: ProjectId
    """The project for which it was de-identified; grants may give it to others."""
    dataset: DatasetName
    key: KeyId
    instances: int
    series: int
    studies: int
    size: int
    """Bytes of plaintext."""
    published_at: datetime
    card: str
    """JSON: edition, options, counts of what was changed, what was left out and why."""

    @property
    def label(self) -> str:
        """NAME@VERSION, as people write it."""
        return f"{self.dataset}@{self.digest.short}"
