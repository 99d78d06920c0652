"""Scenarios: a YAML file with positions, frozen models, and the plan that a run follows."""

from __future__ import annotations
