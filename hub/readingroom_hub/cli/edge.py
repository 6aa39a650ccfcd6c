"""`readingroom edge`: a DICOM receiver at the hospital's edge. Sealed on arrival, de-identified, only results go on."""

import logging
import os
import resource
import signal
import threading
import warnings
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from datetime import datetime
from pathlib import Path
from threading import Event, Thread
from typing import Annotated

import typer
from rich.markup import escape

from readingroom_hub.cli.common import AsJson, Bar, Dciodvfy, RunByDefault, command, errors, show
from readingroom_hub.cli.deid import PolicyName
from readingroom_hub.compose import edge
from readingroom_hub.deid import policy_file
from readingroom_hub.errors import BadInput
from readingroom_hub.ports.reception import TlsFiles
from readingroom_hub.services import deid_folder, validity
from readingroom_hub.services.edge_outbox import Outbox
from readingroom_hub.services.edge_reception import SpoolReception
from readingroom_hub.services.edge_spool import Spool
from readingroom_hub.services.edge_studies import StudyService, stay
from readingroom_hub.services.edge_vault import Vault, keep
from readingroom_hub.services.edge_watch import Watch

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


app = typer.Typer(
    cls=RunByDefault,
    no_args_is_help=True,
    help="A DICOM receiver at the hospital's edge: run it, look at what it left out.",
)


@app.command()
@command
def run(
    key: Annotated[Path, typer.Option(help="File of the secret key of pseudonyms; it is made where there is none.")],
    spool: Annotated[Path, typer.Option(help="Folder for received objects, sealed, until their study is done.")],
    to: Annotated[Path, typer.Option(help="Folder for results: TO/STUDY/SERIES/INSTANCE.dcm.")],
    policy: PolicyName = "basic",
    spool_key: Annotated[Path | None, typer.Option(help="File of the spool's key, by default KEY.spool.")] = None,
    ae_title: Annotated[str, typer.Option(help="AE title that senders call.")] = "READINGROOM",
    bind: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port for DICOM associations.")] = 11112,
    http_port: Annotated[
        int | None, typer.Option(help="Port for STOW-RS on loopback; without it there is none.")
    ] = None,
    token: Annotated[Path | None, typer.Option(help="File of the bearer token, by default KEY.token.")] = None,
    allow: Annotated[str, typer.Option(help="AE titles that may send, with commas between.")] = "",
    forward: Annotated[str, typer.Option(help="Send results on by C-STORE, too: HOST:PORT/AETITLE.")] = "",
    forward_tls: Annotated[bool, typer.Option("--forward-tls", help="Send them over TLS.")] = False,
    tls_cert: Annotated[Path | None, typer.Option(help="PEM chain; then all is received over TLS only.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM key of that certificate.")] = None,
    tls_ca: Annotated[Path | None, typer.Option(help="PEM of the authority that signs senders' certificates.")] = None,
    settle: Annotated[float, typer.Option(min=0, help="Seconds without a new object, and a study is complete.")] = 60,
    associations: Annotated[int, typer.Option(min=1, help="Associations at once.")] = 10,
    max_object_mb: Annotated[int, typer.Option(min=1, help="Largest object, in megabytes.")] = 1024,
    retry_quarantine: Annotated[bool, typer.Option("--retry-quarantine", help="Try again what was left out.")] = False,
    dciodvfy: Dciodvfy = False,
) -> None:
    """Receive DICOM, de-identify each study when it is complete, and put only results into TO."""
    rules = policy_file.load(policy)
    validator = validity.program() if dciodvfy else ""
    spool_key = spool_key or key.with_name(f"{key.name}.spool")
    _keep_apart((key, spool_key, to, *([token] if token else [])), spool, to)
    tls = _tls(tls_cert, tls_key, tls_ca)
    allowed = [title.strip() for title in allow.split(",") if title.strip()]
    if bind not in _LOOPBACK and not allowed and not tls_ca:
        raise BadInput(f"at {bind} anybody could send: say who may with --allow AE,AE, or with --tls-ca")
    if forward_tls and not tls:
        raise BadInput("--forward-tls needs --tls-cert and --tls-key, to show the receiver who sends")
    receiver = edge.forward(forward, ae_title, tls if forward_tls else None) if forward else None
    _say_nothing_of_patients()
    with ExitStack() as stack:
        store = Spool(spool, deid_folder.secret(spool_key))
        stack.callback(store.close)
        outbox = Outbox(spool / "outbox", to) if receiver else None
        studies = StudyService(
            store, to, rules, deid_folder.secret(key), validator=validator, deliver=outbox.put if outbox else stay
        )
        if retry_quarantine:
            _tell(f"{store.release()} objects from quarantine are tried again")
        left = store.objects()
        if left:
            _tell(f"{len(left)} objects of {len({o.study for o in left})} studies were waiting")
        stop = Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        reception = SpoolReception(store, max_object_mb << 20, 2 * max_object_mb << 20)
        if http_port is not None:
            secret = deid_folder.secret(token or key.with_name(f"{key.name}.token")).hex()
            at = bind if tls else _LOOPBACK[0]  # a token never goes over a network in the clear
            web = edge.stow(reception, (at, http_port), secret, associations, tls, _tell)
            stack.callback(web.close)
            _tell(f"POST to {'https' if tls else 'http'}://{at}:{web.port}/studies")
        if outbox and receiver:
            sending = Thread(target=outbox.until, args=(stop, receiver, _tell))
            sending.start()
            stack.callback(sending.join)
            stack.callback(stop.set)
        server = edge.dimse(reception, (bind, port), ae_title, allowed, associations, tls, _tell)
        stack.callback(server.close)
        _tell(f"{ae_title} listens at {bind} port {server.port}; process {os.getpid()}")
        bar = stack.enter_context(Bar("De-identifying", hidden=not errors.is_terminal))
        Watch(store, studies, settle, _tell, bar).until(stop)
        _tell("stopping; what waits is done at the next start")


