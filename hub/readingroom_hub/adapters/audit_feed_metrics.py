"""The feeds' metrics for Prometheus, read from their state when asked for."""

from collections.abc import Callable, Iterable, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from readingroom_hub.adapters.audit_feed import FeedStatus

_LABELS = ("feed",)


class FeedMetrics(Collector):
    """`look` gives the status of every feed."""

    def __init__(self, look: Callable[[], Sequence[FeedStatus]]) -> None:
        self._look = look

    def collect(self) -> Iterable[Metric]:
        """As of now."""
        up = GaugeMetricFamily(
            "readingroom_audit_feed_up", "1 where nothing keeps the feed from going on.", labels=_LABELS
        )
        behind = GaugeMetricFamily("readingroom_audit_feed_behind", "Signed records not handed over.", labels=_LABELS)
        oldest = GaugeMetricFamily(
            "readingroom_audit_feed_oldest_seconds", "Age of the oldest record not handed over.", labels=_LABELS
        )
        counters = {
            "sent": CounterMetricFamily("readingroom_audit_feed_sent", "Records handed over.", labels=_LABELS),
            "purged": CounterMetricFamily(
                "readingroom_audit_feed_purged", "Records passed over: purged.", labels=_LABELS
            ),
        }
        refused = GaugeMetricFamily("readingroom_audit_feed_refused", "Records put aside: refused.", labels=_LABELS)
        for feed in self._look():
            up.add_metric([feed.name], float(feed.trouble is None))
            if feed.behind is not None:
                behind.add_metric([feed.name], feed.behind)
                oldest.add_metric([feed.name], feed.oldest or 0.0)
            if feed.progress is not None:
                refused.add_metric([feed.name], feed.progress.refused)
                counters["sent"].add_metric([feed.name], feed.progress.sent)
                counters["purged"].add_metric([feed.name], feed.progress.purged)
        yield from (up, behind, oldest, refused, *counters.values())
