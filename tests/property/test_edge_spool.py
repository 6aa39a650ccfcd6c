"""The edge's spool and its studies against a model, and with the power failing at every single step."""

import os
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.support.dicom_objects import as_file, ct_image

from readingroom_hub.deid import policy_file
from readingroom_hub.deid.faces.geometry import Plane
from readingroom_hub.deid.faces.plan import NO_FACES, Faces, Series
from readingroom_hub.deid.identifiers import Identifiers
from readingroom_hub.deid.received import Arrived, from_file
from readingroom_hub.services import intake_pool
from readingroom_hub.services.edge_people import People
from readingroom_hub.services.edge_spool import Spool
from readingroom_hub.services.edge_studies import StudyService

SECRET = b"s" * 32
KEPT = settings(max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck))


class SpoolMachine(RuleBasedStateMachine):
    """Receive, finish, quarantine, release, restart, in any order."""

    @initialize()
    def begin(self):
        self.folder = TemporaryDirectory()
        self.waiting: dict[tuple[str, str, bytes], None] = {}
        self.done: dict[tuple[str, str], bytes] = {}
        self.left: set[tuple[str, str, bytes]] = set()
        self.known: dict[tuple[str, str], tuple[str, str, bytes]] = {}
        self.open()

    def open(self):
        self.spool = Spool(Path(self.folder.name), SECRET)

    def teardown(self):
        self.spool.close()
        self.folder.cleanup()

    @rule(study=st.sampled_from("12"), instance=st.sampled_from("123"), content=st.sampled_from([b"Zwiebel", b"turm"]))
    def receive(self, study, instance, content):
        one = study, instance, content
        new = self.spool.receive(Arrived("1.2", f"{study}.{instance}", study, content))
        assert new == (one not in self.waiting)
        self.waiting[one] = None
        if new:
            spooled = max(self.spool.objects(), key=lambda o: o.arrival)
            self.known[spooled.study, spooled.instance + spooled.content] = one

    def pick(self, data):
        return data.draw(st.sampled_from(self.spool.objects()))

    @precondition(lambda self: self.waiting)
    @rule(data=st.data(), drop=st.booleans())
    def finish(self, data, drop):
        one = self.pick(data)
        model = self.known[one.study, one.instance + one.content]
        before = self.spool.done(one.study)
        if drop and before.get(one.instance) == one.content:
            self.spool.finish(one.study, [], [one])
        elif one.instance not in before:
            self.spool.finish(one.study, [one], [])
            self.done[model[:2]] = model[2]
        else:
            return
        del self.waiting[model]
        self.left.discard(model)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def quarantine(self, data):
        one = self.pick(data)
        model = self.known[one.study, one.instance + one.content]
        self.spool.quarantine(one, "a reason")
        del self.waiting[model]
        self.left.add(model)

    @rule()
    def release(self):
        assert self.spool.release() == len(self.left)
        # What had been sent again meanwhile waits once.
        self.waiting |= dict.fromkeys(self.left)
        self.left = set()

    @rule()
    def restart(self):
        self.spool.close()
        self.open()

    @invariant()
    def model_and_disk_agree(self):
        objects = self.spool.objects()
        assert {self.known[o.study, o.instance + o.content] for o in objects} == set(self.waiting)
        assert len(objects) == len(self.waiting) == len(list((self.spool.folder / "incoming").iterdir()))
        for one in objects:
            with self.spool.vault.opened(one.name) as file:
                assert file.read() == self.known[one.study, one.instance + one.content][2]
        assert len(self.spool.quarantined()) == len(self.left)
        done = {(o[0], o[1]) for o in self.done}
        assert sum(len(self.spool.done(p.name)) for p in (self.spool.folder / "done").iterdir()) == len(done)

    @invariant()
    def nothing_is_in_the_clear(self):
        for path in Path(self.folder.name).rglob("*"):
            assert path.is_dir() or not any(w in path.read_bytes() for w in (b"Zwiebel", b"turm"))


TestSpool = SpoolMachine.TestCase
TestSpool.settings = KEPT


class PowerFails(BaseException):
    """Nothing runs after this: no clean-up either."""


@contextmanager
def power_for(monkeypatch, steps):
    """Every change of names, and every fsync, is a step; after so many, each further one fails."""
    left = [steps]

    def metered(real):
        def step(*args, **kwargs):
            if left[0] <= 0:
                raise PowerFails
            left[0] -= 1
            return real(*args, **kwargs)

        return step

    with monkeypatch.context() as patched:
        for name in ("fsync", "rename", "unlink", "rmdir", "mkdir"):
            # Nobody pulls the plug: what was written is there, and no fsync has to wait for a disk.
            patched.setattr(os, name, metered(getattr(os, name) if name != "fsync" else lambda _: None))
        with suppress(PowerFails):
            yield
        left_over = left[0]
    left[:] = [left_over]
    power_for.ran_out = left_over <= 0


@pytest.fixture
def in_this_process(monkeypatch):
    """The pool's own work, without its processes: thousands of runs would take too long with them."""

    def each(job, work, items, size, workers):
        intake_pool._start(job)
        for item in items:
            yield (item,), work((item,))

    monkeypatch.setattr(intake_pool, "_worker", None)  # and is set back at the end
    monkeypatch.setattr(intake_pool, "_each", each)


