"""Key custody in a PKCS#11 token, for example a hardware security module: no key-encrypting key ever leaves it.

Data keys are wrapped with CKM_AES_KEY_WRAP_PAD (AES-KWP, SP 800-38F), secrets derived with CKM_SHA256_HMAC. What
became of a KEK is noted in data objects that are only ever added, so that two processes cannot overwrite each other."""

import fcntl
import json
import os
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pkcs11
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass

from readingroom_hub.errors import Conflict, IntegrityError, KeyUnavailable
from readingroom_hub.model.dataset import WrappedKey
from readingroom_hub.model.ids import KeyId
from readingroom_hub.model.keys import Kek, KeyState
from readingroom_hub.ports.custody import KeyCustody

_ROOT, _NOTE = "readingroom-root", "readingroom-note"
_MADE, _DESTROYED = "made", "destroyed"
_INSIDE = {Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False}
_IN_TRANSIT = {Attribute.TOKEN: False, Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True}
_CHANGED = (
    pkcs11.exceptions.GeneralError,  # what SoftHSM says of a wrapped key that fails its check
    pkcs11.exceptions.WrappedKeyInvalid,
    pkcs11.exceptions.WrappedKeyLenRange,
    pkcs11.exceptions.EncryptedDataInvalid,
    pkcs11.exceptions.EncryptedDataLenRange,
    pkcs11.exceptions.FunctionFailed,
    pkcs11.exceptions.ArgumentsBad,
)


class Pkcs11KeyCustody(KeyCustody):
    """KEKs and the root secret in the token labelled `token`, made at first use. `folder` is for a lock file.

    Every call opens a session of its own: calls are rare, and a token that was away is found again. Thread-safe."""

    def __init__(self, module: Path, token: str, pin_file: Path, folder: Path) -> None:
        self._module = module
        self._token = token
        self._pin_file = pin_file
        self._folder = folder
        self._lock = threading.Lock()

    def current_kek(self) -> str:
        """The newest KEK."""
        with self._session() as session:
            return _current(session)

    def keks(self) -> list[Kek]:
        """By the token's notes. A KEK is active until the next one is made."""
        with self._session() as session:
            made, destroyed = _notes(session, _MADE), dict(_notes(session, _DESTROYED))
        found = []
        for i, (name, since) in enumerate(made):
            if name in destroyed:
                found.append(Kek(name, KeyState.DESTROYED, destroyed[name]))
            elif i + 1 < len(made):
                found.append(Kek(name, KeyState.DEACTIVATED, made[i + 1][1]))
            else:
                found.append(Kek(name, KeyState.ACTIVE, since))
        return found

    def rotate(self) -> str:
        """A new key of the token's own random numbers."""
        with self._session() as session:
            return _make_kek(session)

    def destroy(self, kek: str) -> None:
        """C_DestroyObject. Backups that the token's maker offers are the operator's."""
        with self._session() as session:
            if kek not in dict(_notes(session, _MADE)):
                raise KeyUnavailable(f"there is no key-encrypting key {kek}; see `readingroom key list`")
            if kek == _current(session):
                raise Conflict(f"the key-encrypting key {kek} is active: rotate first, and rewrap what is to be kept")
            if kek in dict(_notes(session, _DESTROYED)):
                return
            for key in _secret_keys(session, kek):
                key.destroy()
            _note(session, _DESTROYED, kek)

    def wrap(self, key_id: KeyId, data_key: bytes) -> WrappedKey:
        """The data key is in the token for the time of this call only."""
        with self._session() as session:
            kek = _current(session)
            guest = session.create_object(
                {
                    Attribute.CLASS: ObjectClass.SECRET_KEY,
                    Attribute.KEY_TYPE: KeyType.GENERIC_SECRET,
                    Attribute.VALUE: data_key,
                    **_IN_TRANSIT,
                }
            )
            return WrappedKey(key_id, kek, _kek(session, kek).wrap_key(guest, mechanism=Mechanism.AES_KEY_WRAP_PAD))

    def unwrap(self, key: WrappedKey) -> bytes:
        """C_UnwrapKey, then the value of the data key."""
        with self._session() as session:
            kek = _kek(session, key.kek)
            try:
                guest = kek.unwrap_key(
                    ObjectClass.SECRET_KEY,
                    KeyType.GENERIC_SECRET,
                    key.wrapped,
                    mechanism=Mechanism.AES_KEY_WRAP_PAD,
                    template=_IN_TRANSIT,
                )
            except _CHANGED as error:
                raise IntegrityError(
                    "the wrapped data key was changed, or another key-encrypting key wrapped it"
                ) from error
            return bytes(guest[Attribute.VALUE])

    def derive(self, purpose: str) -> bytes:
        """HMAC-SHA256 under a root secret that is no KEK."""
        with self._session() as session:
            (root,) = _secret_keys(session, _ROOT)
            message = b"readingroom/derive/1\0" + purpose.encode()
            return bytes(root.sign(message, mechanism=Mechanism.SHA256_HMAC))

    @contextmanager
    def _session(self) -> Iterator[Any]:
        try:
            pin = self._pin_file.read_text("utf-8").strip()
            with self._lock:
                token = pkcs11.lib(str(self._module)).get_token(token_label=self._token)
                with token.open(rw=True, user_pin=pin) as session:
                    self._prepare(session)
                    yield session
        except OSError as error:
            raise KeyUnavailable(f"{error.filename} cannot be read ({error.strerror})") from error
        except (pkcs11.exceptions.PKCS11Error, RuntimeError) as error:
            what = str(error) or type(error).__name__
            raise KeyUnavailable(
                f"the PKCS#11 token {self._token!r} does not do its work ({what}): look at it"
            ) from error

    def _prepare(self, session: Any) -> None:
        if _notes(session, _MADE):
            return
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            if not _notes(session, _MADE):  # else another process was first
                for left in _secret_keys(session, _ROOT):  # of a first use that was killed: nothing is under it
                    left.destroy()
                template = {Attribute.SIGN: True, **_INSIDE}
                session.generate_key(KeyType.GENERIC_SECRET, 256, label=_ROOT, store=True, template=template)
                _make_kek(session)
        finally:
            os.close(folder)


