"""What a daemon counts, for Prometheus on the loopback."""

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.registry import Collector

from readingroom_hub.errors import SystemUnfit


@contextmanager
def served(collector: Collector, port: int, registry: CollectorRegistry | None = None) -> Iterator[None]:
    """Serve on 127.0.0.1:`port` meanwhile, with what else is in `registry`.

    Raises SystemUnfit where the port is taken."""
    registry = CollectorRegistry() if registry is None else registry
    try:
        server, thread = start_http_server(port, "127.0.0.1", registry)
    except OSError as error:
        raise SystemUnfit(f"metrics cannot be served on port {port} ({error.strerror}): choose another") from error
    registry.register(collector)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        registry.unregister(collector)
