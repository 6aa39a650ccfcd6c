"""Records as DICOM audit messages and FHIR AuditEvents: golden files, the standard's schema, hostile text."""

import base64
import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree
from pydicom.sr.codedict import codes
from tests.support.fhir import check_audit_event

from readingroom_hub.ledger.atna import NAMES, TYPES, audit_message, framed, syslog_message
from readingroom_hub.ledger.atna import text as in_a_document
from readingroom_hub.ledger.canonical import MAX_LEAF
from readingroom_hub.ledger.fhir import audit_event
from readingroom_hub.ledger.seal import to_leaf
from readingroom_hub.model.audit import AuditEvent, AuditRecord, Outcome
from readingroom_hub.services.intents import MOST

GOLDEN = Path(__file__).with_name("golden_audit")
SCHEMA = etree.RelaxNG(etree.parse(GOLDEN / "audit_message.rng"))
READ = {
    "v": 1,
    "id": "01890a5d-ac96-774b-bcce-b302099a8057",
    "time": "2027-03-31T12:00:00.000000Z",
    "event": "instance-closed",
    "dcm": "110103",
    "outcome": "success",
    "person": "p-" + "a" * 64,
    "project": "lung-study",
    "session": "s-" + "1" * 24,
    "subject": {"dataset": "lung-ct", "study": "1.2.3", "series": "1.2.3.4", "bytes": 526336, "grant": "g-" + "2" * 24},
    "claims": {"notebook": "=cmd()\r\n]]>"},
    "source": {"process": "mount-daemon", "epoch": "e", "seq": 7},
}


COMPLETED = READ | {
    "event": "read-completed",
    "subject": {
        "dataset": "lung-ct",
        "version": "sha256:" + "3" * 64,
        "study": "1.2.3",
        "series": "1.2.3.4",
        "grant": "g-" + "2" * 24,
        "intent": "01890a5d-ac96-774b-bcce-b302099a8056",
        "instances": 2,
        "bytes": 657924,
        "closes": [
            ["1.2.3.4.1", 526336, 526336, True],
            ["1.2.3.4.2", 131588, 526336, False],
            ["1.2.3.4.1", 0, 526336, True],
        ],
        "concluded": 3,
    },
}


def a_row(event, outcome=Outcome.SUCCESS, **fields):
    source = {"process": "portal", "epoch": "e", "seq": 0}
    return AuditRecord(event, outcome, **fields).to_wire() | {"source": source}


def valid(xml):
    message = etree.fromstring(xml)
    SCHEMA.assertValid(message)
    return message


SHARED = {
    "v": 1,
    "id": "01890a5d-ac96-774b-bcce-b302099a8058",
    "time": "2027-03-31T12:00:00.000000Z",
    "event": "dataset-shared",
    "dcm": "110106",
    "outcome": "success",
    "person": "p-" + "a" * 64,
    "project": "lung-study",
    "subject": {
        "dataset": "lung-ct",
        "version": "sha256:" + "3" * 64,
        "package": "4" * 64,
        "recipient": "5" * 64,
        "approved_by": ["p-" + "b" * 64, "p-" + "c" * 64],
        "instances": 300,
        "bytes": 157900800,
    },
    "source": {"process": "command-line", "epoch": "e", "seq": 8},
}
RECEIVED = SHARED | {
    "event": "dataset-received",
    "dcm": "110107",
    "outcome": "failure",
    "reason": "not-received: object 1.2.3 in the package is not what was sealed: ask for the package again",
    "subject": {"dataset": "chest", "version": "sha256:" + "3" * 64, "package": "4" * 64, "sender": "6" * 64},
}

