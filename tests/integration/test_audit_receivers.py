"""Both receivers against real servers: rsyslog with TLS, HTTPS with a check of each resource; and bad ones."""

import contextlib
import json
import os
import select
import socket
import ssl
import threading

import pytest
from tests.contract.audit_receiver import ReceiverContract, rows
from tests.support.receivers import Authority, FhirServer, Rsyslog, running, until

from readingroom_hub.adapters.audit_feed_fhir import FhirReceiver
from readingroom_hub.adapters.audit_feed_syslog import SyslogReceiver, _end, address
from readingroom_hub.adapters.audit_feed_tls import Trust
from readingroom_hub.errors import BadInput, StoreUnavailable

SITE = "room.example"


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority") / "a")


@pytest.fixture(scope="module")
def trust(authority) -> Trust:
    return Trust(authority.ca)


@pytest.fixture(scope="module")
def rsyslog(authority, tmp_path_factory) -> Rsyslog:
    with running(Rsyslog(tmp_path_factory.mktemp("rsyslog") / "r", authority)) as server:
        yield server


@pytest.fixture(scope="module")
def fhir(authority) -> FhirServer:
    with running(FhirServer(authority)) as server:
        yield server


class TestSyslog(ReceiverContract):
    @pytest.fixture
    def server(self, rsyslog):
        return rsyslog

    @pytest.fixture
    def make(self, server):
        return lambda trust: SyslogReceiver("localhost", server.port, trust, SITE)

    @staticmethod
    def as_it_arrives(message):
        return message.partition(b" ")[2]

    def test_a_name_that_the_certificate_does_not_have_gets_nothing(self, server, trust):
        receiver = SyslogReceiver("127.0.0.2", server.port, trust, SITE)
        with pytest.raises(StoreUnavailable):
            list(receiver.deliver([receiver.message(row) for row in rows(1)]))


class TestFhir(ReceiverContract):
    @pytest.fixture
    def server(self, fhir):
        return fhir

    @pytest.fixture
    def make(self, server):
        return lambda trust: FhirReceiver(f"https://localhost:{server.port}/r4/", trust, None, SITE)

    @staticmethod
    def as_it_arrives(message):
        return message

    def test_what_it_will_never_take_is_told_from_what_it_does_not_take_now(self, server, make, trust):
        receiver, asked = make(trust), []
        messages = [receiver.message(row) for row in rows(6)]
        answers = [None, 422, None, 503]

        def answer(resource):
            asked.append(resource)
            return answers[len(asked) - 1]

        server.answer = answer
        try:
            verdicts = receiver.deliver(messages)
            assert [next(verdicts) for _ in range(3)] == [None, '422 {"resourceType":"OperationOutcome"}', None]
            with pytest.raises(StoreUnavailable, match="503"):
                next(verdicts)
        finally:
            server.answer = lambda _: None

    @pytest.mark.parametrize(
        ("status", "for_ever"),
        [(400, True), (409, True), (413, True), (422, True)]
        + [(s, False) for s in (301, 401, 403, 404, 405, 408, 429, 500, 502, 503)],
    )
    def test_only_what_is_said_of_the_record_is_for_ever(self, server, make, trust, status, for_ever):
        receiver = make(trust)
        server.answer = lambda _: status
        try:
            if for_ever:
                (reason,) = receiver.deliver([receiver.message(next(rows()))])
                assert reason.startswith(f"{status} ")
            else:
                with pytest.raises(StoreUnavailable, match=str(status)):
                    list(receiver.deliver([receiver.message(next(rows()))]))
        finally:
            server.answer = lambda _: None

    def test_the_token_is_shown_and_may_be_renewed(self, server, trust, tmp_path):
        token = tmp_path / "token"
        token.write_text("one\n")
        receiver = FhirReceiver(f"https://localhost:{server.port}/r4", trust, token, SITE)
        for word in ("one", "two"):
            token.write_text(f"{word}\n")
            assert list(receiver.deliver([receiver.message(next(rows()))])) == [None]
            assert server.headers[-1]["Authorization"] == f"Bearer {word}"
        token.unlink()
        with pytest.raises(BadInput, match="token"):
            list(receiver.deliver([b"{}"]))


def test_a_receiver_that_asks_for_a_certificate_gets_ours(authority, tmp_path):
    with running(Rsyslog(tmp_path / "r", authority, asks_for_certificate=True)) as server:
        with_ours = SyslogReceiver("localhost", server.port, Trust(authority.ca, *authority.issue("room")), SITE)
        message = with_ours.message(next(rows()))
        assert list(with_ours.deliver([message])) == [None]
        with pytest.raises(StoreUnavailable):
            list(SyslogReceiver("localhost", server.port, Trust(authority.ca), SITE).deliver([message]))
        stranger = Authority(tmp_path / "stranger")
        wrong = Trust(authority.ca, *stranger.issue("room"))
        with pytest.raises(StoreUnavailable):
            list(SyslogReceiver("localhost", server.port, wrong, SITE).deliver([message]))
        assert until(server.arrived) == [message.partition(b" ")[2]]


