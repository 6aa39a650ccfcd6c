"""The log's writer, whichever database stores it: an RFC 6962 tree over the records, a signed checkpoint a commit.

After any error nothing that the connection says about itself is believed: what the store holds is read again."""

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from readingroom_hub import locks
from readingroom_hub.errors import AuditUnavailable, IntegrityError, ReadingRoomError
from readingroom_hub.ledger.merkle import Frontier, leaf_hash
from readingroom_hub.ledger.note import Checkpoint, Signer, VKey
from readingroom_hub.ledger.policy import Policy
from readingroom_hub.ledger.record import Finding
from readingroom_hub.ledger.seal import Sealed
from readingroom_hub.ledger.verify import LogVerifier
from readingroom_hub.model.audit import Receipt
from readingroom_hub.ports.log import LogView

Row = tuple[int, bytes, bytes, bytes, bytes]
"""Index, leaf, its hash, salt, record."""


class LogWriter(ABC):
    """The only writer of one log. Not for use from several threads."""

    _Error: ClassVar[type[Exception]]
    """What the store's library raises."""

    def __init__(self, folder: Path, signer: Signer) -> None:
        """Open or create the log of `folder` and check all of it against its newest checkpoint.

        Raises Conflict where another process has it open, AuditUnavailable, SystemUnfit for an unsafe store. A log that
        does not verify opens too, but `damage` then names the first bad record and every append is refused."""
        self._signer = signer
        self._frontier = Frontier()
        self._proposed: Frontier | None = None
        self._note: str | None = None
        self.damage: Finding | None = None
        self._lock = locks.take(folder / "lock", f"another process writes the audit log in {folder}: stop it first")
        try:
            self._connect()
            self._verify()
        except BaseException:
            self.close()
            raise

    @abstractmethod
    def view(self) -> LogView:
        """What is stored now."""

    @property
    @abstractmethod
    def _is_connected(self) -> bool: ...

    @abstractmethod
    def _connect(self) -> None:
        """Open the store for writing. Raises AuditUnavailable, Conflict, SystemUnfit."""

    @abstractmethod
    def _drop(self) -> None:
        """Let go of the store, whatever state it is in."""

    @abstractmethod
    def _commit(self, rows: list[Row], size: int, note: str) -> None:
        """All rows and the checkpoint of this size, durably, or nothing. Raises `_Error`, AuditUnavailable."""

    @abstractmethod
    def expired(self, before: str) -> int:
        """How many access records from before this time still have their contents. Raises AuditUnavailable."""

    @abstractmethod
    def purge(self, before: str) -> None:
        """Remove their contents and the salts of their hashes.

        Put a purge record into the log first: without it, the log verifies no more. Raises AuditUnavailable."""

    @abstractmethod
    def keep_cosigned(self, size: int, note: str) -> None:
        """Store a checkpoint with its witnesses' cosignatures. Raises AuditUnavailable."""

    def _verify(self) -> None:
        """Check every hash and the newest signature; only where that fails, look for the first bad record."""
        reader = self.view()
        try:
            newest = reader.newest()
            notes = [newest] if newest else []
            if not notes and not any(reader.leaves()):
                return
            policy = Policy((self._signer.vkey,))
            quick = LogVerifier(policy, read_leaves=False)
            self.damage = next(quick.findings(reader.leaves(), notes), None)
            if self.damage:
                full = LogVerifier(policy, read_leaves=False)
                self.damage = next(full.findings(reader.leaves(), reader.checkpoints()), self.damage)
            self._frontier, self._note = quick.frontier, newest
        except IntegrityError as error:
            self.damage = Finding(self._frontier.size, "it cannot be read", "a readable log", str(error))
        finally:
            reader.close()

    @property
    def size(self) -> int:
        """Records stored."""
        return self._frontier.size

    @property
    def root(self) -> bytes:
        """The root over them."""
        return self._frontier.root()

    @property
    def checkpoint(self) -> str | None:
        """The newest checkpoint, None in an empty log."""
        return self._note

    @property
    def signer(self) -> Signer:
        """Who signs the checkpoints."""
        return self._signer

    @property
    def vkey(self) -> VKey:
        """The public key that verifies the checkpoints."""
        return self._signer.vkey

    def append(self, records: Sequence[Sealed]) -> list[Receipt]:
        """Store these records in one commit: all of them durably, or none.

        Raises AuditUnavailable where the commit failed (disk full, for example) or the log is damaged."""
        self.reopen()
        frontier = self._frontier.copy()  # a failed commit must leave no trace in the tree
        rows = []
        for leaf, salt, record in records:
            hash = leaf_hash(leaf)
            rows.append((frontier.size, leaf, hash, salt, record))
            frontier.append(hash)
        body = Checkpoint(self._signer.vkey.name, frontier.size, frontier.root()).body()
        note = f"{body}\n{self._signer.sign(body)}"
        self._proposed = frontier
        try:
            self._commit(rows, frontier.size, note)
        except self._Error as error:
            self._drop()
            self.reopen()
            if self.size != frontier.size:
                raise AuditUnavailable(f"the audit log could not store {len(rows)} record(s): {error}") from error
        self._frontier, self._proposed, self._note = frontier, None, note
        return [Receipt(index, hash) for index, _, hash, _, _ in rows]

    def reopen(self) -> None:
        """Make the log writable after an error, from what the store says. Does nothing where it is writable.

        Raises AuditUnavailable where that cannot be: try again later, or look at `damage`."""
        if self.damage:
            raise AuditUnavailable(f"the audit log is damaged and takes no records: {self.damage}. Ask the operator")
        if self._is_connected:
            return
        try:
            self._connect()
            self._adopt(*self._tail())
        except BaseException as error:
            self._drop()
            if isinstance(error, ReadingRoomError) and not isinstance(error, AuditUnavailable):
                raise AuditUnavailable(str(error)) from error
            raise

    def _tail(self) -> tuple[Frontier, str | None]:
        reader = self.view()
        try:
            note, tail = reader.newest(), self._frontier.copy()
            for entry in reader.leaves(tail.size):
                if leaf_hash(entry.leaf) == entry.hash:
                    tail.append(entry.hash)
        finally:
            reader.close()
        return tail, note

    def _adopt(self, tail: Frontier, note: str | None) -> None:
        """Go on from the state before the failed commit, or from the one after it; nothing else can be in the store."""
        possible = [f for f in (self._frontier, self._proposed) if f is not None]
        body = Checkpoint(self._signer.vkey.name, tail.size, tail.root()).body()
        if tail not in possible or (tail.size and (note or "").partition("\n\n")[0] + "\n" != body):
            found = f"{tail.size} records, root {tail.root().hex()}"
            self.damage = Finding(self.size, "the log changed under its writer", f"{self.size} records", found)
            raise AuditUnavailable(f"the audit log is damaged and takes no records: {self.damage}")
        self._frontier, self._proposed, self._note = tail, None, note

    def close(self) -> None:
        """Close the store and let another process have it."""
        self._drop()
        if self._lock >= 0:
            os.close(self._lock)
        self._lock = -1
