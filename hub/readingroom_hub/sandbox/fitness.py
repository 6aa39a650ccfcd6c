"""Whether this machine can keep what Reading Room promises: each check answers with one sentence and a remedy."""

import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import NoReturn

from readingroom_hub import compose
from readingroom_hub.adapters import mountinfo
from readingroom_hub.compose import monitoring, repository
from readingroom_hub.config import Settings
from readingroom_hub.errors import AuditUnavailable, ReadingRoomError, SystemUnfit
from readingroom_hub.sandbox import bubblewrap, homes, layout, limits, seccomp, stage

DISK_GB = 5
OLDEST_SQLITE = (3, 51, 3)
"""Older ones can lose a WAL transaction when a checkpoint meets a writer (sqlite.org/wal.html, the WAL-reset bug)."""
EARLIEST = 1_767_225_600
"""2026-01-01: a clock before this release is wrong, and every audit record would be."""


class Level(StrEnum):
    """How a check ended."""

    OK = "ok"
    ADVICE = "advice"
    MISSING = "missing"
    """Required: nothing may start without it, and nothing weaker takes its place."""


@dataclass(frozen=True, slots=True)
class Check:
    """One finding. `remedy` says what to do; empty where there is nothing to do."""

    name: str
    level: Level
    sentence: str
    remedy: str = ""


def _sandbox(settings: Settings) -> Check:
    words = _try_sandbox(settings.uid_range[1] if os.geteuid() == 0 else None)
    if words is None:
        return Check("sandbox", Level.OK, "user, process, network and mount namespaces can be made")
    return Check("sandbox", Level.MISSING, f"a sandbox cannot be made: {words}", _sandbox_remedy())


def _try_sandbox(account: int | None) -> str | None:
    """Start `true` in a sandbox, as this account. None where it worked, otherwise what was said."""
    said, say = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.dup2(say, 2)
            _become_trial(account)
        except BaseException as error:  # noqa: BLE001  # a forked child ends here, whatever happens
            os.write(2, str(error).encode())
        os._exit(1)
    os.close(say)
    with os.fdopen(said, errors="replace") as pipe:
        words = pipe.read(1000).strip()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return (words or f"bwrap ended with {code}") if code else None


def _become_trial(account: int | None) -> NoReturn:
    sandbox = bubblewrap.Sandbox(("/usr/bin/true",), layout.everyones(), {}, symlinks=layout.links(), chdir="/")
    if account is not None:
        stage.enter_namespace()
        sandbox = stage.arrange(sandbox)
        stage.drop(account, account, [])
    filters = bubblewrap.memory_file(seccomp.build())
    status = os.open(os.devnull, os.O_WRONLY)
    options = bubblewrap.memory_file("\0".join(bubblewrap.options(sandbox, filters, status)).encode())
    for fd in (filters, status, options):
        os.set_inheritable(fd, True)
    argv = bubblewrap.command(sandbox, options)
    os.execve(argv[0], argv, {})  # noqa: S606  # a program of this installation


def _sandbox_remedy() -> str:
    if _number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == 1:
        return (
            "AppArmor keeps programs from making user namespaces (Ubuntu 23.10 and later): add a profile with "
            f"`userns,` for {bubblewrap.program()}, or set kernel.apparmor_restrict_unprivileged_userns=0"
        )
    if _number("/proc/sys/kernel/unprivileged_userns_clone") == 0:
        return "set kernel.unprivileged_userns_clone=1 with sysctl"
    if _number("/proc/sys/user/max_user_namespaces") == 0:
        return "set user.max_user_namespaces to 15000 with sysctl"
    return "in a container: run it with CAP_SYS_ADMIN and without a seccomp profile that refuses unshare"


def _number(path: str) -> int | None:
    try:
        return int(Path(path).read_text())
    except (OSError, ValueError):
        return None


def _mount_namespace(_: Settings) -> Check:
    if os.geteuid() != 0:
        return Check("private mounts", Level.OK, "not needed: the hub is not root")
    pid = os.fork()
    if pid == 0:
        try:
            stage.enter_namespace()
        except BaseException:  # noqa: BLE001  # a forked child ends here, whatever happens
            os._exit(1)
        os._exit(0)
    if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0:
        return Check("private mounts", Level.OK, "root can prepare a server's mounts apart from the host's")
    remedy = "give it CAP_SYS_ADMIN, or run the hub as an ordinary user"
    return Check("private mounts", Level.MISSING, "root may not make a mount namespace", remedy)


