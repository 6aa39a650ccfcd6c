"""The audit record repository's own metrics for Prometheus: the log's size, and how far search is behind it."""

from collections.abc import Callable, Iterable

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from readingroom_hub.adapters.audit_index import Lag


class RecordMetrics(Collector):
    """`look` gives the number of records in the log, and the search index's lag."""

    def __init__(self, look: Callable[[], tuple[int, Lag]]) -> None:
        self._look = look

    def collect(self) -> Iterable[Metric]:
        """As of now."""
        size, lag = self._look()
        yield GaugeMetricFamily("readingroom_audit_log_records", "Records in the log.", value=size)
        yield GaugeMetricFamily(
            "readingroom_audit_index_behind", "Records that the search index has not.", value=lag.records
        )
        yield GaugeMetricFamily(
            "readingroom_audit_index_seconds", "Age of the oldest of these, at most.", value=lag.seconds
        )
