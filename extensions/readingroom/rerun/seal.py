"""What a sealed kernel may do: a seccomp filter (no network, no connections) and a Landlock ruleset (few files).

Nested namespaces are forbidden inside a server, so the kernel process gives up rights for itself and its children.
seccomp cannot see the path of a unix socket, and Landlock does not mediate connect() to one: therefore the filter
refuses connect() altogether. A notebook's kernel only listens; the hub's door cannot be reached from it."""

import ctypes
import errno
import os
import platform
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from readingroom.errors import RerunRefused

_PR_SET_SECCOMP, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _FILTER_MODE = 22, 24, 38, 2
_LAST_CAPABILITY = 63
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446  # one number on all architectures
_LANDLOCK_VERSION_FLAG, _RULE_PATH_BENEATH = 1, 1


@dataclass(frozen=True, slots=True)
class _Machine:
    """An architecture's AUDIT_ARCH and system call numbers (linux/audit.h, asm/unistd.h)."""

    arch: int
    socket: int
    refused: tuple[int, ...]
    """connect, ptrace, process_vm_readv, process_vm_writev, io_uring_setup, pidfd_getfd."""


_MACHINES = {
    "x86_64": _Machine(0xC000003E, 41, (42, 101, 310, 311, 425, 438)),
    "aarch64": _Machine(0xC00000B7, 198, (203, 117, 270, 271, 425, 438)),
}
_X32_BIT = 0x40000000

# Classic BPF (linux/bpf_common.h) and seccomp's answers (linux/seccomp.h).
_LOAD, _IF_EQUAL, _IF_AT_LEAST, _AND, _RETURN = 0x20, 0x15, 0x35, 0x54, 0x06
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_AT_NUMBER, _AT_ARCH, _AT_ARG0, _AT_ARG1 = 0, 4, 16, 24  # struct seccomp_data; both machines are little-endian
_SOCK_TYPE_MASK = 0xF


def _op(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("HBBI", code, yes, no, value)


def filter_program(machine: str) -> bytes:
    """The filter: sockets only AF_UNIX streams, no connect(), no reaching into other processes.

    Raises RerunRefused for a machine it does not know."""
    if machine not in _MACHINES:
        raise RerunRefused(f"A kernel cannot be sealed on {machine}: only on {' and '.join(_MACHINES)}.")
    known = _MACHINES[machine]
    refuse = _op(_RETURN, _REFUSE | errno.EACCES)
    return b"".join([
        _op(_LOAD, _AT_ARCH),
        _op(_IF_EQUAL, known.arch, yes=1),
        _op(_RETURN, _KILL),
        _op(_LOAD, _AT_NUMBER),
        # The x32 calls are numbered above this bit and would pass by every comparison below.
        _op(_IF_AT_LEAST, _X32_BIT, no=1),
        refuse,
        *(op for number in known.refused for op in (_op(_IF_EQUAL, number, no=1), refuse)),
        _op(_IF_EQUAL, known.socket, yes=1),
        _op(_RETURN, _ALLOW),
        _op(_LOAD, _AT_ARG0),
        _op(_IF_EQUAL, socket.AF_UNIX, yes=3),
        # libzmq asks for the network interfaces, and aborts on any answer but this one.
        _op(_IF_EQUAL, socket.AF_NETLINK, no=1),
        _op(_RETURN, _REFUSE | errno.EOPNOTSUPP),
        _op(_RETURN, _REFUSE | errno.ENETUNREACH),
        # A datagram needs no connect() to be sent.
        _op(_LOAD, _AT_ARG1),
        _op(_AND, _SOCK_TYPE_MASK),
        _op(_IF_EQUAL, socket.SOCK_STREAM, yes=1),
        refuse,
        _op(_RETURN, _ALLOW),
    ])  # fmt: skip


_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise RerunRefused(f"The kernel could not be sealed: {what} failed with {os.strerror(number)}.")
    return result


def refuse_privileges() -> None:
    """Give up gaining privileges by exec, which both mechanisms demand, and root's capabilities where there are any.

    With CAP_PERFMON a sealed process could read other processes' environments past Landlock."""
    for capability in range(_LAST_CAPABILITY + 1):
        _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)  # fails for whoever has none to drop
    _checked(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")


def refuse_network() -> None:
    """Install the seccomp filter for this process and all its children. Raises RerunRefused."""
    program = filter_program(platform.machine())
    buffer = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog { unsigned short len; struct sock_filter *filter; }
    fprog = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer))
    _checked(_libc.prctl(_PR_SET_SECCOMP, _FILTER_MODE, ctypes.c_char_p(fprog), 0, 0), "the seccomp filter")


# Landlock access rights (linux/landlock.h), by the ABI that brought them.
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_ABI_1 = (1 << 13) - 1
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_ON_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_NETWORK_ABI, _SCOPE_ABI = 4, 6
_TCP, _SCOPES = 0b11, 0b11


def landlock_abi() -> int:
    """The Landlock version of the running Linux, or 0 where there is none."""
    return max(int(_libc.syscall(_LANDLOCK_CREATE, None, ctypes.c_size_t(0), _LANDLOCK_VERSION_FLAG)), 0)


def _handled(abi: int) -> int:
    return _ABI_1 | (_REFER if abi >= 2 else 0) | (_TRUNCATE if abi >= 3 else 0) | (_IOCTL_DEV if abi >= 5 else 0)


def restrict_files(readable: Iterable[Path], writable: Iterable[Path]) -> None:
    """Allow reading below `readable`, everything below `writable`, and no other file, by Landlock.

    Paths that do not exist are passed over. Where scopes exist, abstract sockets and signals stop at the seal too.
    Raises RerunRefused; call only where `landlock_abi()` is not 0."""
    abi = landlock_abi()
    handled = _handled(abi)
    attributes = struct.pack("QQQ", handled, _TCP, _SCOPES)
    size = 24 if abi >= _SCOPE_ABI else 16 if abi >= _NETWORK_ABI else 8
    ruleset = _checked(
        _libc.syscall(_LANDLOCK_CREATE, ctypes.c_char_p(attributes), ctypes.c_size_t(size), 0),
        "landlock_create_ruleset",
    )
    for path in readable:
        _allow(ruleset, path, _READ & handled)
    for path in writable:
        _allow(ruleset, path, handled)
    _checked(_libc.syscall(_LANDLOCK_RESTRICT, ruleset, 0), "landlock_restrict_self")
    os.close(ruleset)


def _allow(ruleset: int, path: Path, access: int) -> None:
    try:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not path.is_dir():
            access &= _ON_FILES
        rule = struct.pack("=Qi", access, handle)
        _checked(
            _libc.syscall(_LANDLOCK_ADD, ruleset, _RULE_PATH_BENEATH, ctypes.c_char_p(rule), 0), f"the rule for {path}"
        )
    finally:
        os.close(handle)
