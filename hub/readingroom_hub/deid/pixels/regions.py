"""Places where the images of a device show text, as a policy names them: masked whatever is read there."""

from dataclasses import dataclass
from fnmatch import fnmatchcase

import pydicom

from readingroom_hub.deid.pixels.stored import Box

KEYWORDS = ("Modality", "Manufacturer", "ManufacturerModelName", "SoftwareVersions", "SOPClassUID", "Rows", "Columns")


@dataclass(frozen=True, slots=True)
class Region:
    """`boxes` of the images whose attributes all fit `where`: pairs of a keyword of `KEYWORDS` and what it must be.

    Texts fit in any case, with `*` and `?` as in names of files; numbers fit as they are."""

    where: tuple[tuple[str, str], ...]
    boxes: tuple[Box, ...]

    def fits(self, header: pydicom.Dataset) -> bool:
        """Whether the image with this header is one of them."""
        return all(fnmatchcase(_plain(header.get(keyword)), wanted.casefold()) for keyword, wanted in self.where)

    def within(self, rows: int, columns: int) -> list[Box]:
        """The boxes as far as they lie in an image of this size."""
        cut = [(left, top, min(right, columns), min(bottom, rows)) for left, top, right, bottom in self.boxes]
        return [b for b in cut if b[0] < b[2] and b[1] < b[3]]


def _plain(value: object) -> str:
    values = value if isinstance(value, pydicom.multival.MultiValue) else [value]
    return "\\".join(str(v) for v in values if v is not None).strip().casefold()
