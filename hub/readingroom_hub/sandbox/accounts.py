"""Host user ids for sandboxes: each person-and-project pair has one of its own, and it is never given to another.

Kept in one JSON file under a lock. Where the hub is no root there is nothing to give: servers run as the hub's user."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from readingroom_hub.durable import sync
from readingroom_hub.errors import StoreUnavailable
from readingroom_hub.model.ids import ProjectId


@dataclass(frozen=True, slots=True)
class Account:
    """Who one server is on the host. The account's own group has its uid's number."""

    uid: int
    project_gid: int


class Accounts:
    """The allocation. Raises StoreUnavailable where it cannot be read or written, or the range is used up."""

    def __init__(self, file: Path, uid_range: tuple[int, int]) -> None:
        self._file = file
        self._first, self._last = uid_range

    def get(self, user: str, project: ProjectId) -> Account:
        """The account of a hub user in a project; made at first sight, and the same ever after."""
        with self._locked() as table:
            return Account(self._number(table, f"user:{user}/{project}"), self._number(table, f"project:{project}"))

    def _number(self, table: dict[str, int], name: str) -> int:
        if name not in table:
            number = max(table.values(), default=self._first - 1) + 1
            if number > self._last:
                raise StoreUnavailable(
                    f"no user id is left for {name} in {self._first}-{self._last}: widen READINGROOM_UID_RANGE upwards"
                )
            table[name] = number
        return table[name]

    @contextmanager
    def _locked(self) -> Iterator[dict[str, int]]:
        try:
            with self._file.with_suffix(".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                before = json.loads(self._file.read_text())["ids"] if self._file.exists() else {}
                after = dict(before)
                yield after
                if after != before:
                    self._replace(after)
        except (OSError, ValueError, KeyError) as error:
            raise StoreUnavailable(f"the table of user ids {self._file} cannot be used: {error}") from error

    def _replace(self, table: dict[str, int]) -> None:
        # A number that was given, then forgotten in a power cut, would go to somebody else with the first one's files.
        fresh = self._file.with_suffix(".new")
        with fresh.open("w") as file:
            json.dump({"format": "readingroom-accounts/1", "ids": table}, file, indent=1, sort_keys=True)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._file)
        sync(self._file.parent)
