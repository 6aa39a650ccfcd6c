"""Mounting and unmounting: mount(2) where we are root, fusermount3 where we are not. See mount(2), umount2(2)."""

import array
import ctypes
import os
import shutil
import socket
import stat
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from readingroom_hub.adapters import mountinfo
from readingroom_hub.errors import SystemUnfit

FSTYPE = "fuse.readingroom"
MAX_READ = 1 << 20
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 1, 2, 4, 8
_MS_BIND, _MS_PRIVATE, _MS_SHARED = 4096, 1 << 18, 1 << 20
_MNT_FORCE, _MNT_DETACH = 1, 2

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p]
_libc.umount2.argtypes = [ctypes.c_char_p, ctypes.c_int]


def _mount(source: str, target: Path, fstype: str, flags: int, data: str) -> None:
    if _libc.mount(source.encode(), bytes(target), fstype.encode(), flags, data.encode()):
        error = ctypes.get_errno()
        raise SystemUnfit(f"mounting {target} failed: {os.strerror(error)} ({error}); the daemon needs CAP_SYS_ADMIN")


def mount_fuse(target: Path) -> int:
    """Mount on `target`; returns the descriptor of the connection, which the caller answers and closes.

    Raises SystemUnfit where FUSE cannot be used here: nothing weaker takes its place."""
    if os.geteuid():
        return _fusermount(target)
    try:
        fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise SystemUnfit(f"/dev/fuse cannot be opened ({error.strerror}): load the kernel module `fuse`") from error
    try:
        options = f"fd={fd},rootmode={stat.S_IFDIR:o},user_id=0,group_id=0,allow_other,max_read={MAX_READ}"
        _mount("readingroom", target, FSTYPE, _MS_RDONLY | _MS_NOSUID | _MS_NODEV | _MS_NOEXEC, options)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _fusermount(target: Path) -> int:
    """fusermount3 mounts and sends the descriptor over a socket (libfuse, util/fusermount.c)."""
    program = shutil.which("fusermount3")
    if program is None:
        raise SystemUnfit("fusermount3 is not installed (Debian package fuse3), and without it only root can mount")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        options = f"ro,nosuid,nodev,noexec,max_read={MAX_READ},fsname=readingroom,subtype=readingroom"
        process = subprocess.run(
            ["/usr/bin/env", f"_FUSE_COMMFD={theirs.fileno()}", program, "-o", options, "--", str(target)],
            pass_fds=[theirs.fileno()],
            capture_output=True,
            text=True,
            check=False,
        )
        if process.returncode:
            raise SystemUnfit(f"fusermount3 could not mount {target}: {process.stderr.strip()}")
        _, ancillary, _, _ = ours.recvmsg(1, socket.CMSG_SPACE(4))
    fds = array.array("i")
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(data[:4])
    if not fds:
        raise SystemUnfit(f"fusermount3 sent no descriptor for {target}")
    os.set_inheritable(fds[0], False)
    return fds[0]


def bind(source: Path, target: Path) -> None:
    """Show `source` at `target`, too. Root only. Raises SystemUnfit."""
    _mount(str(source), target, "none", _MS_BIND, "")


def mount_image(image: Path, target: Path) -> None:
    """Mount a home's file system. Root only. Raises SystemUnfit."""
    # util-linux finds a loop device, lets it go with the mount, and uses the one that a dying server still holds again:
    # two devices over one image would destroy its file system.
    done = subprocess.run(
        ["mount", "-n", "-o", "loop,nosuid,nodev", str(image), str(target)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise SystemUnfit(f"the home {image} cannot be mounted: {done.stderr.strip()}. Ask the operator to check it")
    with suppress(OSError):
        Path(target, "lost+found").rmdir()  # mkfs makes it; nobody here could read it


def unmount(target: Path) -> None:
    """Abort the connection and take the mount away, in every namespace that got it by propagation.

    No request to the file system is made, so a dead or hung daemon does not matter. Not mounted is no error."""
    if os.geteuid():
        leave(target)
    else:
        _libc.umount2(bytes(target), _MNT_FORCE | _MNT_DETACH)


def leave(target: Path) -> None:
    """Take the mount of a file system that is written to away, without aborting it: who has a file open keeps it, and
    nothing written is lost. Not mounted is no error."""
    if os.geteuid():
        subprocess.run(["fusermount3", "-u", "-z", "--", str(target)], capture_output=True, check=False)
    else:
        _libc.umount2(bytes(target), _MNT_DETACH)


def set_readahead(target_device: int, kibibytes: int) -> None:
    """Let the kernel read ahead further than its 128 KiB, as root; else leave it."""
    path = Path(f"/sys/class/bdi/{os.major(target_device)}:{os.minor(target_device)}/read_ahead_kb")
    if os.access(path, os.W_OK):
        path.write_text(str(kibibytes))


def mount_points(below: Path, fstype: str | None = None) -> Iterator[tuple[Path, int]]:
    """(mount point, device) of every mount at or below `below`; touches none."""
    top = str(below)
    for mount in mountinfo.mounts():
        if (mount.point == top or mount.point.startswith(top + "/")) and fstype in {None, mount.fstype}:
            yield Path(mount.point), mount.device


def share(folder: Path) -> None:
    """Make `folder` a shared mount of itself, so that later mounts below it reach running sandboxes. Root only."""
    if os.geteuid() == 0 and not any(point == folder for point, _ in mount_points(folder)):
        _mount(str(folder), folder, "none", _MS_BIND, "")
        _mount("none", folder, "none", _MS_PRIVATE, "")
        _mount("none", folder, "none", _MS_SHARED, "")


def followed(folder: Path) -> bool:
    """Whether a running server, in a mount namespace of its own, gets what is mounted below the shared `folder`.

    Its mounts name ours as their master: `master:N` for our `shared:N` in mountinfo, see proc(5). It bound a session's
    folder; who only got a copy of the whole, as every new namespace does, waits for nothing."""
    ours = next((m for m in mountinfo.mounts() if m.point == str(folder)), None)
    masters = {t.replace("shared:", "master:") for t in ours.tags if t.startswith("shared:")} if ours else set()
    if not ours or not masters:
        return False
    tables = Path("/proc").glob("[0-9]*/mountinfo")
    return any(masters & set(m.tags) and m.root != ours.root for table in tables for m in _if_it_runs(table))


def _if_it_runs(table: Path) -> Iterator[mountinfo.Mount]:
    with suppress(OSError):
        yield from mountinfo.mounts(table)


def unshare(folder: Path) -> None:
    """Undo `share`."""
    if os.geteuid() == 0 and any(point == folder for point, _ in mount_points(folder)):
        _libc.umount2(bytes(folder), _MNT_DETACH)
