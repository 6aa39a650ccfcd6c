"""A synthetic year of audit records with labelled misuse in it: seeded, whole days of thirty-six people.

Ordinary life is made to be awkward: deadlines, evenings, a sleepless night, runs over whole datasets, newcomers, people
who change project, datasets that appear, holidays, forgotten grants. Misuse has five shapes. One record of each kind
stands for all instances of one read of one series."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from hashlib import sha256
from typing import Any

from readingroom_hub.model.ids import PersonId

START = date(2027, 1, 4)
DAYS = 364
STUDIES = 400
SHAPES = ("bulk download", "slow scrape", "night access", "borrowed account", "snooping on one patient")


@dataclass(frozen=True)
class Attack:
    shape: str
    person: PersonId
    first: date
    last: date


@dataclass
class Reader:
    """One person: where they read, how much, when."""

    id: PersonId
    projects: list[str]
    per_day: float
    again: float
    """Share of studies that they have read before."""
    begin: int
    hours: int
    owl: float
    """Share of days with an evening."""
    batch: int
    """Every so many days a run over a whole dataset; 0: never."""
    joined: date
    two_servers: float
    read: dict[str, list[int]] = field(default_factory=dict)


class Year:
    """`records()` gives the year in order; `attacks` says what was wrong in it."""

    def __init__(self, seed: int, each: int = 6) -> None:
        self._rng = random.Random(seed)
        self._number = 0
        self.readers = [self._reader(seed, n) for n in range(36)]
        self._projects = {f"project-{n:02d}": [f"data-{n:02d}-0"] for n in range(8)}
        self._attacked: set[tuple[PersonId, date]] = set()
        self.attacks = [self._attack(shape) for _ in range(each) for shape in SHAPES]

    def _reader(self, seed: int, n: int) -> Reader:
        rng = self._rng
        late = n % 6 == 5
        return Reader(
            PersonId("p-" + sha256(f"{seed} {n}".encode()).hexdigest()),
            rng.sample([f"project-{k:02d}" for k in range(8)], 2 if n % 4 == 0 else 1),
            rng.choice([3, 5, 8, 12, 20]), rng.uniform(0.4, 0.85), rng.randint(6, 10), rng.randint(7, 10),
            rng.choice([0.0, 0.02, 0.05, 0.2]), rng.choice([0, 0, 0, 0, 30, 15]),
            START + timedelta(days=rng.randint(60, 250) if late else 0), rng.choice([0.0, 0.1, 0.4]),
        )  # fmt: skip

    def _attack(self, shape: str) -> Attack:
        rng = self._rng
        length = {SHAPES[0]: 1, SHAPES[1]: 21, SHAPES[2]: 3, SHAPES[3]: 2, SHAPES[4]: 8}[shape]
        while True:
            reader = rng.choice(self.readers)
            first = max(START + timedelta(days=70), reader.joined + timedelta(days=45))
            first += timedelta(days=rng.randint(0, max(1, (START + timedelta(days=DAYS - length - 1) - first).days)))
            if shape in SHAPES[:1] + SHAPES[3:4]:
                first -= timedelta(days=max(0, first.weekday() - 3))
            days = [first + timedelta(days=n) for n in range(-20, length + 20)]
            if not any((reader.id, d) in self._attacked for d in days):
                self._attacked |= {(reader.id, d) for d in days}
                return Attack(shape, reader.id, first, first + timedelta(days=length - 1))

    def records(self) -> Iterator[dict[str, Any]]:
        for n in range(DAYS):
            day = START + timedelta(days=n)
            self._grow(n)
            found: list[dict[str, Any]] = []
            for reader in self.readers:
                if day >= reader.joined:
                    found += self._day(reader, day)
            found.sort(key=lambda r: r["time"])
            yield from found

    def _grow(self, n: int) -> None:
        """Sometimes a project gets another dataset, and somebody changes project."""
        if n and n % 45 == 0:
            datasets = self._projects[self._rng.choice(sorted(self._projects))]
            datasets.append(f"{datasets[0][:-1]}{len(datasets)}")
        if n and n % 40 == 0:
            reader = self._rng.choice(self.readers)
            reader.projects = [self._rng.choice(sorted(self._projects))]

    def _day(self, reader: Reader, day: date) -> list[dict[str, Any]]:
        rng = self._rng
        attack = next((a for a in self.attacks if a.person == reader.id and a.first <= day <= a.last), None)
        away = (day - START).days // 7 % 9 == hash_of(reader.id) % 9 or rng.random() < 0.1
        works = (day.weekday() < 5 and not away) or rng.random() < 0.02
        found = self._work(reader, day) if works else []
        if attack is not None:
            found += self._misuse(reader, day, attack)
        return found

    def _work(self, reader: Reader, day: date) -> list[dict[str, Any]]:
        rng = self._rng
        found = [self._record(reader, day, reader.begin + rng.random(), "sign-in")]
        found += [self._record(reader, day, reader.begin + 5, "sign-in")] if rng.random() < 0.2 else []
        many = rng.lognormvariate(0, 0.45) * reader.per_day * (3 if rng.random() < 0.015 else 1)
        project = rng.choice(reader.projects)
        dataset = rng.choice(self._projects[project][-2:])
        if reader.batch and (day - START).days % reader.batch == hash_of(reader.id) % reader.batch:
            session = self._session(reader, day, "batch")
            for study in rng.sample(range(STUDIES), rng.randint(80, 160)):
                found += self._read(reader, day, reader.begin + rng.random() * 3, project, dataset, study, session)
        hours = [reader.begin + rng.random() * reader.hours for _ in range(max(1, round(many)))]
        if rng.random() < reader.owl:
            hours += [18 + rng.random() * 4 for _ in range(3)]
        if rng.random() < 0.0005:
            hours += [2.5, 2.7]
        for hour in hours:
            session = self._session(reader, day, "1")
            if rng.random() < reader.two_servers * 0.3:
                other = rng.choice(reader.projects)
                session = self._session(reader, day, other)
            found += self._read(reader, day, hour, project, dataset, self._study(reader, dataset), session)
        if rng.random() < 0.06:
            count = min(200, int(rng.expovariate(1 / 6)) + 1)
            found.append(self._record(reader, day, reader.begin + 2, "read-denied", outcome="denied"))
            if count > 1:
                subject = {"count": count - 1}
                found.append(
                    self._record(reader, day, reader.begin + 3, "read-denied", outcome="denied", subject=subject)
                )
        return found

    def _study(self, reader: Reader, dataset: str) -> int:
        known = reader.read.setdefault(dataset, [])
        if known and self._rng.random() < reader.again:
            recent = known[-25:]
            return self._rng.choice(recent)
        study = self._rng.randrange(STUDIES)
        known.append(study)
        return study

    def _misuse(self, reader: Reader, day: date, attack: Attack) -> list[dict[str, Any]]:
        rng = self._rng
        project = reader.projects[0]
        dataset = self._projects[project][0]
        n = (day - attack.first).days
        session, found = self._session(reader, day, "x"), []
        match attack.shape:
            case "bulk download":
                for study in rng.sample(range(STUDIES), rng.randint(180, 400)):
                    found += self._read(reader, day, 11 + rng.random() * 4, project, dataset, study, session)
            case "slow scrape":
                many = max(6, round(reader.per_day * rng.uniform(0.8, 1.3)))
                for k in range(many):
                    study = (hash_of(reader.id) + n * many + k) % STUDIES
                    hour = reader.begin + rng.random() * reader.hours
                    found += self._read(reader, day, hour, project, dataset, study, session)
            case "night access":
                for _ in range(max(2, round(reader.per_day * 0.7))):
                    hour = 1 + rng.random() * 3
                    found += self._read(reader, day, hour, project, dataset, self._study(reader, dataset), session)
            case "borrowed account":
                others = [p for p in sorted(self._projects) if p not in reader.projects]
                for _ in range(rng.randint(3, 6)):
                    found.append(self._record(reader, day, 8 + rng.random() * 12, "sign-in"))
                for other in rng.sample(others, 2):
                    for study in rng.sample(range(STUDIES), rng.randint(5, 15)):
                        hour = 8 + rng.random() * 12
                        where = self._projects[other][0]
                        found += self._read(reader, day, hour, other, where, study, session)
                found.append(self._record(reader, day, 15, "read-denied", outcome="denied"))
                subject = {"count": rng.randint(5, 30)}
                found.append(self._record(reader, day, 16, "read-denied", outcome="denied", subject=subject))
            case "snooping on one patient":
                study = hash_of(reader.id + "snoop") % STUDIES
                for _ in range(rng.randint(2, 4)):
                    hour = reader.begin + rng.random() * reader.hours
                    found += self._read(reader, day, hour, project, dataset, study, session)
        return found

    def _read(
        self, reader: Reader, day: date, hour: float, project: str, dataset: str, study: int, session: str
    ) -> list[dict[str, Any]]:
        """One series: its intent, an open, and its end. One in a hundred never ends."""
        where = {"dataset": dataset, "study": f"1.2.{int(dataset[5:7])}{dataset[-1]}.{study}"}
        size = int(self._rng.lognormvariate(0, 0.4) * 60e6)
        more = {"project": project, "session": session}
        intent = self._record(reader, day, hour, "read-intent", subject=where | {"bytes": size}, **more)
        about = where | {"intent": intent["id"]}
        found = [intent, self._record(reader, day, hour, "instance-opened", subject=about, **more)]
        if self._rng.random() < 0.99:
            end = about | {"bytes": size, "closes": [["1.2.3", size, size, False]], "concluded": 1}
            found.append(self._record(reader, day, hour, "read-completed", subject=end, **more))
        return found

    def _session(self, reader: Reader, day: date, which: str) -> str:
        return "s-" + sha256(f"{reader.id} {day} {which}".encode()).hexdigest()[:24]

    def _record(self, reader: Reader, day: date, hour: float, event: str, **more: Any) -> dict[str, Any]:
        self._number += 1
        at = datetime.combine(day, time(), UTC) + timedelta(hours=min(hour, 23.99), microseconds=self._number % 1000)
        return {
            "id": f"r-{self._number}",
            "time": at.isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "event": event,
            "outcome": more.pop("outcome", "success"),
            "person": reader.id,
        } | more


def hash_of(text: str) -> int:
    return int(sha256(text.encode()).hexdigest()[:8], 16)
