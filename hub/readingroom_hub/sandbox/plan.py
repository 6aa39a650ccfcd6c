"""What a door is told to start: one JSON object on its standard input. Everybody can read a command line."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Self

from readingroom_hub.sandbox.accounts import Account
from readingroom_hub.sandbox.bubblewrap import Bind, Sandbox
from readingroom_hub.sandbox.gate import Rules, Service
from readingroom_hub.sandbox.limits import Limits
from readingroom_hub.sandbox.relay import Upstream


@dataclass(frozen=True, slots=True)
class Plan:
    """One server: its sandbox, its limits, its door."""

    sandbox: Sandbox
    limits: Limits
    groups: tuple[str, ...]
    """Control groups to join; empty where resource limits do the work."""
    account: Account | None
    """Whom to become; None: stay who we are."""
    measured: str | None
    """Folder whose size is looked at now and then; None where a file system limits the home."""
    door: str
    """Folder for the two sockets; belongs to the account."""
    refusals: str
    """File that refused requests are appended to."""
    log: str
    rules: Rules
    services: Mapping[Service, Upstream]
    secrets: Mapping[str, str]
    """Go to the server's standard input and nowhere else."""

    def to_json(self) -> str:
        """Secrets included: for a pipe, never for a file."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The other direction."""
        row = json.loads(text)
        box = row["sandbox"]
        binds = tuple(Bind(**bind) for bind in box["binds"])
        box |= {"binds": binds, "argv": tuple(box["argv"]), "masks": tuple(box["masks"])}
        box["symlinks"] = tuple((target, name) for target, name in box["symlinks"])
        row["sandbox"] = Sandbox(**box)
        row["limits"] = Limits(**row["limits"])
        row["groups"] = tuple(row["groups"])
        row["account"] = Account(**row["account"]) if row["account"] else None
        row["rules"] = Rules(**row["rules"])
        row["services"] = {Service(name): Upstream(**upstream) for name, upstream in row["services"].items()}
        return cls(**row)
