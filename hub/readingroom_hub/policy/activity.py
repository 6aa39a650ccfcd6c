"""What people did, a day at a time, counted from audit records: a pure fold over the log.

Honest where the record is: bytes are summed over the ends of opens by intent, and an intent that is not concluded
counts as all that it covers, as soon as it should have been concluded: else whoever looks into many series would seem
to read them. Records name studies, not patients, so studies are counted. Days and hours are UTC."""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from readingroom_hub.model.audit import AuditEvent, Outcome
from readingroom_hub.model.ids import PersonId
from readingroom_hub.policy.tally import PARTS, Tally

REFUSALS = frozenset({AuditEvent.READ_DENIED, AuditEvent.REQUEST_REFUSED, AuditEvent.SESSION_OPENED})
"""Of these, only the ones that were denied."""
UNDER_WAY = timedelta(minutes=2)
"""So long after it began, an intent may not be concluded yet because its reader goes on."""


@dataclass(slots=True)
class _Intent(Tally):
    began: datetime = field(kw_only=True)
    is_under_way: bool = True

    @property
    def bytes(self) -> int:
        """Read at most, but for what the kernel may have served again; so far, where it is under way."""
        return self.least if self.is_exact or self.is_under_way else max(self.least, self.covered)


@dataclass(slots=True)
class PersonDay:
    """One person's day. Sets of hours are bit masks: bit 13 is 13:00 to 13:59 UTC."""

    day: date
    hours: int = 0
    """In which something was read."""
    studies: dict[str, int] = field(default_factory=dict)
    """Hours, by study."""
    sessions: dict[str, int] = field(default_factory=dict)
    """Hours, by session."""
    datasets: set[str] = field(default_factory=set)
    projects: set[str] = field(default_factory=set)
    denials: int = 0
    sign_ins: int = 0
    intents: dict[str, _Intent] = field(default_factory=dict)
    settled: int = 0
    """Bytes of intents that were summed up and forgotten."""

    @property
    def bytes(self) -> int:
        """Read at most."""
        return self.settled + sum(i.bytes for i in self.intents.values())

    @property
    def doubled_hours(self) -> int:
        """Hours in which more than one session read."""
        once = twice = 0
        for hours in self.sessions.values():
            twice |= once & hours
            once |= hours
        return twice.bit_count()

    @property
    def is_active(self) -> bool:
        """Whether anything was read or refused."""
        return bool(self.hours or self.denials)


@dataclass(slots=True)
class Person:
    """One person's days, and when each study and dataset was first read."""

    days: dict[date, PersonDay] = field(default_factory=dict)
    first_study: dict[str, date] = field(default_factory=dict)
    first_dataset: dict[str, date] = field(default_factory=dict)

    def window(self, last: date, days: int) -> list[PersonDay]:
        """The days with anything on them, of `days` days up to and including `last`, oldest first."""
        wanted = (last - timedelta(days=n) for n in range(days - 1, -1, -1))
        return [found for d in wanted if (found := self.days.get(d)) is not None]


class Activity:
    """Everybody's days. Feed it records in any order; a record is counted as often as it is fed."""

    def __init__(self) -> None:
        self.people: dict[PersonId, Person] = {}
        self._places: dict[str, PersonDay] = {}
        """The day that an intent belongs to: its ends may come after midnight."""
        self._under_way: deque[_Intent] = deque()

    def add(self, record: Mapping[str, Any]) -> tuple[PersonId, date] | None:
        """Count one record; says whose day changed, None where nobody's did."""
        event, who = record["event"], record.get("person")
        self.advance(_moment(record))
        if who is None:
            return None
        subject = record.get("subject", {})
        denied = record["outcome"] == Outcome.DENIED
        if event in PARTS:
            return self._end(who, event, subject)
        if event == AuditEvent.READ_INTENT:
            self._begin(self._day(who, record), record, subject)
        elif event == AuditEvent.SIGN_IN:
            self._day(who, record).sign_ins += 1
        elif event in REFUSALS and denied:
            self._day(who, record).denials += int(subject.get("count", 1))
        else:
            return None
        return who, _moment(record).date()

    def advance(self, now: datetime) -> None:
        """It is later than that: what began long enough before should be concluded."""
        while self._under_way and self._under_way[0].began < now - UNDER_WAY:
            self._under_way.popleft().is_under_way = False

    def _day(self, who: PersonId, record: Mapping[str, Any]) -> PersonDay:
        day = _moment(record).date()
        days = self.people.setdefault(who, Person()).days
        found = days.get(day)
        if found is None:
            found = days[day] = PersonDay(day)
        return found

    def _begin(self, day: PersonDay, record: Mapping[str, Any], subject: Mapping[str, Any]) -> None:
        hour = 1 << _moment(record).hour
        person, dataset = self.people[record["person"]], subject["dataset"]
        intent = day.intents[record["id"]] = _Intent(began=_moment(record))
        intent.add(record["event"], subject)
        self._under_way.append(intent)
        self._places[record["id"]] = day
        day.hours |= hour
        day.datasets.add(dataset)
        _earliest(person.first_dataset, dataset, day.day)
        if project := record.get("project"):
            day.projects.add(project)
        if session := record.get("session"):
            day.sessions[session] = day.sessions.get(session, 0) | hour
        if study := subject.get("study"):
            day.studies[study] = day.studies.get(study, 0) | hour
            _earliest(person.first_study, study, day.day)

    def _end(self, who: PersonId, event: str, subject: Mapping[str, Any]) -> tuple[PersonId, date] | None:
        day = self._places.get(subject.get("intent", ""))
        if day is None:  # its intent is older than what was fed
            return None
        day.intents[subject["intent"]].add(event, subject)
        return who, day.day

    def settle(self, before: date) -> None:
        """Sum up the intents of days before this one; ends of theirs that come later change nothing."""
        for day in (d for p in self.people.values() for d in p.days.values() if d.day < before and d.intents):
            day.settled = day.bytes
            for id in day.intents:
                self._places.pop(id, None)
            day.intents = {}

    def forget(self, before: date) -> None:
        """Drop days from before this one; what was read only then counts as never read."""
        for who in list(self.people):
            person = self.people[who]
            person.days = {d: day for d, day in person.days.items() if d >= before}
            for firsts in (person.first_study, person.first_dataset):
                for key in [k for k, first in firsts.items() if first < before]:
                    del firsts[key]
            _refill(person)
            if not person.days:
                del self.people[who]
        self._places = {id: day for id, day in self._places.items() if day.day >= before}


def _refill(person: Person) -> None:
    """What was first read on a dropped day and again later is first read then."""
    for d in sorted(person.days):
        _note_firsts(person.first_study, person.days[d].studies, d)
        _note_firsts(person.first_dataset, person.days[d].datasets, d)


def _note_firsts(firsts: dict[str, date], keys: Iterable[str], day: date) -> None:
    for key in keys:
        firsts.setdefault(key, day)


def _earliest(firsts: dict[str, date], key: str, day: date) -> None:
    known = firsts.get(key)
    if known is None or day < known:
        firsts[key] = day


def _moment(record: Mapping[str, Any]) -> datetime:
    return datetime.fromisoformat(record["time"]).astimezone(UTC)
