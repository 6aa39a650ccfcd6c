"""Raw HTTP against the door's inner socket: only what is on the list reaches the hub, in exactly one reading."""

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from readingroom_hub.sandbox.gate import BODY_BYTES, HEAD_BYTES, Rules, Service
from readingroom_hub.sandbox.relay import REPORTS_A_MINUTE, Relay, Reporter, Upstream


class Recorder(BaseHTTPRequestHandler):
    """A hub that answers everything and remembers it."""

    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.server.seen.append((self.command, self.path, {n.lower(): v for n, v in self.headers.items()}, body))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Set-Cookie", "hub=secret")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    do_POST = do_PUT = do_DELETE = do_PATCH = do_GET  # noqa: N815  # the base class's names

    def log_message(self, *_):
        pass


class Door:
    def __init__(self, socket_path):
        self.hub, self.portal = self._service(), self._service()
        self.reports = []
        services = {
            Service.HUB: Upstream("127.0.0.1", self.hub.server_port, {}),
            Service.PORTAL: Upstream("127.0.0.1", self.portal.server_port, {"X-Readingroom-Session": "s-ours"}),
        }
        self.path = str(socket_path)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen()
        relay = Relay(Rules("/", "u-abc"), services, Reporter(self.reports.append))
        threading.Thread(target=relay.serve, args=(self.listener,), daemon=True).start()

    def _service(self):
        server = ThreadingHTTPServer(("127.0.0.1", 0), Recorder)
        server.seen = []
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return server

    def ask(self, raw):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(10)
            s.connect(self.path)
            s.sendall(raw)
            answer = b""
            while piece := s.recv(65536):
                answer += piece
        return answer

    def status(self, raw):
        return int(self.ask(raw).split()[1])

    @property
    def seen(self):
        return self.hub.seen + self.portal.seen

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for server in (self.hub, self.portal):
            server.shutdown()
            server.server_close()


@pytest.fixture
def door(tmp_path):
    made = Door(tmp_path / "hub.sock")
    yield made
    made.close()


def get(path, *headers, method="GET"):
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: hub", *headers, "", ""]).encode()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/hub/api"),
        ("GET", "/hub/api/"),
        ("GET", "/hub/api/user"),
        ("POST", "/hub/api/oauth2/token"),
        ("POST", "/hub/api/users/u-abc/activity"),
    ],
)
def test_what_a_server_needs_reaches_the_hub(door, method, path):
    body = b"code=1" if method == "POST" else b""
    raw = get(path, f"Content-Length: {len(body)}", "Authorization: token abc", method=method) + body
    assert door.status(raw) == 200
    ((command, target, headers, sent),) = door.hub.seen
    assert (command, target, sent) == (method, path, body)
    assert headers["authorization"] == "token abc"
    assert door.portal.seen == []


def test_portal_hears_which_session_asks_whatever_the_server_claims(door):
    raw = get("/services/portal/api/v1/session?x=1", "X-Readingroom-Session: s-theirs", "Cookie: hub=stolen")
    assert door.status(raw) == 200
    ((_, path, headers, _),) = door.portal.seen
    assert path == "/services/portal/api/v1/session?x=1"
    assert headers["x-readingroom-session"] == "s-ours"
    assert "cookie" not in headers


def test_cookies_of_the_hub_do_not_come_back(door):
    assert b"secret" not in door.ask(get("/hub/api/user"))