LOOKED_UP = {k: v for k, v in SHARED.items() if k != "session"} | {
    "event": "crosswalk-looked-up",
    "dcm": "110113",
    "subject": {"patient": "P-0123456789ABCDEF", "purpose": "an incidental finding"},
}
ALERT = {k: v for k, v in SHARED.items() if k != "session"} | {
    "event": "access-alert",
    "dcm": "110113",
    "subject": {
        "alert": "5fcfcac2-334b-51e0-811d-c68b917c12c6",
        "day": "2027-03-31",
        "rules": ["studies"],
        "projects": ["lung-study"],
        "opinion": "The isolation forest agrees: of 500 days of everybody, 0 are at least as unusual.",
        "signs": [
            {
                "feature": "studies",
                "value": 41,
                "usual": 3,
                "z": "8.2",
                "words": "read 41 studies on one day; their median is 3 studies (of 58 days)",
            }
        ],
        "suspended": True,
    },
    "source": {"process": "monitor", "epoch": "e", "seq": 1},
}
SUSPENDED = ALERT | {
    "event": "access-suspended",
    "subject": {"by": "monitor", "why": "rule studies", "sessions": ["s-" + "1" * 24], "alert": "5fcfcac2"},
}
STEPPED = {k: v for k, v in SHARED.items() if k not in {"person", "project"}} | {
    "event": "clock-step",
    "dcm": "110113",
    "outcome": "failure",
    "reason": "clock-step: the clock was set while the service ran: -86400000 ms. Times on both sides do not compare",
    "subject": {"step_ms": -86400000, "limit_ms": 1000},
    "source": {"process": "audit-repository", "epoch": "e", "seq": 2},
}
AT_A_NODE = READ | {
    "source": {"process": "mount-daemon@node-1.example", "epoch": "e", "seq": 7},
    "node": {
        "name": "node-1.example",
        "received": "2027-03-31T12:00:40.250Z",
        "waited_ms": 40123,
        "skew_ms": 127,
    },
}
GOLDEN_ROWS = {
    "read": READ, "completed": COMPLETED, "node": AT_A_NODE, "shared": SHARED, "received": RECEIVED,
    "looked-up": LOOKED_UP, "alert": ALERT,
    "suspended": SUSPENDED, "clock-step": STEPPED,
}  # fmt: skip


@pytest.mark.parametrize(("name", "row"), GOLDEN_ROWS.items(), ids=GOLDEN_ROWS)
def test_the_golden_files_hold(name, row):
    assert audit_message(row, "room.example") + "\n" == (GOLDEN / f"{name}.xml").read_text()
    assert audit_event(row, "room.example") == json.loads((GOLDEN / f"{name}.json").read_text())
    assert {e.value: e.dcm for e in AuditEvent}[row["event"]] == row["dcm"]


@pytest.mark.parametrize("event", AuditEvent)
@pytest.mark.parametrize("outcome", Outcome)
def test_every_event_is_valid_in_both_forms(event, outcome):
    row = a_row(event, outcome, reason="some-code: a sentence" if outcome != Outcome.SUCCESS else None)
    message = valid(audit_message(row, "room.example"))
    indicator = message.find("EventIdentification").get("EventOutcomeIndicator")
    assert indicator == audit_event(row, "room.example")["outcome"]
    assert indicator == {"success": "0", "denied": "4", "failure": "8"}[outcome]
    assert len(message.findall("ActiveParticipant[@UserIsRequestor='true']")) == 1
    event_fields = audit_event(row, "room.example")
    check_audit_event(event_fields)
    assert sum(a["requestor"] for a in event_fields["agent"]) == 1


def test_the_codes_and_their_meanings_are_the_standard_s():
    known = {code.value: code.meaning for code in (getattr(codes.DCM, name) for name in codes.DCM.dir())}
    assert {c: NAMES[c] for c in NAMES} == {c: known[c] for c in NAMES}
    assert {e.dcm for e in AuditEvent} | set(TYPES.values()) <= NAMES.keys()
    assert TYPES.keys() <= {e.value for e in AuditEvent}


def test_what_is_no_audit_event_is_told():
    resource = audit_event(READ, "room.example")
    check_audit_event(resource)
    for wrong in (
        {"recorded": "2027-03-31"},
        {"outcome": "5"},
        {"agent": []},
        {"source": {}},
        {"patient": {}},
        {"outcomeDesc": ""},
        {"outcomeDesc": "\x00"},
        {"agent": [{"requestor": "true"}]},
        {"entity": [{"detail": [{"type": "x"}]}]},
        {"resourceType": "Patient"},
    ):
        with pytest.raises(ValueError, match="AuditEvent"):
            check_audit_event(resource | wrong)


