"""Where events are missing in a text: from which line on, until which time.

A text tells of a loss when it is over: the events that were lost are older than what stands before
that place, of other CPUs. So a text is gone through twice: first for its gaps, then for its rows.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from nvscope.analysis.interop.texts.text import Mark, Raw, Seen, Where

MAX_GAPS = 1 << 16  # of one cause; past that the last one goes on to the end
_STEP = 256  # events; of one of so many it is noted where it is


@dataclass
class Gap:
    """`count` events are missing.

    after: the line (from 1 on) behind which they may be, 0 for the start; until_ns: they happened
    no later; end: the line that ends it.
    """

    after: int
    end: int
    until_ns: int
    count: int
    cause: str


class Survey:
    """Takes all that a text holds, in its order; then says where the gaps are.

    is_ours: of which names the events are that matter.
    """

    def __init__(self, is_ours: Callable[[str], bool]) -> None:
        self._is_ours = is_ours
        self._gaps: dict[str, list[Gap]] = {}  # by cause, disjoint and in their order
        self._open: dict[int | None, dict[str, Gap]] = {}  # by CPU, None for any, and cause
        self._line_of: dict[int, int] = {}  # CPU -> line of its last event
        self._first_ns: dict[int, int] = {}
        self._line, self._last_ns = 0, 0
        self._overwritten = 0
        self._anywhere: dict[str, int] = {}  # cause -> count
        self._times: list[int] = []
        self._lines: list[int] = []
        self._ours = 0

    def take(self, line: int, item: Raw | Mark) -> None:
        """What the line of that number says."""
        if isinstance(item, Mark):
            self._mark(line, item)
        elif self._is_ours(item.event):
            self._event(line, item)
        else:
            self._pass(line, item.cpu, item.time_ns)

    def finish(self) -> list[Gap]:
        """The text is over: its gaps, by their starts."""
        end = self._line
        for cpu in list(self._open):
            self._end(cpu, end, self._last_ns)
        if self._overwritten:
            until = max(self._first_ns.values(), default=0)
            self._add("overwritten", 0, end, until, 0)
            # Marks of single CPUs are of the same losses.
            self._gaps["overwritten"][0].count = self._overwritten
        for cause, count in self._anywhere.items():
            self._add(cause, 0, end, self._last_ns, count)
        gaps = [gap for gaps in self._gaps.values() for gap in gaps]
        return sorted(gaps, key=lambda gap: gap.after)

    def _event(self, line: int, item: Raw) -> None:
        if item.time_ns < self._last_ns:
            # It belongs to where the rows were of its time, but they are gone.
            self._add("out_of_order", self._place(item.time_ns), line, self._last_ns, 1)
            return
        self._last_ns = item.time_ns
        if not self._ours % _STEP:
            self._times.append(item.time_ns)
            self._lines.append(line)
        self._ours += 1
        self._pass(line, item.cpu, item.time_ns)

    def _pass(self, line: int, cpu: int, time_ns: int) -> None:
        """There is an event of this CPU."""
        self._line = self._line_of[cpu] = line
        self._first_ns.setdefault(cpu, time_ns)
        if self._open:
            for each in (cpu, None):
                self._end(each, line, max(time_ns, self._last_ns))

    def _end(self, cpu: int | None, line: int, until_ns: int) -> None:
        for gap in self._open.pop(cpu, {}).values():
            self._add(gap.cause, gap.after, line, until_ns, gap.count)

    def _mark(self, line: int, mark: Mark) -> None:
        of_start = mark.where is Where.START and mark.cpu is None
        if mark.where is Where.BETWEEN and not self._line:
            return  # what begins here is the first
        if of_start and not self._line:
            self._overwritten += mark.count
        elif of_start or mark.where is Where.ANYWHERE:
            if not mark.event or self._is_ours(mark.event):
                self._anywhere[mark.cause] = self._anywhere.get(mark.cause, 0) + mark.count
        else:
            after = 0
            if mark.where is Where.CPU and mark.cpu is not None:
                after = self._line_of.get(mark.cpu, 0)
            elif mark.where in (Where.HERE, Where.BETWEEN):
                after = self._line
            gaps = self._open.setdefault(mark.cpu, {})
            gaps.setdefault(mark.cause, Gap(after, line, 0, 0, mark.cause)).count += mark.count

    def _add(self, cause: str, after: int, end: int, until_ns: int, count: int) -> None:
        """A gap, made one with those of its cause that it meets: ends come in their order."""
        gaps = self._gaps.setdefault(cause, [])
        gap = Gap(after, end, until_ns, count, cause)
        while gaps and (gaps[-1].end >= gap.after or len(gaps) >= MAX_GAPS):
            last = gaps.pop()
            gap.after, gap.end = min(gap.after, last.after), max(gap.end, last.end)
            gap.until_ns = max(gap.until_ns, last.until_ns)
            gap.count += last.count
        gaps.append(gap)

    def _place(self, time_ns: int) -> int:
        """A line before all events of ours that are not before this time."""
        index = bisect_left(self._times, time_ns) - 1
        return self._lines[index] if index >= 0 else 0


def survey(items: Iterable[Raw | Mark], seen: Seen, is_ours: Callable[[str], bool]) -> list[Gap]:
    """The gaps of a text. items: what text.parse() makes of it, counting its lines in `seen`."""
    found = Survey(is_ours)
    for item in items:
        found.take(seen.lines, item)
    return found.finish()
