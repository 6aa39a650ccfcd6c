"""The edge's DICOM door: Verification and Storage as SCP (PS3.4 Annexes A and B), over TLS where it is asked for.

What a peer may make this process hold is limited before it is read: pynetdicom by itself takes PDUs and data sets of
any length. Nothing is written here, and pynetdicom's own log, which quotes data sets, goes nowhere."""

import logging
import socket
import socketserver
import ssl
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty
from typing import Any

from pydicom._uid_dict import UID_dictionary
from pydicom.uid import UID, AllTransferSyntaxes
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, _config, evt, register_uid
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import DIMSEMessage
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.service_class import StorageServiceClass
from pynetdicom.sop_class import _STORAGE_CLASSES, Verification  # type: ignore[attr-defined]
from pynetdicom.transport import RequestHandler, ThreadedAssociationServer

from readingroom_hub.deid.received import NotThatObject, from_data_set
from readingroom_hub.errors import BadInput, StoreUnavailable
from readingroom_hub.ports.reception import Counts, Door, Incoming, Reception

SUCCESS, OUT_OF_RESOURCES, DOES_NOT_MATCH, CANNOT_UNDERSTAND = 0x0000, 0xA700, 0xA900, 0xC000
_PDU, _LONGEST_PDU = 1 << 18, 1 << 22  # what is offered, and what is borne with
_COMMAND = 1 << 16
_SECONDS, _IDLE_SECONDS = 30.0, 300.0  # a scanner may hold an association open between two images
_CONNECTIONS = 4  # open connections for one association that may be established
_IMAGES = "1.2.840.10008.5.1.4.1.1."


@dataclass(frozen=True, slots=True)
class Entrance:
    """Where and for whom the door is open."""

    address: str
    port: int
    ae_title: str
    allowed: Sequence[str]
    """Calling AE titles; everybody's where it is empty."""
    associations: int
    tls: ssl.SSLContext | None = None


class DimseServer(Door):
    """Listens while it is open. `tell` gets lines that name no patient."""

    def __init__(self, door: Entrance, reception: Reception, tell: Callable[[str], None]) -> None:
        """Listen. Raises BadInput where that is impossible."""
        _config.LOG_HANDLER_LEVEL = "none"
        logging.getLogger("pynetdicom").disabled = True
        self._reception, self._tell = reception, tell
        self._ae = _entity(door)
        handlers: list[Any] = [
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_REJECTED, self._rejected),
            (evt.EVT_CONN_CLOSE, self._closed),
        ]
        try:
            made = self._ae.make_server(
                (door.address, door.port), evt_handlers=handlers, server_class=_Server, ssl_context=door.tls
            )
        except OSError as error:
            raise BadInput(f"{door.address} port {door.port} cannot be listened at: {error.strerror}") from error
        assert isinstance(made, _Server)  # noqa: S101  # the class that was asked for
        self._server = made
        self._server.open_to(reception, door.associations)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Take no more; associations are aborted, and what was not confirmed is the sender's still."""
        self._server.shutdown()
        for association in self._ae.active_associations:
            association.abort()
        self._thread.join()

    def _store(self, event: evt.Event) -> int:
        counts = _counts(event.assoc)
        status = self._status(event)
        if status == SUCCESS:
            counts.taken += 1
        else:
            counts.refused += 1
        return status

    def _status(self, event: evt.Event) -> int:
        request: Any = event.request
        data_set = request.DataSet
        if not isinstance(data_set, Incoming):
            return CANNOT_UNDERSTAND
        try:
            if data_set.refused:
                self._tell(f"refused an object of {_peer(event.assoc)}: too large, or too many at once")
                return OUT_OF_RESOURCES
            names = str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID)
            self._reception.take(from_data_set(data_set.getbuffer(), str(event.context.transfer_syntax), *names))
        except NotThatObject:
            return DOES_NOT_MATCH
        except StoreUnavailable as error:
            self._tell(f"refused an object of {_peer(event.assoc)}: {error}")
            return OUT_OF_RESOURCES
        except MemoryError:
            self._tell(f"refused an object of {_peer(event.assoc)}: no memory is left")
            return OUT_OF_RESOURCES
        return SUCCESS

    def _rejected(self, event: evt.Event) -> None:
        self._tell(f"rejected an association of {_peer(event.assoc)}")

    def _closed(self, event: evt.Event) -> None:
        event.assoc.dimse.drop()  # type: ignore[attr-defined]  # ours
        counts = _counts(event.assoc)
        if counts.taken or counts.refused:
            self._tell(f"{_peer(event.assoc)} sent {counts.taken} objects, {counts.refused} more were refused")


