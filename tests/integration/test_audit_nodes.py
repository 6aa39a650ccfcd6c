"""Who may hand records over from another machine, by a raw TLS client: the repository believes nothing it says."""

import asyncio
import json
import socket
import ssl
import time
from collections import Counter
from contextlib import closing

import pytest
from tests.support.node_world import fingerprint, node_world
from tests.support.receivers import Authority, until

from readingroom_hub.adapters.audit_handshakes import Handshakes
from readingroom_hub.adapters.audit_log import LogReader
from readingroom_hub.adapters.audit_nodes import Nodes, client_context, server_context
from readingroom_hub.adapters.audit_wire import Frames, message
from readingroom_hub.compose.repository import verify_log
from readingroom_hub.errors import BadInput
from readingroom_hub.model.audit import AuditEvent, AuditRecord
from readingroom_hub.ports.reception import TlsFiles
from readingroom_hub.ports.records import Filter


@pytest.fixture(scope="module")
def provoked():
    """Reasons that tests gave to be turned away, and how often."""
    return Counter()


@pytest.fixture(scope="module")
def world(provoked):
    with node_world() as running:
        yield running
        running.server.stop()
        assert verify_log(running.server.paths, None, None, []).findings == []
        counted = Counter()
        with closing(LogReader(running.server.paths.audit / "log.sqlite")) as log:
            for row in (json.loads(e.record) for e in log.entries()):
                if row["event"] == "request-refused":
                    counted[row["reason"].split(":")[0]] += row["subject"]["count"]
        assert provoked <= counted


@pytest.fixture(scope="module")
def one(world):
    return world.certificate("node-1")


@pytest.fixture(autouse=True)
def listed(world, one):
    world.list(node_1=one)


class Raw:
    """A client that says what it wants."""

    def __init__(self, world, context: ssl.SSLContext) -> None:
        plain = socket.create_connection(("127.0.0.1", world.port), 10)
        try:
            self.socket = context.wrap_socket(plain, server_hostname="localhost")
        except BaseException:
            plain.close()
            raise
        self._frames, self._replies, self._n = Frames(), [], 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def reply(self) -> dict:
        while not self._replies:
            data = self.socket.recv(1 << 16)
            if not data:
                raise ConnectionError("cut")
            self._replies += self._frames.feed(data)
        return self._replies.pop(0)

    def ask(self, op, **fields) -> dict:
        self._n += 1
        self.socket.sendall(message(self._n, op=op, **fields))
        return self.reply()


def a_row(process="mount-daemon@node-1", seq=0, epoch=None):
    record = AuditRecord(AuditEvent.READ_INTENT)
    return record.to_wire() | {"source": {"process": process, "epoch": epoch or record.id, "seq": seq}}


def refused(world):
    found = world.client.query(Filter(events=("request-refused",)), None)
    return [f.record["reason"] for f in found]


def test_a_listed_node_s_records_carry_its_name_and_how_late_they_came(world, one):
    row = a_row()
    sent = int(time.time() * 1000) - 3_600_000
    with Raw(world, client_context(one)) as node:
        reply = node.ask("append", records=[row], sent=sent)
        assert node.socket.version() == "TLSv1.3"
    (index, _) = reply["receipts"][0]
    (found,) = [f.record for f in world.client.query(Filter(limit=5), None) if f.index == index]
    assert found["source"]["process"] == "mount-daemon@node-1"
    assert found["node"]["name"] == "node-1"
    assert found["node"]["skew_ms"] == pytest.approx(3_600_000, abs=10_000)
    assert found["node"]["waited_ms"] == pytest.approx(-3_600_000, abs=10_000)


@pytest.mark.parametrize(
    "row",
    [
        a_row("mount-daemon"),
        a_row("audit-repository"),
        a_row("mount-daemon@node-2"),
        a_row("mount-daemon@node-1@node-2"),
    ],
    ids=lambda row: row["source"]["process"],
)
def test_a_node_speaks_for_nobody_else(world, one, row):
    with Raw(world, client_context(one)) as node:
        assert node.ask("append", records=[row])["error"]["kind"] == "Denied"
    assert row["id"] not in [f.record["id"] for f in world.client.query(Filter(limit=5), None)]


