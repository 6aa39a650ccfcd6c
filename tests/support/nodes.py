"""Machines that record at a repository elsewhere, and the network in between."""

import contextlib
import json
import signal
import socket
import subprocess
import sys
import threading
from contextlib import closing

from tests.support.receivers import until

from readingroom_hub.adapters.audit_log import LogReader
from readingroom_hub.adapters.audit_node import Ahead, NodeAuditTrail
from readingroom_hub.adapters.audit_node_wire import Repository
from readingroom_hub.adapters.audit_spool import Spool
from readingroom_hub.model.audit import AuditEvent, AuditRecord

FAR = Ahead(100_000, 64 << 20, 3600)
_WORK = """
import sys, time
from pathlib import Path
from readingroom_hub.adapters.audit_node import Ahead, NodeAuditTrail
from readingroom_hub.adapters.audit_node_wire import Repository
from readingroom_hub.adapters.audit_spool import Spool
from readingroom_hub.model.audit import AuditEvent, AuditRecord
from readingroom_hub.ports.reception import TlsFiles
folder, port, *tls = sys.argv[1:]
spool = Spool(Path(folder) / "spool", Path(folder) / "keys", "node-1")
to = Repository("localhost", int(port), TlsFiles(*map(Path, tls)))
trail = NodeAuditTrail(spool, to, "mount-daemon@node-1", Ahead(10**6, 1 << 30, 3600), 5000)
while port != "1" and not trail._sender._heads:
    time.sleep(0.01)
while True:
    record = AuditRecord(AuditEvent.READ_INTENT)
    trail.append([record])
    print(record.id, flush=True)
    for _ in range(3):
        trail.post(AuditRecord(AuditEvent.INSTANCE_OPENED))
"""


class Node:
    """A machine of its own: keys, spool, certificate. Its process may be stopped, and another one started."""

    def __init__(self, world, name: str) -> None:
        self.name, self._world = name, world
        self.folder = world.folder / f"machine-{name}-{len(list(world.folder.iterdir()))}"
        (self.folder / "keys").mkdir(parents=True)
        self.spool = self.folder / "spool"
        self.tls = world.certificate(name)
        self.port = world.port

    @contextlib.contextmanager
    def running(self, ahead=FAR, timeout_ms=1000, called=None, **more):
        spool = Spool(self.spool, self.folder / "keys", called or self.name)
        to = Repository("localhost", self.port, self.tls, 5.0, 0.1)
        trail = NodeAuditTrail(spool, to, f"mount-daemon@{called or self.name}", ahead, timeout_ms, **more)
        try:
            yield trail
        finally:
            trail.close()

    def files(self):
        return sorted(p for p in self.spool.iterdir() if p.name.isdigit())

    def killed(self, after: int, *, gathers: bool = False) -> list[str]:
        """Records that a process of its own got confirmed, at least so many, before it was killed. `gathers`: it hands
        none over, as it does for the twentieth of a second in which it gathers them."""
        tls = map(str, (self.tls.cert, self.tls.key, self.tls.ca))
        work = "import readingroom_hub.adapters.audit_sender as s; s._GATHER_SECONDS = 3600" if gathers else ""
        argv = [sys.executable, "-c", work + _WORK, str(self.folder), str(self.port), *tls]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
            confirmed = [process.stdout.readline().strip() for _ in range(after)]
            process.send_signal(signal.SIGKILL)
            return confirmed + process.stdout.read().split()


def a_record(**fields):
    return AuditRecord(AuditEvent.READ_INTENT, **fields)


def stored(world):
    """Every record in the log, by id, in order; ids that come twice would be fewer than there are rows."""
    with closing(LogReader(world.server.paths.audit / "log.sqlite")) as reader:
        rows = [json.loads(e.record) for e in reader.entries()]
    found = {row["id"]: row for row in rows}
    assert len(found) == len(rows)
    return found


def arrived(world, ids):
    """Wait until these are stored, and return them in the order of the log."""
    wanted = set(ids)
    until(lambda: wanted <= stored(world).keys())
    return [row for id, row in stored(world).items() if id in wanted]


class Cutter:
    """A network in between that lets so many bytes of each connection through, and then breaks it. While `flows` is not
    set, it takes nothing."""

    def __init__(self, port: int, most: int) -> None:
        self._to, self.most, self.cuts, self.flows = port, most, 0, threading.Event()
        self.flows.set()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._server.accept()
                far = socket.create_connection(("127.0.0.1", self._to))
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self._copy, args=(one, other), daemon=True).start()

    def _copy(self, one, other):
        left = self.most
        with contextlib.suppress(OSError):
            while left and self.flows.wait() and (data := one.recv(min(left, 4096))):
                other.sendall(data)
                left -= len(data)
        self.cuts += 1
        for end in (one, other):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def close(self):
        self._server.close()
