"""What the kernel says may be traced, and what follows for the probe points: nothing is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nvscope.probes.counts.snapshot import Attachment
from nvscope.probes.kernel.btf import KERNEL_BTF, Btf
from nvscope.probes.kernel.features import Roots
from nvscope.probes.kernel.symbols import variants_in
from nvscope.probes.points.catalog.points import BY_NAME, PROBE_POINTS, applicable
from nvscope.probes.points.modes import COUNTS, FENTRY, TRACES
from nvscope.probes.points.planning import PlanRequest, Plans
from nvscope.probes.points.pointsfile import check
from nvscope.probes.points.pointsfile.read import PointsFile
from nvscope.probes.points.programs import Program

# Functions that a kernel has if and only if it can: BPF trampolines go in by ftrace's direct calls
# (CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS), and kprobes are registered.
_TRAMPOLINES, _KPROBES = "ftrace_find_rec_direct", "register_kprobe"


@dataclass(frozen=True)
class Tracing:
    """symbols: of the functions in question, those that kallsyms has; traceable: those that ftrace
    can hook; blacklisted: those that kprobes must not. None: the kernel does not tell, for want of
    rights or of a mount. variants: function of the catalog -> its names with a compiler's ending;
    kprobes_armed: they have not been switched off.
    """

    symbols: frozenset[str] | None
    traceable: frozenset[str] | None
    blacklisted: frozenset[str] | None
    kprobes_armed: bool = True
    variants: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def fentry(self) -> bool | None:
        """Whether BPF programs can be attached as trampolines."""
        return None if self.symbols is None else _TRAMPOLINES in self.symbols

    @property
    def kprobes(self) -> bool | None:
        """Whether there are kprobes, and they fire."""
        if self.symbols is None:
            return None
        return _KPROBES in self.symbols and self.kprobes_armed


def read_tracing(roots: Roots, symbols: Iterable[str] = ()) -> Tracing:
    """Ask the kernel about the functions of the catalog, and those that are named.

    Complexity: one look at each of the kernel's symbols, some 200,000.
    """
    functions = {hook.symbol for point in PROBE_POINTS for hook in point.hooks}
    kallsyms = _bytes(roots.proc / "kallsyms")
    variants = variants_in(kallsyms, functions)
    wanted = functions.union(symbols, *variants.values())
    tracefs = [roots.sys / "kernel/tracing", roots.sys / "kernel/debug/tracing"]
    kprobes = roots.sys / "kernel/debug/kprobes"
    lists = (_names(_bytes(folder / "available_filter_functions"), wanted) for folder in tracefs)
    return Tracing(
        symbols=_names(kallsyms, wanted | {_TRAMPOLINES, _KPROBES}),
        traceable=next((found for found in lists if found is not None), None),
        blacklisted=_names(_bytes(kprobes / "blacklist"), wanted),
        kprobes_armed=_bytes(kprobes / "enabled").strip() != b"0",
        variants=variants,
    )


def forecast(
    tracing: Tracing,
    mechanisms: Sequence[str],
    symbols: Mapping[str, str],
    roots: Roots | None = None,
    points_file: PointsFile | None = None,
) -> list[Attachment]:
    """Where each probe point of this kernel would attach: those that count, then those for traces.

    symbols, points_file: as loader.load takes them. Raises LackError where the kernel's types
    cannot be read.
    """
    btf = Btf((roots or Roots()).sys / KERNEL_BTF.relative_to("/sys"))
    kind = check.kind(points_file, btf)
    catalog = points_file.catalog() if points_file else BY_NAME
    foreseen: dict[str, Attachment] = {}
    for mode in (COUNTS, TRACES):
        found = applicable(kind, trace=mode.trace, has=btf.has_function)
        asked = (*found, *check.counted(points_file, mode), *symbols)
        wanted = PlanRequest(list(dict.fromkeys(asked)), mechanisms, symbols, mode, catalog)
        plans = Plans(wanted, btf, lambda function: list(tracing.variants.get(function, ())))
        foreseen = {a.point: a for a in _foreseen(plans, tracing)} | foreseen
    return list(foreseen.values())


def _foreseen(plans: Plans, tracing: Tracing) -> list[Attachment]:
    while obstacles := {p.point: why for p in plans.chosen() if (why := obstacle(p, tracing))}:
        for point, why in obstacles.items():
            plans.reject(point, why)
    return plans.attachments()


def obstacle(program: Program, tracing: Tracing) -> str:
    """Why the kernel will not take a program, in one line; "" if nothing speaks against it."""
    symbol = program.symbol
    if tracing.symbols is not None and symbol not in tracing.symbols:
        return f"{symbol} is in BTF and not in kallsyms: this kernel has inlined or renamed it"
    if program.mechanism == FENTRY:
        return _no_fentry(symbol, tracing)
    return _no_kprobe(symbol, tracing)


def _no_fentry(symbol: str, tracing: Tracing) -> str:
    if tracing.fentry is False:
        return "this kernel has no BPF trampolines (CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS)"
    if tracing.traceable is not None and symbol not in tracing.traceable:
        return f"{symbol} is not in available_filter_functions: ftrace cannot hook it"
    return ""


def _no_kprobe(symbol: str, tracing: Tracing) -> str:
    if not tracing.kprobes_armed:
        return "kprobes are switched off (/sys/kernel/debug/kprobes/enabled)"
    if tracing.kprobes is False:
        return "this kernel has no kprobes (CONFIG_KPROBES)"
    if tracing.blacklisted is not None and symbol in tracing.blacklisted:
        return f"{symbol} is blacklisted for kprobes"
    return ""


def _names(data: bytes, wanted: set[str]) -> frozenset[str] | None:
    """Those wanted that are words of a file's content; None if there is none to read.

    By searching, not by lines: 250,000 of those take a minute under emulation.
    """
    return frozenset(name for name in wanted if _has_word(data, name.encode())) if data else None


def _has_word(data: bytes, word: bytes) -> bool:
    """Whether the word is there with white space, or nothing, on both sides.

    >>> _has_word(b"0 t ab", b"ab"), _has_word(b"0 t xab\\n0 t ab.isra.0\\n", b"ab")
    (True, False)
    """
    at = data.find(word)
    while at >= 0:
        end = at + len(word)
        if not (data[max(0, at - 1) : at] + data[end : end + 1]).strip():
            return True
        at = data.find(word, end)
    return False


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""
