"""How fast the audit record repository stores, verifies and finds, beside bare SQLite on the same disk.

    python benchmarks/audit.py [--json FILE] [--records N] [--seconds S] [--rounds R]

Appends: the real process and its socket; a client is a thread that waits until its record is durable, hashed and
signed; all clients share one process, whose work counts too. Beside it, in the same run and in turn, bare SQLite: the
same bytes, write-ahead log, synchronous=FULL, as many rows a commit as there are clients, no socket and no threads.
`ratio` is ours divided by bare. Verification and search run on a log of `--records` records; rows say how many that
were. Figures of a machine at load 1.5 or more do not count, and say so."""

import argparse
import contextlib
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import apsw
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.support.audit_process import audit_process

from readingroom_hub.adapters.audit_bundle import write_bundle
from readingroom_hub.adapters.audit_index import AuditIndex, IndexReader
from readingroom_hub.adapters.audit_log import AuditLog
from readingroom_hub.adapters.audit_offline import verify
from readingroom_hub.ledger.bundle import Wanted
from readingroom_hub.ledger.canonical import to_leaf
from readingroom_hub.ledger.leaf import Sealer
from readingroom_hub.ledger.merkle import inclusion_proof, is_included, leaf_hash, root_of
from readingroom_hub.ledger.note import Signer
from readingroom_hub.ledger.policy import Policy
from readingroom_hub.model.audit import AuditEvent, AuditRecord
from readingroom_hub.model.ids import PersonId, ProjectId, SessionId
from readingroom_hub.ports.records import Filter

SIGNER = Signer("benchmark/log", Ed25519PrivateKey.from_private_bytes(b"1" * 32))
SECRET = b"s" * 32
START = datetime(2026, 1, 1, tzinfo=UTC)


def record(number: int, people: int = 200) -> AuditRecord:
    """One close of one instance, as the mount daemon records it: about 640 bytes."""
    subject = {
        "dataset": "lung-ct",
        "version": "sha256:" + "a" * 64,
        "study": f"2.25.{10**30 + number % 5000}",
        "series": f"2.25.{2 * 10**30 + number % 20_000}",
        "instance": f"2.25.{3 * 10**30 + number}",
        "grant": "g-" + "1" * 24,
        "bytes": 526_336,
    }
    return AuditRecord(
        AuditEvent.INSTANCE_CLOSED,
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


def ours(folder: Path, clients: int, seconds: float) -> tuple[float, float]:
    """Records a second, and the 99th percentile of a client's wait in milliseconds."""
    waits: list[float] = []
    with audit_process(folder) as (_, client):
        end = time.perf_counter() + seconds

        def work(number: int) -> None:
            mine = []
            while time.perf_counter() < end:
                made = record(number)
                start = time.perf_counter()
                client.append([made])
                mine.append(time.perf_counter() - start)
            waits.extend(mine)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(clients)]
        start = time.perf_counter()
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        spent = time.perf_counter() - start
    return len(waits) / spent, statistics.quantiles(waits, n=100)[98] * 1000


def appends(seconds: float, rounds: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for clients in (1, 8, 32, 128):
        pairs, p99 = [], []
        for _ in range(rounds):
            with tempfile.TemporaryDirectory(prefix="rr-") as folder:
                base = bare(Path(folder), clients, seconds)
                rate, wait = ours(Path(folder) / "s", clients, seconds)
            pairs.append((rate, base))
            p99.append(wait)
        rate, base = (statistics.median(p[i] for p in pairs) for i in (0, 1))
        ratio = statistics.median(a / b for a, b in pairs)
        word = "client" if clients == 1 else "clients"
        name = f"append-{clients}-{word}-vs-bare-sqlite"
        rows.append({"name": name, "ratio": round(ratio, 3), "ours_per_s": round(rate), "bare_per_s": round(base)})
        if clients == 32:
            rows.append({"name": "append-32-clients-p99-ms", "value": round(statistics.median(p99), 2)})
    return rows


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
        hashes = [leaf_hash(n.to_bytes(8, "big")) for n in range(records)]
        root, middle = root_of(hashes), records // 3
        proof = inclusion_proof(hashes, middle)
        checks = 1000
        spent = timed(lambda: [is_included(hashes[middle], middle, records, proof, root) for _ in range(checks)])
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
            "name": "inclusion-proof-1e6-ms",
            "value": round(spent / checks * 1000, 4),
            "measured_records": records,
            "hashes": len(proof),
        },
        {
            "name": "query-one-person-year-ms",
            "value": round(statistics.median(seconds) * 1000, 1),
            "measured_records": records,
            "found": found[0],
            "note": "records name no patient; a person's newest 1000 of a year, with their contents checked",
        },
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    load = os.getloadavg()[0]
    rows = appends(given.seconds, given.rounds) + reads(given.records)
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
