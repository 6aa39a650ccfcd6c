"""The audit record repository's own metrics for Prometheus: the log's size, how far search is behind it, and what other
machines have that it has not."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from readingroom_hub.adapters.audit_index import Lag
from readingroom_hub.ports.records import NodeState


class RecordMetrics(Collector):
    """`look` gives the number of records in the log, and the search index's lag; `nodes` the state of each node, and by
    node how many of its records were found to be missing."""

    def __init__(
        self,
        look: Callable[[], tuple[int, Lag]],
        nodes: Callable[[], tuple[Sequence[NodeState], Mapping[str, int]]],
    ) -> None:
        self._look, self._nodes = look, nodes

    def collect(self) -> Iterable[Metric]:
        """As of now."""
        size, lag = self._look()
        yield from self._collect_nodes()
        yield GaugeMetricFamily("readingroom_audit_log_records", "Records in the log.", value=size)
        yield GaugeMetricFamily(
            "readingroom_audit_index_behind", "Records that the search index has not.", value=lag.records
        )
        yield GaugeMetricFamily(
            "readingroom_audit_index_seconds", "Age of the oldest of these, at most.", value=lag.seconds
        )

    def _collect_nodes(self) -> Iterable[Metric]:
        states, missing = self._nodes()
        name = "readingroom_audit_node"
        awaited = GaugeMetricFamily(f"{name}_awaited", "Records that a node has and this log has not.", labels=["node"])
        silent = GaugeMetricFamily(f"{name}_silent_seconds", "Since a node was heard; 0: it is.", labels=["node"])
        lost = CounterMetricFamily(f"{name}_missing", "Records that a node announced and lost.", labels=["node"])
        for state in states:
            since = state.silent_since
            awaited.add_metric([state.node], state.awaited)
            silent.add_metric([state.node], (datetime.now(UTC) - since).total_seconds() if since else 0.0)
        for node in {s.node for s in states} | missing.keys():
            lost.add_metric([node], missing.get(node, 0))
        yield from (awaited, silent, lost)
