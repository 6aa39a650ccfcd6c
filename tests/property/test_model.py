"""Identifiers, manifests and records: what goes out comes back, and what is malformed never exists."""

import hashlib
import json
import re
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from readingroom_hub.errors import BadInput, IntegrityError
from readingroom_hub.model.audit import AuditEvent, AuditRecord, uuid7
from readingroom_hub.model.dataset import Instance, Manifest, manifest_of
from readingroom_hub.model.grant import Grant
from readingroom_hub.model.ids import (
    UID,
    DatasetName,
    GrantId,
    KeyId,
    PersonId,
    ProjectId,
    SessionId,
    VersionDigest,
)

uids = st.from_regex(r"2\.25\.[1-9][0-9]{0,37}", fullmatch=True).map(UID)
instances = st.builds(
    Instance,
    study=uids,
    series=uids,
    instance=uids,
    sop_class=uids,
    modality=st.sampled_from(["CT", "MR", "US"]),
    number=st.integers(0, 2**31),
    size=st.integers(0, 2**40),
    sha256=st.from_regex(r"[0-9a-f]{64}", fullmatch=True),
    patient=st.text(max_size=8),
    description=st.text(max_size=8),
    rows=st.integers(0, 2**16),
    kernel=st.text(max_size=8),
    age=st.sampled_from(["", "40-49"]),
)
MOMENT = datetime(2026, 11, 22, tzinfo=UTC)


@given(st.lists(instances, max_size=20), st.randoms())
def test_a_manifest_has_one_form_whatever_the_order_and_comes_back(rows, random):
    manifest = manifest_of(ProjectId("chest-ct"), DatasetName("lung"), "profile", rows)
    shuffled = list(rows)
    random.shuffle(shuffled)
    assert manifest_of(manifest.project, manifest.dataset, manifest.profile, shuffled).digest() == manifest.digest()
    assert Manifest.from_bytes(manifest.to_bytes(), manifest.digest()) == manifest


def test_a_manifest_from_before_the_later_fields_keeps_its_bytes():
    row = (
        b'{"body_part":"","columns":0,"description":"","frames":0,"instance":"1.4","modality":"CT","number":1,"patient":"",'
        b'"rows":0,"series":"1.3","sha256":"ab","size":9,"sop_class":"1.5","spacing":"","study":"1.2","study_date":""}\n'
    )
    head = (
        b'{"dataset":"lung","format":"readingroom-manifest/1","instances":1,"profile":"profile","project":"chest-ct"}\n'
    )
    version = VersionDigest("sha256:" + hashlib.sha256(head + row).hexdigest())
    manifest = Manifest.from_bytes(head + row, version)
    assert manifest.to_bytes() == head + row
    assert manifest.digest() == version


@given(st.lists(instances, min_size=1, max_size=5), st.data())
def test_a_changed_manifest_is_refused(rows, data):
    manifest = manifest_of(ProjectId("chest-ct"), DatasetName("lung"), "profile", rows)
    raw = bytearray(manifest.to_bytes())
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= 1
    with pytest.raises(IntegrityError, match="changed or swapped"):
        Manifest.from_bytes(bytes(raw), manifest.digest())


@pytest.mark.parametrize("kind", [ProjectId, DatasetName, VersionDigest, UID, PersonId, SessionId, GrantId, KeyId])
@given(text=st.text(max_size=80))
def test_an_identifier_that_exists_is_well_formed(kind, text):
    try:
        value = kind(text)
    except BadInput as error:
        assert kind.what in str(error)  # noqa: PT017
    else:
        assert kind.pattern.fullmatch(value)


@pytest.mark.parametrize("bad", ["../x", "a/b", "", ".", "..", ".hidden", "a\nb", "A", "a" * 64, "ü", "a\0"])
def test_no_dataset_name_is_a_path(bad):
    with pytest.raises(BadInput):
        DatasetName(bad)


def test_random_identifiers_are_of_their_form_and_differ():
    assert len({kind.new() for kind in (SessionId, GrantId, KeyId) for _ in range(50)}) == 150


def test_record_ids_are_version_7_and_ordered_in_time():
    ids = [uuid7() for _ in range(100)]
    assert all(uuid.UUID(i).version == 7 and uuid.UUID(i).variant == uuid.RFC_4122 for i in ids)
    assert [i[:13] for i in ids] == sorted(i[:13] for i in ids)


def test_a_record_leaves_out_what_is_empty_and_writes_time_in_utc():
    at = datetime(2026, 11, 22, 13, 0, tzinfo=UTC)
    row = AuditRecord(AuditEvent.SIGN_IN, time=at, id="x").to_wire()
    assert row == {
        "v": 1,
        "id": "x",
        "time": "2026-11-22T13:00:00.000000Z",
        "event": "sign-in",
        "dcm": "110114",
        "outcome": "success",
    }
    assert json.loads(json.dumps(row)) == row


def test_every_event_has_a_dcm_code():
    assert all(re.fullmatch(r"1101\d\d", e.dcm) for e in AuditEvent)


@given(st.integers(-10, 10), st.integers(-10, 10))
def test_a_grant_is_current_from_its_start_until_just_before_its_end(start, end):
    g = Grant(
        GrantId.new(),
        ProjectId("chest-ct"),
        DatasetName("lung"),
        VersionDigest("sha256:" + "0" * 64),
        MOMENT + timedelta(hours=end),
        PersonId("p-" + "0" * 64),
        MOMENT + timedelta(hours=start),
    )
    assert g.is_current(MOMENT) == (start <= 0 < end)