def test_what_a_node_says_of_its_own_arrival_is_not_believed(world, one):
    row = a_row() | {"node": {"name": "node-9", "received": "2001-01-01T00:00:00Z"}}
    with Raw(world, client_context(one)) as node:
        ((index, _),) = node.ask("append", records=[row], sent="soon")["receipts"]
    (found,) = [f.record for f in world.client.query(Filter(limit=5), None) if f.index == index]
    assert found["node"].keys() == {"name", "received"}
    assert found["node"]["name"] == "node-1"
    assert found["node"]["received"] > "2026"


def test_this_machine_s_processes_cannot_speak_for_a_node(world):
    with socket.socket(socket.AF_UNIX) as local:
        local.connect(str(world.server.paths.audit_socket))
        frames = Frames()
        for row in (a_row(), a_row("portal") | {"node": {"name": "node-1"}}):
            local.sendall(message(1, op="append", records=[row]))
            reply = next(r for r in iter(lambda: next(iter(frames.feed(local.recv(1 << 16))), None), None))
            assert reply["error"]["kind"] == "BadInput"


@pytest.mark.parametrize("op", ["query", "people", "identify", "forget", "purge", "checkpoint", "status"])
def test_a_node_may_ask_for_nothing(world, one, op):
    with Raw(world, client_context(one)) as node:
        assert node.ask(op, text="")["error"]["kind"] == "Denied"


def test_an_unlisted_certificate_of_the_right_authority_is_refused_on_record_once_a_minute(world):
    stranger = world.certificate("node-7")
    for _ in range(3):
        with Raw(world, client_context(stranger)) as node:
            reply = node.reply()
            assert (reply["error"]["kind"], reply["n"]) == ("UnknownNode", 0)
            assert "ask its operator to add it" in reply["error"]["message"]
            with pytest.raises((ConnectionError, ssl.SSLError)):
                node.ask("append", records=[a_row("mount-daemon@node-7")])
    assert len([r for r in refused(world) if "node-7" in r]) == 1


def test_a_certificate_listed_under_another_name_is_refused(world):
    stranger = world.certificate("node-8")
    world.list(node_1=stranger)
    until(lambda: ["node-1"] in _nodes_on_record(world))
    with Raw(world, client_context(stranger)) as node:
        assert "its names are 'node-8'" in node.reply()["error"]["message"]


def _nodes_on_record(world):
    found = world.client.query(Filter(events=("configuration",)), None)
    return [f.record["subject"]["nodes"] for f in found if "nodes" in f.record["subject"]]


def test_a_node_that_is_no_longer_listed_is_cut_off_at_once_and_not_let_in_again(world, one):
    with Raw(world, client_context(one)) as node:
        assert "receipts" in node.ask("append", records=[a_row()])
        world.list()
        with pytest.raises((ConnectionError, ssl.SSLError)):  # else it waits for a reply, and TimeoutError ends it
            node.reply()
    with Raw(world, client_context(one)) as node:
        assert node.reply()["error"]["kind"] == "UnknownNode"
    assert [] in _nodes_on_record(world)


def test_while_the_list_cannot_be_read_nobody_is_let_in(world, one):
    world.listed.write_text("node-1\n")
    until(lambda: "so no node is let in: line 1 is not NAME FINGERPRINT" in world.server.said())
    with Raw(world, client_context(one)) as node:
        assert node.reply()["error"]["kind"] == "UnknownNode"
    world.list(node_1=one)

    def is_in():
        with Raw(world, client_context(one)) as node:
            return "receipts" in node.ask("append", records=[a_row()])

    until(is_in)


def _without_certificate(world, one):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(one.ca)
    return context


def _with_tls_1_2(world, one):
    context = client_context(one)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


def _of_another_authority(world, one):
    cert, key = Authority(world.folder / "other").issue("node-1", "node-1")
    return client_context(TlsFiles(cert, key, one.ca))


def _trusting_another_authority(world, one):
    ca = Authority(world.folder / "another").ca
    return client_context(TlsFiles(one.cert, one.key, ca))


