"""The system-call filter of every sandbox: a classic BPF program (seccomp(2), linux/filter.h), built from one table.

Everything is allowed that is not named here: a list of what imaging libraries need would break with each of them, while
the namespaces already decide what there is to reach. Named is what escapes have been built from."""

import errno
import platform
from collections.abc import Iterable, Iterator
from struct import pack

from readingroom_hub.errors import SystemUnfit

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""AUDIT_ARCH_* of linux/audit.h."""
_X32_BIT = 0x40000000

NUMBERS: dict[str, tuple[int | None, int | None]] = {
    # name: (x86_64, aarch64), from the kernel's asm/unistd_64.h and asm-generic/unistd.h
    "_sysctl": (156, None),
    "acct": (163, 89),
    "add_key": (248, 217),
    "adjtimex": (159, 171),
    "bpf": (321, 280),
    "chroot": (161, 51),
    "clock_adjtime": (305, 266),
    "clock_settime": (227, 112),
    "clone": (56, 220),
    "clone3": (435, 435),
    "create_module": (174, None),
    "delete_module": (176, 106),
    "fanotify_init": (300, 262),
    "finit_module": (313, 273),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "get_kernel_syms": (177, None),
    "init_module": (175, 105),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "ioctl": (16, 29),
    "ioperm": (173, None),
    "iopl": (172, None),
    "kcmp": (312, 272),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "lookup_dcookie": (212, 18),
    "modify_ldt": (154, None),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "name_to_handle_at": (303, 264),
    "nfsservctl": (180, 42),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "open_tree_attr": (467, 467),
    "perf_event_open": (298, 241),
    "personality": (135, 92),
    "pidfd_getfd": (438, 438),
    "pivot_root": (155, 41),
    "process_madvise": (440, 440),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "query_module": (178, None),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "setdomainname": (171, 162),
    "sethostname": (170, 161),
    "setns": (308, 268),
    "settimeofday": (164, 170),
    "socket": (41, 198),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "syslog": (103, 116),
    "sysfs": (139, None),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "uselib": (134, None),
    "userfaultfd": (323, 282),
    "ustat": (136, None),
    "vhangup": (153, 58),
    "vserver": (236, None),
}

REFUSED: dict[str, tuple[str, ...]] = {
    "changing what is mounted: would uncover masked folders": (
        "mount", "umount2", "pivot_root", "chroot", "open_tree", "open_tree_attr", "move_mount", "fsopen", "fsconfig",
        "fsmount", "fspick", "mount_setattr",
    ),
    "entering or making namespaces: new ones reach kernel code that is otherwise for root": ("setns", "unshare"),
    "looking into other processes: the server beside the kernels holds its token": (
        "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "kcmp", "pidfd_getfd",
    ),
    "kernel keyrings: they are not divided by namespaces": ("add_key", "request_key", "keyctl"),
    "programs inside the kernel, and its counters: side channels and the richest source of escalations": (
        "bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register",
    ),
    "replacing the kernel or parts of it": (
        "kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module", "create_module",
        "query_module", "get_kernel_syms", "uselib",
    ),
    "files by handle: passes by every folder's permissions (the Shocker escape)": (
        "open_by_handle_at", "name_to_handle_at",
    ),
    "what concerns the whole machine: quotas, accounting, swap, power, clock, host name, kernel log": (
        "quotactl", "quotactl_fd", "acct", "swapon", "swapoff", "reboot", "settimeofday", "clock_settime",
        "clock_adjtime", "adjtimex", "sethostname", "setdomainname", "syslog", "vhangup",
    ),
    "watching the file systems of others": ("fanotify_init", "lookup_dcookie"),
    "left-overs of old interfaces that nobody checks any more": (
        "nfsservctl", "_sysctl", "sysfs", "ustat", "vserver", "modify_ldt", "iopl", "ioperm",
    ),
}  # fmt: skip
"""Answered with EPERM. The key says why."""

NEW_NAMESPACES = 0x7E020080
"""CLONE_NEWTIME|NEWNS|NEWCGROUP|NEWUTS|NEWIPC|NEWUSER|NEWPID|NEWNET (linux/sched.h)."""
TERMINAL_INJECTION = (0x5412, 0x541C)
"""TIOCSTI and TIOCLINUX: type into, or paste from, somebody's terminal."""
FAMILIES = (1, 2, 10)
"""AF_UNIX, AF_INET, AF_INET6; AF_NETLINK (16) only for NETLINK_ROUTE (0). Rare families are where socket bugs are."""
PERSONALITIES = (0, 0xFFFFFFFF)
"""PER_LINUX, and asking. Others switch off address randomisation or bring back old behaviour."""

