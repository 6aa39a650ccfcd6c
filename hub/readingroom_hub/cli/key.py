"""`readingroom key`: key-encrypting keys, from their making to their destruction."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from readingroom_hub import compose
from readingroom_hub.cli.approving import ApprovedBy, Ask, Wish
from readingroom_hub.cli.common import AsJson, command, load, operator, record, show
from readingroom_hub.errors import BadInput, Conflict
from readingroom_hub.model.approval import Act
from readingroom_hub.policy.approval import described
from readingroom_hub.services.institution import Institution

app = typer.Typer(no_args_is_help=True, help="Key-encrypting keys: they protect the data key of each dataset version.")


@app.command("list")
@command
def list_(as_json: AsJson = False) -> None:
    """List key-encrypting keys, oldest first, with the dataset versions and folders of people that each protects."""
    settings = load()
    rows = [
        {
            "key": kek.name,
            "state": kek.state.value,
            "since": kek.since,
            "versions": [str(v.digest) for v in versions] if as_json else ", ".join(v.label for v in versions),
            "folders": vaults if as_json else len(vaults),
        }
        for kek, versions, vaults in compose.keys(settings, record(settings)).keks()
    ]
    show(rows, as_json, "There is no key yet.")


@app.command()
@command
def rotate() -> None:
    """Make a new key active. No stored object changes; `rewrap` then moves the data keys under it."""
    settings = load()
    audit = record(settings)
    name = compose.keys(settings, audit).rotate(operator(audit))
    typer.echo(f"{name} is active. Run `readingroom key rewrap` to move the data keys of published versions under it.")


@app.command()
@command
def rewrap(
    leave: Annotated[list[str] | None, typer.Option(help="A dataset version to leave under its old key.")] = None,
) -> None:
    """Wrap the data keys of all versions under the active key. No stored object changes; running sessions go on."""
    settings = load()
    audit = record(settings)
    versions = compose.open_catalogue(settings).versions
    left = {versions.find(label).digest for label in leave or ()}
    keys, by = compose.keys(settings, audit), operator(audit)
    done = len(keys.rewrap(by, left)) + len(keys.rewrap_vaults(by))
    typer.echo(f"{done} data keys were wrapped anew.")


@app.command()
@command
def destroy(
    key: Annotated[str, typer.Argument(help="The key's name, from `readingroom key list`.")],
    receipt: Annotated[Path | None, typer.Option(help="Where to write the signed receipt; must not exist yet.")] = None,
    ask: Ask = "",
    approved_by: ApprovedBy = None,
) -> None:
    """Destroy a key for ever: the dataset versions that it protects cannot be read by anybody any more."""
    settings = load()
    audit = record(settings)
    keys = compose.keys(settings, audit)
    wish = Wish(Act.DESTROY_KEY, key, [described(v) for v in keys.destructible(key)])
    approved = wish.approved(settings, audit, ask, approved_by)
    if approved is None:
        return
    if receipt is None:
        raise BadInput("name a new file for the receipt: --receipt FILE")
    done: dict[str, Any] = {}
    try:
        with receipt.open("x", encoding="utf-8") as file:
            try:
                done = keys.destroy(key, approved.people, operator(audit), approved.approval)
            except BaseException:
                receipt.unlink()
                raise
            json.dump(done, file, indent=1)
    except OSError as error:
        if done:  # it is destroyed, and nobody can make this receipt again
            typer.echo(json.dumps(done))
        raise BadInput(f"the receipt {receipt} cannot be written: {error.strerror}") from error
    count = len(done["receipt"]["unreadable"])
    recall = done["receipt"]["recall"]
    lasts = "" if recall else " for ever"
    typer.echo(f"{key} is destroyed; {count} dataset versions are unreadable{lasts}. The receipt is {receipt}.")
    if recall:
        typer.echo(_not_final(recall))
    if shared := done["receipt"]["shared"]:
        typer.echo("Other institutions got these before, and can still read them:")
        show(shared, False, "")


def _not_final(recall: dict[str, Any]) -> str:
    until = datetime.fromisoformat(recall["until"])
    if datetime.now(UTC) >= until:
        return f"Final since {until:%Y-%m-%d %H:%M} UTC, when the custodian's waiting period ended."
    return (
        f"Not final yet: until {until:%Y-%m-%d %H:%M} UTC (a waiting period of {recall['waiting_days']} days) the "
        "custodian's administrator can call the key back. Run `readingroom key check` on the receipt after that."
    )


@app.command()
@command
def institution(
    out: Annotated[Path, typer.Argument(help="Where to write the file for other institutions; must not exist yet.")],
) -> None:
    """Write this institution's public keys for sharing datasets, and show their fingerprint."""
    settings = load()
    mine = compose.sharing(settings, record(settings)).institution()
    try:
        with out.open("x", encoding="ascii") as file:
            file.write(mine.to_text())
    except OSError as error:
        raise BadInput(f"{out} cannot be written: {error.strerror}") from error
    typer.echo(f"{out} may be given to anybody. Read its fingerprint out to them over the telephone:\n{mine.spoken}")


@app.command()
@command
def fingerprint(file: Annotated[Path, typer.Argument(help="Another institution's file.")]) -> None:
    """Show the fingerprint of another institution's file, to compare with what they read out."""
    typer.echo(Institution.read(file).spoken)


@app.command()
@command
def check(receipt: Annotated[Path, typer.Argument(help="A receipt from `readingroom key destroy`.")]) -> None:
    """Check the signature of a receipt, and show which dataset versions it names."""
    settings = load()
    try:
        content: dict[str, Any] = json.loads(receipt.read_bytes())
    except (OSError, ValueError) as error:
        raise BadInput(f"{receipt} is no receipt: {error}") from error
    keys = compose.keys(settings, record(settings))
    said = keys.check(content)
    typer.echo(f"Signed by this key custody: {said['kek']} was destroyed at {said['destroyed_at']}.")
    if keys.called_back(said["kek"]):
        raise Conflict(f"{said['kek']} was called back since, and its versions may be readable again: destroy it anew")
    if said.get("recall"):
        typer.echo(_not_final(said["recall"]))
    show(said["unreadable"], False, "It protected no dataset version.")
    if said.get("shared"):
        typer.echo("\nShared before, and readable there:")
        show(said["shared"], False, "")
