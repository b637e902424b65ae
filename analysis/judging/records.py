"""Whether what records did can be explained, in whichever order the kernel took them.

A `record` row is written when the call is over, and its tree's lock was let go of before that: of
calls that overlapped, the rows may be in another order than the kernel's. What the entries are in
the end does not depend on the order, given each call's outcome: what overlaps is merged, and a
call that failed or was skipped changes nothing. So the entries follow the rows as they come, and
only where an outcome is not what the model says is another order looked for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from nvscope.analysis.judging.findings import Finding
from nvscope.analysis.judging.rows import Row
from nvscope.analysis.model import rules
from nvscope.analysis.model.mappings import Mapping
from nvscope.analysis.model.ranges import Entry
from nvscope.analysis.model.shadow import Shadow

MAX_GROUP = 10  # calls that overlapped; there are 2^n sets of them to look at
_REMEMBERED = 4 * MAX_GROUP  # calls
# So many more calls of the MMU, and no other that overlapped one will come.
_PATIENCE = 2 * MAX_GROUP

TOO_MANY = f"more than {MAX_GROUP} records of an MMU overlapped"


class Call(NamedTuple):
    """A call of kvm_nested_revmap_record(): its row, its outcome, and what undoes it."""

    row: Row
    outcome: str
    gone: Sequence[Entry | Mapping]
    new: Entry | Mapping | None
    was_broken: bool

    @property
    def start_ns(self) -> int:
        """When it began."""
        return self.row.time_ns - self.row.duration_ns

    @property
    def end_ns(self) -> int:
        """When it was over."""
        return self.row.time_ns


@dataclass(eq=False, slots=True)
class Records:
    """The last calls of one MMU. deferred: what is wrong, unless later calls explain the outcome.

    calls: the values of a Call each: there is one for each record, and few are ever looked at.
    """

    calls: deque[tuple[Row, str, Sequence[Entry | Mapping], Entry | Mapping | None, bool]] = field(
        default_factory=lambda: deque(maxlen=_REMEMBERED)
    )
    deferred: Finding | None = None
    waited: int = 0

    def defer(self, finding: Finding) -> None:
        """The last call's outcome is not what the model says; if nothing explains it: `finding`."""
        if self.deferred is None:
            self.deferred, self.waited = finding, 0

    @property
    def deferred_row(self) -> int:
        """The row of the deferred finding; -1: there is none."""
        return -1 if self.deferred is None else self.deferred.row

    @property
    def is_due(self) -> bool:
        """Whether a finding was deferred for long enough; to be asked once per call."""
        self.waited += 1
        return self.waited > _PATIENCE

    def forget(self) -> None:
        """Nothing of before counts any more."""
        self.calls.clear()
        self.deferred = None

    def settle(self, shadow: Shadow, barrier: int) -> str:
        """Decide on the deferred finding. Returns "" if an order explains all, TOO_MANY if that

        cannot be told, else why not. barrier: calls before that row do not overlap later ones.
        """
        assert self.deferred is not None
        remembered = [Call(*call) for call in self.calls]
        calls = [call for call in remembered if call.row.at > barrier]
        group = _overlapping(calls, self.deferred.row)
        was_cut = len(remembered) == _REMEMBERED and group[0] is remembered[0]
        self.deferred = None
        if len(group) > MAX_GROUP or was_cut:
            return TOO_MANY
        after = calls[calls.index(group[-1]) + 1 :]
        for call in reversed(group + after):
            _undo(shadow, call)
        explained = _has_order(shadow, group)
        for call in group + after:
            _redo(shadow, call)
        return "" if explained else "no order of the calls explains it"


def _overlapping(calls: list[Call], row: int) -> list[Call]:
    """The calls that overlap that of the row, or one that does, and so on; in a run."""
    at = next(index for index, call in enumerate(calls) if call.row.at == row)
    first = last = at
    grown = True
    while grown:
        start = min(call.start_ns for call in calls[first : last + 1])
        end = max(call.end_ns for call in calls[first : last + 1])
        inside = [i for i, c in enumerate(calls) if c.start_ns < end and start < c.end_ns]
        new = min([first, *inside]), max([last, *inside])
        grown = new != (first, last)
        first, last = new
    return calls[first : last + 1]


def _undo(shadow: Shadow, call: Call) -> None:
    shadow.replace([] if call.new is None else [call.new], None)
    for entry in call.gone:
        shadow.replace([], entry)
    shadow.broken = call.was_broken


def _redo(shadow: Shadow, call: Call) -> None:
    shadow.replace(list(call.gone), call.new)
    shadow.broken = call.was_broken or call.outcome == rules.FAILED


def _has_order(shadow: Shadow, group: list[Call]) -> bool:
    """Whether some order of the calls has the outcomes seen; leaves the state as it was.

    The state after a set of calls does not depend on their order: each set is looked at once.
    """
    whole, dead = (1 << len(group)) - 1, set[int]()

    def search(done: int) -> bool:
        if done == whole:
            return True
        if done in dead:
            return False
        for index, call in enumerate(group):
            if done >> index & 1 or not _may_be_next(group, done, call):
                continue
            trial = _trial(shadow, call)
            if trial is None:
                continue
            found = search(done | 1 << index)
            _undo(shadow, trial)
            if found:
                return True
        dead.add(done)
        return False

    return search(0)


def _may_be_next(group: list[Call], done: int, call: Call) -> bool:
    """Whether no call that is not done was over before this one began."""
    return not any(
        other is not call
        and not done >> index & 1
        and (
            other.end_ns <= call.start_ns
            or (other.row.tid == call.row.tid and other.row.at < call.row.at)
        )
        for index, other in enumerate(group)
    )


def _trial(shadow: Shadow, call: Call) -> Call | None:
    """Do the call, if it has its outcome now."""
    row = call.row
    outcome, gone, new = rules.store(shadow, row.nested, row.canonical, row.size, row.at)
    if not is_as_seen(shadow.skips, outcome, call.outcome):
        return None
    changes = call.outcome not in (rules.FAILED, rules.SKIPPED)
    trial = call._replace(
        gone=gone if changes else (),
        new=new if changes else None,
        was_broken=shadow.broken,
    )
    _redo(shadow, trial)
    return trial


def is_as_seen(skips: bool, outcome: str, seen: str) -> bool:
    """Whether a record may come out so. outcome: what it would be, if not skipped."""
    if skips:
        return seen == rules.SKIPPED
    if outcome == rules.EITHER:
        return seen in (rules.STORED, rules.UNCHANGED, rules.FAILED)
    return seen == outcome or (seen == rules.FAILED and outcome != rules.UNCHANGED)
