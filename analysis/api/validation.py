"""What validation says of a trace, as Python has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from nvscope.analysis.judging.findings import Finding, Result
from nvscope.analysis.model.variants import VARIANTS
from nvscope.analysis.validate import formats
from nvscope.analysis.validate.cli import exit_code
from nvscope.analysis.validate.jobs import run
from nvscope.analysis.validate.require import Answer, Requirement, SpecError, answers, parse
from nvscope.analysis.validate.verdicts import Verdict, told, verdicts
from nvscope.probes.errors import InputError

_VERDICTS = pa.schema(
    [
        ("invariant", pa.string()),
        ("verdict", pa.string()),
        *((name, pa.uint64()) for name in ("judged", "violations", "unknown")),
        ("why", pa.string()),
    ]
)
_WORDS = ("invariant", "kind", "vm", "expected", "seen", "note")
_FINDINGS = pa.schema(
    [
        (name, pa.string() if name in _WORDS else pa.uint64())
        for name in ("invariant", "row", "kind", "time_ns", "vm", "kvm", "mmu")
    ]
    + [(name, pa.string()) for name in ("expected", "seen", "note")]
)


class Validation:
    """The outcome. Printed, it is what `nvscope validate` prints.

    result: all of it, with the figures (full_unmaps, over_unmap_ratio, wide_unmaps …), see
    findings.Result.
    """

    def __init__(self, name: str, result: Result, required: Sequence[Requirement] = ()) -> None:
        self.result = result
        self._name = name
        self._required = tuple(required)

    def __repr__(self) -> str:
        return formats.as_text([(self._name, self.result)], self._required).rstrip("\n")

    @property
    def ok(self) -> bool:
        """Whether the command would end with 0: nothing wrong or unknown, all required is met."""
        return exit_code([(self._name, self.result)], self._required) == 0

    @property
    def verdict(self) -> str:
        """ "violation" if anything was found, "unknown" if anything is not known, else "pass"."""
        return self.result.verdict

    @property
    def verdicts(self) -> Mapping[str, Verdict]:
        """Invariant -> its verdict: answer ("pass" | "violation" | "unknown" | "not judged") …

        >>> from nvscope.analysis import open_trace
        >>> said = open_trace("analysis/samples/stock.arrows").validate()
        >>> said.verdict, said.verdicts["safety"].judged
        ('pass', 4)
        """
        return {each.invariant: each for each in verdicts(self.result)}

    @property
    def requirements(self) -> list[Answer]:
        """What became of each requirement: "met", "unmet" or "unknown", and why."""
        return answers(self.result, self._required)

    @property
    def findings(self) -> list[Finding]:
        """Violations, by row: at most the first 100; result.hidden says how many more there are.

        A finding has the event, the MMU's state before it, and the rows that show it (trace).
        """
        return self.result.findings

    def verdict_table(self) -> pa.Table:
        """The verdicts, one a row: invariant, verdict, judged, violations, unknown, why.

        unknown: how many decisions are not known; why: of "unknown" and "not judged", the reasons.
        """
        said = self.verdicts.values()
        rows = [
            (
                v.invariant,
                v.answer,
                v.judged,
                v.violations,
                v.unknown.total(),
                v.why or told(v.unknown),
            )
            for v in said
        ]
        return _table(rows, _VERDICTS)

    def finding_table(self) -> pa.Table:
        """The findings, one a row: which invariant, where in the trace, what was expected and seen.

        row: of the event in the trace, from 0; time_ns, vm, kvm: the event's. Unlike `findings`
        it has neither the state before nor the rows that show it.

        >>> from nvscope.analysis import open_trace
        >>> bug = open_trace("analysis/samples/bugs/lost-record.arrows")
        >>> bug.validate().finding_table().select(["invariant", "row", "kind"]).to_pylist()
        [{'invariant': 'safety', 'row': 11, 'kind': 'notifier_end'}]
        """
        rows = [
            (
                *(f.invariant, f.row, f.event.kind, f.event.time_ns, f.event.vm, f.event.kvm),
                *(f.mmu, f.expected, f.seen, f.note),
            )
            for f in self.findings
        ]
        return _table(rows, _FINDINGS)


def validate(path: Path, require: str | None, variant: str | None, jobs: int) -> Validation:
    """Judge a trace. Raises TraceError, InputError, LackError."""
    if variant is not None and variant not in VARIANTS:
        raise InputError(f"{variant!r:.60} is no variant: there are {', '.join(VARIANTS)}")
    if jobs < 1:
        raise InputError(f"jobs is {jobs}: there has to be one process at least")
    try:
        required = parse(require) if require else []
    except SpecError as error:
        raise InputError(f"require: {error}") from None
    return Validation(str(path), run.validate(path, variant=variant, jobs=jobs), required)


def _table(rows: Sequence[tuple[object, ...]], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_pylist([dict(zip(schema.names, row, strict=True)) for row in rows], schema)
