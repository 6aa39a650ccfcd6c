"""A de-identification policy: which options of the profile apply, and which images may pass unseen by a person."""

from dataclasses import dataclass
from functools import cached_property

from readingroom_hub.deid.table import BASIC_CODE, Option, table

# Images of these kinds are made from raw data by the scanner, which draws no text into them.
TEXT_FREE = frozenset({"CT", "MR", "PT", "NM", "SM", "SEG", "RTDOSE"})
# Projection X-ray: believed where it declares BurnedInAnnotation NO (PS3.3 C.7.6.1). Ultrasound, endoscopy, screen
# and secondary captures are not believed: their systems set the flag whatever the frame shows.
BELIEVED = frozenset({"CR", "DX", "IO", "MG", "PX"})


@dataclass(frozen=True)
class Policy:
    """Basic Application Level Confidentiality Profile with `options`."""

    options: frozenset[Option] = frozenset()
    text_free: frozenset[str] = TEXT_FREE
    """Modalities whose images pass, except captures and those that declare burnt-in text."""
    believed: frozenset[str] = BELIEVED
    """Modalities whose images pass where they declare BurnedInAnnotation NO."""

    @cached_property
    def codes(self) -> list[tuple[str, str]]:
        """CodeValue and CodeMeaning of profile and options (CID 7050), for (0012,0064)."""
        return [BASIC_CODE, *(o.code for o in sorted(self.options))]

    @cached_property
    def method(self) -> list[str]:
        """The values of DeidentificationMethod (0012,0063), at most 64 characters each."""
        return ["Reading Room 1", f"PS3.15 {table().edition}", *(meaning[:64] for _, meaning in self.codes)]

    @cached_property
    def profile(self) -> str:
        """In words, with the edition; part of the manifest, so of the dataset version's name."""
        return f"PS3.15 {table().edition}: " + ", ".join(meaning for _, meaning in self.codes)
