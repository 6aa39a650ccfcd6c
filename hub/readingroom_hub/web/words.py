"""Figures and dates as people read them. All times are UTC and say so."""

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

from readingroom_hub.errors import BadInput


def size(count: int) -> str:
    """Bytes in the unit that fits, decimal (IEC 80000-13)."""
    value, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"


def moment(value: datetime | None) -> str:
    """To the second."""
    return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}" if value else ""


def day(value: datetime | None) -> str:
    """To the day."""
    return f"{value.astimezone(UTC):%Y-%m-%d}" if value else ""


def number(value: int) -> str:
    """With thousands apart."""
    return f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def start_of(text: str) -> datetime | None:
    """The first moment of a day written YYYY-MM-DD; None for nothing. Raises BadInput."""
    if not text:
        return None
    try:
        d = date.fromisoformat(text)
    except ValueError as error:
        raise BadInput(f"{text[:40]!r} is no day: write it as 2027-03-31") from error
    return datetime(d.year, d.month, d.day, tzinfo=UTC)


def end_of(text: str) -> datetime | None:
    """The first moment after that day."""
    start = start_of(text)
    return start + timedelta(days=1) if start else None


def card_facts(card: str) -> list[tuple[str, str]]:
    """A dataset version's card, one line a fact, nested names joined."""
    try:
        data = json.loads(card or "{}")
    except ValueError:
        return [("card", card)]
    return list(_facts(data, ())) if isinstance(data, dict) else [("card", str(data))]


def _facts(data: Mapping[str, Any], above: tuple[str, ...]) -> list[tuple[str, str]]:
    facts: list[tuple[str, str]] = []
    for name, value in data.items():
        path = (*above, str(name).replace("_", " "))
        if isinstance(value, dict):
            facts += _facts(value, path)
        elif isinstance(value, list):
            facts.append((": ".join(path), "; ".join(_line(v) for v in value) or "none"))
        else:
            facts.append((": ".join(path), _line(value)))
    return facts


def _line(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {_line(v)}" for k, v in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    return number(value) if isinstance(value, int) else str(value)
