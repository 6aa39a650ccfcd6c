"""How fast the audit record repository stores, verifies and finds, beside bare SQLite on the same disk.

    python benchmarks/audit.py [--json FILE] [--records N] [--seconds S] [--rounds R] [--only PART]

Appends: the real process and its socket; a client is a thread that waits until its record is durable, hashed and
signed; all clients share one process, whose work counts too. `-in-4-processes-` has them in four processes with a
connection each, as hub, portals and mount daemon are. Beside it, in the same run and in turn, bare SQLite: the same
bytes, write-ahead log, synchronous=FULL, as many rows a commit as there are clients, no socket and no threads: it has
no clients at all, so `-vs-bare-sqlite` compares a service with a loop. `-vs-bare-sqlite-behind-sockets` is the same
SQLite behind a process of its own, whose clients are threads of one process too, each with a socket: they send ready
bytes, it commits all that has come, and answers each with one byte. Nothing is parsed, hashed, numbered or signed.
With a log in PostgreSQL: bare COPY statements of as many rows, into a table of the same columns.
`ratio` is ours divided by bare. Verification and search run on a log of `--records` records; rows say how many that
were. Figures of a machine at load 1.5 or more do not count, and say so."""

import argparse
import contextlib
import json
import multiprocessing
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import apsw
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.support.audit_process import audit_process
from tests.support.postgres import Postgres, postgres
from tests.support.receivers import until

from readingroom_hub.adapters.audit_bundle import write_bundle
from readingroom_hub.adapters.audit_client import SocketAuditRepository
from readingroom_hub.adapters.audit_index import AuditIndex, IndexReader, wire_moment
from readingroom_hub.adapters.audit_log import AuditLog, LogReader
from readingroom_hub.adapters.audit_offline import verify
from readingroom_hub.adapters.audit_proofs import Proofs
from readingroom_hub.ledger.bundle import Wanted
from readingroom_hub.ledger.merkle import is_included, leaf_hash, root_of
from readingroom_hub.ledger.note import Signer
from readingroom_hub.ledger.policy import Policy
from readingroom_hub.ledger.seal import Sealer, to_leaf
from readingroom_hub.model.audit import AuditEvent, AuditRecord
from readingroom_hub.model.ids import UID, PersonId, ProjectId, SessionId
from readingroom_hub.ports.records import Filter

SIGNER = Signer("benchmark/log", Ed25519PrivateKey.from_private_bytes(b"1" * 32))
SECRET = b"s" * 32
START = datetime(2026, 1, 1, tzinfo=UTC)


def record(number: int, people: int = 200) -> AuditRecord:
    """One open of one instance, as the mount daemon records it: about 680 bytes."""
    subject = {
        "dataset": "lung-ct",
        "version": "sha256:" + "a" * 64,
        "study": f"2.25.{10**30 + number % 5000}",
        "series": f"2.25.{2 * 10**30 + number % 20_000}",
        "instance": f"2.25.{3 * 10**30 + number}",
        "grant": "g-" + "1" * 24,
        "intent": f"01890a5d-ac96-774b-bcce-{number % 20_000:012x}",
    }
    return AuditRecord(
        AuditEvent.INSTANCE_OPENED,
        person=PersonId(f"p-{number % people:064x}"),
        project=ProjectId("lung-study"),
        session=SessionId(f"s-{number % people:024x}"),
        subject=subject,
        time=START + timedelta(seconds=number * 12),
    )


def sealed_rows(start: int, count: int) -> list[Any]:
    sealer = Sealer(SECRET)
    source = {"process": "mount-daemon", "epoch": "e" * 16}
    return [sealer.seal(record(n).to_wire() | {"source": source | {"seq": n}}) for n in range(start, start + count)]


def bare(folder: Path, clients: int, seconds: float) -> float:
    """Rows a second of bare group commits of the same bytes."""
    connection = apsw.Connection(str(folder / "bare.sqlite"))
    connection.execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL").fetchall()
    columns = "idx INTEGER PRIMARY KEY, leaf BLOB, hash BLOB, salt BLOB, record BLOB"
    connection.execute(f"CREATE TABLE entry({columns}) STRICT")
    rows = [(s.leaf, b"h" * 32, s.salt, s.record) for s in sealed_rows(0, clients)]
    done, end = 0, time.perf_counter() + seconds
    start = time.perf_counter()
    while time.perf_counter() < end:
        with connection:
            connection.executemany("INSERT INTO entry(leaf, hash, salt, record) VALUES(?, ?, ?, ?)", rows)
        done += clients
    spent = time.perf_counter() - start
    connection.close()
    return done / spent