@pytest.mark.parametrize(
    ("kind", "context"),
    [
        ("no-certificate", _without_certificate),
        ("old-tls", _with_tls_1_2),
        ("wrong-certificate", _of_another_authority),
        ("turned-away", _trusting_another_authority),
    ],
)
def test_who_gets_through_no_handshake_has_no_connection_and_is_on_record(world, one, provoked, kind, context):
    provoked[f"tls-{kind}"] += 1
    with pytest.raises((ConnectionError, ssl.SSLError)), Raw(world, context(world, one)) as node:
        node.ask("append", records=[a_row()])
    (found,) = until(lambda: turned_away(world, kind))
    assert (found["subject"]["address"], found["subject"]["count"]) == ("127.0.0.1", 1)
    if kind == "wrong-certificate":
        assert found["subject"]["certificates"] == [fingerprint(world.folder / "other" / "node-1.pem")]
        assert "certificate signature failure" in found["reason"]
    else:
        assert "certificates" not in found["subject"]


@pytest.mark.parametrize(("kind", "data"), [("no-tls", b"SSH-2.0-scan\r\n"), ("hung-up", b"")])
def test_a_port_scan_is_on_record_once_a_minute_and_its_sum_at_the_end(world, one, provoked, kind, data):
    provoked[f"tls-{kind}"] += 20
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", world.port), 10) as plain:
            plain.sendall(data)
            if data:
                assert plain.recv(1) == b""
    (found,) = until(lambda: turned_away(world, kind))
    assert found["subject"]["count"] == 1
    with Raw(world, client_context(one)) as node:
        assert "receipts" in node.ask("append", records=[a_row()])


def turned_away(world, kind):
    found = world.client.query(Filter(events=("request-refused",)), None)
    return [f.record for f in found if f.record["reason"].startswith(f"tls-{kind}: 127.0.0.1 ")]


def test_who_only_connects_is_hung_up_on_and_takes_nobody_else_s_place(world, one):
    seen, made = [], []

    async def crowd():
        loop = asyncio.get_running_loop()
        door = Handshakes(server_context(one), lambda: made.append(1) or asyncio.Protocol(), seen.append, 0.3)
        server = await loop.create_server(door, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        # All at once: the first of them may not be hung up on before the last has come.
        slow = await asyncio.gather(*(asyncio.open_connection(*address) for _ in range(40)))
        for reader, writer in slow:
            assert await reader.read() == b""  # all of them are hung up on
            writer.close()
        await door.close()
        server.close()

    asyncio.run(crowd())
    kinds = Counter(refusal.reason.split(":")[0] for refusal in seen)
    assert kinds == {"tls-too-slow": 32, "tls-too-many": 8}


def test_the_repository_shows_an_exchanged_certificate_without_a_restart(world, one):
    def shown():
        with Raw(world, client_context(one)) as node:
            assert "receipts" in node.ask("append", records=[a_row()])
            return node.socket.getpeercert(binary_form=True)

    old = shown()
    cert, key = world.authority.issue("renewed", "localhost")
    key.replace(world.settings.audit_tls_key_file)  # by half: the old pair goes on
    until(lambda: "goes on with its old certificate" in world.server.said())
    assert shown() == old
    cert.replace(world.settings.audit_tls_cert_file)
    until(lambda: shown() != old)


def test_a_node_refuses_another_authority_s_repository(world, tmp_path):
    stranger = Authority(tmp_path / "other")
    cert, key = stranger.issue("node-1", "node-1")
    with pytest.raises(ssl.SSLCertVerificationError):
        Raw(world, client_context(TlsFiles(cert, key, stranger.ca)))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("node-1", "line 1 is not NAME FINGERPRINT"),
        ("node-1 abc", "line 1 has no SHA-256 fingerprint"),
        (f"Node_1 {'a' * 64}", "no name of a node"),
        (f"node-1 {'a' * 64}\nnode-2 {'A' * 64}", "line 2 gives the certificate of node-1 to node-2"),
        ("\udcff", "cannot be used"),
    ],
)
def test_a_list_that_is_no_list_says_where(tmp_path, text, says):
    (tmp_path / "nodes").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(BadInput, match=says):
        Nodes(tmp_path / "nodes")


def test_a_list_takes_openssl_s_spelling_and_two_certificates_of_one_node(tmp_path):
    colons = ":".join(["AB"] * 32)
    (tmp_path / "nodes").write_text(f"# ours\nnode-1 sha256:{'0' * 64}\n\nnode-1 {colons}  # from May on\n")
    nodes = Nodes(tmp_path / "nodes")
    assert nodes.knows("node-1", "ab" * 32)
    assert nodes.names == ["node-1"]
    assert json.dumps(nodes.names)
