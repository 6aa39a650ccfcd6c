"""From scores to alerts: which rules an unlike day breaks, and why, in words that a steward can check."""

import uuid
from collections.abc import Iterable
from datetime import date, timedelta

from readingroom_hub.model.alert import Alert, Sign
from readingroom_hub.model.ids import PersonId
from readingroom_hub.policy.opinion import Opinion
from readingroom_hub.policy.unusual import LONG, Feature, Judgement, Score

TOGETHER, SECOND_OPINION = "together", "second-opinion"
RULES = (*(f.value for f in Feature), TOGETHER, SECOND_OPINION)
"""Every rule: a feature by itself, several that are each a little unusual, and the isolation forest."""
SILENT_DAYS = 7
"""A rule of fourteen days is not repeated so long: its window is the same one."""
_SIGN_Z = 2.5
_TOGETHER_SIGNS, _TOGETHER_SUM, _TOGETHER_MOST = 3, 12.0, 6.0
_OPINION_Z = 3.0
_SIGNS_SHOWN = 6


def alert_of(judgement: Judgement, opinion: Opinion | None, earlier: Iterable[Alert] = ()) -> Alert | None:
    """The alert of a judged day, None where no rule is broken that an earlier alert of this person does not name."""
    told = {
        rule
        for alert in earlier
        if alert.person == judgement.person
        for rule in alert.rules
        if alert.day == judgement.day or (rule in LONG and abs(alert.day - judgement.day) < timedelta(days=SILENT_DAYS))
    }
    rules = tuple(r for r in _broken(judgement, opinion) if r not in told)
    if not rules or (rules == (SECOND_OPINION,) and told):
        return None
    scores = sorted(judgement.scores, key=lambda s: (s.feature not in rules, -s.z))
    signs = [_sign(s) for s in scores if s.feature in rules or s.z >= _SIGN_Z][:_SIGNS_SHOWN]
    words = opinion.words if opinion else "No second opinion: there are too few days to compare with."
    id = alert_id(judgement.person, judgement.day, rules)
    return Alert(id, judgement.person, judgement.day, rules, tuple(signs), words, judgement.projects)


def alert_id(person: PersonId, day: date, rules: Iterable[str]) -> str:
    """The same for the same finding, so that a monitor that starts again records nothing twice (RFC 9562 version 5)."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"access-alert {person} {day.isoformat()} {' '.join(sorted(rules))}"))


def _broken(judgement: Judgement, opinion: Opinion | None) -> list[str]:
    rules: list[str] = [s.feature.value for s in judgement.scores if s.is_alert]
    many = [
        min(s.z, _TOGETHER_MOST) for s in judgement.scores if s.z >= _SIGN_Z and s.feature not in LONG and not s.habit
    ]
    if len(many) >= _TOGETHER_SIGNS and sum(many) >= _TOGETHER_SUM:
        rules.append(TOGETHER)
    if opinion is not None and opinion.is_rare and any(s.z >= _OPINION_Z for s in judgement.scores):
        rules.append(SECOND_OPINION)
    return rules


def _sign(score: Score) -> Sign:
    return Sign(score.feature.value, round(score.value), round(score.usual), score.z, words(score))


def words(score: Score) -> str:
    """The score as a sentence: what happened, and what is usual."""
    usual = f"their median is {quantity(score.feature, score.usual)} (of {score.days} days)"
    if not score.own:
        usual = f"the median of everybody is {quantity(score.feature, score.usual)}; their own history is too short"
    return f"{_HAPPENED[score.feature].format(quantity(score.feature, score.value))}; {usual}"


_HAPPENED = {
    Feature.VOLUME: "read up to {} on one day",
    Feature.STUDIES: "read {} on one day",
    Feature.BREADTH: "read from {} on one day",
    Feature.FIRST_SEEN: "read {} for the first time",
    Feature.HOURS: "read {} from the hours in which they usually read",
    Feature.DENIALS: "was refused {}",
    Feature.SESSIONS: "read in several servers at once in {}",
    Feature.SIGN_INS: "signed in, or tried to, {}",
    Feature.FORTNIGHT_NEW: "read {} for the first time within fourteen days",
    Feature.FORTNIGHT_VOLUME: "read up to {} within fourteen days",
    Feature.FORTNIGHT_RETURNS: "came back to one study in {} within fourteen days",
}
_UNITS = {
    Feature.STUDIES: ("study", "studies"),
    Feature.BREADTH: ("dataset or project", "datasets and projects"),
    Feature.FIRST_SEEN: ("dataset", "datasets"),
    Feature.HOURS: ("hour away", "hours away"),
    Feature.DENIALS: ("time", "times"),
    Feature.SESSIONS: ("hour", "hours"),
    Feature.SIGN_INS: ("time", "times"),
    Feature.FORTNIGHT_NEW: ("study", "studies"),
    Feature.FORTNIGHT_RETURNS: ("hour", "hours"),
}


def quantity(feature: Feature, value: float) -> str:
    """A value of this feature with its unit."""
    if feature not in _UNITS:
        return _size(value)
    one, many = _UNITS[feature]
    return f"{value:g} {one if value == 1 else many}"


def _size(value: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"