class _Messages(DIMSEServiceProvider):
    """Puts a data set together within the reception's limits."""

    reception: Reception

    def receive_primitive(self, primitive: P_DATA) -> None:
        """One more fragment, or several. A message that makes no sense ends the association (PS3.8 9.2, Evt19)."""
        message = self.message
        if message is None:
            message = self.message = DIMSEMessage()
            message.data_set = Incoming(self.reception)
        try:
            super().receive_primitive(primitive)
            if message.encoded_command_set.tell() <= _COMMAND:
                return
        except Exception as error:  # noqa: BLE001  # whatever a peer's bytes lead to ends its association only
            sys.stderr.write(f"a message that cannot be read ({type(error).__name__}) ended an association\n")
        self.drop()
        self.dul.event_queue.put("Evt19")

    def drop(self) -> None:
        """Forget what nobody will be told of any more, and give its memory back."""
        half, self.message = self.message, None
        if half is not None and half.data_set is not None:
            half.data_set.close()
        with suppress(Empty):
            while True:
                _, request = self.msg_queue.get_nowait()
                if isinstance(whole := getattr(request, "DataSet", None), Incoming):
                    whole.close()


class _Handler(RequestHandler):
    server: "_Server"

    def _create_association(self) -> Any:
        association = super()._create_association()
        messages = _Messages(association)
        messages.reception = self.server.reception
        association.dimse = messages
        association.readingroom_counts = Counts()  # type: ignore[attr-defined]  # a place of our own
        connection = self.request

        def receive(size: int) -> bytearray:
            if size > _LONGEST_PDU:
                raise OSError("a PDU longer than anybody needs")
            data = bytearray(size)
            have = 0
            while have < size and (more := connection.recv_into(memoryview(data)[have:])):
                have += more
            with suppress(OSError):  # else a sender's next small packet waits 40 ms for our acknowledgement (RFC 1122)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            return data[:have]

        association.dul.socket.recv = receive  # type: ignore[union-attr,method-assign]
        return association


class _Server(ThreadedAssociationServer):
    """Accepts at once; a peer that dawdles over its TLS handshake holds up only itself."""

    daemon_threads = True
    reception: Reception
    connections = 0

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named, request_handler=_Handler)  # type: ignore[misc]  # named has no other

    def open_to(self, reception: Reception, associations: int) -> None:
        """Set what connections need."""
        self.reception, self.connections = reception, _CONNECTIONS * associations

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        """Accept; TLS comes later."""
        assert self.socket is not None  # noqa: S101  # it is bound
        connection, address = self.socket.accept()
        connection.settimeout(_SECONDS)
        return connection, address

    def verify_request(self, _request: Any, _address: Any) -> bool:
        """Whether one more connection may be open."""
        return len(self.active_associations) < self.connections

    def finish_request(self, request: Any, client_address: Any) -> None:
        """In the connection's own thread: TLS, then the association."""
        if self.ssl_context:
            request = self.ssl_context.wrap_socket(request, server_side=True)
        super().finish_request(request, client_address)

    def shutdown(self) -> None:
        """End `serve_forever`, then close. pynetdicom's own looks for servers that it started itself."""
        socketserver.TCPServer.shutdown(self)
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that fails is closed; a traceback would tell the operator nothing."""


def _entity(door: Entrance) -> AE:
    try:
        entity = AE(ae_title=door.ae_title)
        entity.require_calling_aet = list(door.allowed)
    except ValueError as error:
        raise BadInput(f"an AE title cannot be used: {error} (PS3.5 6.2, AE: at most 16 characters)") from error
    entity.require_called_aet = True
    entity.maximum_associations = door.associations
    entity.maximum_pdu_size = _PDU
    entity.acse_timeout = entity.dimse_timeout = _SECONDS
    entity.network_timeout = _IDLE_SECONDS
    entity.add_supported_context(Verification)
    syntaxes = sorted({*map(str, AllTransferSyntaxes), *ALL_TRANSFER_SYNTAXES})
    for sop_class in _storage_classes():
        entity.add_supported_context(sop_class, syntaxes)
    return entity


def _storage_classes() -> list[str]:
    """Every storage SOP class of PS3.6, retired ones included: archives are full of them."""
    known = set(_STORAGE_CLASSES.values())
    for uid, (_, kind, *_rest) in UID_dictionary.items():
        if kind == "SOP Class" and uid.startswith(_IMAGES) and uid not in known and "Storage" in UID(uid).keyword:
            register_uid(uid, UID(uid).keyword, StorageServiceClass)
            known.add(uid)
    return sorted(map(str, known))


def _counts(association: Any) -> Counts:
    counts: Counts = association.readingroom_counts
    return counts


def _peer(association: Any) -> str:
    """An AE title (at most 16 characters, PS3.8 7.1.1.4) and an address."""
    title = "".join(c for c in association.requestor.ae_title if c.isprintable())
    return f"{title} at {association.requestor.address}"