def _filter(_: Settings) -> Check:
    try:
        seccomp.build()
    except SystemUnfit as error:
        return Check("system-call filter", Level.MISSING, str(error), "use a machine with one of these processors")
    return Check("system-call filter", Level.OK, "there is a filter for this processor")


def _fuse(_: Settings) -> Check:
    remedy = "run `modprobe fuse`; in a container add `--device /dev/fuse`"
    if not Path("/dev/fuse").exists():
        return Check("FUSE", Level.MISSING, "there is no /dev/fuse", remedy)
    if os.geteuid() != 0 and shutil.which("fusermount3") is None:
        return Check("FUSE", Level.MISSING, "fusermount3 is not installed", "install the package fuse3")
    if os.geteuid() != 0:
        remedy = "open it to everybody, as udev does: `sudo chmod 666 /dev/fuse`"
    try:  # fusermount3 is setuid root, but opens the device with the rights of its caller
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError as error:
        return Check("FUSE", Level.MISSING, f"/dev/fuse cannot be opened: {error.strerror}", remedy)
    return Check("FUSE", Level.OK, "/dev/fuse can be used")


def _limits(_: Settings) -> Check:
    level = Level.ADVICE if limits.kind() is limits.Kind.RLIMITS else Level.OK
    remedy = "run the hub as root, so that it can make control groups" if level is Level.ADVICE else ""
    return Check("limits", level, limits.describe(), remedy)


def _homes(_: Settings) -> Check:
    if os.geteuid() != 0:
        sentence = "a home's size is only measured now and then: the server of one that is too large is stopped"
        return Check("home size", Level.ADVICE, sentence, "run the hub as root, so that each home is a file system")
    if homes.image_maker() is None:
        return Check("home size", Level.MISSING, "mkfs.ext4 is not installed", "install the package e2fsprogs")
    if not Path("/dev/loop-control").exists():
        return Check("home size", Level.MISSING, "there are no loop devices", "run `modprobe loop`")
    return Check("home size", Level.OK, "each home is a file system of a fixed size")


def _vaults(_: Settings) -> Check:
    if shutil.which("gocryptfs") is None:
        return Check("vaults", Level.MISSING, "gocryptfs is not installed", "install the package gocryptfs")
    return Check("vaults", Level.OK, "homes and project folders are encrypted while no server uses them")


def _separation(_: Settings) -> Check:
    if os.geteuid() == 0:
        return Check("accounts", Level.OK, "each user and project runs under a user id of its own")
    sentence = "all servers run as this user: between them stand the namespaces, but no user id"
    return Check("accounts", Level.ADVICE, sentence, "run the hub as root where people must be kept apart twice")


def _sqlite(_: Settings) -> Check:
    import apsw

    version = apsw.sqlite_lib_version()
    if tuple(int(n) for n in version.split(".")[:3]) >= OLDEST_SQLITE:
        return Check("SQLite", Level.OK, f"version {version}")
    remedy = "install apsw 3.54 or later: `make install`"
    return Check("SQLite", Level.MISSING, f"version {version} can lose a transaction", remedy)


def _disk(settings: Settings) -> Check:
    free = shutil.disk_usage(_existing(settings.state)).free / 1e9
    if free >= DISK_GB:
        return Check("disk", Level.OK, f"{free:.0f} GB are free")
    sentence = f"only {free:.1f} GB are free; a full disk stops the audit record, and with it every read"
    return Check("disk", Level.ADVICE, sentence, f"free at least {DISK_GB} GB near {settings.state}")


def _existing(path: Path) -> Path:
    return next(p for p in (path, *path.absolute().parents) if p.exists())


def _clock(_: Settings) -> Check:
    if time.time() >= EARLIEST:
        return Check("clock", Level.OK, time.strftime("it is %Y-%m-%d %H:%M UTC", time.gmtime()))
    sentence = time.strftime("the clock says %Y-%m-%d: records would be wrong and grants would not end", time.gmtime())
    return Check("clock", Level.MISSING, sentence, "set the clock, and keep it with NTP")


def _state_folder(settings: Settings) -> Check:
    folder = settings.state
    if not folder.exists():
        level = Level.OK if os.access(_existing(folder), os.W_OK) else Level.MISSING
        remedy = f"make it, or set READINGROOM_STATE: `install -d -m 0700 {folder}`" if level is Level.MISSING else ""
        return Check("state folder", level, f"{folder} does not exist yet", remedy)
    found = folder.stat()
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        sentence = f"{folder} can be entered by others than its owner, or is not this account's"
        return Check(
            "state folder", Level.MISSING, sentence, f"`chown -R {os.geteuid()} {folder}; chmod 0700 {folder}`"
        )
    return Check("state folder", Level.OK, f"{folder} is open to its owner only")


