"""A decoded picture as it travels to the browser, over the comm and over HTTP alike."""

import json
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from readingroom.planes import Stored

# What the browser can take as it is; anything else travels as float32.
_TYPES = frozenset({"int8", "uint8", "int16", "uint16"})


def packed(stored: Stored, index: int, *, deflate: bool) -> tuple[dict[str, Any], list[Any], list[Any]]:
    """The head of a message, the buffer of the pixels (deflated where asked for and shorter so), and of the LUTs."""
    pixels = stored.pixels
    if pixels.dtype.name not in _TYPES:
        pixels = pixels.astype(np.float32)
    head = {
        "k": "frame",
        "z": index,
        "dtype": pixels.dtype.name,
        "rows": pixels.shape[0],
        "columns": pixels.shape[1],
        "samples": pixels.shape[2] if pixels.ndim == 3 else 1,
        "slope": stored.slope,
        "intercept": stored.intercept,
        "luts": [lut.first for lut in stored.luts],
    }
    little = pixels.astype(pixels.dtype.newbyteorder("<"), copy=False)
    # A view of the memory, not a copy: an array that its user holds leaves the kernel as it is.
    data: Any = np.ascontiguousarray(little).data.cast("B")
    if deflate and len(short := zlib.compress(data, 1)) < len(data):
        head["deflated"], data = True, short
    return head, [data], [lut.levels.data.cast("B") for lut in stored.luts]


def in_one(head: dict[str, Any], buffers: Sequence[Any]) -> bytes:
    """Head and buffers as one body: the head's length (uint32, little endian), the head as JSON with the length of each
    buffer under `sizes`, the buffers."""
    told = json.dumps({**head, "sizes": [len(one) for one in buffers]}).encode()
    return b"".join([struct.pack("<I", len(told)), told, *buffers])