_BEHIND_SOCKETS = """
import selectors, socket, sys
import apsw
path, leaf, length, clients = sys.argv[1], *map(int, sys.argv[2:])
connection = apsw.Connection(path + ".sqlite")
connection.execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL").fetchall()
connection.execute("CREATE TABLE entry(idx INTEGER PRIMARY KEY, leaf BLOB, hash BLOB, salt BLOB, record BLOB) STRICT")
server = socket.socket(socket.AF_UNIX)
server.bind(path)
server.listen(clients)
ready = selectors.DefaultSelector()
for _ in range(clients):
    ready.register(server.accept()[0], selectors.EVENT_READ)
while True:
    came, rows = [], []
    for key, _ in ready.select():
        data = key.fileobj.recv(length, socket.MSG_WAITALL)
        if not data:
            sys.exit()
        came.append(key.fileobj)
        rows.append((data[:leaf], b"h" * 32, b"s" * 16, data[leaf:]))
    with connection:
        connection.executemany("INSERT INTO entry(leaf, hash, salt, record) VALUES(?, ?, ?, ?)", rows)
    for client in came:
        client.send(b"k")
"""


def bare_behind_sockets(folder: Path, clients: int, seconds: float) -> float:
    """Rows a second of bare group commits of the same bytes, for so many clients with a socket each."""
    folder.mkdir()
    path = folder / "s"
    (row,) = sealed_rows(0, 1)
    data = row.leaf + row.record
    numbers = map(str, (len(row.leaf), len(data), clients))
    process = subprocess.Popen([sys.executable, "-c", _BEHIND_SOCKETS, str(path), *numbers])
    sockets = [socket.socket(socket.AF_UNIX) for _ in range(clients)]
    for mine in sockets:
        until(lambda mine=mine: mine.connect_ex(str(path)) == 0)
    done = [0] * clients
    end = time.perf_counter() + seconds

    def work(number: int) -> None:
        while time.perf_counter() < end:
            sockets[number].sendall(data)
            sockets[number].recv(1)
            done[number] += 1

    spent = together(work, clients)
    for mine in sockets:
        mine.close()
    process.wait(10)
    return sum(done) / spent


def together(work: Callable[[int], None], clients: int) -> float:
    """Seconds that so many threads need for `work`, each with its number."""
    threads = [threading.Thread(target=work, args=(n,)) for n in range(clients)]
    start = time.perf_counter()
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return time.perf_counter() - start


def bare_copy(database: Postgres, clients: int, seconds: float) -> float:
    """Rows a second of bare group commits of the same bytes by COPY."""
    rows = [(s.leaf, b"h" * 32, s.salt, s.record) for s in sealed_rows(0, clients)]
    with database.superuser() as connection:
        connection.execute("DROP TABLE IF EXISTS bare")
        connection.execute(
            "CREATE TABLE bare(idx bigint PRIMARY KEY, leaf bytea, hash bytea, salt bytea, record bytea)"
        )
        done, start = 0, time.perf_counter()
        while time.perf_counter() < start + seconds:
            with connection.cursor().copy("COPY bare FROM STDIN (FORMAT BINARY)") as copy:
                copy.set_types(["int8", "bytea", "bytea", "bytea", "bytea"])
                for place, row in enumerate(rows, done):
                    copy.write_row((place, *row))
            done += clients
        return done / (time.perf_counter() - start)


def _appended(client: SocketAuditRepository, number: int, end: float) -> list[float]:
    """One client appends until `end`: how long it waited each time."""
    waits = []
    while time.perf_counter() < end:
        made = record(number)
        start = time.perf_counter()
        client.append([made])
        waits.append(time.perf_counter() - start)
    return waits


def ours(folder: Path, clients: int, seconds: float, log_url: str = "") -> tuple[float, float]:
    """Records a second, and the 99th percentile of a client's wait in milliseconds."""
    waits: list[float] = []
    with audit_process(folder, log_url=log_url) as (_, client):
        end = time.perf_counter() + seconds

        def work(number: int) -> None:
            waits.extend(_appended(client, number, end))

        spent = together(work, clients)
    return len(waits) / spent, statistics.quantiles(waits, n=100)[98] * 1000


