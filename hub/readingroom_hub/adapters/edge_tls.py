"""TLS for the edge's doors and for what it sends (PS3.15 B.9, B.12: TLS 1.2 or newer, certificates on both sides)."""

import ssl
from typing import Any

from readingroom_hub.errors import BadInput
from readingroom_hub.ports.reception import TlsFiles


def server(files: TlsFiles) -> ssl.SSLContext:
    """For who listens; with an authority, only peers with its certificates get through. Raises BadInput."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _load(context, files)
    if files.ca:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client(files: TlsFiles) -> ssl.SSLContext:
    """For who connects: the peer's name is checked, against the authority or the machine's own. Raises BadInput."""
    context = ssl.create_default_context()
    _load(context, files)
    return context


def for_uvicorn(files: TlsFiles) -> dict[str, Any]:
    """What `server` does, in uvicorn's words. Raises BadInput."""
    server(files)
    required = {"ssl_ca_certs": str(files.ca), "ssl_cert_reqs": ssl.CERT_REQUIRED} if files.ca else {}
    return {"ssl_certfile": str(files.cert), "ssl_keyfile": str(files.key), **required}


def _load(context: ssl.SSLContext, files: TlsFiles) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(files.cert, files.key)
        if files.ca:
            context.load_verify_locations(files.ca)
    except (OSError, ssl.SSLError) as error:
        named = ", ".join(str(p) for p in (files.cert, files.key, files.ca) if p)
        raise BadInput(f"{named} cannot be used for TLS: {error.strerror or error}") from error
