"""`readingroom audit`: run the audit record repository, search it, verify it, export it."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from readingroom_hub import compose
from readingroom_hub.cli.common import AsJson, command, load, moment, operator, person, record, show
from readingroom_hub.errors import BadInput
from readingroom_hub.model.audit import AuditEvent, AuditRecord
from readingroom_hub.model.ids import DatasetName, ProjectId, SessionId
from readingroom_hub.ports.records import Filter, Found

app = typer.Typer(no_args_is_help=True, help="The audit record: who read what, and proof that nobody changed it.")

_OBJECTS = ("instance", "series", "study", "path", "version", "grant", "role", "service")
"""What a record is about, most specific first."""


@app.command()
@command
def serve() -> None:
    """Run the audit record repository until it is stopped."""
    settings = load()
    settings.paths.make()
    compose.serve_audit(settings)


@app.command()
@command
def query(
    user: Annotated[str, typer.Option(help="Name, subject or person id.")] = "",
    project: Annotated[str, typer.Option(help="Only this project's.")] = "",
    dataset: Annotated[str, typer.Option(help="Only this dataset's.")] = "",
    session: Annotated[str, typer.Option(help="Only this session's.")] = "",
    event: Annotated[list[str] | None, typer.Option(help="Only this event; may be repeated.")] = None,
    since: Annotated[str, typer.Option(help="From this day or moment on (UTC), for example 2027-03-31.")] = "",
    until: Annotated[str, typer.Option(help="Up to the end of this day, or this moment (UTC).")] = "",
    limit: Annotated[int, typer.Option(min=1, help="How many records, newest first.")] = 100,
    as_json: AsJson = False,
) -> None:
    """Search the audit record. The search itself is recorded."""
    audit = record(load())
    wanted = Filter(
        person=person(audit, user) if user else None,
        project=ProjectId(project) if project else None,
        dataset=DatasetName(dataset) if dataset else None,
        session=SessionId(session) if session else None,
        events=_events(event or []),
        since=_start(since) if since else None,
        until=moment(until) if until else None,
        limit=limit,
    )
    found = audit.query(wanted, operator(audit))
    rows = [_full(f) if as_json else _short(f) for f in found]
    show(rows, as_json, "No record matches.")


def _events(names: list[str]) -> tuple[str, ...]:
    known = [e.value for e in AuditEvent]
    for name in names:
        if name not in known:
            raise BadInput(f"{name!r} is no event; events are {', '.join(known)}")
    return tuple(names)


def _start(text: str) -> datetime:
    """A day means its beginning here, its end in `moment`."""
    value = moment(text)
    return datetime.combine(value, datetime.min.time(), UTC) if len(text) == len("2027-03-31") else value


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
    return {name: _printable(cell) for name, cell in cells.items()}


def _object(subject: dict[str, Any]) -> str:
    places = [k for k in ("dataset", *[k for k in _OBJECTS if k in subject][:1]) if k in subject]
    return "/".join(str(subject[k]) for k in places)


def _printable(text: str) -> str:
    """Control and direction characters shown as escapes: a record must not steer the reader's terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


@app.command()
@command
def verify(
    log: Annotated[Path | None, typer.Option(help="A log file or an export, instead of this machine's log.")] = None,
    key: Annotated[
        list[str] | None, typer.Option(help="The log's public key (vkey); witnesses' keys after it.")
    ] = None,
    kept: Annotated[list[Path] | None, typer.Option(help="A checkpoint that you kept from earlier.")] = None,
    as_json: AsJson = False,
) -> None:
    """Check every record, hash, root and signature. Exit code 1 names the first bad record."""
    if log is not None and not key:
        raise BadInput("--log needs --key: the public key that you got when the log was set up")
    folder = load().paths.audit
    result = compose.verify_log(folder, log, key or [], [_text(k) for k in kept or []])
    findings = [_printable(str(f)) for f in result.findings]
    if as_json:
        typer.echo(json.dumps({"size": result.size, "root": result.root.hex(), "findings": findings}))
    elif not findings:
        typer.echo(f"The log is whole: {result.size} records, root {result.root.hex()}")
    else:
        typer.echo(f"FAILED: {findings[0]}", err=True)
        for finding in findings[1:20]:
            typer.echo(f"  also: {finding}", err=True)
    raise typer.Exit(1 if findings else 0)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"the checkpoint {path} cannot be read: {error}") from error


@app.command()
@command
def export(
    out: Annotated[Path | None, typer.Option(help="The file to write; standard output if left out.")] = None,
) -> None:
    """Write all records as JSON lines, with the checkpoint as the last line. The export is recorded first."""
    settings = load()
    audit = record(settings)
    subject = {"path": str(out) if out else "standard output", "export": True}
    audit.append([AuditRecord(AuditEvent.RECORD_SEARCHED, person=operator(audit), subject=subject)])
    size = compose.export_log(settings, out)
    typer.echo(f"{size} records written to {out or 'standard output'}", err=True)


@app.command()
@command
def checkpoint() -> None:
    """Print the newest checkpoint. Keep it elsewhere: it shows a log that was rolled back or rewritten."""
    typer.echo(record(load()).checkpoint(), nl=False)