def _make_kek(session: Any) -> str:
    name = f"readingroom-kek-{secrets.token_hex(4)}"
    template = {Attribute.WRAP: True, Attribute.UNWRAP: True, Attribute.ENCRYPT: False, Attribute.DECRYPT: False}
    session.generate_key(KeyType.AES, 256, label=name, store=True, template=template | _INSIDE)
    _note(session, _MADE, name)
    return name


def _note(session: Any, what: str, kek: str) -> None:
    number = len(_notes(session, what)) + 1  # clocks are set back; two at once are told apart by time
    text = json.dumps({"what": what, "number": number, "kek": kek, "at": datetime.now(UTC).isoformat()})
    session.create_object(
        {
            Attribute.CLASS: ObjectClass.DATA,
            Attribute.TOKEN: True,
            Attribute.PRIVATE: True,
            Attribute.MODIFIABLE: False,
            Attribute.LABEL: _NOTE,
            Attribute.VALUE: text.encode(),
        }
    )


def _notes(session: Any, what: str) -> list[tuple[str, datetime]]:
    """(KEK, time), oldest first."""
    found = [
        json.loads(note[Attribute.VALUE])
        for note in session.get_objects({Attribute.CLASS: ObjectClass.DATA, Attribute.LABEL: _NOTE})
    ]
    notes = sorted((n for n in found if n["what"] == what), key=lambda n: (n["number"], n["at"]))
    return [(str(n["kek"]), datetime.fromisoformat(n["at"])) for n in notes]


def _current(session: Any) -> str:
    return _notes(session, _MADE)[-1][0]


def _secret_keys(session: Any, label: str) -> list[Any]:
    return list(session.get_objects({Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.LABEL: label}))


def _kek(session: Any, name: str) -> Any:
    key = next(iter(_secret_keys(session, name)), None)
    if key is not None:
        return key
    destroyed = dict(_notes(session, _DESTROYED)).get(name)
    if destroyed is not None:
        raise KeyUnavailable(f"the key-encrypting key {name} was destroyed on {destroyed:%Y-%m-%d}")
    raise KeyUnavailable(f"the key-encrypting key {name} is not in the PKCS#11 token")
