"""Verification of a log from its files alone: no server, nothing written to the log."""

import contextlib
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from readingroom_hub.adapters.audit_index import INDEX_FILE, index_finding
from readingroom_hub.adapters.audit_log import LOG_FILE, LogReader
from readingroom_hub.adapters.audit_place import VKEY_FILE, read_log
from readingroom_hub.errors import BadInput, IntegrityError
from readingroom_hub.ledger.bundle import Verified
from readingroom_hub.ledger.policy import Policy
from readingroom_hub.ledger.proof import verify_file
from readingroom_hub.ledger.record import Finding
from readingroom_hub.ledger.verify import LogVerifier, Scope, quorum_findings

_SQLITE = b"SQLite format 3\0"
_FINDINGS_KEPT = 100


def log_vkey(folder: Path) -> str:
    """The public key beside the log. Raises BadInput where there is none."""
    try:
        return (folder / VKEY_FILE).read_text().strip()
    except OSError as error:
        raise BadInput(f"there is no audit log in {folder}: name a bundle, and a policy with its log's key") from error


def verify(log: Path, policy: Policy, kept: Sequence[str] = (), secret: bytes | None = None) -> Verified:
    """Check a bundle, a proof, a log file or a folder's log against a policy, and against checkpoints kept elsewhere.

    `secret`: the log's tag secret, to check the tags too. An index beside a log is checked too. Raises BadInput for a
    file that cannot be used, AuditUnavailable."""
    folder = log if log.is_dir() else log.parent if log.name == LOG_FILE else None
    try:
        if not log.is_dir():
            with log.open("rb") as file:
                if file.read(len(_SQLITE)) != _SQLITE:
                    file.seek(0)
                    return verify_file(file, policy, int(time.time()), kept)
    except OSError as error:
        raise BadInput(f"the log {log} cannot be read: {error.strerror}") from error
    verifier = LogVerifier(policy, scope=Scope(secret=secret))
    findings: list[Finding] = []
    with contextlib.closing(read_log(log) if log.is_dir() else LogReader(log)) as reader:
        try:
            findings.extend(islice(verifier.findings(reader.entries(), reader.checkpoints(), kept), _FINDINGS_KEPT))
        except IntegrityError as error:
            findings.append(Finding(verifier.size, "it cannot be read", "a whole file", str(error)))
    if not findings:
        # a running log is ahead of its witnesses by what came in since the last round
        findings.extend(quorum_findings(policy, verifier, int(time.time()), 1))
    if not findings and folder and (folder / INDEX_FILE).exists():
        different = index_finding(folder)
        findings += [different] if different else []
    state = (0, verifier.size, verifier.size, verifier.root)
    return Verified(*state, findings, cosigned=verifier.cosigned, cosigned_size=verifier.cosigned_size)
