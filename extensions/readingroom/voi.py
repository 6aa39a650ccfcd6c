"""What an object says of its grey values: VOI LUTs and functions (PS3.3 C.11.2), polarity (C.11.6), unit."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom

Window = tuple[float, float]
NamedWindow = tuple[str, float, float]

FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")
"""VOI LUT Function (0028,1056), PS3.3 C.11.2.1.3."""


@dataclass(frozen=True, slots=True, eq=False)
class VoiLut:
    """One item of a VOI LUT Sequence (PS3.3 C.11.2.1.1), its output already brought to grey levels."""

    name: str
    """LUT Explanation, or an empty text."""
    first: int
    """The modality value of the first entry; lower ones take it, and higher ones than the last take the last."""
    levels: npt.NDArray[np.uint8]
    """A grey level for each value from `first` on."""

    def grey(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
        """Grey levels of modality values; a fraction takes the nearest entry, half up, what is no number the first."""
        at = np.floor(np.nan_to_num(values, nan=self.first) + 0.5) - self.first
        found: npt.NDArray[np.uint8] = self.levels[np.clip(at, 0, len(self.levels) - 1).astype(np.int64)]
        return found


def voi_luts(voi: pydicom.Dataset, least: float) -> tuple[VoiLut, ...]:
    """The VOI LUTs of an object or functional group. `least`: the lowest value that can enter them.

    Raises ValueError for a table whose descriptor does not fit it."""
    return tuple(lut_of(item, least) for item in voi.get("VOILUTSequence") or ())


def lut_of(item: pydicom.Dataset, least: float) -> VoiLut:
    """One table, of a VOI LUT Sequence or a Presentation LUT Sequence. Raises ValueError as voi_luts does."""
    count, first, bits = (int(v) for v in item.LUTDescriptor)
    # 0 stands for 65536 entries. The second value is signed where what enters the table can be below 0, whatever the
    # VR that the writer chose (C.11.2.1.1).
    count = count or 65536
    if least < 0 and first >= 32768:
        first -= 65536
    data = item["LUTData"]
    raw = data.value if isinstance(data.value, bytes) else np.asarray(data.value, np.uint16).tobytes()
    return _table(str(item.get("LUTExplanation", "")), first, count, bits, raw)


@lru_cache(maxsize=64)
def _table(name: str, first: int, count: int, bits: int, raw: bytes) -> VoiLut:
    # Many slices share one table: it is held once.
    packed = bits == 8 and len(raw) in {count, count + 1}
    entries = np.frombuffer(raw, np.uint8 if packed else "<u2", count=-1)[:count]
    if len(entries) < count or not 8 <= bits <= 16:
        raise ValueError(f"VOI LUT of {len(entries)} entries, {bits} bits, described as {count}")
    share = np.minimum(entries.astype(np.float64) / (2**bits - 1), 1.0)
    return VoiLut(name, first, np.floor(share * 255 + 0.5).astype(np.uint8))


def function_of(voi: pydicom.Dataset) -> str:
    """LINEAR where none is given, or one that this package does not know."""
    found = str(voi.get("VOILUTFunction") or "LINEAR")
    return found if found in FUNCTIONS else "LINEAR"


def windows_of(voi: pydicom.Dataset) -> tuple[NamedWindow, ...]:
    """All windows: explanation, or an empty text, then centre and width. Any may be chosen (C.11.2.1.2).

    LINEAR needs a width of at least 1, the other functions more than 0; a window that is none is left out."""
    texts = _values(voi.get("WindowCenterWidthExplanation"))
    pairs = list(zip(_values(voi.get("WindowCenter")), _values(voi.get("WindowWidth")), strict=False))
    names = [str(text) for text in texts] + [""] * len(pairs)
    linear = function_of(voi) == "LINEAR"
    found = [(name, float(centre), float(width)) for name, (centre, width) in zip(names, pairs, strict=False)]
    return tuple(one for one in found if (one[2] >= 1 if linear else one[2] > 0) and bool(np.isfinite(one[1:]).all()))


def _values(value: Any) -> list[Any]:
    several = isinstance(value, (pydicom.multival.MultiValue, list))
    return [v for v in (value if several else [value]) if v is not None and v != ""]


def flipped(found: pydicom.Dataset) -> bool:
    """Whether the least value is white: Presentation LUT Shape is INVERSE (C.11.6.1.2), else by MONOCHROME1.

    Objects that carry the shape use both for one and the same inversion (C.8.11.3.1.2)."""
    shape = found.get("PresentationLUTShape")
    return bool(shape == "INVERSE" if shape else found.get("PhotometricInterpretation") == "MONOCHROME1")


def unit_of(found: pydicom.Dataset, rescale: pydicom.Dataset) -> str:
    """The unit of modality values: HU, BQML, ...; empty where none is known (C.11.1.1.2, C.8.9.1)."""
    if found.get("Modality") == "PT":
        return str(found.get("Units") or "")
    said = str(rescale.get("RescaleType") or "")
    if found.get("Modality") == "CT":
        return said or "HU"
    return "" if said == "US" else said
