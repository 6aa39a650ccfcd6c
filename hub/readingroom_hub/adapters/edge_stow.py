"""The edge's web door: Store Instances of PS3.18 10.5 (STOW-RS), for whoever has the bearer token."""

import asyncio
import hmac
import json
import logging
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response
from starlette.requests import ClientDisconnect

from readingroom_hub.adapters.edge_multipart import Content, End, Head, Multipart, media_type
from readingroom_hub.deid.received import Arrived, from_file
from readingroom_hub.errors import BadInput, StoreUnavailable
from readingroom_hub.ports.reception import Counts, Door, Incoming, Reception

DICOM, DICOM_JSON = "application/dicom", "application/dicom+json"
OUT_OF_RESOURCES, DOES_NOT_MATCH, CANNOT_UNDERSTAND = 0xA700, 0xA900, 0xC000
_SECONDS = 30.0
_ANSWERED = {DICOM_JSON, "application/json", "application/*", "*/*", ""}


@dataclass(frozen=True, slots=True)
class WebEntrance:
    """Where and for whom the door is open."""

    address: str
    port: int
    token: str
    requests: int
    """At once."""
    tls: dict[str, Any] = field(default_factory=dict)
    """What uvicorn needs for TLS."""


@dataclass(slots=True)
class _Outcome:
    """What became of the parts of one request."""

    stored: list[Arrived] = field(default_factory=list)
    failed: list[tuple[Arrived, int]] = field(default_factory=list)
    others: list[int] = field(default_factory=list)
    """Why parts failed that are no object."""
    too_large: int = 0

    @property
    def counts(self) -> Counts:
        return Counts(len(self.stored), len(self.failed) + len(self.others))

    @property
    def status(self) -> int:
        """PS3.18 Table 10.5.3-1."""
        reasons = [r for _, r in self.failed] + self.others
        if self.stored:
            return 202 if reasons else 200
        if not reasons:
            return 400
        if self.too_large == len(reasons):
            return 413
        return 503 if set(reasons) == {OUT_OF_RESOURCES} else 409

    def content(self) -> dict[str, Any]:
        """The Store Instances Response Module (PS3.18 Annex I) in the DICOM JSON Model (PS3.18 Annex F).

        Retrieve URLs are empty: nothing can be fetched from here."""
        answer: dict[str, Any] = {"00081190": {"vr": "UR"}}
        if self.failed:
            items = [_reference(one) | {"00081197": {"vr": "US", "Value": [r]}} for one, r in self.failed]
            answer["00081198"] = {"vr": "SQ", "Value": items}
        if self.stored:
            items = [_reference(one) | {"00081190": {"vr": "UR"}} for one in self.stored]
            answer["00081199"] = {"vr": "SQ", "Value": items}
        if self.others:
            items = [{"00081197": {"vr": "US", "Value": [r]}} for r in self.others]
            answer["0008119A"] = {"vr": "SQ", "Value": items}
        return dict(sorted(answer.items()))


def _reference(one: Arrived) -> dict[str, Any]:
    return {
        "00081150": {"vr": "UI", "Value": [one.sop_class]},
        "00081155": {"vr": "UI", "Value": [one.instance]},
    }


