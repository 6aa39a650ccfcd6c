"""Key custody in the AWS Key Management Service (or a service with its API): no key-encrypting key ever leaves it.

KEKs are the keys behind the aliases `alias/<prefix>-kek-0001`, `-0002`, and so on; the highest is active. A number that
is missing below it was destroyed: the service forgets a key's alias with the key. Nothing is stored elsewhere."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from readingroom_hub.errors import Conflict, IntegrityError, KeyUnavailable
from readingroom_hub.model.dataset import WrappedKey
from readingroom_hub.model.ids import KeyId
from readingroom_hub.model.keys import Kek, KeyState
from readingroom_hub.ports.custody import KeyCustody

_PENDING_DAYS = 7
"""The shortest on offer: the service refuses the key at once, and its administrator may call it back so long."""
_CHANGED = frozenset(
    {"InvalidCiphertextException", "IncorrectKeyException", "NotFoundException", "ValidationException"}
)
_GONE = frozenset({"PendingDeletion", "PendingReplicaDeletion"})


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


@contextmanager
def _reported() -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        raise KeyUnavailable(
            f"the key management service refused ({_code(error)}): look at its keys and rights"
        ) from error
    except (BotoCoreError, OSError) as error:
        # By its name alone: the text tells an address of the inside, and researchers read this.
        why = type(error).__name__
        raise KeyUnavailable(f"the key management service does not answer ({why}); try again in a minute") from error


class KmsKeyCustody(KeyCustody):
    """`kms` is a client of boto3. Keys are made at first use. Thread-safe."""

    def __init__(self, kms: Any, prefix: str) -> None:
        self._kms = kms
        self._prefix = prefix
        self._root = f"{prefix}-root"
        self._lock = threading.Lock()

    def current_kek(self) -> str:
        """The one with the highest number; the first is made here."""
        numbers = self._numbers()
        return self._name(max(numbers)) if numbers else self._make(1)

    def keks(self) -> list[Kek]:
        """By the service's aliases, and what it says of each key."""
        newest = int(self.current_kek()[-4:])
        present = self._numbers()
        made = {n: self._describe(self._name(n)) for n in sorted(present)}
        found = []
        for n in range(1, newest + 1):
            name, about = self._name(n), made.get(n)
            if about is None or about["KeyState"] in _GONE:
                final = about.get("DeletionDate") if about else None
                found.append(Kek(name, KeyState.DESTROYED, _destroyed_at(about), final))
            elif n < newest:
                after = made.get(n + 1)
                found.append(Kek(name, KeyState.DEACTIVATED, after["CreationDate"] if after else None))
            else:
                found.append(Kek(name, KeyState.ACTIVE, about["CreationDate"]))
        return found

    def rotate(self) -> str:
        """A new key under the next number."""
        return self._make(int(self.current_kek()[-4:]) + 1)

    def destroy(self, kek: str) -> None:
        """ScheduleKeyDeletion: from then on the service refuses the key, and after seven days it is gone.

        Until its DeletionDate, CancelKeyDeletion brings it back: `keks` says so."""
        if kek == self.current_kek():
            raise Conflict(f"the key-encrypting key {kek} is active: rotate first, and rewrap what is to be kept")
        about = self._describe(kek)
        if about["KeyState"] not in _GONE:
            with _reported():
                self._kms.schedule_key_deletion(KeyId=about["KeyId"], PendingWindowInDays=_PENDING_DAYS)

    def wrap(self, key_id: KeyId, data_key: bytes) -> WrappedKey:
        """Encrypt, bound to the data key's id as its encryption context."""
        kek = self.current_kek()
        with _reported():
            answer = self._kms.encrypt(KeyId=f"alias/{kek}", Plaintext=data_key, EncryptionContext=_context(key_id))
        return WrappedKey(key_id, kek, bytes(answer["CiphertextBlob"]))

    def unwrap(self, key: WrappedKey) -> bytes:
        """Decrypt, with the KEK that is named and no other."""
        about = self._describe(key.kek)
        if about["KeyState"] in _GONE:
            raise KeyUnavailable(f"the key-encrypting key {key.kek} was destroyed on {_destroyed_at(about):%Y-%m-%d}")
        changed = IntegrityError("the wrapped data key was changed, or another key-encrypting key wrapped it")
        if not key.wrapped:
            raise changed
        with _reported():
            try:
                answer = self._kms.decrypt(
                    KeyId=about["KeyId"], CiphertextBlob=key.wrapped, EncryptionContext=_context(key.id)
                )
            except ClientError as error:
                if _code(error) in _CHANGED:
                    raise changed from error
                raise
        return bytes(answer["Plaintext"])

    def derive(self, purpose: str) -> bytes:
        """GenerateMac (HMAC-SHA-256) under a root key that is no KEK."""
        message = b"readingroom/derive/1\0" + purpose.encode()
        with self._lock:
            if self._find(self._root) is None:
                self._make_key(self._root, KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")
        with _reported():
            answer = self._kms.generate_mac(KeyId=f"alias/{self._root}", MacAlgorithm="HMAC_SHA_256", Message=message)
        return bytes(answer["Mac"])

    def _name(self, number: int) -> str:
        return f"{self._prefix}-kek-{number:04d}"

    def _numbers(self) -> set[int]:
        form = re.compile(rf"alias/{re.escape(self._prefix)}-kek-(\d{{4}})")
        with _reported():
            pages = self._kms.get_paginator("list_aliases").paginate()
            names = [a["AliasName"] for page in pages for a in page["Aliases"] if a.get("TargetKeyId")]
        return {int(found[1]) for name in names if (found := form.fullmatch(name))}

    def _make(self, number: int) -> str:
        name = self._name(number)
        self._make_key(name, KeySpec="SYMMETRIC_DEFAULT", KeyUsage="ENCRYPT_DECRYPT")
        return name

    def _make_key(self, name: str, **kind: str) -> None:
        """A key with its alias. Where another process was first, its key counts and ours is given back."""
        with _reported():
            made = self._kms.create_key(Description=f"Reading Room: {name}", **kind)["KeyMetadata"]["KeyId"]
            try:
                self._kms.create_alias(AliasName=f"alias/{name}", TargetKeyId=made)
            except ClientError as error:
                self._kms.schedule_key_deletion(KeyId=made, PendingWindowInDays=_PENDING_DAYS)
                if _code(error) != "AlreadyExistsException":
                    raise

    def _find(self, name: str) -> dict[str, Any] | None:
        with _reported():
            try:
                about: dict[str, Any] = self._kms.describe_key(KeyId=f"alias/{name}")["KeyMetadata"]
            except ClientError as error:
                if _code(error) == "NotFoundException":
                    return None
                raise
        return about

    def _describe(self, kek: str) -> dict[str, Any]:
        about = self._find(kek) if re.fullmatch(rf"{re.escape(self._prefix)}-kek-\d{{4}}", kek) else None
        if about is None:
            raise KeyUnavailable(f"there is no key-encrypting key {kek} in the key management service")
        return about


def _context(key_id: KeyId) -> dict[str, str]:
    return {"readingroom-key": key_id}


def _destroyed_at(about: dict[str, Any] | None) -> datetime | None:
    """When deletion was asked for; None where the service has forgotten the key."""
    if about is None or "DeletionDate" not in about:
        return None
    at: datetime = about["DeletionDate"] - timedelta(days=_PENDING_DAYS)
    return at
