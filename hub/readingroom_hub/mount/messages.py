"""The messages that this file system sends, built from the layouts of `protocol`. Pure: values in, bytes out."""

from collections.abc import Sequence

from readingroom_hub.mount import protocol as p


def reply(unique: int, payload: Sequence[bytes | memoryview] = (), error: int = 0) -> list[bytes | memoryview]:
    """The pieces of one reply, to be written in one `writev`. `error` is a positive errno; then there is no payload."""
    pieces = () if error else payload
    length = p.OUT_HEADER.size + sum(map(len, pieces))
    return [p.OUT_HEADER.pack(length, -error, unique), *pieces]


def inval_inode(ino: int) -> bytes:
    """A notification: forget every page and the attributes of `ino`."""
    body = p.INVAL_INODE_OUT.pack(ino, 0, 0)
    return p.OUT_HEADER.pack(p.OUT_HEADER.size + len(body), p.FUSE_NOTIFY_INVAL_INODE, 0) + body


def inval_entry(parent: int, name: bytes) -> bytes:
    """A notification: forget `name` in `parent`, and everything below it."""
    body = p.INVAL_ENTRY_HEAD.pack(parent, len(name), 0) + name + b"\0"
    return p.OUT_HEADER.pack(p.OUT_HEADER.size + len(body), p.FUSE_NOTIFY_INVAL_ENTRY, 0) + body


def entry_out(attr: p.Attr, valid: int) -> bytes:
    """`struct fuse_entry_out`; node id and inode number are the same here, and are never given to anything else."""
    return p.ENTRY_HEAD.pack(attr.ino, 0, valid, valid, 0, 0) + p.ATTR.pack(*attr)


def attr_out(attr: p.Attr, valid: int) -> bytes:
    """`struct fuse_attr_out`."""
    return p.ATTR_HEAD.pack(valid, 0, 0) + p.ATTR.pack(*attr)


def dirent(attr: p.Attr, off: int, name: bytes) -> bytes:
    """`struct fuse_dirent`, padded to 8 bytes."""
    head = p.DIRENT_HEAD.pack(attr.ino, off, len(name), attr.mode >> 12)
    return head + name + bytes(-len(name) % 8)


def direntplus(attr: p.Attr, off: int, name: bytes, valid: int) -> bytes:
    """`struct fuse_direntplus`."""
    return entry_out(attr, valid) + dirent(attr, off, name)


def init_out(asked: p.InitIn, max_readahead: int, max_pages: int, max_background: int) -> bytes:
    """The answer to FUSE_INIT: the flags that both sides know."""
    wanted = (
        p.InitFlag.ASYNC_READ
        | p.InitFlag.DO_READDIRPLUS
        | p.InitFlag.READDIRPLUS_AUTO
        | p.InitFlag.PARALLEL_DIROPS
        | p.InitFlag.MAX_PAGES
    )
    return p.INIT_OUT.pack(
        p.FUSE_KERNEL_VERSION,
        p.FUSE_KERNEL_MINOR_VERSION,
        min(asked.max_readahead, max_readahead),
        int(wanted) & asked.flags,
        max_background,
        max_background * 3 // 4,
        4096,
        1,
        max_pages,
        0,
    )
