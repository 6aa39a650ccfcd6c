"""The least that any FUSE file system in Python does: the daemon's own connection, and nothing behind it. It decides,
records, stores and decrypts nothing; files hold zeros. What it takes is what the kernel's protocol costs.

    python benchmarks/mount_bare.py FOLDER NAME=SIZE... < until its end"""

import errno
import sys
from pathlib import Path

from readingroom_hub.mount import messages as m
from readingroom_hub.mount import protocol as p
from readingroom_hub.mount.door import Door
from readingroom_hub.mount.kernel import MAX_READAHEAD, Connection, Payload
from readingroom_hub.mount.process import tune
from readingroom_hub.mount.tree import FOREVER, attributes

_FIRST = p.FUSE_ROOT_ID + 1


class Bare:
    """Files of these names and sizes in one folder."""

    def __init__(self, sizes: dict[bytes, int]) -> None:
        attrs = [attributes(ino, size, 0) for ino, size in enumerate(sizes.values(), _FIRST)]
        self._entries = {name: m.entry_out(a, FOREVER) for name, a in zip(sizes, attrs, strict=True)}
        self._attrs = {a.ino: m.attr_out(a, FOREVER) for a in (attributes(p.FUSE_ROOT_ID, None, 0), *attrs)}
        self._sizes = {a.ino: a.size for a in attrs}
        self._zeros = memoryview(bytes(MAX_READAHEAD))

    def handle(self, header: p.InHeader, body: bytes) -> Payload:
        """Answer one request."""
        match header.opcode:
            case p.Opcode.OPEN:
                return [p.OPEN_OUT.pack(0, p.FOPEN_KEEP_CACHE, 0)]
            case p.Opcode.READ:
                asked = p.READ_IN.unpack(body)
                return [self._zeros[: max(0, min(asked.size, self._sizes[header.nodeid] - asked.offset))]]
            case p.Opcode.RELEASE:
                return ()
            case p.Opcode.LOOKUP:
                return [self._entries[body[: body.index(b"\0")]]]
            case p.Opcode.GETATTR:
                return [self._attrs[header.nodeid]]
        raise OSError(errno.ENOSYS, "not offered")


def main() -> None:
    tune()
    sizes = (text.rpartition("=") for text in sys.argv[2:])
    connection = Connection(
        Path(sys.argv[1]), Bare({name.encode(): int(size) for name, _, size in sizes}).handle, Door()
    )
    print("mounted", flush=True)
    sys.stdin.read()
    connection.close()


if __name__ == "__main__":
    main()
