"""The process that serves the audit record repository on a Unix socket: frames in, replies out, one event loop.

Appends are committed in the loop itself: while a commit runs, the kernel keeps what clients send, and the next commit
takes all of it. Searches and identities run in threads."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from readingroom_hub.adapters.audit_connection import Connection, this_machine
from readingroom_hub.adapters.audit_handshakes import Handshakes
from readingroom_hub.adapters.audit_node_watch import EVENTS as NODE_EVENTS
from readingroom_hub.adapters.audit_node_watch import NodeWatch
from readingroom_hub.adapters.audit_nodes import NodeDoor, Peer, UnknownNode, admitted
from readingroom_hub.adapters.audit_refusals import Refusal, Refusals
from readingroom_hub.adapters.audit_service import AuditService
from readingroom_hub.adapters.audit_wire import error_fields, filter_fields, filter_of, message, node_fields
from readingroom_hub.adapters.audit_witnessing import Witnessing
from readingroom_hub.errors import AuditUnavailable, BadInput, Denied, ReadingRoomError, SystemUnfit
from readingroom_hub.ledger.record import Source, source_of
from readingroom_hub.model.audit import AuditEvent, AuditRecord, Receipt
from readingroom_hub.model.ids import ApprovalId, PersonId
from readingroom_hub.ports.records import Filter

_MAX_SOCKET_PATH = 107
_SEARCH_SECONDS = 30.0
_REPLY_BYTES = 6 << 20
_WATCH_SECONDS = 1.0
_MAX_LIMIT = 10_000
_MAX_STUDIES = 500
"""The record of a search names them all, and has at most 64 KiB."""


class AuditServer:
    """Serves one AuditService."""

    def __init__(self, service: AuditService, door: NodeDoor | None = None) -> None:
        self._service = service
        self._door = door
        self._refusals = Refusals()
        self._handshakes: Handshakes | None = None
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="audit-desk")
        self._tasks: set[asyncio.Task[None]] = set()
        self._commit_is_due = False
        self.connections: set[Connection] = set()
        self.nodes = NodeWatch(service.record, lambda: door.nodes.names if door else [])

    def take(self, connection: Connection, request: dict[str, Any]) -> None:
        """Start on one request."""
        if request.get("op") == "head" and connection.peer.node:
            self._hear(connection, request)
            return
        if request.get("op") != "append" and connection.peer.node:
            connection.reply(request["n"], **error_fields(Denied("a node hands records over, and may ask for nothing")))
            return
        if request.get("op") != "append":
            task = asyncio.get_running_loop().create_task(self._answer(connection, request))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return
        n, wants_receipts = request["n"], request.get("receipts", True)
        sources: list[Source] = []

        def done(result: list[Receipt] | ReadingRoomError) -> None:
            if isinstance(result, ReadingRoomError):
                connection.reply(n, **error_fields(result))
                return
            self.nodes.stored(sources)
            if wants_receipts:
                connection.reply(n, receipts=[[r.index, r.leaf_hash.hex()] for r in result])
            else:
                connection.reply(n)

        try:
            rows = connection.peer.check(request.get("records"), request.get("sent"))
            if connection.peer.node:
                sources += map(source_of, rows)
                self.nodes.heard(connection)
            self._service.submit(rows, done)
        except (BadInput, Denied) as error:
            done(error)
            return
        if not self._commit_is_due:
            self._commit_is_due = True
            asyncio.get_running_loop().call_soon(self._commit)

    def _hear(self, connection: Connection, request: dict[str, Any]) -> None:
        try:
            self.nodes.hear(connection, request)
        except (BadInput, Denied) as error:
            connection.reply(request["n"], **error_fields(error))
        else:
            if request["n"]:  # 0: nobody waits for an answer
                connection.reply(request["n"])

    def left(self, connection: Connection) -> None:
        """A client has hung up."""
        self.connections.discard(connection)
        self.nodes.left(connection)

    def _recall_nodes(self) -> None:
        """What the log says of nodes. Raises AuditUnavailable."""
        wanted, size = Filter(events=NODE_EVENTS, limit=_MAX_LIMIT), self._service.size
        self.nodes.recall(lambda b: self._service.search(wanted, b, size, _SEARCH_SECONDS), self._service.sources)

    def _commit(self) -> None:
        self._commit_is_due = self._service.commit_waiting()
        if self._commit_is_due:
            asyncio.get_running_loop().call_soon(self._commit)

    async def _answer(self, connection: Connection, request: dict[str, Any]) -> None:
        try:
            fields = await self._result(request)
        except ReadingRoomError as error:
            fields = error_fields(error)
        except (KeyError, TypeError, ValueError) as error:
            fields = error_fields(BadInput(f"the request {request.get('op')!r:.40} lacks or misuses {error}"))
        connection.reply(request["n"], **fields)

    async def _result(self, request: dict[str, Any]) -> dict[str, Any]:
        threads, loop = self._threads, asyncio.get_running_loop()
        match request.get("op"):
            case "identify":
                values = (str(request["issuer"]), str(request["subject"]), str(request["name"]))
                return {"person": await loop.run_in_executor(threads, self._service.identify, *values)}
            case "people":
                return {"people": await loop.run_in_executor(threads, self._service.people, str(request["text"]))}
            case "forget":
                self._service.forget(PersonId(request["person"]), *_approved(request))
                return {}
            case "purge" | "query" as op:
                return await (self._purge(request) if op == "purge" else self._query(request))
            case "checkpoint":
                return {"note": self._service.checkpoint()}
            case "status":
                return self._service.status() | {"nodes": [node_fields(s) for s in self.nodes.states()]}
        raise BadInput(f"the audit record repository knows no request {request.get('op')!r:.40}")

    async def _purge(self, request: dict[str, Any]) -> dict[str, Any]:
        """Record, have witnesses see the record, then remove: nobody can take the purge record back afterwards."""
        before = str(request["before"])
        self._service.announce_purge(before, *_approved(request))
        done = await asyncio.get_running_loop().run_in_executor(self._threads, self._service.ask_witnesses)
        if done is not None:
            self._service.witnessed(done)
            if not done.met:
                raise AuditUnavailable("nothing was purged: no quorum of witnesses cosigned the purge record")
        self._service.purge(before)
        return {}

    async def _query(self, request: dict[str, Any]) -> dict[str, Any]:
        """Search, then put the search on record, then answer."""
        wanted = filter_of(request["filter"])
        asked_by = PersonId(request["asked_by"]) if request.get("asked_by") else None
        if not 1 <= wanted.limit <= _MAX_LIMIT:
            raise BadInput(f"a search for {wanted.limit} records: ask for 1 to {_MAX_LIMIT} at once")
        if len(wanted.studies) > _MAX_STUDIES:
            raise BadInput(f"a search for {len(wanted.studies)} studies: name at most {_MAX_STUDIES}")
        self._service.finish()
        size, nodes = self._service.size, [node_fields(s) for s in self.nodes.states() if s.is_behind]
        found = await asyncio.get_running_loop().run_in_executor(
            self._threads, self._service.search, wanted, request.get("before"), size, _SEARCH_SECONDS
        )
        rows: list[dict[str, Any]] = []
        room = _REPLY_BYTES
        for f in found:
            row = {"index": f.index, "record": f.record, "name": f.person_name}
            room -= len(message(0, **row))
            if room < 0 and rows:
                break
            rows.append(row)
        stored = self._service.size
        subject = {"filter": filter_fields(wanted), "count": len(rows)}
        self._service.record(AuditRecord(AuditEvent.RECORD_SEARCHED, person=asked_by, subject=subject))
        return {"found": rows, "more": len(rows) < len(found), "size": size, "stored": stored, "nodes": nodes}

    async def _witness(self, seconds: float, stop: asyncio.Event) -> None:
        """Ask the witnesses again and again; one that hangs holds up nobody but the next round."""
        loop = asyncio.get_running_loop()
        while not stop.is_set():
            try:
                done = await loop.run_in_executor(self._threads, self._service.ask_witnesses)
                if done is not None:
                    self._service.witnessed(done)
            except ReadingRoomError as error:
                sys.stderr.write(f"audit record repository: the witnesses were not asked: {error}\n")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), seconds)

    def refuse(self, error: UnknownNode) -> None:
        """Put on record that a machine with a certificate of the right authority was not let in."""
        subject = {"certificate": error.fingerprint}
        self._turned_away(Refusal(("unknown-node", error.fingerprint), f"unknown-node: {error}", subject))

    def _turned_away(self, refusal: Refusal) -> None:
        self._refusals.see(refusal)
        self._store_refusals()

    def _store_refusals(self, *, all: bool = False) -> None:
        """What is due. What cannot be stored now is kept: nothing was given out, and stderr has it."""
        with contextlib.suppress(ReadingRoomError):
            self._refusals.store(self._record_refusal, all=all)

    def _record_refusal(self, record: AuditRecord) -> None:
        sys.stderr.write(f"audit record repository: refused: {record.reason}\n")
        self._service.record(record)

    def _watch_nodes(self, door: NodeDoor) -> None:
        """Obey a changed list at once: whoever is no longer on it is cut off."""
        if not door.nodes.reload():
            return
        for connection in tuple(self.connections):
            peer = connection.peer
            if peer.node and not door.nodes.knows(peer.node, peer.fingerprint):
                sys.stderr.write(f"audit record repository: {peer.node} is no longer a node\n")
                connection.cut()
        sys.stderr.write(f"audit record repository: {door.nodes.trouble or 'the list of nodes has changed'}\n")
        with contextlib.suppress(ReadingRoomError):
            self._service.record(AuditRecord(AuditEvent.CONFIGURATION, subject={"nodes": door.nodes.names}))
        if not door.nodes.trouble:
            self.nodes.obey(door.nodes.names)

    def _admit(self, door: NodeDoor, transport: asyncio.Transport) -> Peer:
        self._watch_nodes(door)
        return admitted(door.nodes, transport)

    async def _watch(self, stop: asyncio.Event) -> None:
        """Look at clock and nodes while nobody reads; a step that cannot be stored now is stored before other records.

        Each second, since that is how long a machine may go on that is no node any more."""
        while not stop.is_set():
            with contextlib.suppress(ReadingRoomError):
                self._service.watch_clock()
            self._store_refusals()
            if self._door:
                self._watch_nodes(self._door)
                self.nodes.watch()
                try:
                    self._door.renew()
                except BadInput as error:
                    sys.stderr.write(f"audit record repository: goes on with its old certificate: {error}\n")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _WATCH_SECONDS)

    async def run(self, listening: socket.socket, witness_seconds: float | None = None) -> None:
        """Serve until SIGTERM or SIGINT, then answer what is under way."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        servers: list[asyncio.Server] = []
        servers.append(await loop.create_unix_server(lambda: Connection(self, this_machine), sock=listening))
        if self._door and not self._service.damage:
            self._recall_nodes()
            self.nodes.obey(self._door.nodes.names)
        if self._door:
            servers.append(await self._open(self._door))
        work = [self._watch(stop)]
        if witness_seconds is not None:
            work.append(self._witness(witness_seconds, stop))
        for task in map(loop.create_task, work):
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        try:
            trouble = f" READ ONLY, {self._service.damage}" if self._service.damage else ""
            sys.stderr.write(
                f"audit record repository ready at {listening.getsockname()}{trouble}\n{self._service.vkey}\n"
            )
            sys.stderr.flush()
            await stop.wait()
        finally:
            for server in servers:
                server.close()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            self._service.finish()
            self.nodes.stop()
            for connection in tuple(self.connections):
                connection.close()
            if self._handshakes:
                await self._handshakes.close()
            self._store_refusals(all=True)
            self._threads.shutdown()

    async def _open(self, door: NodeDoor) -> asyncio.Server:
        admit = partial(self._admit, door)
        self._handshakes = Handshakes(door.tls, lambda: Connection(self, admit), self._turned_away)
        try:
            server = await asyncio.get_running_loop().create_server(self._handshakes, door.host, door.port)
        except OSError as error:
            raise BadInput(f"READINGROOM_AUDIT_LISTEN: {door.host}:{door.port} cannot be used: {error}") from error
        for listening in server.sockets:
            host, port = listening.getsockname()[:2]
            sys.stderr.write(f"audit record repository takes records of nodes at {host}:{port}\n")
        return server


