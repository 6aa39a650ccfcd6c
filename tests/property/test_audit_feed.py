"""However often a feed is killed, and wherever: every record arrives once or more, in order, and is counted."""

import contextlib
import tempfile
from itertools import pairwise
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.contract.audit_receiver import rows

from readingroom_hub.adapters.audit_feed import Feed
from readingroom_hub.adapters.audit_feed_state import FeedState
from readingroom_hub.adapters.audit_keys import publish_vkey
from readingroom_hub.adapters.audit_log import AuditLog
from readingroom_hub.errors import BadInput, StoreUnavailable
from readingroom_hub.ledger.note import Signer
from readingroom_hub.ledger.seal import Sealer
from readingroom_hub.ports.receivers import Receiver

SIGNER = Signer("host/log", Ed25519PrivateKey.from_private_bytes(b"1" * 32))
COUNT = 40
REFUSED, SHAPELESS = {7, 8, 33}, {12, 39}


class Killed(BaseException):
    """As kill -9: nothing that would clean up may run."""


class Fallible(Receiver):
    """Dies, or is down, as often as the plan says: after so many messages have arrived."""

    def __init__(self, plan):
        self.plan, self.arrived, self.far = list(plan), [], None

    def message(self, row):
        number = row["source"]["seq"]
        if number in SHAPELESS:
            raise BadInput("it has no form")
        return str(number).encode()

    def deliver(self, messages):
        kind, after = self.plan.pop() if self.plan else ("", COUNT)
        for place, message in enumerate(messages):
            if kind and place == after:
                raise Killed if kind == "kill" else StoreUnavailable("down")
            self.arrived.append(int(message))
            yield "no" if int(message) in REFUSED else None
        if kind == "kill":
            raise Killed  # everything has arrived, nothing of it is kept


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("log")
    log, sealer = AuditLog(folder, SIGNER), Sealer(b"s" * 32)
    for row in rows(COUNT):
        log.append([sealer.seal(row)])
    log.close()
    publish_vkey(folder, SIGNER)
    return folder


plans = st.lists(st.tuples(st.sampled_from(["kill", "down"]), st.integers(0, COUNT)), max_size=12)


@given(plans, st.integers(2, COUNT + 1))
@settings(max_examples=30, deadline=None)
def test_at_least_once_in_order_whatever_happens(log, plan, batch):
    receiver = Fallible(plan)
    with tempfile.TemporaryDirectory() as name:
        more = True
        while more:
            state = FeedState(Path(name), "f")
            try:
                feed = Feed(log, state, receiver, batch)
                while more:
                    with contextlib.suppress(StoreUnavailable):
                        more = feed.step()
            except Killed:
                pass
            finally:
                state.close()
        state = FeedState(Path(name), "f")
        progress = state.progress()
        state.close()
    sendable = [n for n in range(COUNT) if n not in SHAPELESS]
    assert list(dict.fromkeys(receiver.arrived)) == sendable
    places = [sendable.index(n) for n in receiver.arrived]
    assert all(after <= before + 1 for before, after in pairwise(places))
    assert (progress.next, progress.purged) == (COUNT, 0)
    assert progress.refused == len(REFUSED | SHAPELESS)
    assert progress.sent == COUNT - progress.refused
    killed = sum(kind == "kill" for kind, _ in plan)
    assert len(receiver.arrived) <= len(sendable) + killed * batch
