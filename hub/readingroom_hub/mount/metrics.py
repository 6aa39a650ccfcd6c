"""The daemon's metrics for Prometheus: counts of each session, read when asked for, and how long requests take.

Names follow prometheus.io/docs/practices/naming. Nobody's name is in them: a session's id and project only."""

from collections.abc import Callable, Iterable, Mapping
from time import perf_counter
from typing import TypeVar

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_LABELS = ("session", "project")

REGISTRY = CollectorRegistry()
_seconds = Histogram(
    "readingroom_mount_request_seconds",
    "From the kernel's request to the reply.",
    ("request",),
    registry=REGISTRY,
    buckets=_BUCKETS,
)
A = TypeVar("A")
B = TypeVar("B")
R = TypeVar("R")


def timed(request: str, act: Callable[[A, B], R]) -> Callable[[A, B], R]:
    """`act`, whose time goes into the histogram, however it ends."""
    observe = _seconds.labels(request).observe

    def run(a: A, b: B) -> R:
        start = perf_counter()
        try:
            return act(a, b)
        finally:
            observe(perf_counter() - start)

    return run


class Counts(Collector):
    """`keys` gives the data keys in memory, `sessions` the counts of each attached session by (session, project),
    `behind`, on a node, how many audit records wait for the repository and the age of the oldest."""

    def __init__(
        self,
        keys: Callable[[], int],
        sessions: Callable[[], Mapping[tuple[str, str], Mapping[str, int]]],
        behind: Callable[[], tuple[int, float] | None],
    ) -> None:
        self._keys = keys
        self._sessions = sessions
        self._behind = behind

    def collect(self) -> Iterable[Metric]:
        """As of now."""
        sessions = self._sessions()
        yield GaugeMetricFamily("readingroom_mount_sessions", "Attached sessions.", len(sessions))
        yield GaugeMetricFamily("readingroom_mount_keys", "Data keys in memory.", self._keys())
        if (behind := self._behind()) is not None:
            text = "Audit records that the repository has not confirmed"
            yield GaugeMetricFamily("readingroom_mount_audit_records", f"{text}.", behind[0])
            yield GaugeMetricFamily("readingroom_mount_audit_seconds", f"{text}: age of the oldest.", behind[1])
        files = GaugeMetricFamily("readingroom_mount_open_files", "Files that a session holds open.", labels=_LABELS)
        counters = {
            "opens": CounterMetricFamily("readingroom_mount_opens", "Files opened.", labels=_LABELS),
            "bytes_served": CounterMetricFamily(
                "readingroom_mount_bytes", "Bytes of images given out.", labels=_LABELS
            ),
            "reads_denied": CounterMetricFamily("readingroom_mount_denials", "Requests refused.", labels=_LABELS),
        }
        for labels, counts in sessions.items():
            files.add_metric(labels, counts["open_files"])
            for name, family in counters.items():
                family.add_metric(labels, counts[name])
        yield files
        yield from counters.values()