_START: Any = None
"""In a process of clients: where all of them wait for each other."""


def _meet(start: Any) -> None:
    global _START  # noqa: PLW0603  # a barrier can only be inherited
    _START = start


def _clients(path: Path, first: int, count: int, seconds: float) -> tuple[float, list[float]]:
    """So many clients in this process, with numbers from `first` on: how long they took, and each one's waits."""
    client = SocketAuditRepository(path, f"clients-{first}", 5000)
    client.status()
    _START.wait()
    waits: list[float] = []
    end = time.perf_counter() + seconds

    def work(number: int) -> None:
        waits.extend(_appended(client, first + number, end))

    spent = together(work, count)
    client.close()
    return spent, waits


def in_processes(folder: Path, processes: int, each: int, seconds: float) -> tuple[float, float]:
    """As `ours`, with the clients in several processes."""
    context = multiprocessing.get_context("spawn")
    with (
        audit_process(folder) as (server, _),
        ProcessPoolExecutor(processes, context, _meet, (context.Barrier(processes),)) as pool,
    ):
        path = server.paths.audit_socket
        done = [pool.submit(_clients, path, n * each, each, seconds) for n in range(processes)]
        results = [d.result() for d in done]
    waits = [w for _, some in results for w in some]
    return len(waits) / max(spent for spent, _ in results), statistics.quantiles(waits, n=100)[98] * 1000


