"""Numbers as people read them."""

from __future__ import annotations


def duration(seconds: float | None) -> str:
    """``12 µs``, ``3.4 ms``, ``8.02 s``, ``2 m 05 s``; a dash for None."""
    if seconds is None:
        return "-"
    size = abs(seconds)
    if size < 1e-3:
        return f"{seconds * 1e6:.0f} µs"
    if size < 1:
        return f"{seconds * 1e3:.1f} ms" if size < 0.1 else f"{seconds * 1e3:.0f} ms"
    if size < 120:
        return f"{seconds:.2f} s" if size < 10 else f"{seconds:.1f} s"
    return f"{int(seconds // 60)} m {int(seconds % 60):02d} s"


def share(ratio: float | None) -> str:
    """``100 %``, ``99.98 %``; never rounded up to 100."""
    if ratio is None:
        return "-"
    if ratio == 1:
        return "100 %"
    return f"{min(ratio * 100, 99.99):.2f} %"


def figure(value: float | None, unit: str) -> str:
    """A finding's value or limit in its unit."""
    if value is None:
        return ""
    if unit == "s":
        return duration(value)
    if unit == "ratio":
        return share(value)
    return f"{value:,.0f}"


def printable(text: str) -> str:
    """Without characters that would move a terminal's cursor or change its state."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
