"""NIfTI-1 files for tests, written byte by byte, so that what reads them is checked by something else than itself."""

import gzip
import struct

import numpy as np

_TYPES = {"uint8": (2, 8), "int16": (4, 16), "float32": (16, 32), "uint16": (512, 16), "float64": (64, 64)}


def nifti(path, array, affine, sform=1, qform=0):
    """Write `array` (i, j, k, ...). `affine`: 4 x 4, voxel to millimetres in RAS, of the sform; the qform has its
    spacing and offset along the axes, unturned."""
    code, bits = _TYPES[array.dtype.name]
    head = bytearray(352)
    struct.pack_into("<i", head, 0, 348)
    struct.pack_into("<8h", head, 40, array.ndim, *array.shape, *[1] * (7 - array.ndim))
    struct.pack_into("<hh", head, 70, code, bits)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    struct.pack_into("<8f", head, 76, 1, *spacing, 1, 1, 1, 1)
    struct.pack_into("<ff", head, 108, 352, 1)
    head[123] = 2  # mm
    struct.pack_into("<hh", head, 252, qform, sform)
    struct.pack_into("<6f", head, 256, 0, 0, 0, *affine[:3, 3])
    struct.pack_into("<12f", head, 280, *affine[:3].ravel())
    head[344:348] = b"n+1\0"
    data = bytes(head) + array.tobytes(order="F")
    path.write_bytes(gzip.compress(data) if path.name.endswith(".gz") else data)
    return path