class _Refused(Exception):
    """The whole request, with a status and a sentence."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Stow:
    """Takes the parts of requests in."""

    def __init__(self, reception: Reception, token: str, tell: Callable[[str], None]) -> None:
        self._reception, self._token, self._tell = reception, token, tell

    async def store(self, request: Request) -> Response:
        """Answer one request; its body is not read before the token is right."""
        try:
            self._check_token(request)
            boundary = _boundary(request)
            outcome = await self._take(request.path_params.get("study", ""), Multipart(boundary), _chunks(request))
        except _Refused as refused:
            headers = {"WWW-Authenticate": "Bearer"} if refused.status == 401 else {}
            return _plain(refused.status, str(refused), headers)
        except BadInput as error:
            return _plain(400, str(error))
        except TimeoutError:
            return _plain(408, f"nothing came for {_SECONDS:.0f} seconds")
        except ClientDisconnect:
            return _plain(400, "the sender went away")
        counts = outcome.counts
        sender = request.client.host if request.client else "?"
        self._tell(f"{sender} posted {counts.taken} objects, {counts.refused} more were refused")
        return Response(json.dumps(outcome.content()), outcome.status, media_type=DICOM_JSON)

    def _check_token(self, request: Request) -> None:
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), self._token.encode()):
            raise _Refused(401, "send the header `Authorization: Bearer TOKEN`, with the token of the edge")

    async def _take(self, study: str, parts: Multipart, chunks: AsyncIterator[bytes]) -> _Outcome:
        outcome, incoming, kind = _Outcome(), Incoming(self._reception), ""
        async for chunk in chunks:
            for event in parts.feed(chunk):
                match event:
                    case Head(media_type=kind):
                        incoming = Incoming(self._reception)
                    case Content(data=data):
                        incoming.write(data)
                    case End():
                        await asyncio.to_thread(self._keep, outcome, kind, incoming, study)
                        incoming.close()
        parts.close()
        return outcome

    def _keep(self, outcome: _Outcome, kind: str, incoming: Incoming, study: str) -> None:
        if incoming.refused:
            outcome.others.append(OUT_OF_RESOURCES)
            outcome.too_large += incoming.too_large
            return
        arrived = None
        with suppress(BadInput):
            arrived = from_file(incoming.getvalue()) if kind == DICOM else None
        if arrived is None:
            outcome.others.append(CANNOT_UNDERSTAND)
            return
        if study and arrived.study != study:
            outcome.failed.append((_without_data(arrived), DOES_NOT_MATCH))
            return
        try:
            self._reception.take(arrived)
            outcome.stored.append(_without_data(arrived))
        except StoreUnavailable as error:
            self._tell(f"refused an object: {error}")
            outcome.failed.append((_without_data(arrived), OUT_OF_RESOURCES))


def _without_data(arrived: Arrived) -> Arrived:
    return Arrived(arrived.sop_class, arrived.instance, arrived.study, b"")


def _boundary(request: Request) -> str:
    kind, named = media_type(request.headers.get("Content-Type", ""))
    if kind != "multipart/related" or named.get("type", DICOM).lower() != DICOM:
        raise _Refused(415, f'post multipart/related; type="{DICOM}" (PS3.18 10.5.1)')
    accepted = {media_type(a.strip())[0] for a in request.headers.get("Accept", "").split(",")}
    if not accepted & _ANSWERED and request.headers.get("Accept", "").strip():
        raise _Refused(406, f"answers are {DICOM_JSON}")
    return named.get("boundary", "")


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    stream = aiter(request.stream())
    while True:
        try:
            async with asyncio.timeout(_SECONDS):
                chunk = await anext(stream)
        except StopAsyncIteration:
            return
        yield chunk


def _plain(status: int, text: str, headers: dict[str, str] | None = None) -> Response:
    return Response(text + "\n", status, {**(headers or {}), "Connection": "close"}, media_type="text/plain")


def create_app(stow: Stow) -> FastAPI:
    """The two resources that PS3.18 10.5 stores to."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    for path in ("/studies", "/studies/{study}"):
        app.add_route(path, stow.store, methods=["POST"])
    return app


class StowServer(Door):
    """Listens while it is open."""

    def __init__(self, entrance: WebEntrance, reception: Reception, tell: Callable[[str], None]) -> None:
        """Listen. Raises BadInput where that is impossible."""
        logging.getLogger("uvicorn.error").disabled = True
        try:
            family = socket.AF_INET6 if ":" in entrance.address else socket.AF_INET
            self._socket = socket.create_server((entrance.address, entrance.port), family=family)
        except OSError as error:
            where = f"{entrance.address} port {entrance.port}"
            raise BadInput(f"{where} cannot be listened at: {error.strerror}") from error
        app = create_app(Stow(reception, entrance.token, tell))
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            limit_concurrency=entrance.requests,
            timeout_graceful_shutdown=10,
            **entrance.tls,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._socket.getsockname()[1])

    def close(self) -> None:
        """Take no more; what was not answered is the sender's still."""
        self._server.should_exit = True
        self._thread.join()
