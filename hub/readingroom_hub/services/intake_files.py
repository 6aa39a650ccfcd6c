"""Which files an ingest takes from a folder: every regular file below it, in one order, no link followed."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG

from readingroom_hub.errors import BadInput


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A file that is not in the version, and why. The path is for the steward's eyes only: it may name a patient."""

    path: str
    reason: str


def find(source: Path) -> tuple[list[str], list[LeftOut]]:
    """Relative paths of files, and what is no regular file. Raises BadInput where `source` is no readable folder."""
    if not source.is_dir():
        raise BadInput(f"{source} is not a folder: give the folder that holds the DICOM files")
    files: list[str] = []
    left_out: list[LeftOut] = []
    for relative, entry in sorted(_walk(source, "")):
        if S_ISREG(entry.st_mode):
            files.append(relative)
        else:
            left_out.append(LeftOut(relative, "a link or special file: only regular files are taken in"))
    return files, left_out


def read(source: Path, relative: str) -> bytes:
    """A file's bytes. A link that has taken its place since is not followed: OSError."""
    fd = os.open(source / relative, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    with open(fd, "rb", buffering=0) as file:  # noqa: PTH123  # takes over the descriptor
        return file.read()


def _walk(folder: Path, prefix: str) -> Iterator[tuple[str, os.stat_result]]:
    try:
        with os.scandir(folder) as entries:
            for entry in list(entries):
                if entry.is_dir(follow_symlinks=False):
                    yield from _walk(Path(entry.path), f"{prefix}{entry.name}/")
                else:
                    yield prefix + entry.name, entry.stat(follow_symlinks=False)
    except OSError as error:
        raise BadInput(f"{folder} cannot be read: {error.strerror}") from error
