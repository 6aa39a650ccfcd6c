"""A witness of logs (C2SP tlog-witness): cosigns a checkpoint only where it continues the last one that it cosigned.

To be run in another administration than the log. Its database must never be restored from a backup: it would then
cosign what it has refused before."""

import secrets
import time
from collections.abc import Callable
from pathlib import Path
from threading import Lock

import apsw

from readingroom_hub.adapters.audit_keys import read_key, write_new
from readingroom_hub.errors import BadInput, IntegrityError, KeyUnavailable
from readingroom_hub.ledger.merkle import is_consistent
from readingroom_hub.ledger.note import Checkpoint, Signer, hash_of_base64, open_note, split_note
from readingroom_hub.ledger.policy import Policy

KEY_FILE = "witness.key"
STATE_FILE = "witness.sqlite"
NAME_FILE = "name"
MAX_REQUEST = 64 << 10
_MAX_PROOF = 63
_MAX_EVIDENCE = 10_000
_SCHEMA = """
CREATE TABLE IF NOT EXISTS seen(origin TEXT PRIMARY KEY, size INTEGER NOT NULL, root BLOB NOT NULL, note TEXT NOT NULL)
    STRICT;
CREATE TABLE IF NOT EXISTS evidence(time INTEGER NOT NULL, why TEXT NOT NULL, request BLOB NOT NULL) STRICT;
"""


class Refused(Exception):  # not an error of ours: an answer of the protocol
    """An answer other than 200."""

    def __init__(self, status: int, text: str, content_type: str = "text/plain") -> None:
        super().__init__(text)
        self.status, self.text, self.content_type = status, text, content_type


def open_cosigner(folder: Path, name: str) -> Signer:
    """The witness's key; made at the first start, with its database. Raises KeyUnavailable where either was lost."""
    key, state, named = folder / KEY_FILE, folder / STATE_FILE, folder / NAME_FILE
    if not key.exists() and not state.exists():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        apsw.Connection(str(state)).execute(_SCHEMA)
        write_new(named, f"{name}\n".encode())
        write_new(key, secrets.token_bytes(32))
    for path in (key, state, named):
        if not path.exists():
            raise KeyUnavailable(f"{path} is lost: this witness must be given up. Start a new one in an empty folder")
    if named.read_text().strip() != name:
        raise KeyUnavailable(f"the witness in {folder} is named {named.read_text().strip()}, not {name}")
    return Signer(name, read_key(key), cosigner=True)


class Witness:
    """Answers `add-checkpoint`. Safe to use from several threads."""

    def __init__(self, folder: Path, signer: Signer, policy: Policy, clock: Callable[[], float] = time.time) -> None:
        self._signer, self._policy, self._clock = signer, policy, clock
        self._lock = Lock()
        self._connection = apsw.Connection(str(folder / STATE_FILE))
        self._connection.execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL").fetchall()

    def add_checkpoint(self, request: bytes) -> str:
        """The cosignature line. Raises Refused with the status that the standard asks for."""
        try:
            old, proof, note = parse_request(request)
            state = Checkpoint.parse(split_note(note)[0])
        except BadInput as error:
            raise Refused(400, str(error)) from error
        logs = [v for v in self._policy.logs if v.name == state.origin]
        if not logs:
            raise Refused(404, f"this witness does not know the log {state.origin}")
        try:
            body, signers = open_note(note, logs)
            for vkey in signers:
                self._policy.check_log_key(vkey, state.size)
        except (BadInput, IntegrityError) as error:
            raise Refused(403, str(error)) from error
        if old > state.size:
            raise Refused(400, f"the old size {old} is larger than the checkpoint's {state.size}")
        with self._lock:  # comparing and storing must be one step, or a slow request could roll the state back
            self._advance(old, proof, state, note, request)
            return self._signer.sign(body, int(self._clock()))

    def _advance(self, old: int, proof: list[bytes], state: Checkpoint, note: str, request: bytes) -> None:
        row = self._connection.execute("SELECT size, root FROM seen WHERE origin = ?", (state.origin,)).fetchone()
        size, root = (int(row[0]), bytes(row[1])) if row else (0, b"")
        if old != size:
            raise Refused(409, f"{size}\n", "text/x.tlog.size")
        if size == state.size and size and root != state.root:
            self._keep("fork: the same size with another root", request)
            raise Refused(409, f"{size}\n", "text/x.tlog.size")
        if size and not is_consistent(size, state.size, root, state.root, proof):
            self._keep("fork: the proof does not fit", request)
            raise Refused(422, "the consistency proof does not fit the checkpoint that was cosigned before")
        if not size and proof:
            raise Refused(422, "a proof from the empty tree has no hashes")
        self._connection.execute(
            "INSERT OR REPLACE INTO seen VALUES(?, ?, ?, ?)", (state.origin, state.size, state.root, note)
        )

    def _keep(self, why: str, request: bytes) -> None:
        """Evidence that the log signed two histories, or tried to."""
        if self._connection.execute("SELECT count(*) FROM evidence").get < _MAX_EVIDENCE:
            self._connection.execute("INSERT INTO evidence VALUES(?, ?, ?)", (int(self._clock()), why, request))

    def evidence(self) -> list[tuple[int, str, bytes]]:
        """POSIX time, why, and the request as it came, signed by the log."""
        return list(self._connection.execute("SELECT time, why, request FROM evidence ORDER BY time"))

    def close(self) -> None:
        """Close the database."""
        self._connection.close()


def parse_request(request: bytes) -> tuple[int, list[bytes], str]:
    """Old size, consistency proof, checkpoint. Raises BadInput for what is no request."""
    try:
        head, gap, note = request.decode().partition("\n\n")
    except UnicodeDecodeError as error:
        raise BadInput("the request is not UTF-8") from error
    first, *lines = head.split("\n")
    old = first.removeprefix("old ")
    plain = old.isascii() and old.isdigit() and (old == "0" or not old.startswith("0"))
    if not gap or not first.startswith("old ") or not plain or len(old) > 19 or len(lines) > _MAX_PROOF:
        raise BadInput("the request has no old size line, too many hashes, or no checkpoint")
    return int(old), [hash_of_base64(line) for line in lines], note
