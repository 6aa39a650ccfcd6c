"""The rules and the second opinion on a synthetic year: what they find of each shape, and how often they cry wolf."""

from collections import Counter
from datetime import date, timedelta

import pytest
from tests.support.synthetic_year import DAYS, SHAPES, START, Year

from readingroom_hub.policy.alerts import SECOND_OPINION, alert_of
from readingroom_hub.policy.watch import Watch

LEARNING = timedelta(days=60)
LEAST = {SHAPES[0]: 6, SHAPES[1]: 3, SHAPES[2]: 3, SHAPES[3]: 6, SHAPES[4]: 5}
"""Of six each, as measured."""


class Watched:
    """A year as the monitor sees it, day by day, each judged when it is over."""

    def __init__(self, seed):
        self.year, self.alerts = Year(seed), []
        watch, today = Watch(), ""
        for record in self.year.records():
            if record["time"][:10] != today:
                today = record["time"][:10]
                self._judge(watch.finish(date.fromisoformat(today)))
            watch.add(record)
        self.alerts = [a for a in self.alerts if a.day >= START + LEARNING]

    def _judge(self, days):
        for judgement, opinion in days:
            alert = alert_of(judgement, opinion, [a for a in self.alerts[-100:] if a.person == judgement.person])
            if alert:
                self.alerts.append(alert)

    def found(self):
        return Counter(
            attack.shape
            for attack in self.year.attacks
            if any(a.person == attack.person and attack.first <= a.day <= attack.last for a in self.alerts)
        )

    def false_per_week(self):
        """Not counted as false: the fortnight after an attack, in which its days are still in the window."""
        false = [a for a in self.alerts if not any(self._is_of(a, attack) for attack in self.year.attacks)]
        return len(false) / ((DAYS - LEARNING.days) / 7)

    @staticmethod
    def _is_of(alert, attack):
        return alert.person == attack.person and attack.first <= alert.day <= attack.last + timedelta(days=14)


@pytest.fixture(scope="module")
def watched():
    return Watched(2027)


def test_each_shape_is_found_often_enough(watched):
    found = watched.found()
    total = Counter(a.shape for a in watched.year.attacks)
    assert total == dict.fromkeys(SHAPES, 6)
    assert {shape for shape in SHAPES if found[shape] < LEAST[shape]} == set()


def test_false_alarms_stay_few(watched):
    assert watched.false_per_week() < 2.5


def test_the_forest_has_its_say(watched):
    assert any(SECOND_OPINION in a.rules for a in watched.alerts)
    assert all(a.opinion for a in watched.alerts)


def test_every_alert_says_why_in_words(watched):
    assert all(a.signs and all("median" in s.words for s in a.signs) for a in watched.alerts)
