"""`readingroom audit`: run the audit record repository, search it, verify it, export it."""

import json
from collections.abc import Iterable
from enum import StrEnum
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import typer

from readingroom_hub import compose
from readingroom_hub.cli import audit_feed, audit_monitor, audit_removal
from readingroom_hub.cli.common import AsJson, command, load, moment, operator, person, record, show, start
from readingroom_hub.compose import repository
from readingroom_hub.durable import whole_file
from readingroom_hub.errors import BadInput
from readingroom_hub.ledger.atna import audit_message, framed, syslog_message
from readingroom_hub.ledger.bundle import Wanted
from readingroom_hub.ledger.fhir import audit_event
from readingroom_hub.ledger.note import printable
from readingroom_hub.ledger.sheet import COLUMNS, line, sheet_row
from readingroom_hub.ledger.verify import keys
from readingroom_hub.model.audit import AuditEvent, AuditRecord
from readingroom_hub.model.ids import UID, DatasetName, ProjectId, SessionId
from readingroom_hub.ports.records import AuditRepository, Filter, Found, NodeState

app = typer.Typer(no_args_is_help=True, help="The audit record: who read what, and proof that nobody changed it.")

witness = typer.Typer(no_args_is_help=True, help="A witness of other people's audit records.")
app.add_typer(witness, name="witness")
app.add_typer(audit_feed.app, name="feed")
app.add_typer(audit_monitor.app, name="monitor")
app.command()(audit_monitor.alerts)
app.command()(audit_removal.forget)
app.command()(audit_removal.purge)

_OBJECTS = ("instance", "series", "study", "path", "version", "grant", "role", "service")
"""What a record is about, most specific first."""


@app.command()
@command
def serve() -> None:
    """Run the audit record repository until it is stopped."""
    settings = load()
    settings.paths.make()
    repository.serve(settings)


@app.command()
@command
def query(
    user: Annotated[str, typer.Option(help="Name, subject or person id.")] = "",
    project: Annotated[str, typer.Option(help="Only this project's.")] = "",
    dataset: Annotated[str, typer.Option(help="Only this dataset's.")] = "",
    session: Annotated[str, typer.Option(help="Only this session's.")] = "",
    study: Annotated[list[str] | None, typer.Option(help="Only this study's; may be repeated.")] = None,
    patient: Annotated[str, typer.Option(help="Only this patient's (pseudonym); give --project too.")] = "",
    event: Annotated[list[str] | None, typer.Option(help="Only this event; may be repeated.")] = None,
    since: Annotated[str, typer.Option(help="From this day or moment on (UTC), for example 2027-03-31.")] = "",
    until: Annotated[str, typer.Option(help="Up to the end of this day, or this moment (UTC).")] = "",
    limit: Annotated[int, typer.Option(min=1, help="How many records, newest first.")] = 100,
    as_json: AsJson = False,
) -> None:
    """Search the audit record. The search itself is recorded."""
    settings = load()
    audit = record(settings)
    studies = tuple(UID(s) for s in study or [])
    if patient:
        if not project or studies:
            raise BadInput("a pseudonym belongs to a project: give --patient with --project and without --study")
        studies = compose.datasets(settings, audit).studies_of(patient, ProjectId(project))
    wanted = Filter(
        person=person(audit, user) if user else None,
        project=ProjectId(project) if project else None,
        dataset=DatasetName(dataset) if dataset else None,
        session=SessionId(session) if session else None,
        studies=studies,
        events=_events(event or []),
        since=start(since) if since else None,
        until=moment(until) if until else None,
        limit=limit,
    )
    answer = audit.search(wanted, operator(audit))
    rows = [_full(f) if as_json else _short(f) for f in answer.found]
    show(rows, as_json, "No record matches.")
    newer = f"; {answer.newer} newer ones came in the {answer.seconds:.1f} s that it took" if answer.newer else ""
    typer.echo(f"Complete for the first {answer.size} records{newer}.", err=True)
    _tell_of(answer.nodes)


def _tell_of(nodes: Iterable[NodeState]) -> None:
    """What the log itself does not have yet."""
    for node in nodes:
        typer.echo(f"{node}.", err=True)


@app.command()
@command
def status(as_json: AsJson = False) -> None:
    """How large the log is, how far its index is, and what other machines have that it has not. Nothing is recorded."""
    found = repository.status(load())
    nodes = [{"node": n.node, "awaited": n.awaited, "silent_since": n.silent_since} for n in found.pop("nodes")]
    if as_json:
        typer.echo(json.dumps(found | {"nodes": nodes}, default=str))
        return
    behind = f"{found['index_lag']} behind it, by {found['index_lag_seconds']:.1f} s at most"
    typer.echo(f"The log has {found['size']} records, root {found['root']}; the search index is {behind}.")
    for trouble in filter(None, (found["damage"], found["witnesses_late"])):
        typer.echo(printable(trouble))
    show(nodes, as_json, "No other machine records here.")


