"""Root's part of starting a server: a private mount namespace that holds what the sandbox will bind, then no root.

The unprivileged account that runs bubblewrap can pass through neither the state folder (0700) nor, often, the folder of
the Python installation. bwrap's `--bind-fd` does not help: it turns the descriptor back into a path. So root makes the
binds first, in a mount namespace of this process alone, on a temporary file system that everybody may pass through. The
host sees none of it, and all of it goes away with the last process of the server.

The namespace is a slave of the host's: what the mount daemon mounts anew still arrives (mount_namespaces(7))."""

import ctypes
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from readingroom_hub.errors import SystemUnfit
from readingroom_hub.sandbox.bubblewrap import Bind, Sandbox

_CLONE_NEWNS = 0x00020000
_MS_NOSUID, _MS_NODEV, _MS_BIND, _MS_REC, _MS_SLAVE = 2, 4, 4096, 16384, 1 << 19
STAGE = "/tmp"  # noqa: S108  # covered by a file system of this namespace
_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise SystemUnfit(
            f"{what}: {os.strerror(number)}. Root without CAP_SYS_ADMIN cannot start servers: run `readingroom doctor`"
        )


def _mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    arguments = [None if text is None else text.encode() for text in (source, target, kind)]
    result = _libc.mount(*arguments, ctypes.c_ulong(flags), None if data is None else data.encode())
    _check(result, f"cannot mount {source} on {target}")


def enter_namespace() -> None:
    """Leave the host's mounts behind; hear of its changes, tell it of none."""
    _check(_libc.unshare(_CLONE_NEWNS), "cannot make a mount namespace")
    _mount("none", "/", None, _MS_REC | _MS_SLAVE)


def arrange(sandbox: Sandbox) -> Sandbox:
    """Bind every source below STAGE; the same sandbox with the new sources."""
    # Opened before STAGE is covered: sources may lie below it.
    sources = [(bind, os.open(bind.source, os.O_PATH)) for bind in sandbox.binds]
    _mount("stage", STAGE, "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=0711,size=1m")
    staged = tuple(_stage(index, bind, source) for index, (bind, source) in enumerate(sources))
    return replace(sandbox, binds=staged, program=_program(sandbox, staged))


def _program(sandbox: Sandbox, staged: Iterable[Bind]) -> str:
    """Where bwrap is now: part of the Python installation that is bound anyway, and needs the libraries beside it."""
    for bind, place in zip(sandbox.binds, staged, strict=True):
        if Path(sandbox.program).is_relative_to(bind.source):
            return str(Path(place.source, Path(sandbox.program).relative_to(bind.source)))
    raise SystemUnfit(f"{sandbox.program} is not part of this Python installation: run `make install`")


def _stage(index: int, bind: Bind, source: int) -> Bind:
    place = Path(STAGE, str(index))
    origin = Path(f"/proc/self/fd/{source}")
    if origin.is_dir():
        place.mkdir()
    else:
        place.touch()
    _mount(str(origin), str(place), None, _MS_BIND | _MS_REC)
    os.close(source)
    return replace(bind, source=str(place))


def drop(uid: int, gid: int, groups: Iterable[int]) -> None:
    """Become the account for good. Order: a user who is no longer root cannot give up groups."""
    os.setgroups(list(groups))
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