@contextlib.contextmanager
def listener(authority, act, version=None):
    """One connection, of which `act(connection)` does what it likes."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("listener", "localhost"))
    if version is not None:
        context.minimum_version = context.maximum_version = version
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve():
            plain, _ = listening.accept()
            with plain, contextlib.suppress(OSError), context.wrap_socket(plain, server_side=True) as connection:
                act(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1]
        thread.join()


def read_all(connection):
    """As RFC 5425 section 4.4 has it: read to the close_notify, and answer with one."""
    while connection.recv(1 << 16):
        pass
    connection.unwrap()


def read_a_little(connection):
    connection.recv(10)


def half_read_then_end_the_session(connection):
    connection.recv(10)
    connection.unwrap()


def close_at_once(connection):
    connection.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("act", [read_all, read_a_little, half_read_then_end_the_session, close_at_once])
def test_a_batch_counts_only_where_all_of_it_was_read(authority, trust, act):
    with listener(authority, act) as port:
        receiver = SyslogReceiver("localhost", port, trust, SITE)
        messages = [receiver.message(row) for row in rows(300)]
        if act is read_all:
            assert list(receiver.deliver(messages)) == [None] * 300
        else:
            with pytest.raises(StoreUnavailable):
                list(receiver.deliver(messages))


def test_a_few_bytes_that_nobody_read_do_not_count(authority, trust):
    """They fit into the buffers, so nothing fails while they are sent."""

    def leave_unread(connection):
        connection.shutdown(socket.SHUT_RD)  # ends without having looked

    with listener(authority, leave_unread) as port:
        receiver = SyslogReceiver("localhost", port, trust, SITE)
        with pytest.raises(StoreUnavailable):
            list(receiver.deliver([receiver.message(next(rows()))]))


def test_an_end_that_came_before_ours_does_not_count(authority, trust):
    """The reset that answers our last bytes hides behind the other side's earlier end."""

    def read_and_go(connection):
        connection.recv(5)

    with listener(authority, read_and_go, ssl.TLSVersion.TLSv1_2) as port, socket.socket() as plain:
        plain.settimeout(10)
        plain.connect(("127.0.0.1", port))
        connection = trust.context().wrap_socket(plain, server_hostname="localhost")
        with connection:
            connection.sendall(b"12345")
            select.select([connection], [], [], 10)
            with socket.socket(fileno=os.dup(connection.fileno())) as peek:
                assert peek.recv(1, socket.MSG_PEEK) == b""
            with pytest.raises(ConnectionResetError, match="unread"):
                _end(connection)


def test_plain_text_and_old_tls_get_nothing(authority, trust):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        seen = []

        def serve():
            with listening.accept()[0] as plain:
                seen.append(plain.recv(1 << 16))

        thread = threading.Thread(target=serve)
        thread.start()
        receiver = SyslogReceiver("localhost", listening.getsockname()[1], trust, SITE)
        message = receiver.message(next(rows()))
        with pytest.raises(StoreUnavailable):
            list(receiver.deliver([message]))
        thread.join()
        assert b"readingroom" not in seen[0]
    assert trust.context().minimum_version == ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize("text", ["", ":6514", "host:", "host:0", "host:99999", "host:x", "[::1]:"])
def test_an_address_that_is_none(text):
    with pytest.raises(BadInput, match="AUDIT_FEED_SYSLOG"):
        address(text)


def test_addresses():
    found = [address(a) for a in ("arr.example", "arr.example:1", "[::1]:1", "[::1]")]
    assert found == [("arr.example", 6514), ("arr.example", 1), ("::1", 1), ("::1", 6514)]


@pytest.mark.parametrize(
    "base", ["http://fhir.example/r4", "https://", "fhir.example", "https://h:x/", "https://h/?a=1"]
)
def test_a_fhir_address_that_is_none(base, trust):
    with pytest.raises(BadInput, match="AUDIT_FEED_FHIR"):
        FhirReceiver(base, trust, None, SITE)


def test_plain_http_goes_to_loopback_only(trust):
    with running(FhirServer()) as server:
        receiver = FhirReceiver(f"http://127.0.0.1:{server.port}/r4", trust, None, SITE)
        message = receiver.message(next(rows()))
        assert list(receiver.deliver([message])) == [None]
        assert [json.loads(b) for b in server.bodies] == [json.loads(message)]
