"""How unlike themselves somebody's day is: robust z-scores (median, and the median of distances from it) by feature.

A score is no verdict. Who has too short a history of their own is compared with everybody's days, and every view
says so."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from statistics import median

from readingroom_hub.model.ids import PersonId
from readingroom_hub.policy.activity import Person, PersonDay

FORTNIGHT = 14
OWN_DAYS = 60
"""How many of a person's last active days are their usual ones."""
LEAST_DAYS = 10
"""With fewer, everybody's days are."""
PEER_DAYS = 500
_DAYS_OF_HABIT = 5
_CONSISTENT = 1.4826
"""Times this, the median distance is the standard deviation of normal values."""
_Z_MOST = 99.0
_DONE_BEFORE, _NEARLY = 2, 0.8
"""What a person did on so many usual days, or nearly so, is a habit of theirs, however far from the median."""


class Feature(StrEnum):
    """What is counted. Stored in audit records, never renamed."""

    VOLUME = "volume"
    STUDIES = "studies"
    BREADTH = "breadth"
    FIRST_SEEN = "first-seen"
    HOURS = "hours"
    DENIALS = "denials"
    SESSIONS = "sessions"
    SIGN_INS = "sign-ins"
    FORTNIGHT_NEW = "fortnight-new-studies"
    FORTNIGHT_VOLUME = "fortnight-volume"
    FORTNIGHT_RETURNS = "fortnight-returns"


@dataclass(frozen=True, slots=True)
class Measure:
    """How a feature is scored. `spread`: the least scale, in logarithms where `log`; `least`: smaller values are never
    unusual; `limit`: the score that is an alert by itself."""

    log: bool
    spread: float
    least: float
    limit: float


MEASURES = {
    Feature.VOLUME: Measure(True, 0.35, 1e9, 6.0),
    Feature.STUDIES: Measure(True, 0.35, 15, 6.0),
    Feature.BREADTH: Measure(False, 0.7, 4, 6.0),
    Feature.FIRST_SEEN: Measure(False, 0.5, 2, 4.0),
    Feature.HOURS: Measure(False, 1.0, 4, 4.0),
    Feature.DENIALS: Measure(True, 0.6, 20, 6.0),
    Feature.SESSIONS: Measure(False, 0.7, 3, 6.0),
    Feature.SIGN_INS: Measure(False, 0.7, 5, 6.0),
    Feature.FORTNIGHT_NEW: Measure(True, 0.25, 40, 4.0),
    Feature.FORTNIGHT_VOLUME: Measure(True, 0.2, 5e9, 6.0),
    Feature.FORTNIGHT_RETURNS: Measure(False, 1.5, 8, 5.0),
}
"""Set by hand on synthetic years of other seeds than the one that the tests report."""
LONG = frozenset({Feature.FORTNIGHT_NEW, Feature.FORTNIGHT_VOLUME, Feature.FORTNIGHT_RETURNS})
"""Of fourteen days up to the one that is judged: compared with windows that do not overlap it."""

Values = dict[Feature, float]


@dataclass(frozen=True, slots=True)
class Past:
    """A finished day with what was counted."""

    day: date
    hours: int
    values: Values


@dataclass(frozen=True, slots=True)
class Score:
    """One feature of one day: its value, what is usual, and how many robust standard deviations lie between.

    Usual is the median of `days` days: this person's own, or everybody's."""

    feature: Feature
    value: float
    usual: float
    z: float
    days: int
    own: bool
    habit: bool = False
    """Whether this person did nearly as much on two of these days, or on more."""

    @property
    def is_alert(self) -> bool:
        """Whether it is one by itself."""
        measure = MEASURES[self.feature]
        return self.z >= measure.limit and self.value >= measure.least and not self.habit


@dataclass(frozen=True, slots=True)
class Judgement:
    """A person's day beside usual ones."""

    person: PersonId
    day: date
    scores: tuple[Score, ...]
    projects: tuple[str, ...] = ()

    def z(self, feature: Feature) -> float:
        """The score of one feature; 0 where it could not be judged."""
        return next((s.z for s in self.scores if s.feature == feature), 0.0)


