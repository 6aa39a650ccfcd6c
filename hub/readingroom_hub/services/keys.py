"""Key-encrypting keys from rotation, which touches no object, to crypto-erasure (NIST SP 800-57, SP 800-88)."""

import base64
from collections.abc import Collection, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.constant_time import bytes_eq

from readingroom_hub.errors import Conflict, IntegrityError, KeyUnavailable, ReadingRoomError
from readingroom_hub.model.audit import AuditEvent, AuditRecord, Outcome, Receipt
from readingroom_hub.model.dataset import DatasetVersion, WrappedKey
from readingroom_hub.model.ids import ApprovalId, KeyId, PersonId, VaultId, VersionDigest
from readingroom_hub.model.keys import Kek, KeyState
from readingroom_hub.policy.approval import approved_as, two_people
from readingroom_hub.ports.catalogue import Grants, Versions
from readingroom_hub.ports.custody import KeyCustody
from readingroom_hub.ports.records import AuditRepository, Filter
from readingroom_hub.ports.vaults import VaultKeys

_MOST_PACKAGES = 100_000
RECEIPT_FORMAT = "readingroom-destruction/1"
_PURPOSE = "destruction-receipts"


class KeyService:
    """Lists, rotates, rewraps and destroys. `by` is the person who orders it."""

    def __init__(
        self, versions: Versions, grants: Grants, custody: KeyCustody, audit: AuditRepository, vaults: VaultKeys
    ) -> None:
        self._versions = versions
        self._grants = grants
        self._custody = custody
        self._audit = audit
        self._vaults = vaults

    def keks(self) -> list[tuple[Kek, list[DatasetVersion], list[VaultId]]]:
        """Every KEK with the versions whose data keys it wraps, and the home and project folders, oldest first."""
        wrapped: dict[str, list[DatasetVersion]] = {}
        for version in self._versions.all():
            wrapped.setdefault(self._versions.key(version.key).kek, []).append(version)
        vaults: dict[str, list[VaultId]] = {}
        for vault, key in self._vaults.all().items():
            vaults.setdefault(key.kek, []).append(vault)
        return [(kek, wrapped.get(kek.name, []), vaults.get(kek.name, [])) for kek in self._custody.keks()]

    def rotate(self, by: PersonId) -> str:
        """Make a new KEK active; returns its name. What is wrapped stays wrapped, and readable."""
        subject = {"kek": self._custody.current_kek()}
        self._audit.append([AuditRecord(AuditEvent.KEY_ROTATED, person=by, subject=subject)])
        return self._custody.rotate()

    def rewrap(self, by: PersonId, leave: Collection[VersionDigest] = ()) -> list[DatasetVersion]:
        """Wrap every data key under the active KEK, but those of `leave`; returns what was changed.

        Stopped at any point, it goes on where it was. No object is read or written.
        Raises Conflict where only some of the versions that share a data key are to be left;
         KeyUnavailable where an old KEK is gone; then the others stay as they are."""
        self._check_left(leave)
        current, done = self._custody.current_kek(), []
        destroyed = {k.name for k in self._custody.keks() if k.state is KeyState.DESTROYED}
        by_key: dict[KeyId, list[DatasetVersion]] = {}
        for version in self._versions.all():
            by_key.setdefault(version.key, []).append(version)
        for key_id, sharing in by_key.items():
            old, version = self._versions.key(key_id), sharing[0]
            if old.kek == current or old.kek in destroyed or version.digest in leave:
                continue
            data_key = self._custody.unwrap(old)
            new = self._wrapped(version.key, data_key, version.label)
            self._audit.append([_record(AuditEvent.KEY_REWRAPPED, by, v, {"kek": new.kek}) for v in sharing])
            self._versions.rewrap(new)
            done += sharing
        return done

    def rewrap_vaults(self, by: PersonId) -> list[VaultId]:
        """Wrap the key of every home and project folder under the active KEK; returns what was changed.

        Open ones stay open; no file in them is read or written. Stopped at any point, it goes on where it was.
        Raises KeyUnavailable where an old KEK is gone; then the others stay as they are."""
        current, done = self._custody.current_kek(), []
        destroyed = {k.name for k in self._custody.keks() if k.state is KeyState.DESTROYED}
        for vault, old in self._vaults.all().items():
            if old.kek == current or old.kek in destroyed:
                continue
            new = self._wrapped(old.id, self._custody.unwrap(old), vault)
            subject: dict[str, object] = {"vault": vault, "kek": new.kek}
            self._audit.append([AuditRecord(AuditEvent.KEY_REWRAPPED, person=by, subject=subject)])
            self._vaults.put(vault, new)
            done.append(vault)
        return done

    def _wrapped(self, id: KeyId, data_key: bytes, of: str) -> WrappedKey:
        """Under the active KEK, tried before it replaces the one that works. Raises IntegrityError."""
        new = self._custody.wrap(id, data_key)
        if not bytes_eq(self._custody.unwrap(new), data_key):
            raise IntegrityError(f"the data key of {of} came back changed from key custody; stop using it")
        return new

    def _check_left(self, leave: Collection[VersionDigest]) -> None:
        """Raises Conflict where a version to be left shares its data key with one that is not."""
        versions = self._versions.all()
        left = {v.key: v for v in versions if v.digest in leave}
        for version in versions:
            if version.key in left and version.digest not in leave:
                one = left[version.key]
                raise Conflict(
                    f"{one.label} shares its data key with {version.label}: what becomes of one becomes of both. Leave "
                    "both, or take the folder of the one to be kept in again, without --reuse, and delete it first"
                )

    def destroy(
        self, kek: str, approved_by: Collection[PersonId], by: PersonId, approval: ApprovalId | None = None
    ) -> dict[str, Any]:
        """Destroy a deactivated KEK, and so make every version that it wraps unreadable; returns the signed receipt.

        `approval`: where the two gave it; None where `by` names them.
        Raises BadInput unless two people approved; Conflict where the KEK is active or destroyed, wraps the key of a
        home or project folder, or somebody may still read one of its versions;
        KeyUnavailable where there is no such KEK, or it could not be destroyed."""
        approvers = two_people(approved_by, "destroying a key needs the approval of two different people")
        versions = self.destructible(kek)
        wrapped = [self._versions.key(v.key) for v in versions]
        shared = self._shared(versions, by)
        stored = self._audit.append(_destroyed(kek, versions, approvers, by, approval))[-1]
        try:
            self._custody.destroy(kek)
            gone = self._gone(kek, wrapped)
        except ReadingRoomError as error:
            self._audit.append([_failed(kek, by, error)])
            raise
        receipt = _receipt(kek, versions, approvers, by, stored) | {"shared": shared}
        return self._signed(receipt | {"recall": _recall(gone, datetime.fromisoformat(receipt["destroyed_at"]))})

    def check(self, receipt: dict[str, Any]) -> dict[str, Any]:
        """What a receipt says, where this key custody signed it. Raises IntegrityError."""
        try:
            said = dict(receipt["receipt"])
            self._signer().public_key().verify(base64.b64decode(receipt["signature"]), rfc8785.dumps(said))
        except (InvalidSignature, LookupError, TypeError, ValueError) as error:
            raise IntegrityError("this receipt was changed, or is not of this key custody") from error
        return said

    def called_back(self, kek: str) -> bool:
        """Whether key custody lists as usable what a receipt says is destroyed. Raises KeyUnavailable."""
        return any(k.name == kek and k.state is not KeyState.DESTROYED for k in self._custody.keks())

    def destructible(self, kek: str) -> list[DatasetVersion]:
        """What destroying `kek` takes away. Raises Conflict, KeyUnavailable as `destroy` does."""
        found = next((row for row in self.keks() if row[0].name == kek), None)
        if found is None:
            raise KeyUnavailable(f"there is no key-encrypting key {kek}; see `readingroom key list`")
        if found[0].state is not KeyState.DEACTIVATED:
            what = {KeyState.ACTIVE: "active: rotate and rewrap first", KeyState.DESTROYED: "destroyed already"}
            raise Conflict(f"the key-encrypting key {kek} is {what[found[0].state]}")
        if homes := found[2]:
            named = ", ".join(homes[:3]) + (f" and {len(homes) - 3} more" if len(homes) > 3 else "")
            raise Conflict(
                f"{kek} still protects home and project folders ({named}): run `readingroom key rewrap` first"
            )
        now, digests = datetime.now(UTC), {v.digest for v in found[1]}
        current = [g for g in self._grants.all() if g.version in digests and g.is_current(now)]
        if current:
            readers = ", ".join(sorted({f"{g.dataset}@{g.version.short} by {g.project}" for g in current}))
            raise Conflict(f"{kek} is still needed: {readers} may be read. Revoke these grants, or rewrap, first")
        return found[1]

    def _shared(self, versions: list[DatasetVersion], by: PersonId) -> list[dict[str, str]]:
        """Packages that left with these versions' keys, by the record: their recipients can still open them."""
        digests, found = {v.digest for v in versions}, []
        for dataset in sorted({v.dataset for v in versions}):
            wanted = Filter(dataset=dataset, events=(AuditEvent.DATASET_SHARED.value,), limit=_MOST_PACKAGES)
            for row in (f.record for f in self._audit.query(wanted, by)):
                said = row["subject"]
                if row["outcome"] == Outcome.SUCCESS and said["version"] in digests:
                    about = {name: str(said[name]) for name in ("version", "recipient", "package")}
                    found.append(about | {"time": str(row["time"])})
        return found

    def _gone(self, kek: str, wrapped: Iterable[WrappedKey]) -> Kek:
        """What custody says of a KEK that unwraps nothing any more. Raises IntegrityError, KeyUnavailable."""
        for key in wrapped:
            try:
                self._custody.unwrap(key)
            except KeyUnavailable:
                continue
            raise IntegrityError(f"key custody says that {kek} is destroyed, and still unwraps with it")
        # A custodian that does not answer unwraps nothing either: the receipt needs its word. Raises KeyUnavailable.
        listed = next((k for k in self._custody.keks() if k.name == kek), None)
        if listed is None or listed.state is not KeyState.DESTROYED:
            raise IntegrityError(f"key custody was told to destroy {kek}, and does not list it as destroyed")
        return listed

    def _signer(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self._custody.derive(_PURPOSE))

    def _signed(self, receipt: dict[str, Any]) -> dict[str, Any]:
        signer = self._signer()
        return {
            "receipt": receipt,
            "public_key": base64.b64encode(signer.public_key().public_bytes_raw()).decode(),
            "signature": base64.b64encode(signer.sign(rfc8785.dumps(receipt))).decode(),
        }


