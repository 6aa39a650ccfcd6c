"""The log's side of witnessing: asks every witness of the policy in each interval, and knows how old the quorum is."""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass

from readingroom_hub.adapters.audit_proofs import Proofs
from readingroom_hub.adapters.witness_http import Conflict409, ask
from readingroom_hub.errors import BadInput, IntegrityError, StoreUnavailable
from readingroom_hub.ledger.note import Checkpoint, VKey, open_note, split_note
from readingroom_hub.ledger.policy import Policy
from readingroom_hub.ports.log import LogView


@dataclass(frozen=True, slots=True)
class Round:
    """One interval: the note with the cosignatures that came, whether they are a quorum, and what went wrong."""

    size: int
    note: str
    met: bool
    troubles: tuple[str, ...]


class Witnessing:
    """Not for use from several threads at once; `late` is."""

    def __init__(self, policy: Policy, limit: float, clock: Callable[[], float] = time.time) -> None:
        """`limit`: seconds after which a quorum is too old for new access grants."""
        self._policy, self._limit, self._clock = policy, limit, clock
        self._proofs = Proofs()
        self._sizes: dict[str, int] = {}
        self._since = 0.0
        """When the quorum last cosigned."""

    def resume(self, note: str | None) -> None:
        """Take the newest cosigned checkpoint of an earlier run: a restart must not make an old quorum young."""
        if note is None:
            return
        with contextlib.suppress(BadInput, IntegrityError):  # then nothing is known, and the limit is over
            _, signers = open_note(note, list(self._policy.witnesses.values()))
            if self._policy.is_met(signers):
                self._since = min(float(at or 0) for at in signers.values())

    def late(self) -> str | None:
        """Why no access may be given any more, None where it may."""
        age = self._clock() - self._since
        if self._policy.quorum == "none" or age <= self._limit:
            return None
        since = f"for {age:.0f} s, {self._limit:g} s are allowed" if self._since else "yet"
        return (
            f"no quorum of witnesses has cosigned the audit record {since}: no new access is given. "
            "Ask the operator to look at the witnesses"
        )

    def round(self, reader: LogView) -> Round | None:
        """Ask all witnesses about the newest checkpoint; None in an empty log."""
        note = reader.newest()
        if note is None:
            return None
        body = split_note(note)[0]
        size = Checkpoint.parse(body).size
        signed: list[VKey] = []
        troubles: list[str] = []
        lines = ""
        for name, url in self._policy.urls.items():
            vkey = self._policy.witnesses[name]
            try:
                line = self._ask(reader, name, url, size, note)
                _, signers = open_note(f"{body}\n{line}", [vkey])
            except (BadInput, IntegrityError, StoreUnavailable) as error:
                troubles.append(f"{name}: {error}")
                continue
            if signers[vkey] is None or abs(self._clock() - (signers[vkey] or 0)) > self._limit:
                troubles.append(f"{name}: its cosignature has another time than this machine's clock")
                continue
            signed.append(vkey)
            self._sizes[name] = size
            lines += line
        met = bool(signed) and self._policy.is_met(signed)
        if met:
            self._since = self._clock()
        return Round(size, note + lines, met, tuple(troubles))

    def _ask(self, reader: LogView, name: str, url: str, size: int, note: str) -> str:
        """A witness that knows another size than we remember says so once, and is asked again from there."""
        old = self._sizes.get(name, 0)
        try:
            return ask(url, old, self._proofs.consistency(reader, old, size), note)
        except Conflict409 as conflict:
            old = conflict.size
        if old > size:
            raise IntegrityError(f"it has seen {old} records, the log has {size}: the log was rolled back")
        try:
            return ask(url, old, self._proofs.consistency(reader, old, size), note)
        except Conflict409 as conflict:
            raise IntegrityError(f"it has seen another tree of size {conflict.size}: the log was rewritten") from None
