"""The edge's spool: identified objects, sealed before they touch the disk, until their study is done.

    format             a sealed word, so that another key is noticed at once
    lock               held by the process that uses the spool
    incoming/          <study>-<arrival>-<instance>-<content>, one sealed object each
    quarantine/        <study>-<instance>-<content>, and beside it .reason: why it was left out
    done/<study>       instance and content of every object that was done, so that nothing is done twice

Names are keyed digests: without the spool's key they say nothing, not even whether two spools saw the same study."""

import hmac
import os
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from readingroom_hub import locks
from readingroom_hub.deid.received import Arrived
from readingroom_hub.durable import make, sync
from readingroom_hub.errors import BadInput, StoreUnavailable
from readingroom_hub.services.edge_vault import FORMAT, TEMPORARY, Spooled, Vault, digest, keep

_STUDY, _DIGEST = 24, 32  # hexadecimal digits: 96 bits tell studies apart, 128 bits instances and contents
_RECORD = _DIGEST  # bytes: two digests of 16


@dataclass(slots=True)
class _Study:
    """What the spool holds of one study."""

    last: float
    """When something came for it, by the monotonic clock."""
    objects: dict[str, Spooled] = field(default_factory=dict)
    """By instance and content."""


class Spool:
    """One process's spool. Thread-safe: many may `receive` while one works off."""

    def __init__(self, folder: Path, secret: bytes) -> None:
        """Open, or make, the spool in `folder`. Raises BadInput, Conflict where it is in use, StoreUnavailable."""
        self.folder = folder
        self.vault = Vault.of(folder, secret)
        self.names = hmac.digest(secret, b"names", "sha256")
        self._lock = Lock()
        self._studies: dict[str, _Study] = {}
        try:
            for path in (folder, *(folder / n for n in ("incoming", "quarantine", "done"))):
                make(path, 0o700)
            taken = f"the spool {folder} is in use by another process: stop it, or use another folder"
            self._held = locks.take(folder / "lock", taken)
            try:
                self._check_key()
                sync(folder)
                self._arrivals = self._scan()
            except BaseException:
                self.close()
                raise
        except OSError as error:
            raise StoreUnavailable(f"the spool {folder} cannot be used: {error.strerror}") from error

    def close(self) -> None:
        """Let another process have it."""
        os.close(self._held)

    def receive(self, arrived: Arrived) -> bool:
        """Seal and keep an object: durable when this returns. False where the very same object waits already.

        Raises StoreUnavailable, for example on a full disk; then nothing of it is left."""
        instance = digest(self.names, b"instance\0" + arrived.instance.encode(errors="replace"), _DIGEST)
        content = digest(self.names, b"content\0", _DIGEST, arrived.data)
        # An object that does not say its study is one by itself.
        study = self.study(arrived.study or f"none\0{instance}")
        with self._lock:
            known = self._studies.get(study)
            if known is not None and instance + content in known.objects:
                known.last = time.monotonic()
                return False
            self._arrivals += 1
            one = Spooled(study, self._arrivals, instance, content)
        keep(self.folder / "incoming" / one.name, self.vault.seal(one.token, arrived.data))
        with self._lock:
            kept = self._studies.setdefault(study, _Study(0))
            kept.last = time.monotonic()
            first = kept.objects.setdefault(instance + content, one)
        if first != one:  # the same object came over two connections at once
            with suppress(OSError):
                (self.folder / "incoming" / one.name).unlink()
        return first == one

    def study(self, uid: str) -> str:
        """What the study of this UID is called here."""
        return digest(self.names, f"study\0{uid}".encode(errors="replace"), _STUDY)

    def settled(self, seconds: float) -> tuple[str, ...]:
        """Studies for which nothing has come for so long."""
        before = time.monotonic() - seconds
        with self._lock:
            return tuple(sorted(s for s, study in self._studies.items() if study.objects and study.last <= before))

    def next_settles_in(self, seconds: float) -> float | None:
        """Seconds until the next study settles; None where there is none."""
        now = time.monotonic()
        with self._lock:
            return min((max(0.0, s.last + seconds - now) for s in self._studies.values() if s.objects), default=None)

    def objects(self, study: str | None = None) -> list[Spooled]:
        """Everything that waits, or what waits of one study, in the order in which it came."""
        with self._lock:
            studies = self._studies.values() if study is None else [self._studies.get(study, _Study(0))]
            return sorted(one for s in studies for one in s.objects.values())

    def done(self, study: str) -> dict[str, str]:
        """Content by instance, of what was done of a study."""
        path = self.folder / "done" / study
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return {}
        whole = len(data) - len(data) % _RECORD  # a process that was killed may have written half a record
        records = (data[i : i + _RECORD].hex() for i in range(0, whole, _RECORD))
        return {r[:_DIGEST]: r[_DIGEST:] for r in records}

    def finish(self, study: str, done: list[Spooled], again: list[Spooled]) -> None:
        """Results of `done` are durable, and `again` was done before: note that, then remove the originals.

        Whoever is killed in between removes them the next time. Raises OSError."""
        if done:
            path = self.folder / "done" / study
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            with open(fd, "r+b") as file:  # noqa: PTH123  # takes over the descriptor
                size = os.fstat(fd).st_size
                file.seek(size - size % _RECORD)
                file.write(b"".join(bytes.fromhex(o.instance + o.content) for o in done))
                file.truncate()
                file.flush()
                os.fsync(fd)
            sync(path.parent)
        for one in (*done, *again):
            (self.folder / "incoming" / one.name).unlink(missing_ok=True)
            # What could be done now may have been left out before, under another policy.
            for left in (one.token, f"{one.token}.reason"):
                (self.folder / "quarantine" / left).unlink(missing_ok=True)
        sync(self.folder / "incoming")
        self._forget((*done, *again))

    def quarantine(self, one: Spooled, reason: str) -> None:
        """Keep an object, sealed as it is, apart from what waits; the reason is free of identifiers. Raises OSError."""
        at = self.folder / "quarantine"
        keep(at / f"{one.token}.reason", reason.encode() + b"\n")
        (self.folder / "incoming" / one.name).rename(at / one.token)
        sync(at)
        sync(self.folder / "incoming")
        self._forget((one,))

    def quarantined(self) -> dict[str, str]:
        """Reason by token."""
        return self.vault.quarantined()

    def release(self) -> int:
        """Have everything in quarantine tried once more; how many there are. Raises OSError."""
        tokens = list(self.quarantined())
        for token in tokens:
            study, instance, content = token.split("-")
            with self._lock:
                self._arrivals += 1
                one = Spooled(study, self._arrivals, instance, content)
                waits = self._studies.setdefault(study, _Study(time.monotonic())).objects
                again = instance + content not in waits  # else it was sent again meanwhile
            if again:
                (self.folder / "quarantine" / token).rename(self.folder / "incoming" / one.name)
                with self._lock:
                    waits[instance + content] = one
            else:
                (self.folder / "quarantine" / token).unlink()
            (self.folder / "quarantine" / f"{token}.reason").unlink()
        for name in ("incoming", "quarantine"):
            sync(self.folder / name)
        return len(tokens)

    def _forget(self, gone: tuple[Spooled, ...]) -> None:
        with self._lock:
            for one in gone:
                study = self._studies.get(one.study)
                if study is not None and study.objects.get(one.instance + one.content) == one:
                    del study.objects[one.instance + one.content]
                    if not study.objects:
                        del self._studies[one.study]

    def _check_key(self) -> None:
        if self.vault.check():
            return
        path = self.folder / "format"
        if any((self.folder / "incoming").iterdir()) or any((self.folder / "quarantine").iterdir()):
            raise BadInput(f"{path} is missing: restore it, or give a new folder for the spool")
        keep(path, self.vault.seal("format", FORMAT))

    def _scan(self) -> int:
        """Take up what an earlier process left, as if it had come just now; the number of the last arrival."""
        now, last = time.monotonic(), 0
        for path in sorted((self.folder / "incoming").iterdir()):
            if path.name.startswith(TEMPORARY):
                path.unlink()
                continue
            try:
                one = Spooled.parse(path.name)
            except ValueError as error:
                raise BadInput(f"{path} is no object of a spool: move it away") from error
            last = max(last, one.arrival)
            kept = self._studies.setdefault(one.study, _Study(now)).objects.setdefault(one.instance + one.content, one)
            if kept != one:  # the same object twice at once, and then the process was killed
                path.unlink()
        for path in (self.folder / "quarantine").glob(f"{TEMPORARY}*"):
            path.unlink()
        return last
