"""Names of functions as compilers leave them: `user_mem_abort.isra.0`, and what such endings mean.

BTF and the catalog have the name before the first dot; kallsyms and kprobes the whole one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

KALLSYMS = Path("/proc/kallsyms")

# Endings that leave parameters as they are: static names that LTO made unique (clang). GCC's take
# parameters out or change them: .isra (scalar replacement of aggregates), .constprop (parameters
# that are constant), .part (a part of the body, with what it needs).
_KEEPS_PARAMETERS = frozenset({"llvm"})
# Only some of a function's calls come by: .part (the rest is inlined in its callers), .cold.
_PARTIAL = frozenset({"part", "cold"})

# The names with an ending that a function has in this kernel.
Variants = Callable[[str], list[str]]


def without_suffix(symbol: str) -> str:
    """The name before the first dot.

    >>> without_suffix("user_mem_abort.isra.0"), without_suffix("user_mem_abort")
    ('user_mem_abort', 'user_mem_abort')
    """
    return symbol.partition(".")[0]


def has_ending(symbol: str) -> bool:
    """Whether a compiler has put something behind the name."""
    return "." in symbol


def parameters_problem(symbol: str) -> str:
    """Why the types do not tell where this symbol's parameters are, or "".

    >>> parameters_problem("f.constprop.0")
    'f.constprop.0: the compiler may have changed its parameters, and the types tell the old ones'
    >>> parameters_problem("f.llvm.4711"), parameters_problem("f")
    ('', '')
    """
    if _endings(symbol) <= _KEEPS_PARAMETERS:
        return ""
    return (
        f"{symbol}: the compiler may have changed its parameters, and the types tell the old ones"
    )


def partial_problem(symbol: str) -> str:
    """Why not all calls of a function come by this symbol, or "".

    >>> partial_problem("f.part.0"), partial_problem("f.isra.0")
    ('f.part.0 is a part of the function: not all its calls come by', '')
    """
    if _endings(symbol) & _PARTIAL:
        return f"{symbol} is a part of the function: not all its calls come by"
    return ""


def _endings(symbol: str) -> set[str]:
    return {word for word in symbol.split(".")[1:] if not word.isdigit()}


def variants_in(kallsyms: bytes, functions: Iterable[str]) -> dict[str, list[str]]:
    """The kernel's own symbols (not a module's) that are one of these functions with an ending.

    >>> variants_in(b"0 t f.isra.0\\n0 t f\\n0 t g.part.0\\t[m]\\n0 t xf.isra.0\\n", ["f", "g"])
    {'f': ['f.isra.0'], 'g': []}
    """
    return {
        name: sorted(
            {
                found[1].decode(errors="replace")
                for found in re.finditer(
                    rb" (%s\.[\w.]+)(?:\n|$)" % re.escape(name.encode()), kallsyms
                )
            }
        )
        for name in functions
    }


class Kallsyms:
    """The running kernel's symbols, read when first asked for: there are some 200,000."""

    def __init__(self, path: Path = KALLSYMS) -> None:
        self._path = path
        self._content: bytes | None = None

    def __call__(self, function: str) -> list[str]:
        """The names with an ending that a function has; none where nobody tells."""
        return variants_in(self._read(), [function])[function]

    def address(self, symbol: str) -> int:
        """Where a symbol of the kernel itself is; 0 where nobody tells."""
        found = re.search(
            rb"^(\w+) \w %s$" % re.escape(symbol.encode()), self._read(), re.MULTILINE
        )
        return int(found[1], 16) if found else 0

    def _read(self) -> bytes:
        if self._content is None:
            try:
                self._content = self._path.read_bytes()
            except OSError:
                self._content = b""
        return self._content
