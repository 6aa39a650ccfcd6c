"""A de-identification policy: which options of the profile apply, and which images may pass unseen by a person."""

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from readingroom_hub.deid.pixels.regions import Region
from readingroom_hub.deid.table import BASIC_CODE, Option, table
from readingroom_hub.errors import BadInput

# Images of these kinds are made from raw data by the scanner, which draws no text into them.
TEXT_FREE = frozenset({"CT", "MR", "PT", "NM", "SM", "SEG", "RTDOSE"})
# Projection X-ray: believed where it declares BurnedInAnnotation NO (PS3.3 C.7.6.1). Ultrasound, endoscopy, screen
# and secondary captures are not believed: their systems set the flag whatever the frame shows.
BELIEVED = frozenset({"CR", "DX", "IO", "MG", "PX"})


class UnsureText(StrEnum):
    """What becomes of burnt-in text of which nobody can tell whether it identifies. Values stand in policy files."""

    MASK = "mask"
    QUARANTINE = "quarantine"
    KEEP = "keep"


class CutShort(StrEnum):
    """What becomes of an image whose file ends within its uncompressed Pixel Data. Values stand in policy files."""

    LEAVE_OUT = "leave-out"
    PAD = "pad"


@dataclass(frozen=True)
class Policy:
    """Basic Application Level Confidentiality Profile with `options`. Raises BadInput for options at odds."""

    options: frozenset[Option] = frozenset()
    text_free: frozenset[str] = TEXT_FREE
    """Modalities whose images pass, except captures and those that declare burnt-in text."""
    believed: frozenset[str] = BELIEVED
    """Modalities whose images pass where they declare BurnedInAnnotation NO."""
    unsure_text: UnsureText = UnsureText.MASK
    """With the Clean Pixel Data Option: for text that neither identifies nor is known to be harmless."""
    cut_short: CutShort = CutShort.LEAVE_OUT
    """Padded ones say so in DeidentificationMethod."""
    regions: tuple[Region, ...] = ()
    """With the Clean Pixel Data Option: places that are masked whatever is read there."""
    second_reader: bool = False
    """With the Clean Pixel Data Option: whether Tesseract looks at the result, too."""

    def __post_init__(self) -> None:
        """PS3.15 E.3.6: dates are kept, or modified, never both."""
        if {Option.FULL_DATES, Option.MODIFIED_DATES} <= self.options:
            one, other = Option.FULL_DATES.standard_name, Option.MODIFIED_DATES.standard_name
            raise BadInput(f"{one} and {other} exclude each other: give one")
        if (self.regions or self.second_reader) and Option.CLEAN_PIXELS not in self.options:
            raise BadInput(f"regions and second_reader are for the option {Option.CLEAN_PIXELS.standard_name}: give it")

    @cached_property
    def codes(self) -> list[tuple[str, str]]:
        """CodeValue and CodeMeaning of profile and options (CID 7050), for (0012,0064)."""
        return [BASIC_CODE, *sorted(o.code for o in self.options)]

    @cached_property
    def dates(self) -> str:
        """LongitudinalTemporalInformationModified (0028,0303)."""
        if Option.FULL_DATES in self.options:
            return "UNMODIFIED"
        return "MODIFIED" if Option.MODIFIED_DATES in self.options else "REMOVED"

    @cached_property
    def method(self) -> list[str]:
        """The values of DeidentificationMethod (0012,0063), at most 64 characters each."""
        return ["Reading Room 1", f"PS3.15 {table().edition}", *(meaning[:64].strip() for _, meaning in self.codes)]

    @cached_property
    def profile(self) -> str:
        """In words, with the edition; part of the manifest, so of the dataset version's name."""
        return f"PS3.15 {table().edition}: " + ", ".join(meaning for _, meaning in self.codes)