@app.command()
@command
def quarantine(
    spool: Annotated[Path, typer.Option(help="The spool's folder; the edge may be running.")],
    spool_key: Annotated[Path, typer.Option(help="File of the spool's key.")],
    export: Annotated[Path | None, typer.Option(help="Folder to write the originals to. THEY NAME PATIENTS.")] = None,
    as_json: AsJson = False,
) -> None:
    """List what was left out and why; write the originals out to look at them."""
    vault = Vault.of(spool, deid_folder.secret(spool_key, make=False))
    if not vault.check():
        raise BadInput(f"{spool} is no spool")
    left = vault.quarantined()
    if export:
        for token in left:
            _write_private(export, f"{token}.dcm", vault.original(token))
    show([{"object": t, "reason": r} for t, r in left.items()], as_json, "There is nothing in quarantine.")


def _write_private(folder: Path, name: str, data: bytes) -> None:
    """For the eyes of whoever asked."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        keep(folder / name, data)
    except OSError as error:
        raise BadInput(f"{folder} cannot be written: {error.strerror}") from error


def _tls(cert: Path | None, key: Path | None, ca: Path | None) -> TlsFiles | None:
    if cert and key:
        return TlsFiles(cert, key, ca)
    if cert or key or ca:
        raise BadInput("TLS needs both --tls-cert and --tls-key")
    return None


def _keep_apart(apart: Iterable[Path], spool: Path, to: Path) -> None:
    """Keys beside what they seal would seal nothing; results among originals would be taken for such."""
    for path in apart:
        if path.resolve().is_relative_to(spool.resolve()):
            raise BadInput(f"{path} lies in the spool {spool}: keep it elsewhere")
    if spool.resolve().is_relative_to(to.resolve()):
        raise BadInput(f"the spool {spool} lies in {to}, where results go: keep it elsewhere")


def _say_nothing_of_patients() -> None:
    """No core dump, which would be plaintext on disk; and no word of libraries and tracebacks, which quote values."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("ignore")
    for name in ("pydicom", "pynetdicom", "uvicorn.error", "asyncio"):
        logging.getLogger(name).disabled = True
    threading.excepthook = lambda raised: _tell(f"a connection ended with {raised.exc_type.__name__}")


def _tell(line: str) -> None:
    """One line with the time; no line names a patient. A log that cannot be written stops nothing."""
    now = f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S}"
    with suppress(OSError):
        errors.print(f"[dim]{now}[/] {escape(line)}", highlight=False, soft_wrap=True)