def _approved(request: Mapping[str, Any]) -> tuple[str, PersonId, list[PersonId], ApprovalId | None]:
    approval = ApprovalId(request["approval"]) if request["approval"] else None
    approvers = [PersonId(p) for p in request["approved_by"]]
    return str(request["reason"]), PersonId(request["by"]), approvers, approval


def _listen(path: Path) -> socket.socket:
    """A socket that only our own user may open. The log's lock is ours, so nobody else listens at `path`."""
    if len(os.fsencode(path)) > _MAX_SOCKET_PATH:
        raise SystemUnfit(f"the socket path {path} is longer than {_MAX_SOCKET_PATH} bytes: use a shorter state folder")
    path.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    path.chmod(0o600)
    listening.listen(128)
    return listening


def serve(
    folder: Path,
    keys: Path,
    socket_path: Path,
    witnessing: Witnessing | None = None,
    witness_seconds: float | None = None,
    settings: Mapping[str, str] | None = None,
    log_url: str = "",
    door: NodeDoor | None = None,
    metrics_port: int = 0,
) -> None:
    """Run the repository until it is told to stop; `settings` go on record. `log_url`: its database, where it has one.
    `door`: where records of other machines come in, where they may. `metrics_port`: of the loopback; 0: none.

    Raises what AuditService raises."""
    os.umask(0o077)
    service = AuditService(folder, keys, witnessing, settings, log_url)
    server = AuditServer(service, door)
    try:
        with contextlib.ExitStack() as stack:
            if metrics_port:
                from readingroom_hub.adapters.audit_metrics import RecordMetrics
                from readingroom_hub.metrics import served

                watch = server.nodes
                metrics = RecordMetrics(
                    lambda: (service.size, service.lag()), lambda: (watch.states(), dict(watch.missing))
                )
                stack.enter_context(served(metrics, metrics_port))
            asyncio.run(server.run(_listen(socket_path), witness_seconds if witnessing else None))
    finally:
        service.close()
        socket_path.unlink(missing_ok=True)
