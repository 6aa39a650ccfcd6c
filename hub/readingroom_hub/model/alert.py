"""Alerts: a person's day that is unlike their others, as the record keeps it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from readingroom_hub.model.ids import PersonId


@dataclass(frozen=True, slots=True)
class Sign:
    """One feature beside an alert: what was counted, what is usual, the robust z-score, and the same in words."""

    feature: str
    value: int
    usual: int
    z: float
    words: str


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert. `rules` are stable names; `signs` explain it, the strongest first."""

    id: str
    """A function of person, day and rules: found again, it is the same alert."""
    person: PersonId
    day: date
    rules: tuple[str, ...]
    signs: tuple[Sign, ...]
    opinion: str
    """What the isolation forest says, in words."""
    projects: tuple[str, ...] = ()

    def to_subject(self) -> dict[str, Any]:
        """As the subject of its audit record."""
        return {
            "alert": self.id,
            "day": self.day.isoformat(),
            "rules": list(self.rules),
            "projects": list(self.projects),
            "opinion": self.opinion,
            "signs": [
                {"feature": s.feature, "value": s.value, "usual": s.usual, "z": f"{s.z:.1f}", "words": s.words}
                for s in self.signs
            ],
        }

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> "Alert":
        """From its audit record."""
        subject = record["subject"]
        signs = tuple(Sign(s["feature"], s["value"], s["usual"], float(s["z"]), s["words"]) for s in subject["signs"])
        return cls(
            subject["alert"],
            PersonId(record["person"]),
            date.fromisoformat(subject["day"]),
            tuple(subject["rules"]),
            signs,
            subject["opinion"],
            tuple(subject["projects"]),
        )


@dataclass(frozen=True, slots=True)
class Hold:
    """Nothing is read, and no server starts, for a person until a steward lifts it."""

    person: PersonId
    since: datetime
    by: PersonId | None
    """None: a rule of the monitor."""
    reason: str
    alert: str | None = None
    lifted_at: datetime | None = None
    lifted_by: PersonId | None = None
