"""Which objects may show a face: what the Clean Recognizable Visual Features Option has to look at (PS3.15 E.3.2)."""

import re

import pydicom
from pydicom.uid import VLWholeSlideMicroscopyImageStorage

from readingroom_hub.deid.part10 import CannotDeidentify

_VOLUMES = frozenset({"CT", "MR", "PT"})
_PHOTOGRAPHS = frozenset({"XC", "GM"})
_HEAD = re.compile(
    r"head|brain|skull|cranial|cranium|face|facial|orbit|sinus|\bear\b|\beyes?\b|jaw|mandib|maxill|dental|teeth|tooth|"
    r"neck|cerebr|neuro|pituitar|hypophys|sella|temporal|tmj|iac\b|whole.?body|kopf|schaedel|gesicht|tete|crane|cabeza|"
    r"mprage|spgr.*t1|dti\b|bold\b",
    re.IGNORECASE,
)
_DESCRIPTIONS = (
    *("BodyPartExamined", "StudyDescription", "SeriesDescription", "ProtocolName"),
    "PerformedProcedureStepDescription",
)
# Pictures of a volume from outside, or through it: their pixels lie on no plane in the patient.
_RENDERED = re.compile(
    r"\bMIP\b|M(AX|IN)_?IP|PROJECTION|VOLREN|VOLUME_RENDER|SURFACE|SSD|VRT|RENDER|CURVED|CSA 3D|SCREEN|CAPTURE"
)
_SECTIONS = frozenset({"", "NONE", "MPR"})
_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
"""Visible light photographs, which begin with the same digits, may show a face as well."""


def to_cut(header: pydicom.Dataset) -> bool:
    """Whether a face has to be cut from these images. Raises CannotDeidentify where it may be in them and cannot be.

    A volume of the head shows its face when it is rendered; where nobody says what a volume shows, it may be a head."""
    modality = str(header.get("Modality") or "").strip()
    if modality in _PHOTOGRAPHS:
        raise CannotDeidentify("a photograph: it may show a face, and nobody can cut that out")
    declared = str(header.get("RecognizableVisualFeatures") or "").strip().upper() == "YES"
    sop_class = str(header.get("SOPClassUID") or "")
    captured = sop_class.startswith(_CAPTURE) and sop_class != VLWholeSlideMicroscopyImageStorage
    if modality not in _VOLUMES:
        if declared or (captured and _says_head(header)):
            raise CannotDeidentify("a picture that may show a face, and nobody can cut that out")
        return False
    if not (declared or _says_head(header) or _says_nothing(header)):
        return False
    if captured or not _is_section(header, modality):
        raise CannotDeidentify(
            f"a {modality} projection, rendering or capture that may show a head: a face can only be cut from slices"
        )
    return True


def _says_head(header: pydicom.Dataset) -> bool:
    said = [str(header.get(k) or "") for k in _DESCRIPTIONS]
    said += [str(i.get("CodeMeaning") or "") for i in header.get("AnatomicRegionSequence") or ()]
    return any(_HEAD.search(text) for text in said)


def _says_nothing(header: pydicom.Dataset) -> bool:
    return not str(header.get("BodyPartExamined") or "").strip() and "AnatomicRegionSequence" not in header


def _is_section(header: pydicom.Dataset, modality: str) -> bool:
    kind = header.get("ImageType")
    words = kind if isinstance(kind, str) else "\\".join(map(str, kind or ()))
    if _RENDERED.search(words.upper()) or int(header.get("SamplesPerPixel") or 1) != 1:
        return False
    if modality == "CT" and "LOCALIZER" in words.upper():
        return False  # a radiograph (PS3.3 C.8.2.1.1.1); MR ones are slices
    return str(header.get("VolumeBasedCalculationTechnique") or "").strip() in _SECTIONS
