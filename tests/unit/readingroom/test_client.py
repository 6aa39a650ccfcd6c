import http.server
import json
import socketserver
import threading
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import pytest

from readingroom.client import Session, session
from readingroom.errors import NotInReadingRoom, ReadingRoomError

GOLDEN = Path(__file__).parents[2] / "contract" / "wire" / "session.json"


class _Hub(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True


def _serve(path: Path, status: int, body: bytes):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            known = self.path == "/services/portal/api/v1/session"
            self.send_response(status if known else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def address_string(self):
            return "unix"

        def log_message(self, *_):
            pass

    server = _Hub(str(path), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
    return server


@pytest.fixture
def hub(tmp_path):
    started = []

    def start(status=200, body=None):
        server = _serve(tmp_path / "hub.sock", status, GOLDEN.read_bytes() if body is None else body)
        started.append(server)
        return tmp_path / "hub.sock"

    yield start
    for server in started:
        server.shutdown()
        server.server_close()


def test_golden_session_over_a_real_socket(hub):
    found = session(hub())
    golden = json.loads(GOLDEN.read_text())
    assert (found.id, found.project, found.person_name) == (golden["session"], "chest-ct", golden["person_name"])
    assert found.expires_at == datetime(2026, 11, 22, 18, 30, 0, 123456, tzinfo=UTC)
    (one,) = found.datasets
    (expected,) = golden["datasets"]
    assert asdict(one) == {**expected, "until": datetime(2099, 3, 31, tzinfo=UTC)}


def test_the_setting_names_the_socket(hub, monkeypatch):
    monkeypatch.setenv("READINGROOM_HUB_SOCKET", str(hub()))
    assert session().project == "chest-ct"


def test_outside_a_reading_room(tmp_path):
    with pytest.raises(NotInReadingRoom, match="works only in a Reading Room server") as caught:
        session(tmp_path / "absent.sock")
    assert isinstance(caught.value.__cause__, OSError)


@pytest.mark.parametrize(
    ("status", "says"), [(403, "no open session"), (401, "no open session"), (502, "answered 502")]
)
def test_a_refusing_hub(hub, status, says):
    with pytest.raises(ReadingRoomError, match=says):
        session(hub(status, b"{}"))


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"<html>", b'{"format":"readingroom-session/1"}'])
def test_an_answer_that_is_no_session(body):
    with pytest.raises(ReadingRoomError, match="could not be understood"):
        Session.from_json(body)


def test_another_format_says_what_to_do():
    with pytest.raises(ReadingRoomError, match="stop and start your server"):
        Session.from_json(b'{"format":"readingroom-session/2"}')
