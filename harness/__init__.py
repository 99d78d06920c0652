"""harness: chaos and load testing for Erlang clusters in Docker."""

from __future__ import annotations

__version__ = "0.1.0"
