"""Everybody's activity, usual days and judgements in one place: records in, judged days out. Pure; in memory."""

from collections import deque
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from readingroom_hub.model.ids import PersonId
from readingroom_hub.policy.activity import UNDER_WAY, Activity, PersonDay
from readingroom_hub.policy.opinion import MOST, Forest, Opinion
from readingroom_hub.policy.unusual import OWN_DAYS, PEER_DAYS, Judgement, Past, count, judge, usual_hours

HISTORY = timedelta(days=120)
"""What is older is not read: a study counts as new where it was not read for so long."""
_FOREST_EVERY = timedelta(days=14)
_KEPT = OWN_DAYS * 2


class Watch:
    """Feed it records in the order of the log, and tell it which days are over."""

    def __init__(self) -> None:
        self.activity = Activity()
        self.judged: deque[Judgement] = deque(maxlen=MOST)
        """Finished days, the oldest first: what the forest grows from."""
        self._past: dict[PersonId, deque[Past]] = {}
        self._peers: list[Past] = []
        self._finished: date | None = None
        self._forest: Forest | None = None
        self._grown: date | None = None

    def add(self, record: Mapping[str, Any]) -> tuple[PersonId, date] | None:
        """Count one record; says whose day changed."""
        return self.activity.add(record)

    def finish(self, before: date) -> list[tuple[Judgement, Opinion | None]]:
        """Judge every day before this one that is not finished, then let it be usual for later ones. Oldest first."""
        self.activity.advance(datetime.combine(before, time(), UTC) + UNDER_WAY)
        found: dict[date, list[PersonId]] = {}
        for who, person in self.activity.people.items():
            for day in person.days.values():
                is_open = self._finished is None or day.day >= self._finished
                if is_open and day.day < before and day.is_active:
                    found.setdefault(day.day, []).append(who)
        done = []
        for d in sorted(found):
            done += self._finish_day(d, sorted(found[d]))
        self._finished = max(before, self._finished or before)
        self.activity.settle(before - timedelta(days=1))
        return done

    def _finish_day(self, d: date, people: list[PersonId]) -> list[tuple[Judgement, Opinion | None]]:
        both = [self._judge(who, self.activity.people[who].days[d]) for who in people]
        judgements = [j for _, j in both]
        opinions = self._opinions(d, judgements)
        for who, (past, _) in zip(people, both, strict=True):
            self._past.setdefault(who, deque(maxlen=_KEPT)).append(past)
            self._peers.append(past)
        del self._peers[:-PEER_DAYS]
        self.judged.extend(judgements)
        return list(zip(judgements, opinions, strict=True))

    def look(self, who: PersonId, d: date) -> tuple[Judgement, Opinion | None] | None:
        """Judge a day as it stands, None where nothing happened on it."""
        person = self.activity.people.get(who)
        day = person.days.get(d) if person else None
        if day is None or not day.is_active:
            return None
        _, judgement = self._judge(who, day)
        return judgement, self._opinions(d, [judgement])[0]

    def past(self, who: PersonId) -> list[Past]:
        """A person's finished days."""
        return list(self._past.get(who, ()))

    def _judge(self, who: PersonId, day: PersonDay) -> tuple[Past, Judgement]:
        own = [p for p in self._past.get(who, ()) if p.day < day.day]
        values = count(self.activity.people[who], day, usual_hours(own[-OWN_DAYS:]))
        return Past(day.day, day.hours, values), judge(who, day, values, own, self._peers)

    def _opinions(self, d: date, judgements: list[Judgement]) -> list[Opinion | None]:
        if self._grown is None or d - self._grown >= _FOREST_EVERY:
            self._forest, self._grown = Forest.grow(list(self.judged)), d
        return [*self._forest.opinions(judgements)] if self._forest else [None] * len(judgements)
