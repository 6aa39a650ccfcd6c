"""DICOM files below /data, read with errors that say in a sentence what happened."""

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from readingroom import settings
from readingroom.errors import AccessEnded, BadInput, Damaged, NotFound, NotNow, ReadingRoomError

DATASET_FORMAT = "readingroom-dataset/1"


_LATER = {
    errno.EMFILE: "this session holds as many files open as it may. Close some, for example with `with`.",
    errno.EDQUOT: "this session has read as much within a minute as it may. Go on in a minute; or ask the operator.",
    errno.ETIMEDOUT: "its store, the catalogue or the audit record does not answer. "
    "Try again in a minute; see /data/README.txt.",
    errno.EAGAIN: "the catalogue or the audit record does not answer. Try again in some seconds; see /data/README.txt.",
}


@contextmanager
def reading(path: Path, dataset: str) -> Iterator[None]:
    """Turn an OSError on `path` into AccessEnded, Damaged, NotFound or NotNow with a plain sentence."""
    try:
        yield
    except OSError as error:
        raise explained(error, path, dataset) from error


def dataset_at(path: Path) -> str:
    """The name of the dataset that a file belongs to; its folder's where it lies elsewhere."""
    try:
        return path.absolute().relative_to(settings.data_root().absolute()).parts[0]
    except (ValueError, IndexError):
        return path.absolute().parent.name


def check_readable(folder: Path, dataset: str) -> None:
    """Raise AccessEnded where `folder` may not be read any more, NotFound where it is gone. Reads no file."""
    with reading(folder, dataset):
        # Opening a folder is asked of the mount each time; its attributes may come from the kernel's memory.
        os.close(os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))


def explained(error: OSError, path: Path, dataset: str) -> ReadingRoomError:
    """What an OSError on `path` means for who reads it."""
    if error.errno in {errno.EACCES, errno.EPERM}:
        return AccessEnded(
            f"Access to {dataset} was withdrawn or has ended; see /data/README.txt; ask your data steward."
        )
    if error.errno in {errno.ENOENT, errno.ENOTDIR}:
        return NotFound(f"{path} is not there. Look at readingroom.datasets() for what this session may read.")
    if error.errno == errno.ENOTCONN:
        return Damaged(
            "/data is being mounted again. Wait some seconds and try again; then stop and start your server."
        )
    if error.errno in _LATER:
        return NotNow(f"{path.name} of {dataset} was not given out: {_LATER[error.errno]}")
    return Damaged(
        f"{path.name} of {dataset} could not be read: it is damaged, or its key cannot be had; "
        "see /data/README.txt; tell your data steward."
    )


@dataclass(frozen=True, slots=True)
class DatasetCard:
    """What `/data/<dataset>/dataset.json` says: name, version (manifest digest), and counts."""

    name: str
    version: str
    label: str
    instances: int
    series: int
    studies: int
    size: int

    @classmethod
    def read(cls, root: Path, name: str) -> Self:
        """Read the card of dataset `name` below `root`.

        Raises NotFound, AccessEnded, Damaged, or BadInput where its format is another."""
        path = root / name / "dataset.json"
        with reading(path, name):
            text = path.read_text("utf-8")
        try:
            data: dict[str, Any] = json.loads(text)
            if data["format"] != DATASET_FORMAT:
                raise BadInput(f"{path} is of the format {data['format']!r}, this package reads {DATASET_FORMAT!r}")
            return cls(
                name=data["dataset"],
                version=data["version"],
                label=data["label"],
                instances=data["instances"],
                series=data["series"],
                studies=data["studies"],
                size=data["bytes"],
            )
        except (ValueError, KeyError, TypeError) as error:
            raise BadInput(f"{path} could not be understood: {error!r}") from error


def folders(path: Path, dataset: str) -> list[Path]:
    """The folders in `path`, sorted by name."""
    with reading(path, dataset):
        return sorted(entry for entry in path.iterdir() if entry.is_dir())


def dicom_files(path: Path, dataset: str) -> list[Path]:
    """The `.dcm` files in `path`, sorted by name."""
    with reading(path, dataset):
        return sorted(entry for entry in path.iterdir() if entry.suffix == ".dcm")