def _events(names: list[str]) -> tuple[str, ...]:
    known = [e.value for e in AuditEvent]
    for name in names:
        if name not in known:
            raise BadInput(f"{name!r} is no event; events are {', '.join(known)}")
    return tuple(names)


def _full(found: Found) -> dict[str, Any]:
    return {"index": found.index, "person_name": found.person_name, "record": found.record}


def _short(found: Found) -> dict[str, str]:
    row = found.record
    late = " (its caller was told no)" if row["source"].get("late") else ""
    who = found.person_name or row.get("person", "")[:14]
    subject = row.get("subject", {})
    cells = {
        "time": row["time"][:19].replace("T", " "),
        "person": who,
        "project": row.get("project", ""),
        "event": row["event"],
        "outcome": row["outcome"] + late,
        "object": _object(subject),
        "bytes": str(subject.get("bytes", "")),
    }
    return {name: printable(cell) for name, cell in cells.items()}


def _object(subject: dict[str, Any]) -> str:
    places = [k for k in ("dataset", *[k for k in _OBJECTS if k in subject][:1]) if k in subject]
    # A digest is told apart by its first digits; the whole of it would fill the table.
    return "/".join(str(subject[k]).removeprefix("sha256:")[: 12 if k == "version" else None] for k in places)


@app.command()
@command
def verify(
    bundle: Annotated[
        Path | None, typer.Argument(help="A bundle or a log file, instead of this machine's log.")
    ] = None,
    policy: Annotated[Path | None, typer.Option(help="Whom you trust: a C2SP tlog-policy file.")] = None,
    key: Annotated[
        list[str] | None, typer.Option(help="Instead of a policy: the log's public key (vkey); witnesses' after it.")
    ] = None,
    kept: Annotated[list[Path] | None, typer.Option(help="A checkpoint that you kept from earlier.")] = None,
    as_json: AsJson = False,
) -> None:
    """Check every record, hash, root and signature. Exit code 1 names the first bad record."""
    if bundle is not None and not key and policy is None:
        raise BadInput("a bundle is checked against keys that you trust: give --policy, or --key with the log's key")
    trusted = repository.read_policy(policy) if policy else keys(key) if key else None
    result = repository.verify_log(load().paths, bundle, trusted, [_text(k) for k in kept or []])
    findings = [printable(str(f)) for f in result.findings]
    if as_json:
        typer.echo(json.dumps({"size": result.size, "root": result.root.hex(), "findings": findings}))
    elif not findings:
        typer.echo(printable(result.summary()))
    else:
        typer.echo(f"FAILED: {findings[0]}", err=True)
        for finding in findings[1:20]:
            typer.echo(f"  also: {finding}", err=True)
    raise typer.Exit(1 if findings else 0)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} cannot be read: {error}") from error


@app.command()
@command
def bundle(
    out: Annotated[Path, typer.Argument(help="The file to write.")],
    project: Annotated[str, typer.Option(help="Show this project's records only.")] = "",
    study: Annotated[list[str] | None, typer.Option(help="Show this study's records only; may be repeated.")] = None,
    user: Annotated[str, typer.Option(help="Show this person's records only: name, subject or person id.")] = "",
    from_: Annotated[str, typer.Option("--from", help="From this day or moment on (UTC).")] = "",
    to: Annotated[str, typer.Option(help="Up to the end of this day, or this moment (UTC).")] = "",
) -> None:
    """Write the auditor's single file: records, and proof that none is left out. It is recorded first."""
    settings = load()
    audit = record(settings)
    kinds = {
        "project": [str(ProjectId(project))] if project else [],
        "study": [str(UID(s)) for s in study or []],
        "person": [str(person(audit, user))] if user else [],
    }
    given = [(kind, tuple(values)) for kind, values in kinds.items() if values]
    if len(given) > 1:
        raise BadInput("a bundle is of one project, or of studies, or of one person: give one of these options")
    kind, values = given[0] if given else ("", ())
    wanted = Wanted(kind, values, start(from_) if from_ else None, moment(to) if to else None)
    _exported(audit, out, {kind or "all": list(values)})
    behind = [node for node in repository.status(settings)["nodes"] if node.is_behind]
    shown, size = repository.write_bundle(settings, wanted, out)
    typer.echo(f"{out} shows {shown} of {size} records, and proves that no other one belongs to them", err=True)
    _tell_of(behind)


def _exported(audit: AuditRepository, out: Path, about: dict[str, Any]) -> None:
    """Put on record what is about to be written."""
    subject = {"path": str(out), "export": True} | about
    audit.append([AuditRecord(AuditEvent.RECORD_SEARCHED, person=operator(audit), subject=subject)])


