"""How much one server may use: control groups where this process may make them, resource limits elsewhere.

cgroups(7), Documentation/admin-guide/cgroup-v{1,2} of the kernel; setrlimit(2)."""

import os
import resource
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from readingroom_hub.errors import SystemUnfit
from readingroom_hub.sandbox.bubblewrap import MIB

CGROUPS = Path("/sys/fs/cgroup")
_PERIOD_US = 100_000


class Kind(StrEnum):
    """What holds the limits."""

    CGROUP_V2 = "cgroup v2"
    CGROUP_V1 = "cgroup v1"
    RLIMITS = "resource limits"


@dataclass(frozen=True, slots=True)
class Limits:
    """One server's share. `cpu_percent` is per cent of one core."""

    memory_mb: int
    processes: int
    cpu_percent: int
    home_mb: int


def kind(root: Path = CGROUPS) -> Kind:
    """What this process can use here."""
    if (root / "cgroup.controllers").exists():
        wanted = {"memory", "pids"} <= set((root / "cgroup.controllers").read_text().split())
        return Kind.CGROUP_V2 if wanted and os.access(root / "cgroup.subtree_control", os.W_OK) else Kind.RLIMITS
    # A hybrid machine has a v2 tree without controllers; they are all in v1 then.
    usable = all(os.access(root / name / "cgroup.procs", os.W_OK) for name in ("memory", "pids"))
    return Kind.CGROUP_V1 if usable else Kind.RLIMITS


def describe(root: Path = CGROUPS) -> str:
    """One sentence for people."""
    match kind(root):
        case Kind.RLIMITS:
            return (
                "memory is limited for each process, not for a whole server, and CPU not at all: control groups are "
                "not writable for this account. Run the hub as root, or have systemd delegate it a control group"
            )
        case found:
            return f"memory, processes and CPU of each whole server are limited by {found.value}"


def _v2(limits: Limits) -> dict[str, Mapping[str, str]]:
    cpu = f"{limits.cpu_percent * _PERIOD_US // 100} {_PERIOD_US}"
    memory = {"memory.max": str(limits.memory_mb * MIB), "memory.swap.max": "0"}
    return {"": {**memory, "pids.max": str(limits.processes), "cpu.max": cpu}}


def _v1(limits: Limits) -> dict[str, Mapping[str, str]]:
    memory = str(limits.memory_mb * MIB)
    return {
        "memory": {"memory.limit_in_bytes": memory, "memory.memsw.limit_in_bytes": memory},
        "pids": {"pids.max": str(limits.processes)},
        "cpu": {"cpu.cfs_period_us": str(_PERIOD_US), "cpu.cfs_quota_us": str(limits.cpu_percent * _PERIOD_US // 100)},
    }


_OPTIONAL = ("memory.swap.max", "memory.memsw.limit_in_bytes", "cpu.max", "cpu.cfs_period_us", "cpu.cfs_quota_us")
"""Missing in kernels built without swap accounting or CPU bandwidth; memory and processes are never given up."""


def make_groups(name: str, limits: Limits, root: Path = CGROUPS) -> list[Path]:
    """Control groups for one server, empty yet; none where resource limits do the work. Raises SystemUnfit."""
    match kind(root):
        case Kind.RLIMITS:
            return []
        case Kind.CGROUP_V2:
            _delegate(root)
            wanted = _v2(limits)
        case Kind.CGROUP_V1:
            wanted = _v1(limits)
    made: list[Path] = []
    try:
        for controller, files in wanted.items():
            group = root / controller / "readingroom" / name
            group.mkdir(parents=True, exist_ok=True)
            made.append(group)
            for file, value in files.items():
                _set(group / file, value)
    except OSError as error:
        remove_groups(made)
        raise SystemUnfit(f"the control group of {name} cannot be set up: {error}. Run `readingroom doctor`") from error
    return made


def _delegate(root: Path) -> None:
    (root / "readingroom").mkdir(exist_ok=True)
    for group in (root, root / "readingroom"):
        (group / "cgroup.subtree_control").write_text("+memory +pids +cpu")


def _set(file: Path, value: str) -> None:
    if file.exists():
        file.write_text(value)
    elif file.name not in _OPTIONAL:
        raise FileNotFoundError(f"{file} is missing")


def remove_groups(groups: list[Path], seconds: float = 5) -> None:
    """Remove control groups whose processes are ending; what is still busy after `seconds` is left. Missing is fine."""
    deadline = time.monotonic() + seconds
    for group in groups:
        while group.exists():
            try:
                group.rmdir()
            except OSError:
                if time.monotonic() > deadline:
                    break
                time.sleep(0.02)


def join(groups: list[str]) -> None:
    """Put this process, and all that it starts, into the groups. Needs the rights that made them."""
    for group in groups:
        Path(group, "cgroup.procs").write_text("0")


def apply_rlimits(limits: Limits, grouped: bool) -> None:
    """Limits of this process and of all that it starts. `grouped`: control groups count memory and processes."""
    # A core file would hold decrypted pixels.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits.home_mb * MIB, limits.home_mb * MIB))
    if not grouped:
        resource.setrlimit(resource.RLIMIT_AS, (limits.memory_mb * MIB, limits.memory_mb * MIB))


def inside(limits: Limits, grouped: bool) -> tuple[str, ...]:
    """What comes before the program inside the sandbox, so that its processes are counted there.

    RLIMIT_NPROC counts for each user namespace since Linux 5.14, but what is set before the namespace is made also
    counts everything that the account runs outside: on an ordinary user's machine a browser alone would use it up."""
    if grouped:
        return ()
    return ("/usr/bin/prlimit", f"--nproc={limits.processes}:{limits.processes}", "--")