@pytest.mark.parametrize(
    "raw",
    [
        get("/hub/api/users"),
        get("/hub/api/users/u-other/activity", "Content-Length: 0", method="POST"),
        get("/hub/api/users/u-abc/activity"),
        get("/hub/api/users/u-abc/tokens", "Content-Length: 0", method="POST"),
        get("/hub/api/shutdown", "Content-Length: 0", method="POST"),
        get("/hub/api/user", method="DELETE"),
        get("/hub/api/proxy"),
        get("/hub/home"),
        get("/hub/login"),
        get("/user/u-other/lung/api/contents"),
        get("/services/portal/"),
        get("/services/portal/api/v1/session", "Content-Length: 0", method="POST"),
        get("/services/portal/api/v1/../../../hub/api/users"),
        get("/services/portal/api/v1/%2e%2e/%2e%2e/admin"),
        get("/services/portal/api/v1//evil"),
        get("/services/portal/api/v1/./x"),
        get("/hub/api/user/../users"),
        get("/hub/api/user%2f..%2fusers"),
        get("/hub/api/user;x"),
        get("/hub/api/user#x"),
        get("/hub\\api\\user"),
        get("http://127.0.0.1:1/hub/api/user"),
        get("//127.0.0.1/hub/api/user"),
        get("127.0.0.1:8481", method="CONNECT"),
        get("*", method="OPTIONS"),
        get("/hub/api/user", "Transfer-Encoding: chunked") + b"0\r\n\r\n",
        get("/hub/api/user", "Transfer-Encoding: identity"),
        get("/hub/api/user", "Transfer-Encoding : chunked"),
        get("/hub/api/user", "Transfer-Encoding:\x0bchunked"),
        get("/hub/api/user", "Content-Length: 5", "Content-Length: 6"),
        get("/hub/api/user", "Content-Length: 5", "content-length: 5"),
        get("/hub/api/user", "Content-Length: +5"),
        get("/hub/api/user", "Content-Length: 0x5"),
        get("/hub/api/user", "Content-Length: 5, 5"),
        get("/hub/api/user", "Content-Length: -1"),
        get("/hub/api/user", f"Content-Length: {BODY_BYTES + 1}"),
        get("/hub/api/user", "X: a\r\n folded"),
        get("/hub/api/user", "X: a\nHost: other"),
        get("/hub/api/user", "X: a\rHost: other"),
        get("/hub/api/user", "X: \x00"),
        get("/hub/api/user", ": nameless"),
        get("/hub/api/user", "no colon"),
        get("/hub/api/user") + get("/hub/api/users"),
        get("/hub/api/user", "Content-Length: 3") + b"abcGET /hub/api/users HTTP/1.1\r\n\r\n",
        b"GET /hub/api/user HTTP/1.0\r\n\r\n",
        b"GET /hub/api/user\r\n\r\n",
        b"GET  /hub/api/user HTTP/1.1\r\n\r\n",
        b"GET\t/hub/api/user\tHTTP/1.1\r\n\r\n",
        b"\r\nGET /hub/api/user HTTP/1.1\r\n\r\n",
        b"get /hub/api/user HTTP/1.1\r\n\r\n",
        get("/hub/api/user", "X: " + "a" * (HEAD_BYTES * 2)),
        get("/hub/api/user?" + "\xe9"),
    ],
    ids=lambda raw: ascii(raw[:70].decode("latin-1")),
)
def test_everything_else_is_refused_told_and_never_sent_on(door, raw):
    answer = door.ask(raw)
    assert int(answer.split()[1]) in {400, 403, 413, 431}
    assert door.seen == []
    (report,) = map(json.loads, door.reports)
    assert report["code"]


def test_refusals_are_reported_at_a_bounded_rate_and_none_is_lost_from_the_count(door):
    for _ in range(REPORTS_A_MINUTE + 20):
        door.ask(get("/hub/api/users"))
    rows = [json.loads(line) for line in door.reports]
    # The clock's minute may turn within the loop.
    assert REPORTS_A_MINUTE <= len(rows) <= 2 * REPORTS_A_MINUTE
    assert sum(row["left_out"] for row in rows) <= 20


def test_hub_that_does_not_answer_is_a_plain_sentence(door):
    door.hub.server_close()
    door.hub.shutdown()
    answer = door.ask(get("/hub/api/user"))
    assert answer.startswith(b"HTTP/1.1 502")
    assert b"Try again" in answer
