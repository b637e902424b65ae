"""Results as text: 80 columns, and as good in a file as on a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from nvscope.analysis.judging.findings import (
    INVARIANTS,
    OVER_UNMAP,
    PASS,
    UNKNOWN,
    Finding,
    Result,
    StateView,
    WideUnmap,
)
from nvscope.analysis.validate.require import Answer
from nvscope.analysis.validate.verdicts import Verdict, doubts_of, verdicts
from nvscope.probes.errors import shown
from nvscope.probes.traces.events import Event

WIDTH = 80
_SHOWN_ROWS = 30  # of a sub-trace; --format json has all
_SHOWN_WIDE = 3  # unmaps that took more than had to go; likewise


def lines(name: str, result: Result, required: Sequence[Answer] = ()) -> Iterator[str]:
    """All that is to be said of one file. The first line is the verdict."""
    yield headline(name, result)
    kernel = result.about.kernel or "unknown"
    yield f"  {result.rows:,} rows of kernel {kernel}, judged as {result.variant}"
    for verdict in verdicts(result):
        yield from _wrapped(f"  {verdict.invariant:<11}  {verdict.answer:<10}  ", _looked(verdict))
    yield from _figures(result)
    for answer in required:
        yield from _wrapped("  required: ", printable(requirement_line(answer)))
    if result.unjudged:
        yield "  could not be judged:"
        for why, count in reasons(result):
            yield from _wrapped(f"    {count:>7,}  ", printable(why))
    for note in result.notes:
        yield from _wrapped("  note: ", printable(note))
    for number, found in enumerate(result.findings, 1):
        yield ""
        yield from finding_lines(number, found)
    if result.hidden:
        yield ""
        yield f"  and {result.hidden:,} more findings"


def requirement_line(answer: Answer) -> str:
    """What became of a requirement.

    >>> requirement_line(Answer("full_unmaps=0", "unmet", "there were 2"))
    'full_unmaps=0: unmet, there were 2'
    """
    told = f"{answer.requirement}: {answer.answer}"
    if answer.why:
        told += f": {answer.why}" if answer.answer == UNKNOWN else f", {answer.why}"
    return told


def _looked(verdict: Verdict) -> str:
    """What a verdict rests on."""
    if verdict.why:
        return printable(verdict.why)
    told = f"{verdict.judged:,} judged"
    if verdict.violations:
        told += f", {verdict.violations:,} wrong"
    if verdict.unknown:
        told += f", {sum(verdict.unknown.values()):,} not known"
    return told


def _figures(result: Result) -> Iterator[str]:
    if not result.notifiers:
        return
    ratio = result.over_unmap_ratio
    said = f": {ratio:.2f} to 1" if ratio is not None else ""
    about = ", as far as is known" if doubts_of(result, OVER_UNMAP) else ""
    took = (
        f"{result.notifiers:,}, of {_size(result.unmapped_bytes)},"
        f" of which {_size(result.needed_bytes)} had to go{said}{about}"
    )
    unmaps = (
        f"{result.full_unmaps:,} full, {result.ranged_unmaps:,} ranged;"
        f" {result.needed_unmaps:,} needed, {result.needless_unmaps:,} needless"
    )
    yield from _wrapped("  notifier unmaps: ", took)
    yield from _wrapped("  shadow unmaps in them: ", unmaps)
    for unmap in result.wide_unmaps[:_SHOWN_WIDE]:
        yield from _wrapped(f"    row {unmap.row}: ", _wide(unmap))


def _wide(unmap: WideUnmap) -> str:
    where = "of all" if unmap.full else f"of {unmap.nested_ipa:#x} +{unmap.size:#x}"
    by, why = unmap.needed_by, "needed by no mapping"
    if by is not None:
        why = f"needed by {by.nested_ipa:#x} +{by.size:#x}, which led to {by.canonical_ipa:#x}"
    took = f"{unmap.unmapped:,} mapping{'' if unmap.unmapped == 1 else 's'}"
    return f"{where} took {took}, {_size(unmap.unmapped_bytes)}; {why}"


def reasons(result: Result) -> list[tuple[str, int]]:
    """Why decisions could not be judged, and how many; most come first."""
    return sorted(result.unjudged.items(), key=lambda reason: (-reason[1], reason[0]))


def headline(name: str, result: Result) -> str:
    """One line."""
    what = ""
    if result.findings:
        count = len(result.findings) + result.hidden
        what = f" ({count:,} finding{'s' if count > 1 else ''})"
    elif result.verdict != PASS:
        what = " (not all could be judged)" if result.unjudged else " (there is nothing to judge)"
    return f"{shown(name)}: {result.verdict}{what}"


def finding_lines(number: int, found: Finding) -> Iterator[str]:
    """One finding, with what shows it."""
    yield from _wrapped(f"  {number}. ", f"{found.invariant}: {INVARIANTS[found.invariant]}")
    event = found.event
    vm = printable(event.vm) or f"{event.kvm:#x}"
    yield from _wrapped("     at        ", f"row {found.row}, {event.kind}")
    yield from _wrapped("     of        ", f"VM {vm} (pid {event.pid}), MMU {found.mmu:#x}")
    yield from _wrapped("     expected  ", found.expected)
    yield from _wrapped("     seen      ", found.seen)
    for index, line in enumerate(state_lines(found.state)):
        yield ("     before    " if index == 0 else " " * 15) + line
    shown = found.trace[-_SHOWN_ROWS:]
    if shown:
        left_out = f", of {len(found.trace)} the last" if len(shown) < len(found.trace) else ""
        yield f"     rows that show it{left_out}:"
        width = len(str(shown[-1][0]))
        for at, shown_event in shown:
            yield f"       {at:>{width}}  {event_line(shown_event)}"
    if found.note:
        yield from _wrapped("     note      ", found.note)


def state_lines(state: StateView) -> Iterator[str]:
    """The state of an MMU as far as it matters."""
    flags = [f"broken: {'yes' if state.broken else 'no'}"]
    flags += [f"full unmaps under way: {state.full_unmaps}"] if state.full_unmaps else []
    yield ", ".join(flags)
    for entry in state.entries:
        to = "UNKNOWN_IPA" if entry.nested_ipa is None else f"nested {entry.nested_ipa:#x}"
        yield f"entry {entry.canonical_ipa:#x} +{entry.size:#x}: {to}"
    for mapped in state.mappings:
        to = f"canonical {mapped.canonical_ipa:#x} (row {mapped.row})"
        yield f"mapped {mapped.nested_ipa:#x} +{mapped.size:#x}: {to}"
    if state.hidden:
        yield f"and {state.hidden:,} more"


def event_line(event: Event) -> str:
    """One row.

    >>> event_line(Event("record", tid=7, mmu=0x20, canonical_ipa=0x8000, size=4096,
    ...                  detail="stored"))
    'record          tid 7  c 0x8000 n 0x0 +0x1000  stored'
    """
    parts = [f"{event.kind:<14}  tid {event.tid}"]
    if event.size and event.kind.startswith("notifier"):
        parts.append(f"c {event.canonical_ipa:#x} +{event.size:#x}")
    elif event.size and event.kind.startswith("unmap"):
        parts.append("all" if event.full else f"n {event.nested_ipa:#x} +{event.size:#x}")
    elif event.size:
        parts.append(f"c {event.canonical_ipa:#x} n {event.nested_ipa:#x} +{event.size:#x}")
    if event.result:
        parts.append(str(event.result))
    if event.detail:
        parts.append(event.detail)
    return "  ".join(parts)


def printable(said: str) -> str:
    r"""Text from a trace, which may be hostile: nothing that a terminal obeys or XML forbids.

    >>> printable("a\x1b[2Jb")
    'a�[2Jb'
    """
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in said)


def _wrapped(lead: str, text: str) -> list[str]:
    return textwrap.wrap(
        text, WIDTH, initial_indent=lead, subsequent_indent=" " * len(lead), break_long_words=False
    )


def _size(size_bytes: int) -> str:
    """
    >>> _size(4096), _size(3 << 29)
    ('4.0 KiB', '1.5 GiB')
    """
    size = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.1f} {unit}" if unit != "B" else f"{size_bytes} B"
        size /= 1024
    return f"{size:.1f} TiB"
