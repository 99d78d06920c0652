"""Which image carries a plain ``erl`` of a given OTP."""

from __future__ import annotations


def erlang_image(otp: int) -> str:
    return f"t:{otp}"
