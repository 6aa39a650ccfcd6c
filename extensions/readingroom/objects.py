"""Whole DICOM objects below /data that are no pictures."""

from pathlib import Path

import pydicom

from readingroom.errors import Damaged
from readingroom.files import reading


def read_object(path: Path, dataset: str, only: list[str] | None = None) -> pydicom.Dataset:
    """Read one object, whole, or the attributes `only`, by keyword. Raises AccessEnded, Damaged, NotFound."""
    try:
        with reading(path, dataset):
            return pydicom.dcmread(path, specific_tags=only, stop_before_pixels=only is not None)
    except (pydicom.errors.InvalidDicomError, ValueError, TypeError, EOFError, RecursionError) as error:
        raise undecodable(path, dataset) from error


def undecodable(path: Path, dataset: str) -> Damaged:
    """What to raise for an object that was read and makes no sense."""
    return Damaged(
        f"{path.name} of {dataset} could not be decoded: its content is damaged or in a form that pydicom cannot read; "
        "tell your data steward."
    )
