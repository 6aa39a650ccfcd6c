"""TLS at the port for nodes: who gets through it becomes a connection, who does not is told apart and reported.

asyncio's own TLS server says nothing of a handshake that failed, so each is begun here (`loop.start_tls`). How many
are under way, and how many begin in a second, is bounded for each address and together: who only connects takes no
file descriptors and no time from those who append."""

import asyncio
import ssl
from collections import Counter
from collections.abc import Callable
from hashlib import sha256

from readingroom_hub.adapters.audit_refusals import Refusal

_SECONDS = 5.0
_UNDER_WAY, _UNDER_WAY_OF_ONE = 256, 32
_A_SECOND, _A_SECOND_OF_ONE = 300, 100
"""Each takes about a millisecond from the loop that commits."""
_CERTIFICATE = 11
"""HandshakeType (RFC 8446 section 4)."""
_SAID = {
    "wrong-certificate": "showed a certificate that is not good here ({detail}): have the authority of the nodes sign "
    "one for it, or look at the time of both machines",
    "no-certificate": "showed no certificate: only nodes have business at this port",
    "old-tls": "offered no TLS 1.3",
    "no-tls": "spoke no TLS ({detail})",
    "turned-away": "hung up, for it does not trust this repository's certificate ({detail}): look at the authority "
    "that is set there",
    "too-slow": "did not finish its handshake in {seconds:g} s",
    "hung-up": "hung up before its handshake was done",
    "too-many": "began too many handshakes at once, or all together did",
}
_KINDS = {  # by OpenSSL's reason
    "CERTIFICATE_VERIFY_FAILED": "wrong-certificate",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "no-certificate",
    "UNSUPPORTED_PROTOCOL": "old-tls",
}


class _FailedHandshake(ssl.SSLError):
    """With the certificate that was shown (DER; b"" for none)."""

    certificate: bytes = b""


class _Shown(ssl.SSLObject):
    """Remembers the certificate that the other side showed, which Python gives out only where it was good."""

    certificate: bytes = b""

    def do_handshake(self) -> None:
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            failed = _FailedHandshake(*error.args)
            failed.certificate = self.certificate
            raise failed from error


def keep_certificates(context: ssl.SSLContext) -> None:
    """Have connections of this context remember what was shown. Only OpenSSL's own report of messages has it: a client
    of TLS 1.3 sends it encrypted, and after a failure the library answers no question about it."""
    context.sslobject_class = _Shown

    def see(shown: _Shown, direction: str, _version: int, _type: int, message: int, data: bytes) -> None:
        if direction == "read" and message == _CERTIFICATE:
            shown.certificate = _first_certificate(data)

    context._msg_callback = see  # type: ignore[attr-defined]  # noqa: SLF001  # there is no public door to it


def _first_certificate(message: bytes) -> bytes:
    """Of a Certificate message (RFC 8446 section 4.4.2); b"" where it has none."""
    start = 5 + message[4] + 3 if len(message) > 4 else len(message)
    length = int.from_bytes(message[start : start + 3])
    return message[start + 3 : start + 3 + length]


class _Inside(asyncio.Protocol):
    """What a connection is behind its TLS. asyncio may bring data before `start_tls` has returned."""

    def __init__(self, connection: asyncio.Protocol) -> None:
        self._connection = connection
        self._early: bytearray | None = bytearray()
        self._is_lost = False

    def enter(self, transport: asyncio.Transport) -> None:
        """The handshake is done."""
        early, self._early = self._early, None
        if self._is_lost:
            return
        self._connection.connection_made(transport)
        if early:
            self._connection.data_received(bytes(early))

    def data_received(self, data: bytes) -> None:
        if self._early is None:
            self._connection.data_received(data)
        else:
            self._early += data

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_lost = True
        if self._early is None:
            self._connection.connection_lost(exc)


class Handshakes:
    """All that are under way at one port."""

    def __init__(
        self,
        context: ssl.SSLContext,
        connection: Callable[[], asyncio.Protocol],
        refused: Callable[[Refusal], None],
        seconds: float = _SECONDS,
    ) -> None:
        """`connection` makes what a machine becomes that got through; `refused` hears of every other one."""
        keep_certificates(context)
        self._context, self._connection, self._refused, self._seconds = context, connection, refused, seconds
        self._under_way: Counter[str] = Counter()
        self._begun: Counter[str] = Counter()
        self._second = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def __call__(self) -> asyncio.Protocol:
        """For `create_server`."""
        return _Outside(self)

    def begin(self, transport: asyncio.Transport) -> None:
        """Somebody has connected."""
        address = str((transport.get_extra_info("peername") or ["an unknown address"])[0])
        loop = asyncio.get_running_loop()
        if self._second != int(loop.time()):
            self._second, self._begun = int(loop.time()), Counter()
        under_way, begun = self._under_way, self._begun
        if (
            max(under_way[address] - _UNDER_WAY_OF_ONE, begun[address] - _A_SECOND_OF_ONE) >= 0
            or max(under_way.total() - _UNDER_WAY, begun.total() - _A_SECOND) >= 0
        ):
            transport.abort()
            self._report("too-many", address)
            return
        under_way[address] += 1
        begun[address] += 1
        task = loop.create_task(self._shake_hands(transport, address))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _shake_hands(self, transport: asyncio.Transport, address: str) -> None:
        inside = _Inside(self._connection())
        loop = asyncio.get_running_loop()
        try:
            secured = await loop.start_tls(
                transport, inside, self._context, server_side=True, ssl_handshake_timeout=self._seconds
            )
            if secured is None or secured.get_extra_info("ssl_object") is None:
                raise ConnectionResetError
        except (OSError, RuntimeError) as error:  # RuntimeError: asyncio's word for one that closed in between
            transport.abort()
            self._report(_kind(error), address, error)
        else:
            inside.enter(secured)
        finally:
            self._under_way[address] -= 1
            if not self._under_way[address]:
                del self._under_way[address]

    def _report(self, kind: str, address: str, error: BaseException | None = None) -> None:
        said = _SAID[kind].format(detail=_detail(error), seconds=self._seconds)
        certificate = error.certificate if isinstance(error, _FailedHandshake) else b""
        fingerprint = sha256(certificate).hexdigest() if certificate else ""
        reason = f"tls-{kind}: {address} {said}"
        self._refused(Refusal((kind, address), reason, {"address": address}, fingerprint))

    async def close(self) -> None:
        """Hang up on who is not through yet."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class _Outside(asyncio.Protocol):
    """A connection before its handshake."""

    def __init__(self, handshakes: Handshakes) -> None:
        self._handshakes = handshakes

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  # a stream server makes no other
        self._handshakes.begin(transport)


def _kind(error: BaseException) -> str:
    cause = error.__cause__
    if isinstance(cause, ssl.SSLError):
        reason = cause.reason or ""
        return _KINDS.get(reason) or ("turned-away" if "_ALERT_" in reason else "no-tls")
    return "too-slow" if isinstance(error, ConnectionAbortedError) else "hung-up"


def _detail(error: BaseException | None) -> str:
    """OpenSSL's words."""
    cause = error.__cause__ if error else None
    if isinstance(cause, ssl.SSLCertVerificationError):
        return str(cause.verify_message)
    return (cause.reason or "").lower().replace("_", " ") if isinstance(cause, ssl.SSLError) else ""
