"""ICC profiles (ICC.1:2022; PS3.3 C.11.15), which may name a device and its number, and who calibrated it, and when."""

import struct
from collections.abc import Iterator

ICC_PROFILE = 0x00282000
_HEAD, _ENTRY = 128, 12
_MOST = 100
"""Tags; profiles have up to some twenty."""
# What colours are computed from (ICC.1:2022 9.2). All others describe: names of the device, measurements, private tags.
_TAGS = frozenset(
    b"rXYZ gXYZ bXYZ rTRC gTRC bTRC kTRC wtpt bkpt chad chrm lumi cicp A2B0 A2B1 A2B2 B2A0 B2A1 B2A2 gamt "
    b"D2B0 D2B1 D2B2 D2B3 B2D0 B2D1 B2D2 B2D3 pre0 pre1 pre2 rig0 rig2".split()
)
_TYPES = frozenset({
    b"XYZ ", b"curv", b"para", b"sf32", b"chrm", b"cicp", b"mft1", b"mft2", b"mAB ", b"mBA ", b"mpet", b"sig ",
})  # fmt: skip
_SAID = "De-identified"


def without_texts(profile: bytes) -> bytes | None:
    """A profile that means the same colours, with a description of ours; None where this is no such profile. Its length
    is a multiple of four (ICC.1:2022 7.2.1)."""
    version = profile[8:9]
    kept = dict(_kept(profile)) if profile[36:40] == b"acsp" else {}
    if not kept or b"" in kept.values():
        return None
    said = _words(version >= b"\4")
    tags = {b"desc": said[0], b"cprt": said[1], **kept}
    table, body, places = b"", b"", dict[bytes, int]()
    at = _HEAD + 4 + _ENTRY * len(tags)
    for signature, data in tags.items():
        if data not in places:  # curves of several colours are mostly the same, and stored once
            places[data] = at + len(body)
            body += data + bytes(-len(data) % 4)
        table += struct.pack(">4sII", signature, places[data], len(data))
    rest = struct.pack(">I", len(tags)) + table + body
    return _head(profile, _HEAD + len(rest)) + rest


def _kept(profile: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Tags that are kept, with their data; empty where it is not what the tag needs."""
    (count,) = struct.unpack_from(">I", profile.ljust(_HEAD + 4, b"\0"), _HEAD)
    for i in range(min(count, _MOST)):
        entry = profile[_HEAD + 4 + _ENTRY * i :][:_ENTRY]
        if len(entry) == _ENTRY:
            signature, start, length = struct.unpack(">4sII", entry)
            if signature in _TAGS:
                data = profile[start : start + length]
                yield signature, data if len(data) == length and data[:4] in _TYPES else b""


def _head(profile: bytes, size: int) -> bytes:
    """As it was, but for the time at which it was made, and its own checksum (ICC.1:2022 7.2)."""
    made = struct.pack(">6H", 2000, 1, 1, 0, 0, 0)
    return struct.pack(">I", size) + profile[4:24] + made + profile[36:84] + bytes(_HEAD - 84)


def _words(is_version_4: bool) -> tuple[bytes, bytes]:
    """Description and copyright, which every profile must have."""
    if is_version_4:
        text = _SAID.encode("utf-16-be")
        both = b"mluc" + struct.pack(">4xII4sII", 1, 12, b"enUS", len(text), 28) + text
        return both, both
    text = _SAID.encode() + b"\0"
    return b"desc" + struct.pack(">4xI", len(text)) + text + bytes(4 + 4 + 2 + 1 + 67), b"text" + bytes(4) + text
