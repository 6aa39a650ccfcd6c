"""The audit record repository's own metrics for Prometheus: the log's size, and how far search is behind it."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from readingroom_hub.adapters.audit_index import Lag
from readingroom_hub.errors import SystemUnfit


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


@contextmanager
def published(look: Callable[[], tuple[int, Lag]], port: int) -> Iterator[None]:
    """Serve on 127.0.0.1:`port` meanwhile. Raises SystemUnfit where the port is taken."""
    registry = CollectorRegistry()
    registry.register(RecordMetrics(look))
    try:
        server, thread = start_http_server(port, "127.0.0.1", registry)
    except OSError as error:
        raise SystemUnfit(f"metrics cannot be served on port {port} ({error.strerror}): choose another") from error
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
