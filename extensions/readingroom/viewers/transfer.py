"""Transfer functions of volume rendering: what colour and how dense each value is drawn."""

from dataclasses import dataclass
from typing import Literal

from readingroom.viewers.voxels import Voxels


@dataclass(frozen=True, slots=True)
class Look:
    """One preset, in modality values."""

    blend: Literal["composite", "maximum"]
    colours: tuple[tuple[float, float, float, float], ...]
    """Value, then red, green and blue of 0 to 1; straight lines between."""
    opacity: tuple[tuple[float, float], ...]
    """Value, and what a millimetre of it hides, of 0 to 1."""

    def within(self, low: float, high: float) -> "Look":
        """What is given in shares of 0 to 1, between two values."""
        return Look(
            self.blend,
            tuple((low + share * (high - low), *rest) for share, *rest in self.colours),  # type: ignore[misc]
            tuple((low + share * (high - low), part) for share, part in self.opacity),
        )


_GREY = Look("maximum", ((0, 0, 0, 0), (1, 1, 1, 1)), ((0, 0), (1, 1)))
# Hounsfield units: air -1000, lung about -800, fat -100, muscle 50, vessels with contrast 200 to 400, bone from 300.
_CT = {
    "CT bone": Look(
        "composite",
        ((150, 0.55, 0.3, 0.2), (350, 0.85, 0.7, 0.5), (800, 1, 0.96, 0.88), (3000, 1, 1, 1)),
        ((150, 0), (300, 0.15), (700, 0.7), (3000, 0.85)),
    ),
    "CT soft tissue": Look(
        "composite",
        ((-160, 0.45, 0.2, 0.12), (0, 0.75, 0.42, 0.3), (80, 0.88, 0.6, 0.45), (300, 1, 0.93, 0.85), (1000, 1, 1, 1)),
        ((-160, 0), (-20, 0.05), (60, 0.35), (200, 0.6), (1000, 0.85)),
    ),
    "CT lung": Look(
        "composite",
        ((-950, 0.2, 0.35, 0.6), (-700, 0.45, 0.65, 0.85), (-400, 0.95, 0.8, 0.75)),
        ((-950, 0), (-800, 0.03), (-600, 0.12), (-450, 0.15), (-300, 0)),
    ),
    "CT angiography": Look(
        "composite",
        ((120, 0.5, 0.08, 0.05), (220, 0.8, 0.2, 0.12), (400, 1, 0.75, 0.55), (1000, 1, 0.96, 0.9)),
        ((120, 0), (200, 0.25), (350, 0.6), (600, 0.75), (3000, 0.85)),
    ),
    "MIP": _GREY.within(-100, 900),
}
# What an MR signal counts is the scanner's affair: shares of the values that are there.
_SIGNAL = Look(
    "composite",
    ((0, 0.2, 0.1, 0.07), (0.4, 0.7, 0.45, 0.32), (0.7, 0.9, 0.8, 0.7), (1, 1, 1, 1)),
    ((0.1, 0), (0.3, 0.06), (0.6, 0.25), (1, 0.5)),
)


def looks_of(voxels: Voxels, modality: str) -> dict[str, Look]:
    """The presets that fit, the first of them first to be shown."""
    if modality == "CT":
        return _CT
    ends = voxels.range(1, 99.8)
    looks = {"MR default": _SIGNAL.within(*ends), "MIP": _GREY.within(*ends)}
    return looks if modality == "MR" else dict(reversed(looks.items()))
