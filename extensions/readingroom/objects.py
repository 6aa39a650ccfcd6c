"""DICOM objects below /data, read whole or in part, with errors that say in a sentence what happened."""

import struct
from pathlib import Path

import pydicom

from readingroom.errors import BadInput, Damaged
from readingroom.files import reading

UNREADABLE: tuple[type[Exception], ...] = (
    pydicom.errors.InvalidDicomError, pydicom.errors.BytesLengthException, struct.error, ArithmeticError,
    AttributeError, EOFError, LookupError, OSError, RuntimeError, TypeError, ValueError,
)  # fmt: skip
"""What pydicom, NumPy and highdicom raise for content that makes no sense, when it is read or when it is first used."""


def read_object(path: Path, dataset: str, only: list[str] | None = None, *, pixels: bool = True) -> pydicom.Dataset:
    """Read one object, whole, or the attributes `only`, by keyword; without `pixels`, what comes before them.

    Raises AccessEnded, Damaged, NotFound, NotNow."""
    try:
        return _read(path, dataset, only, pixels)
    except UNREADABLE as error:
        raise undecodable(path, dataset) from error


def object_given(path: Path, dataset: str, only: list[str] | None = None) -> pydicom.Dataset:
    """Read a file that its user names. Raises BadInput where it is no DICOM file, or a damaged one; AccessEnded,
    Damaged, NotFound, NotNow."""
    try:
        return _read(path, dataset, only, True)
    except UNREADABLE as error:
        raise BadInput(f"{path.name} is no DICOM file, or a damaged one.") from error


def _read(path: Path, dataset: str, only: list[str] | None, pixels: bool) -> pydicom.Dataset:
    with reading(path, dataset):
        return pydicom.dcmread(path, specific_tags=only, stop_before_pixels=only is not None or not pixels)


def class_of(path: Path, dataset: str) -> str:
    """The SOP Class UID of a file that its user names. Raises as `object_given` does."""
    found = object_given(path, dataset, ["SOPClassUID"])
    try:
        return str(found.get("SOPClassUID"))
    except UNREADABLE as error:
        raise BadInput(f"{path.name} is no DICOM file, or a damaged one.") from error


def undecodable(path: Path, dataset: str) -> Damaged:
    """What to raise for an object that was read and makes no sense."""
    return Damaged(
        f"{path.name} of {dataset} could not be decoded: its content is damaged or in a form that pydicom cannot read; "
        "tell your data steward."
    )
