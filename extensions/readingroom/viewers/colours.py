"""Colour maps for grey pictures: the standard color palettes of PS3.6 Annex B, from pydicom's own copy of them."""

from functools import cache
from typing import Any

import ipywidgets
import numpy as np
import numpy.typing as npt
import traitlets
from pydicom.pixels.processing import apply_color_lut

# Content Label (PS3.6 B.1) and Well-known Color Palette SOP Instance UID (PS3.6 A).
PALETTES = {
    name: f"1.2.840.10008.1.5.{number}"
    for number, name in enumerate(
        ("HOT_IRON", "PET", "HOT_METAL_BLUE", "PET_20_STEP", "SPRING", "SUMMER", "FALL", "WINTER"), 1
    )
}


@cache
def palette(name: str) -> npt.NDArray[np.uint8]:
    """(256, 3), from black to white, of one of PALETTES."""
    table = apply_color_lut(np.arange(256, dtype=np.uint8), palette=PALETTES[name]).astype(np.uint8)
    table.flags.writeable = False
    return table


class Coloured(ipywidgets.DOMWidget):  # type: ignore[misc,unused-ignore]
    """The part of a view that colours grey pictures; pictures in colour stay as they are."""

    colours = traitlets.Unicode(
        "", help="The colour map of grey pictures, for example HOT_IRON; empty for shades of grey."
    ).tag(sync=True)
    palette = traitlets.List(
        traitlets.Int(), read_only=True, help="Red, green, blue of its 256 levels; empty for shades of grey."
    ).tag(sync=True)

    @traitlets.validate("colours")
    def _valid_colours(self, proposal: Any) -> str:
        name = str(proposal["value"]).upper()
        if name and name not in PALETTES:
            raise traitlets.TraitError(f"colours={name!r}: give one of {', '.join(PALETTES)}, or '' for grey.")
        return name

    @traitlets.observe("colours")
    def _renew_palette(self, _change: Any) -> None:
        self.set_trait("palette", palette(self.colours).ravel().tolist() if self.colours else [])

    def _tinted(self, grey: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """(rows, columns, 3) of grey levels where there is a map; else as they are."""
        return palette(self.colours)[grey] if self.colours and grey.ndim == 2 else grey
