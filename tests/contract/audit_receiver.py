"""What every Receiver must do. Subclass it, give `server` (started, with `arrived`) and `make(trust)`."""

import signal

import pytest
from tests.support.receivers import Authority, until

from readingroom_hub.adapters.audit_feed_tls import Trust
from readingroom_hub.errors import BadInput, StoreUnavailable
from readingroom_hub.model.audit import AuditEvent, AuditRecord, Outcome

TEXTS = (
    "plain",
    "tab\there",
    "two\r\nlines",
    "\x00\x1b[31m\x7f",
    "<x>&amp;]]>",
    "ä \u202e 𝄞",
    " ",
    "%s %rawmsg%",
    "=cmd()",
)


def rows(count=40):
    """Each event, with text that is hard to carry."""
    events, outcomes = list(AuditEvent), list(Outcome)
    for n in range(count):
        text, outcome = TEXTS[n % len(TEXTS)], outcomes[n % 3]
        subject = {"study": f"1.2.{n}", "dataset": "lung"} if n % 2 else {"path": text, "long": "x" * (n % 3) * 5000}
        reason = None if outcome is Outcome.SUCCESS else f"code: {text}"
        record = AuditRecord(events[n % len(events)], outcome, reason=reason, subject=subject)
        yield record.to_wire() | {"claims": {"cell": text}, "source": {"process": "test", "epoch": "e", "seq": n}}


class ReceiverContract:
    def test_each_record_arrives_as_it_was_sent_and_in_order(self, server, make, trust):
        receiver, before = make(trust), len(server.arrived())
        messages = [receiver.message(row) for row in rows()]
        assert list(receiver.deliver(messages)) == [None] * len(messages)
        until(lambda: len(server.arrived()) >= before + len(messages))
        assert server.arrived()[before:] == [self.as_it_arrives(m) for m in messages]

    def test_nothing_needs_no_connection(self, server, make, trust):
        server.stop()
        try:
            assert list(make(trust).deliver([])) == []
        finally:
            server.start()

    def test_a_receiver_that_is_gone_is_an_error_until_it_is_back(self, server, make, trust):
        receiver, before = make(trust), len(server.arrived())
        messages = [receiver.message(row) for row in rows(3)]
        server.stop(signal.SIGKILL)
        try:
            with pytest.raises(StoreUnavailable, match=str(server.port)):
                list(receiver.deliver(messages))
        finally:
            server.start()
        assert list(receiver.deliver(messages)) == [None] * 3
        assert until(lambda: server.arrived()[before:]) == [self.as_it_arrives(m) for m in messages]

    def test_a_receiver_with_another_authority_gets_nothing(self, server, make, tmp_path):
        receiver, before = make(Trust(Authority(tmp_path / "other").ca)), len(server.arrived())
        with pytest.raises(StoreUnavailable, match="certificate verify failed"):
            list(receiver.deliver([receiver.message(row) for row in rows(3)]))
        assert len(server.arrived()) == before

    def test_a_record_without_a_form_is_bad_input(self, make, trust):
        row = next(iter(rows())) | {"dcm": "000000"}
        with pytest.raises(BadInput, match="000000"):
            make(trust).message(row)

    def test_files_that_cannot_be_used_are_told_at_once(self, make, trust, tmp_path):
        (tmp_path / "rubbish").write_text("no PEM")
        for wrong in (Trust(tmp_path / "rubbish"), Trust(trust.ca, trust.ca, trust.ca), Trust(trust.ca, trust.ca)):
            with pytest.raises(BadInput):
                make(wrong)
