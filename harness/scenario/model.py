"""What every part of a scenario's schema stands on."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from harness.scenario.units import Duration


class Model(BaseModel):
    """Base of all scenario models."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class RpcCall(Model):
    module: str
    function: str
    args: tuple[Any, ...] = ()
    timeout: Duration = 5.0
