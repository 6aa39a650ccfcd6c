"""The monitor: reads the record behind its writer, judges each person's days, puts alerts on record, tells stewards.

It decides nothing about access but what an operator let it: rules that are named in the settings suspend."""

import contextlib
import sys
import threading
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta

from readingroom_hub.errors import ReadingRoomError
from readingroom_hub.model.alert import Alert
from readingroom_hub.model.audit import AuditEvent, AuditRecord
from readingroom_hub.model.ids import PersonId, ProjectId
from readingroom_hub.policy.alerts import alert_of
from readingroom_hub.policy.opinion import Opinion
from readingroom_hub.policy.trend import forecasts
from readingroom_hub.policy.unusual import Judgement
from readingroom_hub.policy.watch import HISTORY, Watch
from readingroom_hub.ports.monitoring import AlertChannel, MonitorMemory, MonitorState, RecordTail
from readingroom_hub.ports.records import AuditRepository
from readingroom_hub.services.holds import HoldService

_BATCH = 20_000
_DAY = timedelta(days=1)
_AWAY = timedelta(days=30)
"""Days before this are not judged after a longer absence: nobody could act on them."""


class Monitor:
    """One monitor of one log. `suspend`: rules that put a person on hold. Not for use from several threads."""

    def __init__(
        self,
        tail: RecordTail,
        memory: MonitorMemory,
        audit: AuditRepository,
        holds: HoldService,
        channels: Sequence[AlertChannel],
        suspend: frozenset[str],
        link: str,
        clock: Callable[[], datetime],
    ) -> None:
        self._tail, self._memory, self._audit, self._holds = tail, memory, audit, holds
        self._channels, self._suspend, self._link, self._clock = channels, suspend, link, clock
        self._watch = Watch()
        self._next: int | None = None
        self._alerts: dict[int, Alert] = {}
        """On record, by index."""
        self._changed: set[tuple[PersonId, date]] = set()
        self._finished: list[tuple[Judgement, Opinion | None]] = []
        """Days that are over and were not judged for an alert yet."""

    def step(self) -> list[Alert]:
        """Read what is new, judge it, record and deliver. Returns new alerts.

        Raises AuditUnavailable, IntegrityError, StoreUnavailable: nothing is lost, the next step goes on."""
        now, state = self._clock(), self._memory.load()
        today = now.date()
        self._read(now)
        for channel in self._channels:
            state.delivered.setdefault(channel.name, self._next or 0)
        since = max(state.judged or today - _DAY, today - _AWAY)
        self._finished += self._watch.finish(today - _DAY)
        self._finished = [(j, o) for j, o in self._finished if j.day >= since]
        found = [alert for j, o in [*self._finished, *self._open_days(today)] if (alert := self._judge(j, o, now))]
        self._finished, self._changed = [], set()
        if found:
            self._read(now)
        state.judged, state.looked_at = today - _DAY, now
        state.outlook = self._outlook()
        self._watch.activity.forget(today - HISTORY)
        self._alerts = {i: a for i, a in self._alerts.items() if a.day >= today - HISTORY}
        self._deliver(state)
        return found

    def _read(self, now: datetime) -> None:
        if self._next is None:
            self._next = self._tail.first(now - HISTORY)
        while True:
            start = self._next
            records, self._next = self._tail.read(start, _BATCH)
            for index, record in records:
                if record["event"] == AuditEvent.ACCESS_ALERT:
                    self._alerts[index] = Alert.of_record(record)
                elif changed := self._watch.add(record):
                    self._changed.add(changed)
            if self._next == start:
                return
            if records:
                last = datetime.fromisoformat(records[-1][1]["time"]).date()
                self._finished += self._watch.finish(min(last, now.date()) - _DAY)

    def _open_days(self, today: date) -> list[tuple[Judgement, Opinion | None]]:
        """Today and yesterday as they stand, of people who did something since the last step."""
        open_days = sorted((d, who) for who, d in self._changed if d >= today - _DAY)
        return [judged for d, who in open_days if (judged := self._watch.look(who, d)) is not None]

    def _judge(self, judgement: Judgement, opinion: Opinion | None, now: datetime) -> Alert | None:
        alert = alert_of(judgement, opinion, self._alerts.values())
        if alert is None:
            return None
        rules = sorted(self._suspend.intersection(alert.rules))
        if rules:  # before the alert is on record: a monitor that dies in between finds it again
            self._holds.suspend(alert.person, f"rule {', '.join(rules)}", None, alert.id)
        project = ProjectId(alert.projects[0]) if len(alert.projects) == 1 else None
        subject = alert.to_subject() | {"suspended": bool(rules)}
        record = AuditRecord(
            AuditEvent.ACCESS_ALERT, person=alert.person, project=project, subject=subject, time=now, id=alert.id
        )
        self._audit.append([record])
        return alert

    def _outlook(self) -> list[dict[str, object]]:
        return [
            {
                "person": who,
                "feature": f.feature.value,
                "now": round(f.now),
                "limit": round(f.limit),
                "reaches": f.reaches.isoformat(),
            }
            for who in sorted(self._watch.activity.people)
            for f in forecasts(self._watch.past(who))
        ]

    def _deliver(self, state: MonitorState) -> None:
        """By each channel, in order, at least once. One that is down keeps its place."""
        troubles = []
        for channel in self._channels:
            try:
                for index in sorted(i for i in self._alerts if i >= state.delivered[channel.name]):
                    channel.send(self._alerts[index], self._link)
                    state.delivered[channel.name] = index + 1
            except ReadingRoomError as error:
                troubles.append(str(error))
        state.trouble = "; ".join(troubles)
        self._memory.save(state)


def run(monitor: Monitor, memory: MonitorMemory, seconds: float, stop: threading.Event) -> None:
    """Step every `seconds` until `stop` is set. No error ends it: it says so, for the pages too, and tries again."""
    said = ""
    while not stop.is_set():
        try:
            monitor.step()
            trouble = memory.load().trouble
        except Exception as error:  # noqa: BLE001  # a monitor that died of a surprise would be a silent one
            trouble = str(error) if isinstance(error, ReadingRoomError) else f"{type(error).__name__}: {error}"
            with contextlib.suppress(ReadingRoomError):
                state = memory.load()
                state.trouble = trouble
                memory.save(state)
        if trouble != said:
            sys.stderr.write(f"monitor: {trouble or 'goes on'}\n")
            sys.stderr.flush()
        said = trouble
        stop.wait(seconds)
