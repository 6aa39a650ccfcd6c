"""`readingroom deid`: de-identify from folder to folder, outside the hub; and the table that it follows."""

import json
from pathlib import Path
from typing import Annotated

import typer

from readingroom_hub.cli.common import AsJson, Bar, Dciodvfy, Rare, ReportFolder, RunByDefault, command, show
from readingroom_hub.deid import policy_file
from readingroom_hub.deid.table import Table, table
from readingroom_hub.errors import BadInput
from readingroom_hub.services import deid_folder, validity

app = typer.Typer(
    cls=RunByDefault,
    no_args_is_help=True,
    help="De-identification: run it outside the hub, look at the standard's table.",
)
_KEY = Path("readingroom-deid.key")
PolicyName = Annotated[str, typer.Option("--policy", help="A policy file (TOML), or one that ships: basic, research.")]


@app.command()
@command
def run(
    source: Annotated[Path, typer.Argument(help="Folder with DICOM files, at any depth, or a zip archive.")],
    target: Annotated[Path, typer.Argument(help="Folder to make for the results.")],
    policy: PolicyName = "basic",
    key: Annotated[Path, typer.Option(help="File of the secret key; it is made where there is none.")] = _KEY,
    report: ReportFolder = None,
    dciodvfy: Dciodvfy = False,
    rare: Rare = 5,
    as_json: AsJson = False,
) -> None:
    """De-identify SOURCE into TARGET. The same key gives the same pseudonyms, dates and UIDs."""
    rules = policy_file.load(policy)
    validator = validity.program() if dciodvfy else ""
    with Bar("De-identifying", hidden=as_json) as advance:
        secret = deid_folder.secret(key)
        done = deid_folder.run(source, target, rules, secret, advance, validator=validator, rare=rare)
    if report:
        done.write(report)
    if as_json:
        typer.echo(done.json(), nl=False)
        return
    if done.left_out:
        typer.echo("Left out:")
        show(done.content()["left_out"], as_json=False, empty="")
    typer.echo(
        f"{done.instances} instances are in {target}, {len(done.left_out)} of {done.files} files left out, "
        f"{done.seconds:.1f} s."
    )


@app.command()
@command
def standard(
    diff: Annotated[Path | None, typer.Option(help="Another edition's table, in the same JSON form.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show which edition of PS3.15 is followed, or what another edition would change."""
    known = table()
    if diff is None:
        row = {"edition": known.edition, "attributes": len(known.rules), "content items": len(known.content)}
        show([row], as_json, "")
        return
    try:
        other = Table(json.loads(diff.read_bytes()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"{diff} is no table of PS3.15 Annex E ({type(error).__name__})") from error
    show(known.changes(other), as_json, f"Edition {other.edition} has the same rules as {known.edition}.")
