"""Its place makes the helper modules beside it importable from every test."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# The same examples in every run, however slow the machine: chance belongs to the fuzz targets and to
# `pytest --hypothesis-profile=default`.
settings.register_profile("suite", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")
