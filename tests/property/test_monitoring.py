"""Counting, scoring and explaining: rules without a clock or a store."""

import math
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from readingroom_hub.ledger.seal import to_leaf
from readingroom_hub.model.alert import Alert
from readingroom_hub.model.audit import AuditEvent, AuditRecord, Outcome
from readingroom_hub.model.ids import PersonId
from readingroom_hub.policy.activity import UNDER_WAY, Activity
from readingroom_hub.policy.alerts import alert_of, words
from readingroom_hub.policy.opinion import Opinion
from readingroom_hub.policy.trend import forecasts, kendall
from readingroom_hub.policy.unusual import (
    MEASURES,
    Feature,
    Judgement,
    Measure,
    Past,
    Score,
    hours_apart,
    robust_z,
    usual_hours,
)

ROSA = PersonId("p-" + "a" * 64)
DAY = datetime(2027, 3, 31, 12, tzinfo=UTC)
TODAY = DAY.date()


def a_read(study, size=100, at=DAY, opened=1, closed=1, dataset="lung", session="s-1", earlier=False):
    """The records of one read of one series; `earlier`: as releases before `read-completed` left them."""
    intent = AuditRecord(
        AuditEvent.READ_INTENT, person=ROSA, time=at, subject={"dataset": dataset, "study": study, "bytes": size}
    )
    more = {"dataset": dataset, "study": study, "intent": intent.id}
    opens = [AuditRecord(AuditEvent.INSTANCE_OPENED, person=ROSA, time=at, subject=more) for _ in range(opened)]
    end = AuditEvent.INSTANCE_CLOSED if earlier else AuditEvent.READ_COMPLETED
    each = size // opened
    found = [more | {"bytes": each}] * closed
    if not earlier and closed:
        closes = [[f"1.2.{n}", each, size, False] for n in range(closed)]
        found = [more | {"instances": closed, "bytes": each * closed, "closes": closes}]
        found[0] |= {"concluded": closed} if closed >= opened else {}
    ends = [AuditRecord(end, person=ROSA, time=at, subject=s) for s in found]
    return [r.to_wire() | {"session": session} for r in (intent, *opens, *ends)]


def counted(records):
    activity = Activity()
    for record in records:
        activity.add(record)
    activity.advance(DAY + timedelta(days=2))
    return activity.people[ROSA]


