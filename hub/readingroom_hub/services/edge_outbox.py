"""Results on their way to a receiver: a note for each study, durable before the study counts as done.

A result may be sent twice, where somebody was killed between its arrival and the note of it; never not at all."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event

from readingroom_hub.durable import make, sync
from readingroom_hub.errors import ReadingRoomError, StoreUnavailable
from readingroom_hub.ports.forward import Forward
from readingroom_hub.services.edge_vault import Spooled, keep

_LOOK_EVERY = 1.0
_MOST_AGAIN_AFTER = 60.0
_REFUSED = ".refused"


class Outbox:
    """Notes in `folder`, of files below `target`."""

    def __init__(self, folder: Path, target: Path) -> None:
        """Open it. Raises StoreUnavailable."""
        self._folder, self._target = folder, target
        self._news = Event()
        try:
            make(folder, 0o700)
        except OSError as error:
            raise StoreUnavailable(f"{folder} cannot be used: {error.strerror}") from error

    def put(self, last: Spooled, results: list[Path]) -> None:
        """Note that these are to be sent. Durable when this returns. Raises StoreUnavailable."""
        self._note(f"{last.study}-{last.arrival:012}", [str(p.relative_to(self._target)) for p in results])
        self._news.set()

    def waiting(self) -> list[str]:
        """Names of the notes, the oldest arrival first."""
        found = (p.name for p in self._folder.iterdir() if "." not in p.name)
        return sorted(found, key=lambda name: name.rpartition("-")[2])

    def until(self, stop: Event, to: Forward, tell: Callable[[str], None]) -> None:
        """Send what is noted, in one thread; what fails is tried again, more and more rarely."""
        again_after = 0.0
        while not stop.is_set():
            self._news.clear()
            try:
                for name in self.waiting():
                    self._send(name, to, tell, stop)
                again_after = 0.0
            except (ReadingRoomError, OSError, ValueError) as error:
                again_after = min(_MOST_AGAIN_AFTER, 2 * again_after or _LOOK_EVERY)
                text = str(error) if isinstance(error, ReadingRoomError) else type(error).__name__
                tell(f"results wait to be sent on: {text}")
                stop.wait(again_after)
                continue
            self._news.wait(_LOOK_EVERY)

    def _send(self, name: str, to: Forward, tell: Callable[[str], None], stop: Event) -> None:
        left: list[str] = json.loads((self._folder / name).read_bytes())
        refused: list[tuple[str, str]] = []
        sent = 0
        try:
            for path, reason in to.send([self._target / p for p in left]):
                relative = str(path.relative_to(self._target))
                left.remove(relative)
                if reason:
                    refused.append((relative, reason))
                else:
                    sent += 1
                if stop.is_set():
                    break
        finally:
            self._settle(name, left, refused)
            if sent or refused:
                tell(f"study {name[:8]}: {sent} results sent on, {len(refused)} refused")

    def _settle(self, name: str, left: Sequence[str], refused: Sequence[tuple[str, str]]) -> None:
        if refused:
            path = self._folder / f"{name}{_REFUSED}"
            before = json.loads(path.read_bytes()) if path.exists() else []
            rows = [{"file": file, "reason": reason} for file, reason in refused]
            keep(path, json.dumps(before + rows, indent=1).encode())
        if left:
            self._note(name, left)
        else:
            (self._folder / name).unlink()
            sync(self._folder)

    def _note(self, name: str, files: Sequence[str]) -> None:
        keep(self._folder / name, json.dumps(list(files)).encode())
