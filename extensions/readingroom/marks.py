"""What an image says of itself that may tell it from others of its place: time, echo, diffusion weighting."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pydicom

Mark = float | str | tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Attribute:
    """Where an attribute stands in multi-frame objects, and its unit (UCUM)."""

    macro: str = ""
    """Keyword of its functional group (PS3.3 C.7.6.16.2, C.8.13.5); classic objects have it at the top."""
    unit: str = ""


ATTRIBUTES = {
    "TemporalPositionIdentifier": Attribute(),
    "TemporalPositionIndex": Attribute("FrameContentSequence"),
    "DiffusionBValue": Attribute("MRDiffusionSequence", "s/mm2"),
    "DiffusionGradientOrientation": Attribute("MRDiffusionSequence"),
    "EchoTime": Attribute(unit="ms"),
    "EffectiveEchoTime": Attribute("MREchoSequence", "ms"),
    "InversionTime": Attribute(unit="ms"),
    "FlipAngle": Attribute("MRTimingAndRelatedParametersSequence", "deg"),
    "TriggerTime": Attribute(unit="ms"),
    "NominalCardiacTriggerDelayTime": Attribute("CardiacSynchronizationSequence", "ms"),
    "NominalPercentageOfCardiacPhase": Attribute("CardiacSynchronizationSequence", "%"),
    "FrameReferenceTime": Attribute(unit="ms"),
    "ImageType": Attribute(),
    "AcquisitionNumber": Attribute(),
    "AcquisitionTime": Attribute(),
    "ContentTime": Attribute(),
    "FrameAcquisitionDateTime": Attribute("FrameContentSequence"),
}
"""By keyword, the most telling first."""


def marks_of(found: pydicom.Dataset, macro: Callable[[str], pydicom.Dataset]) -> dict[str, Mark]:
    """Those of ATTRIBUTES that one frame has. `macro` gives its functional group of a name, or the classic object."""
    marks: dict[str, Mark] = {}
    for keyword, attribute in ATTRIBUTES.items():
        group = macro(attribute.macro) if attribute.macro else found
        if keyword == "DiffusionGradientOrientation" and (inner := group.get("DiffusionGradientDirectionSequence")):
            group = inner[0]
        with suppress(ValueError, TypeError):  # a picture is no worse for a time that is no number
            if (mark := _mark(group.get(keyword))) is not None:
                marks[keyword] = mark
    return marks


def _mark(value: Any) -> Mark | None:
    if value is None or value == "":
        return None
    if isinstance(value, (int, float)):
        return float(value)
    if isinstance(value, str):
        return value
    parts = list(value)
    return "\\".join(parts) if all(isinstance(part, str) for part in parts) else tuple(float(part) for part in parts)