def count(person: Person, day: PersonDay, usual_hours: int) -> Values:
    """The features of one day. `usual_hours`: bit mask of the hours of this person's usual reads, 0: not known."""
    window = person.window(day.day, FORTNIGHT)
    begin = window[0].day if window else day.day
    return {
        Feature.VOLUME: float(day.bytes),
        Feature.STUDIES: float(len(day.studies)),
        Feature.BREADTH: float(len(day.datasets) + len(day.projects)),
        Feature.FIRST_SEEN: float(sum(person.first_dataset.get(d) == day.day for d in day.datasets)),
        Feature.HOURS: float(hours_apart(day.hours, usual_hours)),
        Feature.DENIALS: float(day.denials),
        Feature.SESSIONS: float(day.doubled_hours),
        Feature.SIGN_INS: float(day.sign_ins),
        Feature.FORTNIGHT_NEW: float(sum(person.first_study.get(s) == d.day for d in window for s in d.studies)),
        Feature.FORTNIGHT_VOLUME: float(sum(d.bytes for d in window)),
        Feature.FORTNIGHT_RETURNS: float(_returns(person, window, begin)),
    }


def _returns(person: Person, window: Sequence[PersonDay], begin: date) -> int:
    """In how many hours of the window the study that was returned to most was read. Studies that this person
    read on five days before it are their habit, and do not count."""
    hours: dict[str, int] = {}
    for day in window:
        for study, mask in day.studies.items():
            hours[study] = hours.get(study, 0) + mask.bit_count()
    before = [d for d in person.days.values() if d.day < begin]
    for study, found in sorted(hours.items(), key=lambda item: -item[1]):
        if sum(study in d.studies for d in before) < _DAYS_OF_HABIT:
            return found
    return 0


def usual_hours(past: Sequence[Past]) -> int:
    """The hours in which somebody read on at least one day in twenty of `past`, and on two; 0 for a short past."""
    if len(past) < LEAST_DAYS:
        return 0
    need = max(2.0, len(past) / 20)
    return sum(1 << h for h in range(24) if sum(p.hours >> h & 1 for p in past) >= need)


def hours_apart(hours: int, usual: int) -> int:
    """How far the hour furthest from every usual one is from it, around the clock. 0 where none is usual."""
    known = [h for h in range(24) if usual >> h & 1]
    if not known:
        return 0
    return max((min(min((h - u) % 24, (u - h) % 24) for u in known) for h in range(24) if hours >> h & 1), default=0)


def robust_z(value: float, usual: Sequence[float], measure: Measure) -> tuple[float, float]:
    """The median of `usual` (not empty), and how many robust standard deviations `value` lies above it, at least 0."""
    middle = median(usual)
    near, at = _scaled(middle, measure), _scaled(value, measure)
    if at <= near:
        return middle, 0.0  # less than usual is not what is looked for
    spread = _CONSISTENT * median(abs(_scaled(u, measure) - near) for u in usual)
    z = (at - near) / max(spread, measure.spread)
    return middle, min(_Z_MOST, z)


def _scaled(value: float, measure: Measure) -> float:
    return math.log1p(value) if measure.log else value


def judge(who: PersonId, day: PersonDay, values: Values, own: Sequence[Past], peers: Sequence[Past]) -> Judgement:
    """Score a day. `own`: this person's finished days before it; `peers`: everybody's. A feature for which both are too
    few has no score."""
    own, peers = own[-OWN_DAYS:], peers[-PEER_DAYS:]
    scores = (_score(f, day.day, values[f], own, peers) for f in Feature)
    return Judgement(who, day.day, tuple(s for s in scores if s is not None), tuple(sorted(day.projects)))


def _score(feature: Feature, day: date, value: float, own: Sequence[Past], peers: Sequence[Past]) -> Score | None:
    apart = FORTNIGHT if feature in LONG else 1
    for days, is_own in ((own, True), (peers, False)):
        known = [p.values[feature] for p in days if (day - p.day).days >= apart]
        if len(known) >= LEAST_DAYS:
            middle, z = robust_z(value, known, MEASURES[feature])
            habit = is_own and sum(k >= _NEARLY * value for k in known) >= _DONE_BEFORE
            return Score(feature, value, middle, z, len(known), is_own, habit)
    return None
