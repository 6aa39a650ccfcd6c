"""A second opinion: an isolation forest over everybody's days. It sees combinations that no single rule is made for.

scikit-learn is imported when a forest grows, so only in the process that watches."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from readingroom_hub.policy.unusual import Feature, Judgement

LEAST = 200
"""Days that a forest needs to grow."""
MOST = 5000
_RARE = 0.001
"""A day is rare where at most this share of the days that the forest knows is as easy to set apart."""
_FEATURES = tuple(Feature)
_HIGH = 20.0


@dataclass(frozen=True, slots=True)
class Opinion:
    """How rare a day is among those that the forest knows: `share` of them are at least as easy to set apart."""

    share: float
    days: int

    @property
    def is_rare(self) -> bool:
        """Whether it is an alert, where a feature stands out that can be shown."""
        return self.share <= _RARE

    @property
    def words(self) -> str:
        """For people."""
        rank = round(self.share * self.days)
        agrees = "agrees" if self.is_rare else "does not"
        return f"The isolation forest {agrees}: of {self.days} days of everybody, {rank} are at least as unusual."


class Forest:
    """Grown once, then asked. The same days give the same forest."""

    def __init__(self, model: Any, scores: Any) -> None:
        self._model, self._scores = model, scores

    @classmethod
    def grow(cls, days: Sequence[Judgement]) -> "Forest | None":
        """From judged days, the newest last; None where they are too few."""
        if len(days) < LEAST:
            return None
        import numpy as np
        from sklearn.ensemble import IsolationForest

        known = np.array([vector(d) for d in days[-MOST:]])
        model = IsolationForest(n_estimators=64, max_samples=min(256, len(known)), random_state=0).fit(known)
        return cls(model, np.sort(model.score_samples(known)))

    def opinions(self, days: Sequence[Judgement]) -> list[Opinion]:
        """On these days, in one go."""
        if not days:
            return []
        import numpy as np

        found = self._model.score_samples(np.array([vector(d) for d in days]))
        ranks = np.searchsorted(self._scores, found, side="right")
        total = len(self._scores)
        return [Opinion(float(rank) / total, total) for rank in ranks]


def vector(day: Judgement) -> list[float]:
    """A day as the forest sees it: its scores, bounded; 0, the usual, where a feature has none."""
    return [min(_HIGH, day.z(f)) for f in _FEATURES]