@cache
def arrivals():
    other = {"StudyInstanceUID": "1.2.276.99.7", "PatientName": "Okonjoreyes^Cornelius"}
    one, same = ct_image(), ct_image(PatientComments="another object")
    files = [one, same, ct_image(SOPInstanceUID="1.2.276.99.8"), ct_image(SOPInstanceUID="1.2.276.99.9", **other)]
    files.append(ct_image(SOPInstanceUID="1.2.276.99.10", SOPClassUID="1.2.840.10008.5.1.4.1.1.66", **other))
    return [from_file(as_file(f)) for f in files]


@contextmanager
def opened(folder):
    spool = Spool(folder / "spool", SECRET)
    try:
        yield spool
    finally:
        os.close(spool._held)


def work_off(spool, folder):
    studies = StudyService(spool, folder / "out", policy_file.load("research"), SECRET, workers=1)
    return list(studies.work_off(spool.settled(0), lambda *_: None))


def outcome(folder, spool):
    out = folder / "out"
    results = {str(p.relative_to(out)): p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()}
    return results, spool.quarantined(), [p.name for p in (folder / "spool" / "incoming").iterdir()]


def test_wherever_the_power_fails_the_next_start_ends_the_same(tmp_path, monkeypatch, in_this_process):
    with opened(tmp_path / "whole") as spool:
        for one in arrivals():
            spool.receive(one)
        work_off(spool, tmp_path / "whole")
        wanted = outcome(tmp_path / "whole", spool)
    assert [len(w) for w in wanted] == [3, 2, 0]
    steps = 0
    while True:
        folder = tmp_path / str(steps)
        with opened(folder) as spool:
            with power_for(monkeypatch, 1000):
                for one in arrivals():
                    spool.receive(one)
            with power_for(monkeypatch, steps):
                work_off(spool, folder)
            failed = power_for.ran_out
        with opened(folder) as spool, power_for(monkeypatch, 1000):
            work_off(spool, folder)
            assert outcome(folder, spool) == wanted, f"after {steps} steps"
        if not failed:
            break
        steps += 1
    assert steps > 30


def test_what_was_confirmed_is_there_after_the_power_failed(tmp_path, monkeypatch):
    steps = 0
    while True:
        folder, confirmed = tmp_path / str(steps), []
        with power_for(monkeypatch, steps), opened(folder) as spool:
            for one in arrivals():
                spool.receive(one)
                confirmed.append(one.data)
        with opened(folder) as spool:
            found = []
            for one in sorted(spool.objects(), key=lambda o: o.arrival):
                with spool.vault.opened(one.name) as file:
                    found.append(file.read())
            assert found[: len(confirmed)] == confirmed
            assert len(found) <= len(confirmed) + 1
            assert len(list((folder / "spool" / "incoming").iterdir())) == len(found)
        if not power_for.ran_out:
            break
        steps += 1
    assert len(confirmed) == 5


def test_people_are_kept_whatever_happens(tmp_path, monkeypatch):
    everybody = [Identifiers(frozenset({f"name{n}"}), frozenset({f"{n}000000"}), frozenset()) for n in range(3)]
    for steps in range(12):
        folder, kept = tmp_path / str(steps), []
        with opened(folder) as spool, power_for(monkeypatch, steps):
            people = People(spool.vault)
            for one in everybody:
                people.add(one)
                kept.append(one)
            People(spool.vault)
        with opened(folder) as spool:
            found = People(spool.vault).all
            assert all(one.names <= found.names and one.ids <= found.ids for one in kept)
    assert kept


def test_late_slices_are_cut_by_the_plane_of_those_before_them(tmp_path, monkeypatch, in_this_process):
    head, other = Series("ZT", "1.2.276.99.20200101.1", "1.2", "1.3"), Series("ZT", "1.2.276.99.7", "1.5", "")
    planes = iter([Faces({head: Plane((0.6, -0.8, 0.1), 1 / 3)}), Faces({head: Plane((1, 0, 0), 9.0)}), NO_FACES])
    doubts = Faces({}, {head: "the brain cannot be found", other: "nor here"})
    used = []
    run = intake_pool.run
    monkeypatch.setattr(intake_pool, "faces", lambda *_: next(planes, doubts))
    monkeypatch.setattr(intake_pool, "run", lambda job, *rest: (used.append(job.faces), run(job, *rest))[1])
    for number in range(4):
        with opened(tmp_path) as spool:
            spool.receive(from_file(as_file(ct_image(SOPInstanceUID=f"1.2.276.99.5.{number}"))))
            work_off(spool, tmp_path)
    first = Plane((0.6, -0.8, 0.1), 1 / 3)
    assert used == [Faces({head: first}), Faces({head: first}), NO_FACES, Faces({head: first}, {other: "nor here"})]
    kept = list((tmp_path / "spool" / "faces").iterdir())
    assert len(kept) == 1
    assert b"normal" not in kept[0].read_bytes()


def test_a_record_cut_short_by_a_crash_is_written_again(tmp_path):
    with opened(tmp_path) as spool:
        for one in arrivals()[:3]:
            spool.receive(one)
        first, _, third = spool.objects()
        spool.finish(first.study, [first], [])
        path = tmp_path / "spool" / "done" / first.study
        path.write_bytes(path.read_bytes() + b"torn")
        assert spool.done(first.study) == {first.instance: first.content}
        spool.finish(first.study, [third], [])
        assert spool.done(first.study) == {first.instance: first.content, third.instance: third.content}
