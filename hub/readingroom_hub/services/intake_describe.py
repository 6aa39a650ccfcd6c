"""An instance's line in the manifest, from its de-identified header only: what is listed is what is stored."""

import hashlib
import re
import warnings
from math import isfinite
from typing import Any

import pydicom

from readingroom_hub.deid.engine import Deidentified
from readingroom_hub.model.dataset import Instance
from readingroom_hub.model.ids import UID

_PER_YEAR = {"D": 365, "W": 52, "M": 12, "Y": 1}


def describe(done: Deidentified, *, digest: bool = True) -> Instance:
    """The line of one de-identified file; its digest is empty where nobody is to compare it.

    A value that cannot be read is left empty: it is no reason to refuse."""
    with warnings.catch_warnings(), pydicom.config.disable_value_validation():
        warnings.simplefilter("ignore")  # pydicom's remarks on odd values quote them
        header = done.header
        rows, columns = _whole(header, "Rows"), _whole(header, "Columns")
        return Instance(
            study=UID(done.study),
            series=UID(done.series),
            instance=UID(done.instance),
            sop_class=UID(done.sop_class),
            modality=done.modality,
            number=done.number,
            size=len(done.data),
            sha256=hashlib.sha256(done.data).hexdigest() if digest else "",
            patient=_text(header, "PatientID"),
            study_date=_text(header, "StudyDate"),
            description=_text(header, "SeriesDescription"),
            body_part=_text(header, "BodyPartExamined"),
            rows=rows,
            columns=columns,
            frames=(_whole(header, "NumberOfFrames") or 1) if rows and columns else 0,
            spacing=_spacing(header),
            thickness=_thickness(header),
            kernel=_kernel(header),
            sex=_sex(_text(header, "PatientSex")),
            age=age_band(_text(header, "PatientAge")),
            model=_text(header, "ManufacturerModelName"),
        )


def _text(header: pydicom.Dataset, keyword: str) -> str:
    """One line of text; undecodable bytes are replaced, since the manifest is UTF-8."""
    try:
        value = str(header.get(keyword) or "")
    except (ValueError, TypeError, NotImplementedError):
        return ""
    return _line(value)


def _line(value: str) -> str:
    return " ".join(value.encode(errors="replace").decode().split())


def _whole(header: pydicom.Dataset, keyword: str) -> int:
    try:
        return max(0, int(header.get(keyword) or 0))
    except (ValueError, TypeError):
        return 0


def _sex(value: str) -> str:
    return value if value in {"M", "F", "O"} else ""


def age_band(age: str) -> str:
    """The band of ten years that a Patient's Age (VR AS: 045Y, 018M, 003W, 002D) lies in; empty where it is none.

    90 and more is one band, as 45 CFR 164.514(b)(2)(i)(C) has it."""
    found = re.fullmatch(r"(\d{3})([DWMY])", age)
    if not found:
        return ""
    decade = int(found[1]) // _PER_YEAR[found[2]] // 10
    return "90+" if decade >= 9 else f"{decade * 10}-{decade * 10 + 9}"


def _group(header: pydicom.Dataset, keyword: str, sequence: str, item: str) -> Any:
    """Of the object, or of all its frames (Shared Functional Groups, PS3.3 C.7.6.16)."""
    value = header.get(keyword)
    if value is None:
        value = header.SharedFunctionalGroupsSequence[0][sequence][0][item].value
    return value


def _spacing(header: pydicom.Dataset) -> str:
    try:
        row, column = (float(v) for v in _group(header, "PixelSpacing", "PixelMeasuresSequence", "PixelSpacing"))
    except (AttributeError, IndexError, KeyError, ValueError, TypeError):
        return ""
    return f"{row:.6g}\\{column:.6g}"


def _thickness(header: pydicom.Dataset) -> str:
    try:
        value = float(_group(header, "SliceThickness", "PixelMeasuresSequence", "SliceThickness"))
    except (AttributeError, IndexError, KeyError, ValueError, TypeError):
        return ""
    return f"{value:.6g}" if isfinite(value) and value > 0 else ""


def _kernel(header: pydicom.Dataset) -> str:
    try:
        value = _group(header, "ConvolutionKernel", "CTReconstructionSequence", "ConvolutionKernel")
    except (AttributeError, IndexError, KeyError, ValueError, TypeError, NotImplementedError):
        return ""
    parts = [value] if isinstance(value, str) else list(value or ())
    return "\\".join(_line(str(part)) for part in parts)
