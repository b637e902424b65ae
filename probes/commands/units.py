"""Numbers as people read them: three digits and a unit."""

from __future__ import annotations

_TIMES = ((1e9, "s"), (1e6, "ms"), (1e3, "µs"))


def duration(ns: float) -> str:
    """Nanoseconds as text.

    >>> duration(0), duration(999), duration(1_500), duration(12_345_678), duration(90e9)
    ('0 ns', '999 ns', '1.5 µs', '12.3 ms', '90 s')
    """
    return next((f"{digits(ns / by)} {u}" for by, u in _TIMES if ns >= by), f"{ns:.0f} ns")


def digits(value: float) -> str:
    """A number to three digits.

    >>> digits(0.5), digits(12.34), digits(12345.6)
    ('0.5', '12.3', '12,346')
    """
    if value >= 100:
        return f"{value:,.0f}"
    text = f"{value:.1f}" if value >= 10 else f"{value:.2f}"
    return text.rstrip("0").rstrip(".")