def _record(event: AuditEvent, by: PersonId, version: DatasetVersion, subject: dict[str, object]) -> AuditRecord:
    about: dict[str, object] = {"dataset": version.dataset, "version": version.digest}
    return AuditRecord(event, person=by, project=version.project, subject=about | subject)


def _destroyed(
    kek: str, versions: list[DatasetVersion], approvers: list[PersonId], by: PersonId, approval: ApprovalId | None
) -> list[AuditRecord]:
    """One record a version, for whoever looks at it; then one for the key itself."""
    subject = approved_as(approvers, approval) | {"kek": kek}
    of_versions = [_record(AuditEvent.KEY_DESTROYED, by, v, subject) for v in versions]
    whole = AuditRecord(AuditEvent.KEY_DESTROYED, person=by, subject=subject | {"count": len(versions)})
    return [*of_versions, whole]


def _failed(kek: str, by: PersonId, error: ReadingRoomError) -> AuditRecord:
    reason = f"not-destroyed: {error}"
    return AuditRecord(AuditEvent.KEY_DESTROYED, Outcome.FAILURE, by, reason=reason, subject={"kek": kek})


def _recall(gone: Kek, destroyed_at: datetime) -> dict[str, object] | None:
    """Until when the custodian's administrator can undo it: before that, crypto-erasure is not final."""
    if gone.recall_until is None:
        return None
    days = round((gone.recall_until - destroyed_at) / timedelta(days=1))
    return {"until": gone.recall_until.astimezone(UTC).isoformat(timespec="seconds"), "waiting_days": days}


def _receipt(
    kek: str, versions: list[DatasetVersion], approvers: list[PersonId], by: PersonId, stored: Receipt
) -> dict[str, Any]:
    return {
        "format": RECEIPT_FORMAT,
        "kek": kek,
        "destroyed_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "approved_by": list(approvers),
        "ordered_by": by,
        "record": {"index": stored.index, "leaf_hash": stored.leaf_hash.hex()},
        "unreadable": [
            {
                "dataset": v.dataset,
                "version": v.digest,
                "project": v.project,
                "data_key": v.key,
                "instances": v.instances,
            }
            for v in versions
        ],
    }