@app.command()
@command
def prove(
    index: Annotated[int, typer.Argument(help="The record's place in the log, as `query --json` shows it.")],
    out: Annotated[Path, typer.Argument(help="The file to write, by custom *.tlog-proof.")],
) -> None:
    """Write one record with the proof that it is in the log (C2SP tlog-proof), for `verify`. It is recorded first."""
    settings = load()
    _exported(record(settings), out, {"index": index})
    size = repository.write_proof(settings, index, out)
    typer.echo(f"{out} shows record {index}, and proves that it is one of {size}", err=True)


@app.command()
@command
def tiles(
    out: Annotated[Path, typer.Argument(help="The folder; files of an earlier export in it are continued.")],
) -> None:
    """Write the log as static files (C2SP tlog-tiles): leaves and hashes, no contents. It is recorded first."""
    settings = load()
    _exported(record(settings), out, {"tiles": True})
    before, size = repository.write_tiles(settings, out)
    typer.echo(f"{out} proves {size} records, {size - before} of them new", err=True)


class Format(StrEnum):
    """What other systems read."""

    JSONL = "jsonl"
    ATNA = "atna"
    SYSLOG = "syslog"
    FHIR = "fhir"
    CSV = "csv"


def _line(format: Format, found: Found, site: str) -> bytes:
    row = found.record
    match format:
        case Format.JSONL:
            whole = {"index": found.index, "person_name": found.person_name, "record": row}
            return json.dumps(whole, ensure_ascii=False, sort_keys=True).encode() + b"\n"
        case Format.ATNA:
            return audit_message(row, site).replace("\n", "&#10;").encode() + b"\n"
        case Format.SYSLOG:
            return framed(syslog_message(row, site))
        case Format.FHIR:
            return json.dumps(audit_event(row, site), ensure_ascii=False).encode() + b"\n"
        case Format.CSV:
            return sheet_row(found.index, row, found.person_name)


@app.command()
@command
def export(
    out: Annotated[Path, typer.Argument(help="The file to write.")],
    format: Annotated[
        Format,
        typer.Option(help="JSON lines, DICOM audit messages, the same as syslog over TCP, AuditEvents, or CSV."),
    ] = Format.JSONL,
    project: Annotated[str, typer.Option(help="Only this project's.")] = "",
    from_: Annotated[str, typer.Option("--from", help="From this day or moment on (UTC).")] = "",
    to: Annotated[str, typer.Option(help="Up to the end of this day, or this moment (UTC).")] = "",
    limit: Annotated[int, typer.Option(min=1, help="How many records at most, the newest.")] = 100_000,
) -> None:
    """Write records for other systems, the oldest first. It is recorded. To prove anything, use `bundle`."""
    settings = load()
    audit = record(settings)
    wanted = Filter(
        project=ProjectId(project) if project else None,
        since=start(from_) if from_ else None,
        until=moment(to) if to else None,
        limit=limit,
    )
    answer = audit.search(wanted, operator(audit))
    rows = answer.found[::-1]
    head = [line(COLUMNS)] if format is Format.CSV else []
    with whole_file(out) as file:
        file.writelines(chain(head, (_line(format, found, settings.site) for found in rows)))
    typer.echo(f"{len(rows)} of the first {answer.size} records written to {out}", err=True)
    _tell_of(answer.nodes)


@app.command()
@command
def database(
    gigabytes: Annotated[int, typer.Option(min=1, help="How large it may get: less than its disk, by a wide margin.")],
) -> None:
    """Print the SQL that makes a PostgreSQL database for the log, with its two roles, for `psql`."""
    typer.echo(repository.database_sql(gigabytes), nl=False)


@app.command()
@command
def move() -> None:
    """Move the log from its file into the database at READINGROOM_AUDIT_LOG_URL, checked, while nothing runs."""

    def tell(done: int, of: int) -> None:
        typer.echo(f"{done} of {of} records are copied", err=True)

    size, root = repository.move(load(), tell)
    typer.echo(f"The audit log is in the database: {size} records, root {root.hex()}")


@app.command()
@command
def checkpoint() -> None:
    """Print the newest checkpoint. Keep it elsewhere: it shows a log that was rolled back or rewritten."""
    typer.echo(record(load()).checkpoint(), nl=False)


@witness.command("serve")
@command
def witness_serve(
    folder: Annotated[Path, typer.Option(help="Its key and state; made at the first start. Never restore a backup.")],
    name: Annotated[str, typer.Option(help="Its name, for example ethics.example/w1.")],
    policy: Annotated[Path, typer.Option(help="The logs that it knows: a C2SP tlog-policy file.")],
    port: Annotated[int, typer.Option(help="The loopback port.")] = 8490,
) -> None:
    """Cosign checkpoints that continue what was cosigned before (C2SP tlog-witness), until it is interrupted."""
    repository.serve_witness(folder, name, repository.read_policy(policy), port)
