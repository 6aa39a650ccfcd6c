"""Runs inside `.venv-idp`, never inside ours: Canaille, an OpenID Connect provider, with the demo's people in it.

Called as `python canaille_server.py PEOPLE PORT` with CANAILLE_CONFIG set. One process makes the database, the
people, the groups and the client (what Canaille's own commands do one by one, seconds each), then serves."""

import asyncio
import json
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import canaille
from canaille.app import models
from canaille.app.installation import install
from canaille.backends import Backend
from canaille.hypercorn.app import create_app
from hypercorn.asyncio import serve
from hypercorn.config import Config

ENROLLED = datetime(2026, 1, 1, tzinfo=UTC)
"""Without an earlier use of the second factor, Canaille would show a first-time QR page at sign-in."""


def main() -> None:
    """Provision, then serve until SIGTERM."""
    people_file, port = sys.argv[1:]
    setup = canaille.create_app(init_backend=False)
    with setup.app_context():
        install(setup)
        with Backend.instance.session():
            provision(json.loads(Path(people_file).read_text()))
    config = Config.from_mapping(bind=[f"127.0.0.1:{port}"], accesslog=None, graceful_timeout=1)
    asyncio.run(_serve(config))


async def _serve(config: Config) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await serve(create_app(env_file=None), config, shutdown_trigger=stop.wait)


def provision(wanted: dict[str, Any]) -> None:
    """Make people, groups and client what `wanted` says; nothing is drawn here, so a second start changes nothing."""
    groups: dict[str, list[Any]] = {}
    for row in wanted["people"]:
        user = Backend.instance.get(models.User, user_name=row["user_name"]) or models.User(user_name=row["user_name"])
        given, family = row["name"].split(" ", 1)
        _store(
            user,
            formatted_name=row["name"],
            given_name=given,
            family_name=family,
            emails=[f"{row['user_name']}@example.org"],
            password=row["password"],
            secret_token=row["totp_secret"],
            last_otp_login=ENROLLED,
        )
        for group in row["groups"]:
            groups.setdefault(group, []).append(user)
    for name, members in groups.items():
        group = Backend.instance.get(models.Group, display_name=name) or models.Group(display_name=name)
        _store(group, members=members)
    client = Backend.instance.get(models.Client, client_id=wanted["client_id"]) or models.Client(
        client_id=wanted["client_id"]
    )
    _store(
        client,
        client_secret=wanted["client_secret"],
        client_name="Reading Room",
        client_uri=wanted["public_url"],
        redirect_uris=[wanted["public_url"] + "/hub/oauth_callback"],
        grant_types=["authorization_code", "refresh_token"],
        response_types=["code"],
        token_endpoint_auth_method="client_secret_basic",  # noqa: S106  # a method's name
        scope=["openid", "profile", "email", "groups"],
        # Canaille signs PS512 otherwise, and leaves out `aud`.
        id_token_signed_response_alg="RS256",  # noqa: S106  # an algorithm's name
    )
    _store(client, audience=[client])


def _store(model: Any, **values: Any) -> None:
    for name, value in values.items():
        setattr(model, name, value)
    Backend.instance.save(model)


if __name__ == "__main__":
    main()
