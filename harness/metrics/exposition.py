"""``/metrics`` for a Prometheus server: the figures of a run over HTTP, as text or OpenMetrics as it asks."""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterable, Iterator
from itertools import groupby
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
    StateSetMetricFamily,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from harness.errors import EnvironmentProblem, UsageError
from harness.metrics.figures import Figures, Point
from harness.metrics.names import Family

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 9646
_PORTS_TRIED = 100


def address(text: str) -> tuple[str, int]:
    """HOST:PORT, or :PORT on the default host. Raises UsageError."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        remedy = f"write --metrics {DEFAULT_HOST}:{DEFAULT_PORT}"
        raise UsageError("read --metrics", f"{text!r} is no HOST:PORT", remedy)
    return host or DEFAULT_HOST, int(port)


class Exposition:
    """The HTTP server of one run's metrics; a context manager."""

    def __init__(self, server: WSGIServer, thread: threading.Thread) -> None:
        self._server = server
        self._thread = thread
        host, port = server.server_address[:2]
        self.host = str(host)
        self.port = int(port)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5.0)

    def __enter__(self) -> Exposition:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def serve(figures: Figures, host: str = DEFAULT_HOST, port: int = DEFAULT_PORT) -> Exposition:
    """Serve on ``port`` or, where it is taken, on the next free one. Raises EnvironmentProblem."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_RunCollector(figures))
    for candidate in range(port, min(port + _PORTS_TRIED, 65536)) if port else (0,):
        try:
            return Exposition(*start_http_server(candidate, addr=host, registry=registry))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise _cannot_serve(host, candidate, str(error.strerror or error)) from error
    raise _cannot_serve(host, port, f"that port and the {_PORTS_TRIED - 1} after it are taken")


def _cannot_serve(host: str, port: int, cause: str) -> EnvironmentProblem:
    return EnvironmentProblem(
        "serve metrics", f"{host}:{port}: {cause}", "give another address with --metrics HOST:PORT"
    )


class _RunCollector(Collector):
    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        for family, points in groupby(self._figures.points(), key=lambda point: point.family):
            yield _convert(family, points)


def _convert(family: Family, points: Iterable[Point]) -> Metric:
    match family.kind:
        case "counter":
            counter = CounterMetricFamily(family.name, family.help, labels=family.labels)
            for point in points:
                counter.add_metric(point.labels, point.values[0])
            return counter
        case "gauge":
            gauge = GaugeMetricFamily(family.name, family.help, labels=family.labels)
            for point in points:
                gauge.add_metric(point.labels, point.values[0])
            return gauge
        case "info":
            info = InfoMetricFamily(family.name, family.help)
            for point in points:
                info.add_metric((), dict(zip(family.labels, point.labels, strict=True)))
            return info
        case "stateset":
            states = StateSetMetricFamily(family.name, family.help)
            for point in points:
                states.add_metric((), {s: v > 0 for s, v in zip(family.states, point.values, strict=True)})
            return states
        case "histogram":
            histogram = HistogramMetricFamily(family.name, family.help, labels=family.labels)
            bounds = [*map(floatToGoString, family.buckets), "+Inf"]
            for point in points:
                counts = list(zip(bounds, point.values[:-1], strict=True))
                histogram.add_metric(point.labels, counts, sum_value=point.values[-1])
            return histogram
