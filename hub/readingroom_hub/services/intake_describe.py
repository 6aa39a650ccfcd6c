"""An instance's line in the manifest, from its de-identified header only: what is listed is what is stored."""

import hashlib
import warnings

import pydicom

from readingroom_hub.deid.engine import Deidentified
from readingroom_hub.model.dataset import Instance
from readingroom_hub.model.ids import UID


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
        )


def _text(header: pydicom.Dataset, keyword: str) -> str:
    """One line of text; undecodable bytes are replaced, since the manifest is UTF-8."""
    try:
        value = str(header.get(keyword) or "")
    except (ValueError, TypeError, NotImplementedError):
        return ""
    return " ".join(value.encode(errors="replace").decode().split())


def _whole(header: pydicom.Dataset, keyword: str) -> int:
    try:
        return max(0, int(header.get(keyword) or 0))
    except (ValueError, TypeError):
        return 0


def _spacing(header: pydicom.Dataset) -> str:
    """Of the object, or of all its frames (Pixel Measures Sequence, PS3.3 C.7.6.16.2.1)."""
    try:
        value = header.get("PixelSpacing")
        if value is None:
            value = header.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing
        row, column = (float(v) for v in value)
    except (AttributeError, IndexError, ValueError, TypeError):
        return ""
    return f"{row:.6g}\\{column:.6g}"
