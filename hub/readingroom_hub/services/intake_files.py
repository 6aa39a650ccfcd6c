"""Which files an ingest takes: every regular file of a folder and of the zip archives in it, in one order, no link."""

import os
import re
import zipfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from stat import S_IFMT, S_ISREG
from typing import BinaryIO, Protocol

from readingroom_hub.errors import BadInput

# What stands between an archive's path and that of a file in it.
_MEMBER = re.compile(r"(?<=\.zip)!/", re.IGNORECASE)
_MOST_MEMBERS = 200_000
_LARGEST = 4 << 30
# DEFLATE reaches about 1000:1 (RFC 1951); images reach 20:1 at most, and a little more where they are empty.
_STEEPEST = 200
_SMALL = 1 << 20
# A header is read in a thousand small pieces, and mostly fits.
_BUFFER = 1 << 16


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A file that is not in the version, and why. The path is for the steward's eyes only: it may name a patient."""

    path: str
    reason: str


class Source(Protocol):
    """Where files come from that are in no folder. Goes to worker processes, so it can be pickled."""

    def opened(self, name: str, /) -> AbstractContextManager[BinaryIO]:
        """A file for reading, from its start, seekable. Raises OSError."""
        ...


def find(source: Path) -> tuple[list[str], list[LeftOut]]:
    """Relative paths of files, and what is no regular file.

    Raises BadInput where `source` is neither a readable folder nor a zip archive."""
    if source.is_file() and _is_archive(source.name):
        entries = [(source.name, source.stat())]
    elif source.is_dir():
        entries = sorted(_walk(source, ""))
    else:
        raise BadInput(f"{source} is not a folder: give the folder (or the .zip) that holds the DICOM files")
    files: list[str] = []
    left_out: list[LeftOut] = []
    for relative, entry in entries:
        if not S_ISREG(entry.st_mode):
            left_out.append(LeftOut(relative, "a link or special file: only regular files are taken in"))
        elif _is_archive(relative):
            _look_into(folder_of(source), relative, files, left_out)
        else:
            files.append(relative)
    return files, left_out


def folder_of(source: Path) -> Path:
    """The folder that paths found in `source` are relative to."""
    return source.parent if source.is_file() else source


@contextmanager
def opened(source: Path | Source, relative: str) -> Iterator[BinaryIO]:
    """A file, or a file in an archive, for reading. Raises OSError, also for what an archive gets wrong.

    A link that has taken the place of a file since is not followed."""
    if not isinstance(source, Path):
        with source.opened(relative) as file:
            yield file
        return
    path, *member = _MEMBER.split(relative, maxsplit=1)
    fd = os.open(source / path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    with open(fd, "rb", _BUFFER) as file:  # noqa: PTH123  # takes over the descriptor
        if not member:
            yield file
            return
        try:
            with zipfile.ZipFile(file) as zipped, zipped.open(member[0]) as inner:
                yield inner  # type: ignore[misc]  # seeks and reads like a file
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, KeyError, EOFError, ValueError) as error:
            raise OSError(None, "its archive is damaged") from error


def read(source: Path | Source, relative: str) -> bytes:
    """A file's bytes. Raises OSError."""
    with opened(source, relative) as file:
        return file.read()


def fingerprint(source: Path, relative: str) -> str:
    """What changes when a found file, or the archive it is in, is written anew; empty where it is gone."""
    try:
        status = (folder_of(source) / _MEMBER.split(relative, maxsplit=1)[0]).lstat()
    except OSError:
        return ""
    return f"{status.st_ino} {status.st_size} {status.st_mtime_ns}"


def _is_archive(name: str) -> bool:
    return name.lower().endswith(".zip")


def _look_into(folder: Path, relative: str, files: list[str], left_out: list[LeftOut]) -> None:
    try:
        with zipfile.ZipFile(folder / relative) as zipped:
            members = [m for m in zipped.infolist() if not m.is_dir()]
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError) as error:
        left_out.append(LeftOut(relative, f"a zip archive that cannot be read ({type(error).__name__})"))
        return
    if len(members) > _MOST_MEMBERS:
        left_out.append(LeftOut(relative, f"a zip archive of more than {_MOST_MEMBERS} files: split it"))
        return
    seen: set[str] = set()
    for member in sorted(members, key=lambda m: m.filename):
        name = f"{relative}!/{member.filename}"
        reason = _trick(member) or ("a second file of the same name" if member.filename in seen else "")
        seen.add(member.filename)
        if reason:
            left_out.append(LeftOut(name, f"in a zip archive: {reason}"))
        else:
            files.append(name)


def _trick(member: zipfile.ZipInfo) -> str:
    """Why a member is not taken; empty where nothing is wrong with it. Nothing is ever written by a member's name."""
    path = PurePosixPath(member.filename)
    kind = S_IFMT(member.external_attr >> 16)
    steep = member.file_size > max(_SMALL, _STEEPEST * member.compress_size)
    tricks = (
        (path.is_absolute() or ".." in path.parts or "\\" in member.filename, "its name leads out of the archive"),
        (kind and not S_ISREG(kind), "a link or special file"),
        (member.flag_bits & 1, "it is encrypted: unpack it with its password first"),
        (_is_archive(member.filename), "an archive within an archive: unpack it first"),
        (member.file_size > _LARGEST, "it is larger than 4 GiB"),
        (steep, "it would grow more than two hundredfold (a zip bomb)"),
    )
    return next((reason for found, reason in tricks if found), "")


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
