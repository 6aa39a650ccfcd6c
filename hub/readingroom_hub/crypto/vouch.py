"""How the portal knows which session a request comes from: the session's door says so, with a code that only a door
started for that session was given (HMAC-SHA256, RFC 2104). A door that is broken into can speak for its own session."""

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

from readingroom_hub.errors import Denied
from readingroom_hub.model.ids import SessionId

SESSION_HEADER = "X-Readingroom-Session"
VOUCH_HEADER = "X-Readingroom-Vouch"
_CONTEXT = b"readingroom door/1\0"


def _mac(key: bytes, session: SessionId) -> HMAC:
    mac = HMAC(key, SHA256())
    mac.update(_CONTEXT + session.encode())
    return mac


def vouch(key: bytes, session: SessionId) -> str:
    """The code for one session, in hexadecimal."""
    return _mac(key, session).finalize().hex()


def check_vouch(key: bytes, session: SessionId, code: str) -> None:
    """Raises Denied where `code` is not the session's."""
    try:
        _mac(key, session).verify(bytes.fromhex(code))
    except (InvalidSignature, ValueError) as error:
        raise Denied("this request does not come from the server that it names") from error
