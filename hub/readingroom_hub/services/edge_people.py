"""Everybody whose identifiers the edge has seen, sealed: one study by itself would know that study's people only.

Segments that only grow: a batch adds one with what it brought; opening the spool makes one of all."""

import json
from pathlib import Path

from readingroom_hub.deid.identifiers import Identifiers
from readingroom_hub.durable import make
from readingroom_hub.errors import BadInput, IntegrityError, StoreUnavailable
from readingroom_hub.services.edge_vault import Vault, keep

_MOST_VALUES = 2_000_000
_FIELDS = ("names", "ids", "phrases")


class People:
    """What identifies everybody seen so far. Used by one thread."""

    def __init__(self, vault: Vault) -> None:
        """Read what is there. Raises IntegrityError, BadInput, StoreUnavailable."""
        self._vault = vault
        self._folder = vault.folder / "people"
        self.all = Identifiers()
        try:
            make(self._folder, 0o700)
            segments = sorted(p for p in self._folder.iterdir() if p.name.isdigit())
            for path in segments:
                self.all |= self._read(path)
            self._last = int(segments[-1].name) if segments else 0
            if len(segments) > 1:
                self._write(self.all)
                for path in segments:
                    path.unlink()
        except OSError as error:
            raise StoreUnavailable(f"{self._folder} cannot be used: {error.strerror}") from error

    def add(self, found: Identifiers) -> None:
        """Keep what is new, durably. Raises BadInput where they are too many, StoreUnavailable."""
        new = Identifiers(found.names - self.all.names, found.ids - self.all.ids, found.phrases - self.all.phrases)
        if new == Identifiers():
            return
        both = self.all | new
        if sum(len(getattr(both, f)) for f in _FIELDS) > _MOST_VALUES:
            raise BadInput(
                f"{self._folder} would hold more than {_MOST_VALUES} names and numbers: stop the edge and remove it; "
                "texts are then searched for the people seen from now on"
            )
        self._write(new)
        self.all = both

    def _write(self, people: Identifiers) -> None:
        self._last += 1
        name = f"{self._last:08}"
        content = {f: sorted(getattr(people, f)) for f in _FIELDS}
        keep(self._folder / name, self._vault.seal(f"people/{name}", json.dumps(content).encode()))

    def _read(self, path: Path) -> Identifiers:
        try:
            content = json.loads(self._vault.unseal(f"people/{path.name}", path.read_bytes()))
        except IntegrityError as error:
            raise IntegrityError(f"{path} is damaged: restore it from a backup, or remove it") from error
        return Identifiers(*(frozenset(content[f]) for f in _FIELDS))
