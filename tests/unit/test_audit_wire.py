"""Messages between the audit record repository and its clients."""

import pytest

from readingroom_hub.adapters.audit_wire import Frames, error_fields, error_of, message
from readingroom_hub.errors import BadInput
from readingroom_hub.model.audit import AuditEvent
from readingroom_hub.model.ids import PersonId


def test_a_message_comes_back_as_it_was():
    person = PersonId("p-" + "0" * 64)
    fields = {"person": person, "events": [AuditEvent.SIGN_IN], "none": None, "late": 0.25, "name": "Ä\u2028\U0001f600"}
    (found,) = Frames().feed(message(7, **fields))
    assert found == {"v": 1, "n": 7, "person": person, "events": ["sign-in"]} | {k: fields[k] for k in list(fields)[2:]}


@pytest.mark.parametrize("bad", ["\udc80", 2**70, b"x", {1: 2}])
def test_what_the_other_end_could_not_read_is_not_sent(bad):
    with pytest.raises(BadInput, match="cannot be sent"):
        message(1, text=bad)


def test_an_error_about_a_path_that_is_no_unicode_arrives():
    (found,) = Frames().feed(message(1, **error_fields(BadInput("no log at /srv/\udcff"))))
    assert str(error_of(found)) == r"no log at /srv/\udcff"
