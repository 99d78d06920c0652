"""The figures of a run: served to Prometheus while it lasts, kept in ``metrics.om`` afterwards."""

from harness.metrics.exposition import DEFAULT_HOST, DEFAULT_PORT, Exposition, address, serve
from harness.metrics.figures import Figures
from harness.metrics.names import FAMILIES
from harness.metrics.service import Metrics
from harness.metrics.spool import Sampler, write_openmetrics
from harness.metrics.targets import write_target

__all__ = [
    "DEFAULT_HOST",
    "DEFAULT_PORT",
    "FAMILIES",
    "Exposition",
    "Figures",
    "Metrics",
    "Sampler",
    "address",
    "serve",
    "write_openmetrics",
    "write_target",
]
