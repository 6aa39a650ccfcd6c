"""The FUSE kernel protocol, ABI 7.31 and later: layouts of `include/uapi/linux/fuse.h`, with the header's names.

Pure: bytes in, values out. Every layout is in host byte order without padding of its own, as the header arranges it."""

from collections.abc import Callable
from enum import IntEnum, IntFlag
from functools import partial
from struct import Struct
from typing import Any, Generic, NamedTuple, TypeVar

T = TypeVar("T", bound=tuple[Any, ...])

FUSE_KERNEL_VERSION = 7
FUSE_KERNEL_MINOR_VERSION = 38
FUSE_OLDEST_MINOR = 31
"""Linux 5.4: has FUSE_MAX_PAGES and FUSE_NO_OPENDIR_SUPPORT. Older kernels are not answered."""
FUSE_ROOT_ID = 1
FUSE_MIN_READ_BUFFER = 8192


class Opcode(IntEnum):
    """`enum fuse_opcode`."""

    LOOKUP = 1
    FORGET = 2
    GETATTR = 3
    SETATTR = 4
    READLINK = 5
    SYMLINK = 6
    MKNOD = 8
    MKDIR = 9
    UNLINK = 10
    RMDIR = 11
    RENAME = 12
    LINK = 13
    OPEN = 14
    READ = 15
    WRITE = 16
    STATFS = 17
    RELEASE = 18
    FSYNC = 20
    SETXATTR = 21
    GETXATTR = 22
    LISTXATTR = 23
    REMOVEXATTR = 24
    FLUSH = 25
    INIT = 26
    OPENDIR = 27
    READDIR = 28
    RELEASEDIR = 29
    FSYNCDIR = 30
    ACCESS = 34
    CREATE = 35
    INTERRUPT = 36
    DESTROY = 38
    IOCTL = 39
    BATCH_FORGET = 42
    FALLOCATE = 43
    READDIRPLUS = 44
    RENAME2 = 45
    COPY_FILE_RANGE = 47
    TMPFILE = 51


class InitFlag(IntFlag):
    """FUSE_INIT flags that this file system asks for."""

    ASYNC_READ = 1 << 0
    DO_READDIRPLUS = 1 << 13
    READDIRPLUS_AUTO = 1 << 14
    PARALLEL_DIROPS = 1 << 18
    MAX_PAGES = 1 << 22


FOPEN_DIRECT_IO = 1 << 0
FOPEN_KEEP_CACHE = 1 << 1
FUSE_NOTIFY_INVAL_INODE = 2
FUSE_NOTIFY_INVAL_ENTRY = 3


class Layout(Generic[T]):
    """One C struct: a named tuple and how it lies in memory."""

    def __init__(self, kind: type[T], form: str) -> None:
        self._made: Callable[[tuple[Any, ...]], T] = partial(tuple.__new__, kind)  # as its `_make`, at half the cost
        self._struct = Struct(form)
        self.size = self._struct.size
        self.pack = self._struct.pack

    def unpack(self, data: bytes, offset: int = 0) -> T:
        """Raises struct.error where `data` is too short."""
        return self._made(self._struct.unpack_from(data, offset))


class InHeader(NamedTuple):
    """`struct fuse_in_header`: before every request."""

    length: int
    opcode: int
    unique: int
    nodeid: int
    uid: int
    gid: int
    pid: int
    total_extlen: int
    padding: int


class OutHeader(NamedTuple):
    """`struct fuse_out_header`: before every reply; `error` is 0 or a negative errno. A notification has unique 0."""

    length: int
    error: int
    unique: int


class InitIn(NamedTuple):
    """`struct fuse_init_in`, the part that every kernel since 2.6 sends."""

    major: int
    minor: int
    max_readahead: int
    flags: int


class InitOut(NamedTuple):
    """`struct fuse_init_out` without its reserved tail."""

    major: int
    minor: int
    max_readahead: int
    flags: int
    max_background: int
    congestion_threshold: int
    max_write: int
    time_gran: int
    max_pages: int
    map_alignment: int


class Attr(NamedTuple):
    """`struct fuse_attr`."""

    ino: int
    size: int
    blocks: int
    atime: int
    mtime: int
    ctime: int
    atimensec: int
    mtimensec: int
    ctimensec: int
    mode: int
    nlink: int
    uid: int
    gid: int
    rdev: int
    blksize: int
    flags: int


class EntryHead(NamedTuple):
    """`struct fuse_entry_out` up to its attributes. Seconds during which the kernel may believe name and attributes."""

    nodeid: int
    generation: int
    entry_valid: int
    attr_valid: int
    entry_valid_nsec: int
    attr_valid_nsec: int


class AttrHead(NamedTuple):
    """`struct fuse_attr_out` up to its attributes."""

    attr_valid: int
    attr_valid_nsec: int
    dummy: int


class OpenIn(NamedTuple):
    """`struct fuse_open_in`."""

    flags: int
    open_flags: int


class OpenOut(NamedTuple):
    """`struct fuse_open_out`."""

    fh: int
    open_flags: int
    backing_id: int


class ReadIn(NamedTuple):
    """`struct fuse_read_in`, also for directories."""

    fh: int
    offset: int
    size: int
    read_flags: int
    lock_owner: int
    flags: int
    padding: int


class ReleaseIn(NamedTuple):
    """`struct fuse_release_in`."""

    fh: int
    flags: int
    release_flags: int
    lock_owner: int


class Kstatfs(NamedTuple):
    """`struct fuse_kstatfs` without its spare tail."""

    blocks: int
    bfree: int
    bavail: int
    files: int
    ffree: int
    bsize: int
    namelen: int
    frsize: int


class DirentHead(NamedTuple):
    """`struct fuse_dirent` up to its name. `off` is where the next READDIR goes on."""

    ino: int
    off: int
    namelen: int
    type: int


class InvalInodeOut(NamedTuple):
    """`struct fuse_notify_inval_inode_out`. Offset 0 and length 0: all pages and the attributes."""

    ino: int
    off: int
    len: int


class InvalEntryHead(NamedTuple):
    """`struct fuse_notify_inval_entry_out`; the name and one zero byte follow."""

    parent: int
    namelen: int
    flags: int


IN_HEADER = Layout(InHeader, "=IIQQIIIHH")
OUT_HEADER = Layout(OutHeader, "=IiQ")
INIT_IN = Layout(InitIn, "=IIII")
INIT_OUT = Layout(InitOut, "=IIIIHHIIHH32x")
ATTR = Layout(Attr, "=6Q10I")
ENTRY_HEAD = Layout(EntryHead, "=4Q2I")
ATTR_HEAD = Layout(AttrHead, "=Q2I")
OPEN_IN = Layout(OpenIn, "=II")
OPEN_OUT = Layout(OpenOut, "=QIi")
READ_IN = Layout(ReadIn, "=QQIIQII")
RELEASE_IN = Layout(ReleaseIn, "=QIIQ")
KSTATFS = Layout(Kstatfs, "=5Q3I28x")
DIRENT_HEAD = Layout(DirentHead, "=QQII")
INVAL_INODE_OUT = Layout(InvalInodeOut, "=Qqq")
INVAL_ENTRY_HEAD = Layout(InvalEntryHead, "=QII")
