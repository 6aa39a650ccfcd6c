"""The Clean Recognizable Visual Features Option of PS3.15 E.3.2: what may show a face is left out, not distorted."""

import re

import pydicom

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


def check(header: pydicom.Dataset) -> None:
    """Raise CannotDeidentify for images from which a face could be seen or rebuilt.

    A volume of the head shows its face when it is rendered; where nobody says what a volume shows, it may be a head."""
    modality = str(header.get("Modality") or "").strip()
    if modality in _PHOTOGRAPHS:
        raise CannotDeidentify("a photograph: it may show a face, and faces are not distorted, but left out")
    if modality not in _VOLUMES:
        return
    said = [str(header.get(k) or "") for k in _DESCRIPTIONS]
    said += [str(i.get("CodeMeaning") or "") for i in header.get("AnatomicRegionSequence") or ()]
    if any(_HEAD.search(text) for text in said):
        raise CannotDeidentify(f"a {modality} of the head or neck: a face could be rebuilt from it")
    if not said[0].strip() and "AnatomicRegionSequence" not in header:
        raise CannotDeidentify(f"a {modality} that does not say what part of the body it shows: it may be a head")