@pytest.mark.parametrize("row", [ALERT, SUSPENDED], ids=["alert", "suspended"])
def test_who_an_alert_is_about_did_not_ask_for_it(row):
    message = valid(audit_message(row, "room.example"))
    asked = {p.get("UserID"): p.get("UserIsRequestor") for p in message.findall("ActiveParticipant")}
    assert asked == {row["person"]: "false", "monitor": "true"}
    agents = audit_event(row, "room.example")["agent"]
    assert {a["who"]["identifier"]["value"]: a["requestor"] for a in agents} == {row["person"]: False, "monitor": True}


def test_in_a_read_the_reader_is_the_destination_and_the_daemon_the_source():
    message = valid(audit_message(READ, "room.example"))
    roles = {p.get("UserID"): p.find("RoleIDCode").get("csd-code") for p in message.findall("ActiveParticipant")}
    assert roles == {READ["person"]: "110152", "mount-daemon": "110153"}
    agents = audit_event(READ, "room.example")["agent"]
    by_role = {a["type"]["coding"][0]["code"]: a["who"]["identifier"]["value"] for a in agents}
    assert by_role == {"110153": "mount-daemon", "110152": READ["session"], "IRCP": READ["person"]}


def test_the_instances_of_gathered_ends_are_named_once_each():
    message = valid(audit_message(COMPLETED, "room.example"))
    of_class = message.find(".//ParticipantObjectDescription/SOPClass")
    assert of_class.get("NumberOfInstances") == "2"
    assert [i.get("UID") for i in of_class] == ["1.2.3.4.1", "1.2.3.4.2"]
    ends = message.find(".//ParticipantObjectDetail[@type='closes']").get("value")
    assert json.loads(base64.b64decode(ends)) == COMPLETED["subject"]["closes"]
    resource = audit_event(COMPLETED, "room.example")
    check_audit_event(resource)
    (entity,) = resource["entity"]
    assert [e.get("valueInteger") or e["valueIdentifier"]["value"] for e in entity["extension"]] == [
        2, "urn:oid:1.2.3.4.1", "urn:oid:1.2.3.4.2",
    ]  # fmt: skip
    assert json.loads(next(d["valueString"] for d in entity["detail"] if d["type"] == "closes"))[1][1] == 131588


def test_the_longest_record_of_ends_fits_in_a_record_and_in_a_syslog_message():
    closes = [["1." + "2" * 60 + f"{n:02}", 2**40, 2**40, False] for n in range(MOST)]
    claims = {"notebook": "n" * 255, "cell": "c" * 255}
    row = COMPLETED | {"subject": COMPLETED["subject"] | {"closes": closes}, "claims": claims}
    assert len(syslog_message(row, "room.example")) <= 32_768  # ITI TF-2 3.20
    assert len(to_leaf(row)) < MAX_LEAF


@given(st.text(max_size=40))
@settings(max_examples=80, deadline=None)
def test_hostile_text_makes_one_valid_message(text):
    row = READ | {"reason": text or "x", "claims": {"notebook": text}, "project": text}
    message = valid(audit_message(row, "room.example"))
    assert len(message.findall("ParticipantObjectIdentification")) == 1
    line = syslog_message(row, "room.example")
    assert not re.search(rb"[\x00-\x1f\x7f]", line)
    resource = json.loads(json.dumps(audit_event(row, "s")))
    check_audit_event(resource)
    assert resource["outcomeDesc"] == in_a_document(text or "x")


def test_syslog_is_rfc_5424_with_octets_counted():
    line = syslog_message(READ, "room.example")
    head = rb"<85>1 2027-03-31T12:00:00\.000000Z room\.example readingroom - IHE\+RFC-3881 - <AuditMessage>"
    assert re.match(head, line)
    assert syslog_message(READ | {"outcome": "denied"}, "room.example").startswith(b"<84>1 ")
    length, _, rest = framed(line).partition(b" ")
    assert int(length) == len(rest) == len(line)
