"""Whom a commitment stands for: the one place that holds names, apart from the log, so that it can be erased.

A person is "p-" + SHA-256(context || salt || issuer || 0 || subject): without the salt, nobody can try out names."""

import secrets
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from threading import Lock

import apsw

from readingroom_hub.errors import AuditUnavailable, BadInput
from readingroom_hub.model.ids import PersonId
from readingroom_hub.ports.records import Identity

IDENTITIES_FILE = "identities.sqlite"
_CONTEXT = b"readingroom-person/1\0"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS identity(person TEXT PRIMARY KEY, salt BLOB NOT NULL, issuer TEXT NOT NULL,
    subject TEXT NOT NULL, name TEXT NOT NULL, UNIQUE(issuer, subject)) STRICT, WITHOUT ROWID
"""


def commitment(salt: bytes, issuer: str, subject: str) -> PersonId:
    """The person behind issuer and subject, under this salt (32 random bytes)."""
    return PersonId("p-" + sha256(_CONTEXT + salt + issuer.encode() + b"\0" + subject.encode()).hexdigest())


class Identities:
    """The identity table. Safe to use from several threads. Raises AuditUnavailable where the file fails."""

    def __init__(self, folder: Path) -> None:
        self._lock = Lock()
        try:
            self._connection = apsw.Connection(str(folder / IDENTITIES_FILE))
            self._connection.set_busy_timeout(1000)
            pragmas = "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA secure_delete=ON"
            self._connection.execute(pragmas).fetchall()  # else apsw stops at the first that answers
            self._connection.execute(_SCHEMA)
        except apsw.Error as error:
            raise AuditUnavailable(f"the identity table in {folder} cannot be opened: {error}") from error

    def identify(self, issuer: str, subject: str, name: str) -> PersonId:
        """The person, made at first sight; the name is updated. Raises BadInput for an issuer with a null character."""
        if "\0" in issuer or not subject:
            raise BadInput(f"the identity {subject[:80]!r} of issuer {issuer[:80]!r} cannot be used")
        salt = secrets.token_bytes(32)
        values = (commitment(salt, issuer, subject), salt, issuer, subject, name)
        sql = """INSERT INTO identity VALUES(?, ?, ?, ?, ?)
            ON CONFLICT(issuer, subject) DO UPDATE SET name = excluded.name RETURNING person"""
        with self._lock:
            try:
                return PersonId(str(self._connection.execute(sql, values).get))
            except apsw.Error as error:
                raise AuditUnavailable(f"the identity table cannot be written: {error}") from error

    def erase(self, person: PersonId) -> None:
        """Remove issuer, subject, name and salt, also from the write-ahead log: the commitment can be tried no more.

        The person who signs in again is a new one."""
        with self._lock:
            try:
                self._connection.execute("DELETE FROM identity WHERE person = ?", (person,))
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            except apsw.Error as error:
                raise AuditUnavailable(f"the identity table cannot be written: {error}") from error

    def all(self) -> list[Identity]:
        """Everybody."""
        with self._lock:
            try:
                rows = self._connection.execute("SELECT person, issuer, subject, name FROM identity").fetchall()
            except apsw.Error as error:
                raise AuditUnavailable(f"the identity table cannot be read: {error}") from error
        return [Identity(PersonId(str(p)), str(i), str(s), str(n)) for p, i, s, n in rows]

    def people(self, text: str) -> list[Identity]:
        """Who has this person id, subject or name; everybody where `text` is empty. Case does not count."""
        wanted = text.casefold()
        return [p for p in self.all() if not wanted or wanted in {p.person, p.subject.casefold(), p.name.casefold()}]

    def names(self, people: Iterable[str]) -> dict[str, str]:
        """The names behind these persons, where they still exist."""
        wanted = set(people)
        return {p.person: p.name for p in self.all() if p.person in wanted} if wanted else {}

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()
