"""`readingroom crosswalk`: the way back from pseudonyms to patients, where a project's owner wants it."""

import json
from typing import Annotated

import typer

from readingroom_hub import compose
from readingroom_hub.cli.approving import ApprovedBy, Ask, Wish
from readingroom_hub.cli.common import AsJson, command, load, operator, record
from readingroom_hub.model.approval import Act
from readingroom_hub.model.ids import ProjectId

app = typer.Typer(no_args_is_help=True, help="The way back from a pseudonym to the patient, where the owner wants it.")
Project = Annotated[str, typer.Argument(help="The project.")]


@app.command()
@command
def keep(project: Project, ask: Ask = "", approved_by: ApprovedBy = None) -> None:
    """Keep a crosswalk for what PROJECT takes in from now on."""
    settings = load()
    audit = record(settings)
    back, id = compose.crosswalks(settings, audit), ProjectId(project)
    back.check_none(id)
    concerns = [f"who stands behind each pseudonym of project {id}, in what it takes in from then on"]
    approved = Wish(Act.KEEP_CROSSWALK, id, concerns).approved(settings, audit, ask, approved_by)
    if approved is None:
        return
    back.keep(id, approved.people, operator(audit), approved.approval)
    typer.echo(
        f"From now on the patients that {project} takes in can be found again. Take a folder in again for others."
    )


@app.command("look-up")
@command
def look_up(
    project: Project,
    pseudonym: Annotated[str, typer.Argument(help="The pseudonym: PatientID of a de-identified object.")],
    reason: Annotated[str, typer.Option(help="Why the patient has to be known; it goes on the record.")],
    as_json: AsJson = False,
) -> None:
    """Tell who stands behind a pseudonym. It is on the record before it is told."""
    settings = load()
    audit = record(settings)
    found = compose.crosswalks(settings, audit).look_up(ProjectId(project), pseudonym, reason, operator(audit))
    if as_json:
        typer.echo(json.dumps({"pseudonym": found.pseudonym, "attribute": found.keyword, "value": found.value}))
    else:
        typer.echo(f"{found.keyword} {found.value}")


@app.command()
@command
def destroy(project: Project, ask: Ask = "", approved_by: ApprovedBy = None) -> None:
    """Destroy PROJECT's crosswalk for ever. Pseudonyms stay as they are."""
    settings = load()
    audit = record(settings)
    back, id = compose.crosswalks(settings, audit), ProjectId(project)
    concerns = [f"the way back from pseudonyms to {back.patients(id)} patients of project {id}"]
    approved = Wish(Act.DESTROY_CROSSWALK, id, concerns).approved(settings, audit, ask, approved_by)
    if approved is None:
        return
    count = back.destroy(id, approved.people, operator(audit), approved.approval)
    typer.echo(f"Destroyed: nothing leads back to {count} patients of {project} any more. Destroy its backups, too.")
