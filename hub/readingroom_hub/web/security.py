"""What every answer carries and every form must prove: headers, form tokens, fetch metadata."""

import hmac
import secrets
from collections.abc import Awaitable, Callable
from hashlib import sha256
from urllib.parse import parse_qs

from fastapi import Request, Response

from readingroom_hub.errors import BadInput, Denied
from readingroom_hub.web.visitor import Visitor

HEADERS = {
    # No script at all, and styles from this server only: there is nothing to inject into.
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # User servers share this origin: no page of theirs may hold a handle on a window of ours.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
MAX_FORM_BYTES = 16384
MAX_FIELDS = 50

_start_key = secrets.token_bytes(32)


async def add_headers(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """Middleware: the headers above on every answer, errors too."""
    response = await call_next(request)
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def form_token(visitor: Visitor) -> str:
    """What this visitor's forms carry. It ends with the sign-in, and with a restart of the portal."""
    return hmac.new(_start_key, visitor.seal.encode(), sha256).hexdigest()


def check_navigation(request: Request) -> None:
    """Refuse a page to a script (Fetch Metadata, W3C): a notebook shares our origin and could read form tokens.

    Raises Denied. Browsers that send no such header pass."""
    mode = request.headers.get("Sec-Fetch-Mode", "navigate")
    if mode != "navigate" or request.headers.get("Sec-Fetch-Dest", "document") != "document":
        raise Denied("This page opens in a browser window of its own only, not from inside a notebook.")


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a posted form. Raises BadInput where it is too long or is none."""
    if request.headers.get("Content-Type", "").split(";")[0] != "application/x-www-form-urlencoded":
        raise BadInput("this address takes a form of the portal's own pages")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_FORM_BYTES:
            raise BadInput(f"the form is longer than {MAX_FORM_BYTES} bytes")
    try:
        fields = parse_qs(body.decode(), max_num_fields=MAX_FIELDS, keep_blank_values=True)
    except ValueError as error:
        raise BadInput("the form cannot be read") from error
    return {name: values[-1].strip() for name, values in fields.items()}


def check_form(request: Request, visitor: Visitor, form: dict[str, str], origin: str) -> None:
    """Raises Denied where the form was not filled in by this visitor on a page of ours at `origin`."""
    sent_from = request.headers.get("Origin", origin)
    site = request.headers.get("Sec-Fetch-Site", "same-origin")
    good = hmac.compare_digest(form.get("token", "").encode(), form_token(visitor).encode())
    if sent_from != origin or site != "same-origin" or not good:
        raise Denied("This form is no longer valid. Open the page again and repeat what you did.")