# Opcodes of linux/bpf_common.h and return values of linux/seccomp.h.
_LOAD, _JEQ, _JGE, _JSET, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
# Offsets in struct seccomp_data; both machines are little-endian, so the low half of an argument comes first.
_NR, _ARCH, _ARGS = 0, 4, 16


def _step(code: int, k: int, true: int = 0, false: int = 0) -> bytes:
    return pack("=HBBI", code, true, false, k)


def _argument(index: int) -> bytes:
    # The kernel itself looks only at the low 32 bits of these arguments, so a filter on all 64 could be passed by.
    return _step(_LOAD, _ARGS + 8 * index)


def _refuse(error: int = errno.EPERM) -> bytes:
    return _step(_RETURN, _ERRNO | error)


_YES = _step(_RETURN, _ALLOW)


def _when(number: int, body: Iterable[bytes]) -> bytes:
    """Run `body`, which ends in a return, for one system call."""
    steps = b"".join(body)
    return _step(_JEQ, number, 0, len(steps) // 8) + steps


def _any_of(values: Iterable[int], then: bytes) -> Iterator[bytes]:
    for value in values:
        yield _step(_JEQ, value, 0, 1)
        yield then


def _conditional(number: dict[str, int]) -> Iterator[bytes]:
    # clone3 takes its flags by pointer, which no filter can follow: with ENOSYS the C library falls back to clone.
    yield _when(number["clone3"], [_refuse(errno.ENOSYS)])
    yield _when(number["clone"], [_argument(0), _step(_JSET, NEW_NAMESPACES, 0, 1), _refuse(), _YES])
    yield _when(number["ioctl"], [_argument(1), *_any_of(TERMINAL_INJECTION, _refuse()), _YES])
    yield _when(number["personality"], [_argument(0), *_any_of(PERSONALITIES, _YES), _refuse()])
    netlink = [_step(_JEQ, 16, 0, 3), _argument(2), _step(_JEQ, 0, 0, 1), _YES]
    yield _when(number["socket"], [_argument(0), *_any_of(FAMILIES, _YES), *netlink, _refuse(errno.EAFNOSUPPORT)])


def numbers(machine: str) -> dict[str, int]:
    """System-call numbers of one machine. Raises SystemUnfit for a machine that has no table."""
    if machine not in ARCHITECTURES:
        raise SystemUnfit(f"no system-call filter for {machine}: run Reading Room on x86_64 or aarch64")
    column = list(ARCHITECTURES).index(machine)
    return {name: n for name, row in NUMBERS.items() if (n := row[column]) is not None}


def build(machine: str | None = None) -> bytes:
    """The filter program for `machine` (default: this one), as bwrap reads it: an array of struct sock_filter."""
    machine = machine or platform.machine()
    number = numbers(machine)
    refused = [number[name] for names in REFUSED.values() for name in names if name in number]
    steps = [
        # A program of another architecture (int 0x80) has other numbers, and would pass through every line below.
        _step(_LOAD, _ARCH),
        _step(_JEQ, ARCHITECTURES[machine], 1, 0),
        _step(_RETURN, _KILL),
        _step(_LOAD, _NR),
    ]
    if machine == "x86_64":
        steps += [_step(_JGE, _X32_BIT, 0, 1), _step(_RETURN, _KILL)]
    steps += _conditional(number)
    steps += _any_of(refused, _refuse())
    return b"".join([*steps, _YES])
