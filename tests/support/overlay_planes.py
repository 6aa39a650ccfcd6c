"""Overlay planes for tests, packed bit by bit as PS3.5 8.1.2 and PS3.3 C.9.2 say."""

import numpy as np


def with_overlay(made, bits, group=0x6000, origin=(1, 1), kind="G", frames=None, first=None):
    """Give an instance an overlay plane. `bits`: (rows, columns), or (frames, rows, columns)."""
    tag = group << 16
    made.add_new(tag + 0x0010, "US", bits.shape[-2])
    made.add_new(tag + 0x0011, "US", bits.shape[-1])
    made.add_new(tag + 0x0040, "CS", kind)
    made.add_new(tag + 0x0050, "SS", list(origin))
    made.add_new(tag + 0x0100, "US", 1)
    made.add_new(tag + 0x0102, "US", 0)
    if frames is not None:
        made.add_new(tag + 0x0015, "IS", frames)
    if first is not None:
        made.add_new(tag + 0x0051, "US", first)
    packed = np.packbits(bits.astype(bool).ravel(), bitorder="little").tobytes()
    made.add_new(tag + 0x3000, "OW", packed + b"\0" * (len(packed) % 2))
    return made
