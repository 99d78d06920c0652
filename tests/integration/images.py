"""Which image carries a plain ``erl`` of a given OTP."""

from __future__ import annotations

import functools

from harness.cluster.bases import erlang_bases
from harness.cluster.engine import find_engine


@functools.cache
def erlang_image(otp: int) -> str:
    return erlang_bases(find_engine(), otp, print)[0]
