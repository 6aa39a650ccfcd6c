"""The one door of a server: a process outside its sandbox that starts it, carries its bytes, and ends with it.

Started by the hub as `python -I -m readingroom_hub.sandbox.door`, with a plan on standard input. It answers one line of
JSON on standard output, `{"port": N}` or `{"error": "sentence"}`. Where the hub is root the door arranges the mounts,
opens its sockets, starts bwrap, and then becomes the server's own unprivileged account: it has no right that an escaped
server would not have anyway, except reaching two loopback ports, and it holds nothing of another session.

The listening socket is made out here and handed in, so there is no folder of the host that a server can write a socket,
or a symbolic link instead of one, into."""

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import IO, NoReturn

from readingroom_hub.errors import ReadingRoomError, SystemUnfit
from readingroom_hub.sandbox import bubblewrap, limits, pump, seccomp, stage
from readingroom_hub.sandbox.homes import used_bytes
from readingroom_hub.sandbox.plan import Plan
from readingroom_hub.sandbox.relay import Relay, Reporter

LOG_BYTES = 8 << 20
"""What a server may write to its log on the host."""
_LAST_WORDS_SECONDS = 5.0
GRACE_SECONDS = 5
HOME_CHECK_SECONDS = 30
_SIGNALS = {signal.SIGCHLD, signal.SIGTERM}
_PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 4, 38


class Door:
    """The sockets of one server. Made in the door's folder, which stays the working directory: its path may be longer
    than a socket's address can be, and the account may not pass through the folders above."""

    def __init__(self, plan: Plan) -> None:
        os.chdir(plan.door)
        self.inner = _listen("hub.sock", plan)
        self.server = _listen("server.sock", plan)
        self.outer = socket.create_server(("127.0.0.1", 0), backlog=256)

    def serve(self, relay: Relay) -> None:
        """Carry bytes from now on."""
        for target, args in ((pump.serve, (self.outer, _dial)), (relay.serve, (self.inner,))):
            threading.Thread(target=target, args=args, daemon=True).start()


def _listen(name: str, plan: Plan) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(name)
    Path(name).chmod(0o600)
    if plan.account:
        os.chown(name, plan.account.uid, plan.account.uid)
    listener.listen(256)
    return listener


def _dial() -> socket.socket:
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.connect("server.sock")
    return server


def _become(plan: Plan) -> None:
    if plan.account:
        stage.drop(plan.account.uid, plan.account.uid, [plan.account.project_gid])


def _child(plan: Plan) -> Callable[[], None]:
    def prepare() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        os.umask(0o007)  # members of a project can write what others put into its shared folder
        os.chdir("/")
        limits.join(list(plan.groups))
        _become(plan)
        limits.apply_rlimits(plan.limits, grouped=bool(plan.groups))

    return prepare


def _start(plan: Plan, door: Door) -> tuple[subprocess.Popen[bytes], int]:
    """bwrap, and the descriptor that it tells its state on."""
    status, status_in = os.pipe()
    filters = bubblewrap.memory_file(seccomp.build())
    before = limits.inside(plan.limits, grouped=bool(plan.groups))
    sandbox = replace(plan.sandbox, argv=(*before, *plan.sandbox.argv))
    options = bubblewrap.memory_file("\0".join(bubblewrap.options(sandbox, filters, status_in)).encode())
    process = subprocess.Popen(
        bubblewrap.command(sandbox, options),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={},
        pass_fds=(door.server.fileno(), options, filters, status_in),
        preexec_fn=_child(plan),  # noqa: PLW1509  # no thread runs yet
    )
    for fd in (status_in, filters, options):
        os.close(fd)
    secrets = dict(plan.secrets) | {"listen_fd": str(door.server.fileno())}
    assert process.stdin  # noqa: S101  # by the PIPE above
    with suppress(BrokenPipeError), process.stdin as pipe:
        pipe.write(json.dumps(secrets).encode())
    return process, status


def _init_pid(status: int, process: subprocess.Popen[bytes]) -> int:
    """The host's number of the sandbox's process 1. Raises SystemUnfit with bwrap's words where there is none."""
    with os.fdopen(status, "rb") as pipe:
        line = pipe.readline()
    if line:
        return int(json.loads(line)["child-pid"])
    assert process.stdout  # noqa: S101  # by the PIPE in _start
    words = process.stdout.read(2000).decode("utf-8", "replace").strip()
    raise SystemUnfit(f"the sandbox could not be made: {words or 'bwrap said nothing'}. Run `readingroom doctor`")


def _keep_log(source: IO[bytes], log: IO[bytes]) -> None:
    left = LOG_BYTES
    while piece := os.read(source.fileno(), 1 << 16):
        log.write(piece[:left])
        left -= min(left, len(piece))


def _children(pid: int) -> list[int]:
    with suppress(OSError):
        return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def _stop(process: subprocess.Popen[bytes], init: int) -> None:
    """Ask the server to end, then end everything in its process namespace."""
    asked: set[int] = set()
    deadline = time.monotonic() + GRACE_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        # More than once: a sandbox that is still being made has no server yet.
        for pid in set(_children(init)) - asked:
            asked.add(pid)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.1)
    with suppress(ProcessLookupError):
        os.kill(init, signal.SIGKILL)
    process.wait()


def _used(plan: Plan) -> int:
    return used_bytes(Path(plan.measured)) if plan.measured else 0


def _watch(plan: Plan, process: subprocess.Popen[bytes], init: int) -> None:
    """Until the server ends, or is to end. A home that no file system limits is measured now and then."""
    allowed = max(plan.limits.home_mb * bubblewrap.MIB, _used(plan))
    while process.poll() is None:
        received = signal.sigtimedwait(_SIGNALS, HOME_CHECK_SECONDS)
        full = received is None and _used(plan) > allowed
        if full:
            sys.stderr.write(f"The home is larger than {plan.limits.home_mb} MB: the server is stopped.\n")
        if full or (received and received.si_signo == signal.SIGTERM):
            _stop(process, init)


def _harden() -> None:
    prctl = ctypes.CDLL(None).prctl
    prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def _tell(answer: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)


def run(plan: Plan) -> int:
    """Start the server of `plan`, be its door, return its exit code. Raises ReadingRoomError, OSError."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    if plan.account:
        stage.enter_namespace()
    refusals = Path(plan.refusals).open("a", buffering=1)  # noqa: SIM115  # for as long as the process lives
    log = Path(plan.log).open("ab", buffering=0)  # noqa: SIM115  # for as long as the process lives
    door = Door(plan)
    if plan.account:
        plan = replace(plan, sandbox=stage.arrange(plan.sandbox))
    process, status = _start(plan, door)
    _become(plan)
    _harden()
    init = _init_pid(status, process)
    keeping = threading.Thread(target=_keep_log, args=(process.stdout, log), daemon=True)
    keeping.start()
    door.serve(Relay(plan.rules, plan.services, Reporter(refusals.write)))
    _tell({"port": door.outer.getsockname()[1]})
    _watch(plan, process, init)
    keeping.join(_LAST_WORDS_SECONDS)  # it ends with the sandbox's last process: what that said last tells why
    return process.returncode


def main() -> NoReturn:
    """The process."""
    try:
        code = run(Plan.from_json(sys.stdin.read()))
    except (ReadingRoomError, OSError) as error:
        _tell({"error": str(error)})
        code = 1
    # The threads that wait for connections never end by themselves.
    sys.stderr.flush()
    os._exit(code & 0xFF)


if __name__ == "__main__":
    main()