def _custody(settings: Settings) -> Check:
    if settings.pkcs11_module_file is not None:
        return Check("key custody", Level.OK, f"key-encrypting keys are in the token {settings.pkcs11_token!r}")
    if settings.kms_region:
        return Check("key custody", Level.OK, f"key-encrypting keys are in a key service, region {settings.kms_region}")
    sentence = f"the key-encrypting key is a file in {settings.paths.keys}: whoever reads this disk reads the data"
    return Check("key custody", Level.ADVICE, sentence, "for real data use an HSM or a key service")


def _feeds(settings: Settings) -> Check:
    feeds = compose.feeds(settings).status()
    late = [
        f"{f.name}: {f.trouble}, {'?' if f.behind is None else f.behind} records behind"
        + (f", since {f.progress.since}" if f.running and f.progress and f.progress.since else "")
        for f in feeds
        if f.trouble
    ]
    late += [f"{f.name}: {f.progress.refused} records were refused" for f in feeds if f.progress and f.progress.refused]
    if late:
        remedy = "look at the receiver, then at `readingroom audit feed status`; the record itself is not concerned"
        return Check("audit feeds", Level.ADVICE, "; ".join(late), remedy)
    sentence = ", ".join(f"{f.name} is {f.behind} records behind" for f in feeds) or "none is set"
    return Check("audit feeds", Level.OK, sentence)


def _nodes(settings: Settings) -> Check:
    if not settings.audit_listen:
        return Check("nodes", Level.OK, "no other machine records here")
    try:
        found = repository.status(settings)["nodes"]
    except AuditUnavailable:
        return Check("nodes", Level.OK, "the audit record repository is not running")
    silent = [str(node) for node in found if node.silent_since]
    if silent:
        remedy = "look at that machine and the network; take one that is no longer used out of the list of nodes"
        return Check("nodes", Level.ADVICE, "; ".join(silent), remedy)
    return Check("nodes", Level.OK, f"{len(found)} machines record here, and each is heard or was stopped as planned")


def _monitor(settings: Settings) -> Check:
    if not settings.monitor_minutes:
        return Check("monitor", Level.OK, "it is switched off")
    memory = monitoring.memory(settings)
    state = memory.load()
    if state.trouble:
        return Check("monitor", Level.ADVICE, state.trouble, "put that right; alerts that wait are sent then")
    if state.looked_at is None:
        return Check("monitor", Level.OK, "it has not looked yet")
    sentence = f"it last looked at {state.looked_at:%Y-%m-%d %H:%M} UTC"
    if not memory.is_running():
        remedy = "`readingroom serve` runs it; look at monitor.log"
        return Check("monitor", Level.ADVICE, f"no process runs it, {sentence}", remedy)
    return Check("monitor", Level.OK, sentence)


def _propagation(settings: Settings) -> Check:
    """Whether a mount made later is seen in running servers."""
    if os.geteuid() == 0:
        return Check("propagation", Level.OK, "the mount daemon makes its folder a shared mount")
    above, shared = mountinfo.above(_existing(settings.paths.mounts))
    if shared:
        return Check("propagation", Level.OK, f"{above} is a shared mount")
    sentence = (
        f"{above} is not a shared mount: after a restart of the mount daemon, or a crash of gocryptfs, servers must be "
        "restarted too"
    )
    return Check("propagation", Level.ADVICE, sentence, f"as root, `mount --make-shared {above}`")


CHECKS: tuple[Callable[[Settings], Check], ...] = (
    _sandbox,
    _mount_namespace,
    _filter,
    _fuse,
    _limits,
    _homes,
    _vaults,
    _separation,
    _sqlite,
    _disk,
    _clock,
    _state_folder,
    _custody,
    _feeds,
    _nodes,
    _monitor,
    _propagation,
)


def examine(settings: Settings) -> Iterator[Check]:
    """Every check, in order. A check that fails itself is a finding, not the end."""
    for check in CHECKS:
        try:
            yield check(settings)
        except (OSError, ReadingRoomError) as error:
            name = check.__name__.strip("_").replace("_", " ")
            yield Check(
                name, Level.MISSING, f"this could not be found out: {error}", "look at the reason, then ask again"
            )


def check_required(settings: Settings) -> None:
    """Raises SystemUnfit naming each missing piece and its remedy."""
    missing = [c for c in examine(settings) if c.level is Level.MISSING]
    if missing:
        raise SystemUnfit("\n".join(f"{c.name}: {c.sentence}. Remedy: {c.remedy}" for c in missing))
