"""`readingroom project`: the units of approval."""

from typing import Annotated

import typer

from readingroom_hub import compose
from readingroom_hub.cli.common import AsJson, command, load, moment, operator, record, show
from readingroom_hub.model.ids import ProjectId

app = typer.Typer(no_args_is_help=True, help="Projects: who works together, on what, until when.")


@app.command()
@command
def create(
    project: Annotated[str, typer.Argument(help="Short name: lower-case letters, digits, hyphens.")],
    title: Annotated[str, typer.Option(help="What people see.")] = "",
    owner: Annotated[str, typer.Option(help="The information asset owner's name.")] = "",
    until: Annotated[str, typer.Option(help="The project's last day, for example 2027-03-31.")] = "",
) -> None:
    """Create a project. People join it through the group rr-project-NAME at the identity provider."""
    settings = load()
    audit = record(settings)
    ends_at = moment(until) if until else None
    made = compose.projects(settings, audit).create(
        ProjectId(project), title or project, owner or "not named", ends_at, operator(audit)
    )
    typer.echo(
        f"Project {made.id} is there. Its group at the identity provider is {settings.project_group_prefix}{made.id}."
    )


@app.command()
@command
def pictures(
    project: Annotated[str, typer.Argument(help="The project.")],
    allowed: Annotated[bool, typer.Option("--allow/--forbid", help="In notebooks that are saved.")],
) -> None:
    """Say whether saved notebooks of a project may keep pictures. Servers that start from now on obey."""
    settings = load()
    audit = record(settings)
    compose.projects(settings, audit).allow_pictures(ProjectId(project), allowed, operator(audit))
    typer.echo(
        f"Saved notebooks of {project} keep {'their' if allowed else 'no'} pictures, in servers started from now on."
    )


@app.command("list")
@command
def list_(as_json: AsJson = False) -> None:
    """List every project."""
    catalogue = compose.open_catalogue(load())
    rows = [
        {
            "project": p.id,
            "title": p.title,
            "owner": p.owner,
            "members": len(catalogue.projects.members(p.id)),
            "created": p.created_at,
            "ends": p.ends_at,
            "pictures": p.pictures,
        }
        for p in catalogue.projects.all()
    ]
    show(rows, as_json, "There is no project yet: readingroom project create NAME")


@app.command("show")
@command
def show_(project: str, as_json: AsJson = False) -> None:
    """Show one project: its members, datasets and access grants."""
    settings = load()
    catalogue = compose.open_catalogue(settings)
    home = catalogue.projects.get(ProjectId(project))
    names = {i.person: i.name for i in record(settings).people("")}
    about = {
        "project": home.id,
        "title": home.title,
        "owner": home.owner,
        "ends": home.ends_at,
        "pictures": home.pictures,
    }
    members = [
        {"member": names.get(m.person, m.person), "role": m.role.value, "since": m.since}
        for m in catalogue.projects.members(home.id)
    ]
    grants = [
        {"grant": g.id, "dataset": f"{g.dataset}@{g.version.short}", "until": g.ends_at, "revoked": g.revoked_at}
        for g in catalogue.grants.all(home.id)
    ]
    if as_json:
        show([about | {"members": members, "grants": grants}], as_json, "")
        return
    show([about], as_json, "")
    show(members, as_json, "No members yet: they appear when they sign in.")
    show(grants, as_json, "No access grants: readingroom grant add PROJECT DATASET --until DATE")
