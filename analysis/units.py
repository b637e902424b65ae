"""Numbers as people read them: three digits and a unit."""

from __future__ import annotations

from nvscope.probes.commands.units import digits
from nvscope.probes.commands.units import duration as duration

_SIZES = ((1 << 50, "PiB"), (1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))
# Longest name of anything that is shown: a comm has 15 bytes, a VM's name may have any number.
MAX_NAME = 60


def size(count_bytes: float) -> str:
    """Bytes as text.

    >>> size(0), size(4096), size(3 << 29)
    ('0 B', '4 KiB', '1.5 GiB')
    """
    return next(
        (f"{digits(count_bytes / by)} {u}" for by, u in _SIZES if count_bytes >= by),
        f"{count_bytes:.0f} B",
    )


def number(value: int) -> str:
    """A count with its thousands set apart.

    >>> number(1234567)
    '1,234,567'
    """
    return f"{value:,}"


def share(part: float, whole: float) -> str:
    """A part of a whole in percent, "" of nothing.

    >>> share(1, 8), share(1, 0)
    ('12.5 %', '')
    """
    return f"{digits(100 * part / whole)} %" if whole else ""


def ratio(above: float, below: float) -> str:
    """One number over another; what has no ratio is a dash.

    >>> ratio(3, 2), ratio(3, 0), ratio(8 << 30, 4096)
    ('1.5', '-', '2,097,152')
    """
    return f"{digits(above / below)}" if below else "-"


def name(text: str, limit: int = MAX_NAME) -> str:
    r"""A name that others chose: on one line, and not too long.

    >>> name("a\nb\x07"), len(name("x" * 1_000_000)) <= MAX_NAME
    ('a b', True)
    """
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * limit]).split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"
