"""`readingroom dataset`: take DICOM in, look at versions, check that they are whole."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from readingroom_hub import compose
from readingroom_hub.cli.approving import ApprovedBy, Ask, Wish
from readingroom_hub.cli.common import (
    AsJson,
    Bar,
    Dciodvfy,
    Rare,
    ReportFolder,
    command,
    load,
    operator,
    record,
    show,
)
from readingroom_hub.deid import policy_file
from readingroom_hub.errors import BadInput, IntegrityError
from readingroom_hub.model.approval import Act
from readingroom_hub.model.dataset import DatasetVersion
from readingroom_hub.model.ids import DatasetName, ProjectId
from readingroom_hub.policy.approval import described
from readingroom_hub.services import validity
from readingroom_hub.services.deid_report import plain
from readingroom_hub.services.ingest import NothingTakenIn
from readingroom_hub.services.institution import Institution
from readingroom_hub.services.intake_files import LeftOut
from readingroom_hub.services.sharing import package_at

app = typer.Typer(no_args_is_help=True, help="Datasets: take DICOM in, look at versions, check them.")


@app.command()
@command
def ingest(
    source: Annotated[Path, typer.Argument(help="Folder with DICOM files, at any depth, or a zip archive.")],
    project: Annotated[str, typer.Option(help="The project that they are de-identified for.")],
    name: Annotated[str, typer.Option(help="The dataset's name: a folder below /data.")],
    policy: Annotated[str, typer.Option(help="A policy file (TOML), or one that ships: basic, research.")] = "basic",
    dciodvfy: Dciodvfy = False,
    report: ReportFolder = None,
    rare: Rare = 5,
    reuse: Annotated[
        bool, typer.Option("--reuse", help="Share objects, and the data key, with its newest version.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """De-identify, encrypt and publish a folder of DICOM files as a dataset version."""
    rules = policy_file.load(policy)
    validator = validity.program() if dciodvfy else ""
    settings = load()
    audit = record(settings)
    service = compose.ingest(settings, audit)
    try:
        with Bar("Taking in", hidden=as_json) as advance:
            ids = ProjectId(project), DatasetName(name), operator(audit)
            done = service.ingest(
                source, *ids, policy=rules, validator=validator, progress=advance, reuse=reuse, rare=rare
            )
    except NothingTakenIn as error:
        if not as_json:
            _show_left_out(error.left_out)
        raise
    if report:
        done.report.write(report)
    if as_json:
        row = _row(done.version) | {
            "unchanged": done.unchanged,
            "files": done.report.files,
            "seconds": round(done.report.seconds, 2),
        }
        typer.echo(
            json.dumps(row | {"left_out": [[plain(o.path), o.reason] for o in done.left_out]}, indent=1, default=str)
        )
        return
    _show_left_out(done.left_out)
    state = "was there already, unchanged" if done.unchanged else "is published"
    typer.echo(
        f"{done.version.label} {state}: {done.version.instances} instances in {done.version.series} series, "
        f"{len(done.left_out)} of {done.report.files} files left out, {done.report.seconds:.1f} s."
    )
    if reuse and not done.unchanged:
        typer.echo(
            f"{done.reused} instances reuse what an earlier version stored; both have one data key."
            if done.reused
            else "Nothing was reused: the version has objects and a data key of its own."
        )


@app.command("list")
@command
def list_(project: Annotated[str, typer.Option(help="Only this project's.")] = "", as_json: AsJson = False) -> None:
    """List dataset versions, newest first."""
    versions = compose.open_catalogue(load()).versions.all(ProjectId(project) if project else None)
    show(
        [_row(v, whole=as_json) for v in versions],
        as_json,
        "There is no dataset yet: readingroom dataset ingest FOLDER ...",
    )


@app.command("show")
@command
def show_(version: Annotated[str, typer.Argument(help="NAME, or NAME@VERSION.")], as_json: AsJson = False) -> None:
    """Show one version: how it was de-identified, what was changed, what was left out."""
    found = compose.open_catalogue(load()).versions.find(version)
    card = json.loads(found.card)
    if as_json:
        show([_row(found) | {"card": card}], as_json, "")
        return
    show([_row(found, whole=False)], as_json, "")
    if came := card.get("received"):
        typer.echo(f"\nReceived from the institution {came['sender']}, package {came['package']}")
    typer.echo(f"\nDe-identified by {plain(card['profile'])}\n")
    show(
        [{"left out": n, "reason": reason} for reason, n in card["left_out"].items()], as_json, "Nothing was left out."
    )
    typer.echo()
    rows = [
        {"attribute": keyword, "done": ", ".join(f"{action} {n}" for action, n in done.items())}
        for keyword, done in card["actions"].items()
    ]
    show(rows, as_json, "No attribute was changed.")


@app.command()
@command
def verify(version: Annotated[str, typer.Argument(help="NAME, or NAME@VERSION.")], as_json: AsJson = False) -> None:
    """Read every stored object of a version again and compare it with its manifest."""
    settings = load()
    audit = record(settings)
    found = compose.open_catalogue(settings).versions.find(version)
    with Bar("Checking", hidden=as_json) as advance:
        damages = compose.datasets(settings, audit).verify(found, operator(audit), advance)
    rows = [{"object": d.object, "reason": d.reason} for d in damages]
    show(rows, as_json, f"{found.label} is whole: {found.instances} instances are what was stored.")
    if damages:
        raise IntegrityError(f"{found.label} has {len(damages)} damaged objects; restore them from a backup")


@app.command()
@command
def delete(
    version: Annotated[str, typer.Argument(help="NAME@VERSION.")],
    ask: Ask = "",
    approved_by: ApprovedBy = None,
) -> None:
    """Delete a version that nobody may read any more. What another version uses of it stays."""
    settings = load()
    audit = record(settings)
    if "@" not in version and not version.startswith("sha256:"):
        raise BadInput(f"name the version, not the dataset alone: {version}@..., see `readingroom dataset list`")
    found = compose.open_catalogue(settings).versions.find(version)
    deletion = compose.deletion(settings, audit)
    deletion.check_nobody_reads(found)
    approved = Wish(Act.DELETE_VERSION, found.digest, [described(found)]).approved(settings, audit, ask, approved_by)
    if approved is None:
        return
    others = deletion.delete(found, approved.people, operator(audit), approved.approval)
    kept = f" {', '.join(v.label for v in others)} share its data key and stay as they are." if others else ""
    typer.echo(f"{found.label} is deleted.{kept} Backups of the object store still have it.")


@app.command()
@command
def share(
    version: Annotated[str, typer.Argument(help="NAME, or NAME@VERSION.")],
    to: Annotated[Path, typer.Option(help="The receiving institution's file, its fingerprint compared.")],
    out: Annotated[Path, typer.Option(help="A new file, or a folder for one.")],
    ask: Ask = "",
    approved_by: ApprovedBy = None,
    as_json: AsJson = False,
) -> None:
    """Seal a version for another institution, in one file that nobody else can open."""
    recipient = Institution.read(to)
    settings = load()
    audit = record(settings)
    found = compose.open_catalogue(settings).versions.find(version)
    package_at(out, found)
    concerns = [described(found), f"to the institution with the fingerprint {recipient.spoken}"]
    wish = Wish(Act.SHARE_VERSION, f"{found.digest} to {recipient.fingerprint}", concerns)
    approved = wish.approved(settings, audit, ask, approved_by)
    if approved is None:
        return
    with Bar("Sealing", hidden=as_json) as advance:
        done = compose.sharing(settings, audit).share(
            found, recipient, out, approved.people, operator(audit), advance, approved.approval
        )
    row = {"file": str(done.path), "package": done.head.digest, "recipient": done.head.recipient}
    if as_json:
        show([row], as_json, "")
        return
    typer.echo(
        f"{found.label} is in {done.path}, package {done.head.digest[:12]}, sealed for the institution with the "
        f"fingerprint\n{recipient.spoken}"
    )


@app.command()
@command
def receive(
    file: Annotated[Path, typer.Argument(help="The package that the other institution made.")],
    sender: Annotated[Path, typer.Option("--from", help="The sending institution's file, its fingerprint compared.")],
    project: Annotated[str, typer.Option(help="The project here that it belongs to.")],
    name: Annotated[str, typer.Option(help="The dataset's name here: a folder below /data.")],
    as_json: AsJson = False,
) -> None:
    """Check another institution's package, and publish it as a dataset version under the same digest."""
    institution = Institution.read(sender)
    settings = load()
    audit = record(settings)
    ids = ProjectId(project), DatasetName(name), operator(audit)
    with Bar("Receiving", hidden=as_json) as advance:
        done = compose.receiving(settings, audit).receive(file, institution, *ids, advance)
    if as_json:
        show([_row(done.version) | {"unchanged": done.unchanged}], as_json, "")
        return
    state = "was there already, unchanged" if done.unchanged else "is published"
    typer.echo(f"{done.version.label} {state}: {done.version.instances} instances, all as they were signed.")


def _row(version: DatasetVersion, *, whole: bool = True) -> dict[str, Any]:
    """What a version is; the full digest is for programs, since the label is enough for people."""
    row = {
        "version": version.label,
        "project": version.project,
        "studies": version.studies,
        "series": version.series,
        "instances": version.instances,
        "bytes": version.size,
        "published": version.published_at,
    }
    return row | {"digest": version.digest} if whole else row


def _show_left_out(left_out: tuple[LeftOut, ...]) -> None:
    if left_out:
        typer.echo("Left out:")
        show([{"file": plain(o.path), "reason": o.reason} for o in left_out], as_json=False, empty="")