def appends(seconds: float, rounds: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for clients in (1, 8, 32, 128):
        runs, p99 = [], []
        for _ in range(rounds):
            with tempfile.TemporaryDirectory(prefix="rr-") as folder:
                base = bare(Path(folder), clients, seconds)
                behind = bare_behind_sockets(Path(folder) / "b", clients, seconds)
                rate, wait = ours(Path(folder) / "s", clients, seconds)
            runs.append((rate, base, behind))
            p99.append(wait)
        rate = round(statistics.median(r[0] for r in runs))
        word = "client" if clients == 1 else "clients"
        for place, against in ((1, ""), (2, "-behind-sockets")):
            ratio = round(statistics.median(r[0] / r[place] for r in runs), 3)
            row: dict[str, Any] = {"name": f"append-{clients}-{word}-vs-bare-sqlite{against}", "ratio": ratio}
            rows.append(row | {"ours_per_s": rate, "bare_per_s": round(statistics.median(r[place] for r in runs))})
        if clients == 32:
            rows.append({"name": "append-32-clients-p99-ms", "value": round(statistics.median(p99), 2)})
    rows.append(_in_processes(seconds, rounds))
    return rows


def _in_processes(seconds: float, rounds: int) -> dict[str, Any]:
    runs = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(prefix="rr-") as folder:
            base = bare(Path(folder), 32, seconds)
            runs.append((*in_processes(Path(folder) / "s", 4, 8, seconds), base))
    rate, p99, base = (statistics.median(r[i] for r in runs) for i in range(3))
    row: dict[str, Any] = {"name": "append-32-clients-in-4-processes-vs-bare-sqlite"}
    row["ratio"] = round(statistics.median(r[0] / r[2] for r in runs), 3)
    return row | {"ours_per_s": round(rate), "bare_per_s": round(base), "p99_ms": round(p99, 2)}


def appends_postgresql(seconds: float, rounds: int) -> list[dict[str, Any]]:
    clients, pairs, p99 = 32, [], []
    with postgres() as database:
        database.make_log()
        for _ in range(rounds):
            database.empty_log()
            base = bare_copy(database, clients, seconds)
            with tempfile.TemporaryDirectory(prefix="rr-") as folder:
                rate, wait = ours(Path(folder) / "s", clients, seconds, database.url)
            pairs.append((rate, base))
            p99.append(wait)
    rate, base = (statistics.median(p[i] for p in pairs) for i in (0, 1))
    row: dict[str, Any] = {"name": "append-32-clients-vs-bare-postgresql-copy"}
    row |= {"ours_per_s": round(rate), "bare_per_s": round(base)}
    row["ratio"] = round(statistics.median(a / b for a, b in pairs), 3)
    return [row | {"p99_ms": round(statistics.median(p99), 2)}]


def fill(folder: Path, records: int) -> None:
    log = AuditLog(folder, SIGNER)
    for start in range(0, records, 1000):
        log.append(sealed_rows(start, min(1000, records - start)))
    log.close()


def timed(work: Any) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def reads(records: int) -> list[dict[str, Any]]:
    """Verification, proof and search on one log of `records`."""
    with tempfile.TemporaryDirectory(prefix="rr-") as name:
        folder = Path(name)
        fill(folder, records)
        write_bundle(folder, SECRET, Wanted(), folder / "bundle")
        policy = Policy((SIGNER.vkey,))

        def check() -> None:
            result = verify(folder / "bundle", policy)
            if result.findings or result.size != records:
                raise SystemExit(f"the log does not verify: {result.findings[:1]}")

        whole = timed(check)
        opening = timed(lambda: AuditLog(folder, SIGNER).close())
        index = AuditIndex(folder)
        index.advance(records)
        index.wait(records, 3600)
        index.close()
        wanted = Filter(person=PersonId(f"p-{7:064x}"), since=START, until=START + timedelta(days=365), limit=1000)
        with contextlib.closing(IndexReader(folder)) as reader:
            found = []
            seconds = [timed(lambda: found.append(len(reader.search(wanted, None)))) for _ in range(5)]
    return [
        {
            "name": "verify-1e6-records-seconds",
            "value": round(whole * 1e6 / records, 1),
            "measured_records": records,
            "measured_seconds": round(whole, 2),
            "scaled": records != 10**6,
        },
        {
            "name": "open-1e6-records-seconds",
            "value": round(opening * 1e6 / records, 2),
            "measured_records": records,
            "scaled": records != 10**6,
        },
        {
            "name": "query-one-person-year-ms",
            "value": round(statistics.median(seconds) * 1000, 1),
            "measured_records": records,
            "found": found[0],
            "note": "records name no patient; a person's newest 1000 of a year, with their contents checked",
        },
    ]


def inclusion(leaves: int) -> list[dict[str, Any]]:
    """Making a proof from a log file of so many leaves, at places all over it, and checking it."""
    with tempfile.TemporaryDirectory(prefix="rr-") as name:
        path = Path(name) / "log.sqlite"
        with contextlib.closing(apsw.Connection(str(path))) as connection:
            columns = "idx INTEGER PRIMARY KEY, leaf BLOB, hash BLOB, salt BLOB, record BLOB"
            connection.execute(f"CREATE TABLE entry({columns}) STRICT")
            connection.execute("CREATE TABLE checkpoint(size INTEGER PRIMARY KEY, note TEXT NOT NULL) STRICT")
            leaf = b"l" * 400  # as long as an envelope, so that pages hold as many
            rows = ((n, leaf, leaf_hash(n.to_bytes(8, "big"))) for n in range(leaves))
            with connection:
                connection.executemany("INSERT INTO entry VALUES(?, ?, ?, x'', x'')", rows)
        root = root_of([leaf_hash(n.to_bytes(8, "big")) for n in range(leaves)])
        places = [n * 7919 % leaves for n in range(1, 501)]
        proofs = Proofs()
        with contextlib.closing(LogReader(path)) as reader:
            first = timed(lambda: proofs.inclusion(reader, 0, leaves))
            made: list[list[bytes]] = []
            making = [timed(lambda p=p: made.append(proofs.inclusion(reader, p, leaves))) for p in places]
        wrong: list[int] = []

        def check(place: int, proof: list[bytes]) -> None:
            if not is_included(leaf_hash(place.to_bytes(8, "big")), place, leaves, proof, root):
                wrong.append(place)

        checking = [timed(lambda p=p, m=m: check(p, m)) for p, m in zip(places, made, strict=True)]
        if wrong:
            raise SystemExit(f"the proofs of {wrong[:5]} are wrong")
    return [
        {
            "name": "inclusion-proof-1e6-ms",
            "value": round(statistics.median(making) * 1000, 3),
            "p99_ms": round(statistics.quantiles(making, n=100)[98] * 1000, 3),
            "check_ms": round(statistics.median(checking) * 1000, 4),
            "first_ms": round(first * 1000),
            "measured_records": leaves,
            "hashes": len(made[0]),
            "note": "value: making it from the log's file; first: the first one after a start, which reads all hashes",
        },
    ]


PATIENT_STUDIES, STUDY_READS = 5, 200


def patient_year(records: int) -> list[dict[str, Any]]:
    """One patient's year: five studies, found through the index among so many rows of three years.

    The rows are made inside the index's file; the log's file holds the patient's records only, which a search reads."""
    mine = [f"2.25.{10**30 + n}" for n in range(PATIENT_STUDIES)]
    wanted = Filter(studies=tuple(map(UID, mine)), since=START, until=START + timedelta(days=365), limit=10_000)
    with tempfile.TemporaryDirectory(prefix="rr-") as name:
        folder = Path(name)
        AuditLog(folder, SIGNER).close()
        AuditIndex(folder).close()
        found = _patients_rows(folder, records, mine)
        with contextlib.closing(IndexReader(folder)) as reader:
            got: list[int] = []
            seconds = [timed(lambda: got.append(len(reader.search(wanted, None)))) for _ in range(9)]
        if set(got) != {found}:
            raise SystemExit(f"{got} records were found, {found} are there")
        size = (folder / "index.sqlite").stat().st_size
    return [
        {
            "name": "query-one-patient-year-in-5e6-ms",
            "value": round(statistics.median(seconds) * 1000, 1),
            "first_ms": round(seconds[0] * 1000, 1),
            "measured_records": records,
            "found": found,
            "index_bytes_per_record": round(size / records),
            "note": "by the patient's studies; contents read from the log and checked against their leaves",
        },
    ]


def _patients_rows(folder: Path, records: int, mine: list[str]) -> int:
    """Fill index and log; returns how many of the patient's records lie within the year."""
    step = 3 * 365 * 86400 / records
    reads = PATIENT_STUDIES * STUDY_READS * 3
    places = {n * (records // reads) + 17: n for n in range(reads)}
    with contextlib.closing(apsw.Connection(str(folder / "index.sqlite"))) as index:
        names = [n for (n,) in index.execute("SELECT name FROM sqlite_schema WHERE type='index'").fetchall()]
        schema = [s for (s,) in index.execute("SELECT sql FROM sqlite_schema WHERE type='index'").fetchall()]
        for n in names:
            index.execute(f"DROP INDEX {n}")
        index.execute("PRAGMA synchronous=OFF; PRAGMA cache_size=-200000").fetchall()

        def rows() -> Any:
            for n in range(records):
                at = START + timedelta(seconds=n * step - 365 * 86400)
                study = mine[places[n] % PATIENT_STUDIES] if n in places else f"2.25.{2 * 10**30 + n * 7919 % 50_000}"
                person = f"{n * 31 % 500:064x}"
                yield (
                    n,
                    f"{n:032x}",
                    wire_moment(at),
                    "instance-opened",
                    "p-" + person,
                    "lung",
                    "s-" + person[:24],
                    study,
                )

        with index:
            sql = "INSERT INTO record VALUES(?, ?, ?, ?, ?, ?, ?, 'lung-ct', ?)"
            index.executemany(sql, rows())
        for s in schema:
            index.execute(s)
    sealer, within = Sealer(SECRET), 0
    with contextlib.closing(apsw.Connection(str(folder / "log.sqlite"))) as log, log:
        log.execute("DROP TRIGGER entry_no_gap")
        for place, n in places.items():
            at = START + timedelta(seconds=place * step - 365 * 86400)
            within += START <= at < START + timedelta(days=365)
            made = replace(record(n), time=at)
            row = made.to_wire() | {"source": {"process": "mount-daemon", "epoch": "e" * 16, "seq": n}}
            sealed = sealer.seal(row)
            values = (place, sealed.leaf, leaf_hash(sealed.leaf), sealed.salt, sealed.record)
            log.execute("INSERT INTO entry VALUES(?, ?, ?, ?, ?)", values)
    return within


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", action="append", choices=["appends", "postgresql", "reads", "inclusion", "patient"])
    given = parser.parse_args()
    load = os.getloadavg()[0]
    parts = {
        "appends": lambda: appends(given.seconds, given.rounds),
        "postgresql": lambda: appends_postgresql(given.seconds, given.rounds),
        "reads": lambda: reads(given.records),
        "inclusion": lambda: inclusion(1_000_000),
        "patient": lambda: patient_year(5_000_000),
    }
    rows = [row for name in given.only or parts for row in parts[name]()]
    record_bytes = len(to_leaf(record(0).to_wire()))
    result = {"load_at_start": load, "counts": load < 1.5, "record_bytes": record_bytes, "rows": rows}
    for row in rows:
        sys.stdout.write(json.dumps(row) + "\n")
    if load >= 1.5:
        sys.stdout.write(f"load was {load:.1f} at the start: these figures do not count\n")
    if given.json:
        given.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
