"""A node's spool against a list: whatever is written, handed over, killed or refused by the disk, in whatever order."""

import errno
import json
import os
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from readingroom_hub.adapters import audit_spool
from readingroom_hub.adapters.audit_spool import Parcel, Spool

shares = st.integers(0, 16).map(lambda n: n / 16)


class SpoolMachine(RuleBasedStateMachine):
    """What was confirmed and not handed over is there after any end of the process, in order."""

    def __init__(self):
        super().__init__()
        self.place = tempfile.TemporaryDirectory(prefix="rr-")
        self.folder = Path(self.place.name)
        (self.folder / "keys").mkdir()
        self.number = 0
        self.held: list[Parcel] = []
        """Written and not handed over, as the process has it."""
        self.failed = False
        self.sizes: dict[Path, int] = {}
        """Of each file, how much of it is durable."""
        self.sure = 0
        """So many of `held` are durable."""
        self.rotate, audit_spool._ROTATE = audit_spool._ROTATE, 400
        self.spool = Spool(self.folder / "spool", self.folder / "keys", "node-1")

    def teardown(self):
        self.spool.close()
        audit_spool._ROTATE = self.rotate
        self.place.cleanup()

    def parcels(self, count):
        made = []
        for _ in range(count):
            self.number += 1
            made.append(Parcel([b'{"n":%d}' % self.number, b'{"n":"x"}']))
        return made

    @rule(count=st.integers(0, 4), durable=st.booleans())
    def write(self, count, durable):
        parcels = self.parcels(count)
        self.spool.write(parcels, durable=durable)
        self.held += parcels
        if durable:
            self._is_durable()

    def _is_durable(self):
        self.sure = len(self.held)
        self.sizes = {p: p.stat().st_size for p in self.files()}

    def files(self):
        return sorted(p for p in self.spool.folder.iterdir() if p.name.isdigit())

    @rule(share=shares)
    def hand_over(self, share):
        count = int(share * len(self.held))
        self.spool.forget(self.held[:count])
        self.held, self.sure = self.held[count:], max(0, self.sure - count)

    @rule(count=st.integers(1, 3), call=st.sampled_from(["write", "fdatasync", "open"]))
    def refused_by_the_disk(self, count, call):
        """What was not durable before may be lost, and is written again by who holds it."""
        parcels, real = self.parcels(count), getattr(os, call)

        def full(*_, **__):
            raise OSError(errno.ENOSPC, "No space left on device")

        setattr(os, call, full)
        try:
            self.spool.write(parcels, durable=True)
        except OSError:
            failed = self.failed = True
        else:  # nothing had to be opened
            failed = False
        finally:
            setattr(os, call, real)
        self.held += parcels
        if failed:
            self.spool.write(self.held[self.sure :], durable=True)
        self._is_durable()

    @rule(share=shares, zeros=st.booleans(), planned=st.booleans())
    def power_cut(self, share, zeros, planned):
        """The last file loses some of what was not durable, or has zeros there; the next process finds the rest. After
        a planned end all of it is durable."""
        if planned:
            self._planned_end()
        else:  # as the kernel does for a process that is killed
            for descriptor in (self.spool._fd, self.spool._lock):
                if descriptor >= 0:
                    os.close(descriptor)
        for path in self.files()[-1:]:
            size = path.stat().st_size
            kept = self.sizes.get(path, 0) + int(share * (size - self.sizes.get(path, 0)))
            os.truncate(path, kept)
            if zeros and (size - kept >= 16 or kept == size):  # fewer zeros are told as a change: rather once too often
                os.truncate(path, size)
        self.spool = Spool(self.folder / "spool", self.folder / "keys", "node-1")
        assert self.spool.damage == []
        found = {json.loads(p.leaves[0])["n"]: p for p in self.spool.left}
        wanted = [json.loads(p.leaves[0])["n"] for p in self.held]
        assert [n for n in wanted[: self.sure] if n not in found] == []
        if not self.failed:  # else what was written a second time may come first from there: it is stored once
            assert list(found) == sorted(found)
        self.held = list(self.spool.left)  # what was handed over may come again: the repository stores it once
        self._is_durable()

    def _planned_end(self):
        """What the head then tells of has been made durable before."""
        synced, real = [], os.fdatasync
        written = f"{self.spool._current:08}" if self.spool._fd >= 0 else None

        def watched(descriptor):
            synced.append(os.fstat(descriptor).st_size)
            real(descriptor)

        os.fdatasync = watched
        try:
            self.spool.close()
        finally:
            os.fdatasync = real
        assert all(synced[-1] == p.stat().st_size for p in self.files() if p.name == written)
        self._is_durable()

    @precondition(lambda self: not self.held)
    @rule()
    def nothing_waits(self):
        assert self.spool.size == 0

    @invariant()
    def few_files_stay(self):
        assert len(self.files()) <= len({p.file for p in self.held}) + 1


TestSpool = SpoolMachine.TestCase
TestSpool.settings = settings(max_examples=15, stateful_step_count=25, deadline=None)
