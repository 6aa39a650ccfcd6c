"""A forecast: where a steady rise would lead, were it to go on. A straight line (Theil-Sen), no statement about
anybody's intent, and never an alert."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import combinations
from statistics import median

from readingroom_hub.policy.unusual import MEASURES, OWN_DAYS, Feature, Past

DAYS = 28
"""Active days that the line is laid through."""
AHEAD = timedelta(days=28)
_SURE = 2.58
"""Of a rise that is not there, a Mann-Kendall test shows less in 99 of 100 cases (two-sided)."""
FORECAST = (Feature.VOLUME, Feature.STUDIES)


@dataclass(frozen=True, slots=True)
class Forecast:
    """On `reaches`, the line of `feature` comes to the value that would be an alert by itself."""

    feature: Feature
    now: float
    limit: float
    reaches: date


def forecasts(past: Sequence[Past]) -> list[Forecast]:
    """Of one person's finished days, the newest last; empty where nothing rises steadily enough."""
    known = past[-OWN_DAYS:]
    if len(known) < 2 * DAYS:
        return []
    usual, recent = known[:-DAYS], known[-DAYS:]
    return [f for feature in FORECAST if (f := _forecast(feature, usual, recent)) is not None]


def _forecast(feature: Feature, usual: Sequence[Past], recent: Sequence[Past]) -> Forecast | None:
    measure = MEASURES[feature]
    values = [math.log1p(p.values[feature]) for p in recent]
    if kendall(values) < _SURE:
        return None
    days = [(p.day - recent[0].day).days for p in recent]
    slope = median((values[b] - values[a]) / (days[b] - days[a]) for a, b in combinations(range(len(values)), 2))
    begin = median(v - slope * d for v, d in zip(values, days, strict=True))
    before = [math.log1p(p.values[feature]) for p in usual]
    middle = median(before)
    spread = max(measure.spread, 1.4826 * median(abs(v - middle) for v in before))
    limit = max(middle + measure.limit * spread, math.log1p(measure.least))
    at = begin + slope * days[-1]
    if slope <= 0 or at >= limit:
        return None
    wait = timedelta(days=math.ceil((limit - at) / slope)) if limit - at < slope * 1000 else AHEAD * 2
    if wait > AHEAD:
        return None
    return Forecast(feature, math.expm1(at), math.expm1(limit), recent[-1].day + wait)


def kendall(values: Sequence[float]) -> float:
    """The Mann-Kendall statistic in standard deviations: positive where later values are larger."""
    n = len(values)
    s = sum((b > a) - (b < a) for a, b in combinations(values, 2))
    return float(s / math.sqrt(n * (n - 1) * (2 * n + 5) / 18))