@given(
    st.lists(
        st.tuples(st.sampled_from("123456"), st.integers(1, 10**9), st.integers(0, 3), st.integers(0, 3)), min_size=1
    ),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_bytes_are_an_upper_bound_and_studies_are_counted_once(reads, earlier):
    records = [
        r
        for study, size, opened, closed in reads
        for r in a_read(study, size, opened=opened or 1, closed=closed, earlier=earlier)
    ]
    day = counted(records).days[DAY.date()]
    least = sum(size // (opened or 1) * closed for _, size, opened, closed in reads)
    assert day.bytes >= least
    if all(closed >= (opened or 1) for *_, opened, closed in reads):
        assert day.bytes == least
    open_ended = sum(size for _, size, opened, closed in reads if closed < (opened or 1))
    assert day.bytes >= open_ended
    assert set(day.studies) == {study for study, *_ in reads}


def test_an_end_after_midnight_belongs_to_the_day_of_its_intent():
    late = DAY.replace(hour=23, minute=59)
    intent, opened, closed = a_read("1", 1000, at=late)
    person = counted([intent, opened, closed | {"time": "2027-04-01T00:10:00.000000Z"}])
    assert list(person.days) == [DAY.date()]
    assert person.days[DAY.date()].bytes == 1000


def test_a_read_that_goes_on_counts_so_far_and_one_that_should_be_over_as_all_of_it():
    activity = Activity()
    intent, opened, closed = a_read("1", 1000)
    closed["subject"] |= {"bytes": 30, "closes": [["1.2.0", 30, 1000, False]]}
    del closed["subject"]["concluded"]
    for record in (intent, opened, closed):
        activity.add(record)
    day = activity.people[ROSA].days[DAY.date()]
    assert day.bytes == 30
    later = AuditRecord(AuditEvent.SERVICE_STARTED, time=DAY + UNDER_WAY + timedelta(seconds=1))
    activity.add(later.to_wire())
    assert day.bytes == 1000
    activity.add(closed | {"subject": closed["subject"] | {"bytes": 0, "closes": [], "concluded": 1}})
    assert day.bytes == 30


def test_settling_keeps_the_sum_and_repeated_denials_are_added_up():
    activity = Activity()
    refusal = AuditRecord(AuditEvent.READ_DENIED, Outcome.DENIED, ROSA, time=DAY, reason="not-granted: no")
    repeats = AuditRecord(AuditEvent.READ_DENIED, Outcome.DENIED, ROSA, time=DAY, subject={"count": 41})
    for record in [*a_read("1", 700), refusal.to_wire(), repeats.to_wire()]:
        activity.add(record)
    day = activity.people[ROSA].days[DAY.date()]
    activity.settle(DAY.date() + timedelta(days=1))
    assert (day.bytes, day.denials, day.intents) == (700, 42, {})


def test_two_servers_in_one_hour_are_seen():
    records = a_read("1") + a_read("2", session="s-2") + a_read("3", at=DAY.replace(hour=15))
    assert counted(records).days[DAY.date()].doubled_hours == 1


def test_what_is_forgotten_counts_as_new_again():
    activity = Activity()
    for days_ago in (100, 50, 0):
        for record in a_read("1", at=DAY - timedelta(days=days_ago)):
            activity.add(record)
    person = activity.people[ROSA]
    assert person.first_study["1"] == (DAY - timedelta(days=100)).date()
    activity.forget((DAY - timedelta(days=60)).date())
    assert person.first_study["1"] == (DAY - timedelta(days=50)).date()
    activity.forget((DAY + timedelta(days=1)).date())
    assert activity.people == {}


@given(st.lists(st.floats(0, 1e12), min_size=1, max_size=60), st.floats(0, 1e12), st.sampled_from(Feature))
def test_a_score_is_finite_grows_with_the_value_and_is_nothing_up_to_the_median(usual, value, feature):
    measure = MEASURES[feature]
    middle, z = robust_z(value, usual, measure)
    assert 0 <= z <= 99
    assert min(usual) <= middle <= max(usual)
    assert robust_z(value * 2 + 1, usual, measure)[1] >= z
    if value <= middle:
        assert z == 0


@given(st.lists(st.integers(1, 20), min_size=21, max_size=60), st.integers(0, 10))
def test_a_few_wild_days_do_not_hide_the_next_one(usual, wild):
    measure = Measure(True, 0.35, 0, 6)
    _, calm = robust_z(1e6, usual, measure)
    _, among = robust_z(1e6, [*usual, *[1e6] * min(wild, len(usual) // 10)], measure)
    assert calm > 3
    assert among > 0.4 * calm


@given(st.integers(1, 2**24 - 1), st.integers(1, 2**24 - 1))
def test_hours_apart_go_around_the_clock(hours, usual):
    turn = lambda mask: (mask << 5 | mask >> 19) & (2**24 - 1)  # noqa: E731
    assert 0 <= hours_apart(hours, usual) <= 12
    assert hours_apart(turn(hours), turn(usual)) == hours_apart(hours, usual)
    assert hours_apart(hours & usual or usual, usual) == 0


def test_two_in_the_morning_is_six_hours_from_a_day_at_the_office():
    office = sum(1 << h for h in range(8, 18))
    past = [Past(date(2027, 1, n + 1), office, {}) for n in range(20)]
    assert hours_apart(1 << 2, usual_hours(past)) == 6
    assert hours_apart(1 << 2, usual_hours(past[:5])) == 0


def a_judgement(*scores, day=TODAY):
    return Judgement(ROSA, day, scores, ("chest-ct",))


MANY = Score(Feature.STUDIES, 41, 3, 8.2, 58, True)


def test_an_alert_is_explained_in_words():
    assert words(MANY) == "read 41 studies on one day; their median is 3 studies (of 58 days)"
    assert words(Score(Feature.VOLUME, 41.2e9, 1.3e9, 9, 12, False)) == (
        "read up to 41.2 GB on one day; the median of everybody is 1.3 GB; their own history is too short"
    )
    alert = alert_of(a_judgement(MANY), Opinion(0.0, 500))
    assert (alert.rules, alert.signs[0].words) == (("studies", "second-opinion"), words(MANY))
    assert alert.opinion == "The isolation forest agrees: of 500 days of everybody, 0 are at least as unusual."


@pytest.mark.parametrize("feature", Feature)
def test_every_feature_has_a_measure_and_words(feature):
    assert MEASURES[feature].limit > 0
    text = words(Score(feature, 2, 1, 9, 58, True))
    assert "their median is" in text
    assert "{}" not in text


def test_a_habit_is_no_alert():
    habit = Score(Feature.STUDIES, 41, 3, 8.2, 58, True, habit=True)
    assert alert_of(a_judgement(habit), None) is None


def test_several_small_signs_are_one_alert_and_the_forest_alone_must_show_a_sign():
    small = [Score(f, 3, 0, 4.5, 58, True) for f in (Feature.SESSIONS, Feature.DENIALS, Feature.BREADTH)]
    assert alert_of(a_judgement(*small), None).rules == ("together",)
    assert alert_of(a_judgement(*small[:2]), None) is None
    assert alert_of(a_judgement(Score(Feature.DENIALS, 1, 0, 1.0, 58, True)), Opinion(0.0, 500)) is None


def test_the_same_finding_is_told_once_and_has_the_same_id():
    first = alert_of(a_judgement(MANY), None)
    assert alert_of(a_judgement(MANY), None).id == first.id
    assert alert_of(a_judgement(MANY), None, [first]) is None
    more = Score(Feature.DENIALS, 500, 0, 9, 58, True)
    assert alert_of(a_judgement(MANY, more), None, [first]).rules == ("denials",)
    tomorrow = DAY.date() + timedelta(days=1)
    assert alert_of(a_judgement(MANY, day=tomorrow), None, [first]).rules == ("studies",)


def test_a_rule_of_fourteen_days_is_silent_for_seven():
    slow = Score(Feature.FORTNIGHT_NEW, 200, 20, 8, 40, True)
    first = alert_of(a_judgement(slow), None)
    later = [alert_of(a_judgement(slow, day=DAY.date() + timedelta(days=n)), None, [first]) for n in range(9)]
    assert [n for n, alert in enumerate(later) if alert] == [7, 8]


@given(st.lists(st.sampled_from(Feature), min_size=1, max_size=6, unique=True), st.floats(1e10, 1e13), st.floats(9, 99))
def test_an_alert_comes_back_from_its_record(features, value, z):
    alert = alert_of(a_judgement(*(Score(f, value, 1, round(z, 1), 58, True) for f in features)), None)
    record = AuditRecord(AuditEvent.SIGN_IN, person=ROSA, subject=alert.to_subject()).to_wire()
    assert to_leaf(record)
    assert Alert.of_record(record) == alert


def rising(step, noise=0.0):
    day = lambda n: math.expm1(3 + max(0, n - 31) * step + noise * (-1) ** n)  # noqa: E731
    values = [{Feature.VOLUME: 0.0, Feature.STUDIES: day(n)} for n in range(60)]
    return [Past(date(2027, 1, 1) + timedelta(days=n), 0, v) for n, v in enumerate(values)]


def test_a_steady_rise_is_forecast_and_a_steady_level_is_not():
    (found,) = forecasts(rising(0.06))
    assert found.feature == Feature.STUDIES
    assert found.now < found.limit
    assert date(2027, 3, 1) < found.reaches <= date(2027, 3, 29)
    assert forecasts(rising(0.0, 0.2)) == []
    assert forecasts(rising(0.06)[:40]) == []


@given(st.lists(st.integers(0, 100), min_size=5, max_size=30))
def test_a_trend_turned_around_is_its_opposite(values):
    assert kendall(values) == -kendall(values[::-1])
