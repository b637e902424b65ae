"""From probe points to source text and compiler flags: all of a BPF module but bcc."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

from nvscope.probes.counts.snapshot import Attachment, Refusal
from nvscope.probes.kernel.btf import Btf
from nvscope.probes.kernel.symbols import (
    Variants,
    has_ending,
    parameters_problem,
    partial_problem,
    without_suffix,
)
from nvscope.probes.points.catalog.hooks import Hook, Kind, ProbePoint
from nvscope.probes.points.modes import COUNTS, FENTRY, KPROBE, Mode
from nvscope.probes.points.reach import RESULT_SLOT
from nvscope.probes.points.values import ABSENT, UnresolvedError, cases, places

# A kprobe's context begins with the argument registers x0..x7 (struct pt_regs
# of arm64); a return probe finds the result in x0.
REGISTER_ARGS = 8
# Of these a kprobe program keeps the first for the call's end (NV_ARGS, bpf/nvscope.h).
KEPT_ARGS = 4


@dataclass(frozen=True)
class Program:
    """One probe point on one hook by one mechanism.

    flags: -D options for the compiler; needs: points whose programs have to run as well; includes:
    see Attachment.
    """

    point: str
    symbol: str
    mechanism: str
    kind: Kind
    flags: tuple[str, ...]
    needs: tuple[str, ...] = ()
    includes: str = ""

    @property
    def entry(self) -> str | None:
        """The entry program's name, if it has one: for fentry bcc reads kind and place out of it.

        At the end of a call a kprobe no longer finds what it was called with, fexit does.
        """
        if self.kind is Kind.RESULT and self.mechanism == FENTRY:
            return None
        return self._function("kfunc__vmlinux__", "entry")

    @property
    def exit(self) -> str | None:
        """The exit program's name, if it has one."""
        if self.kind is Kind.BEGIN:
            return None
        return self._function("kretfunc__vmlinux__", "exit")

    def _function(self, prefix: str, suffix: str) -> str:
        return prefix + self.symbol if self.mechanism == FENTRY else f"{self.point}_{suffix}"


@dataclass
class Plan:
    """What to try for a probe point. attempts: best first; what cannot be had is a refusal."""

    point: str
    symbol: str
    attempts: list[Program | Refusal]
    optional: bool = False

    @property
    def choices(self) -> list[Program]:
        """What is left to try, best first."""
        return [each for each in self.attempts if isinstance(each, Program)]

    @property
    def refused(self) -> tuple[Refusal, ...]:
        """What would be better than the first choice, and cannot be had."""
        refusals = itertools.takewhile(lambda each: isinstance(each, Refusal), self.attempts)
        return tuple(each for each in refusals if isinstance(each, Refusal))

    @property
    def problem(self) -> str:
        """Why the best was refused; "" if it was not."""
        return self.refused[0].why if self.refused else ""

    def reject(self, problem: str) -> None:
        """The first choice failed."""
        failed = self.choices[0]
        refusal = Refusal(failed.symbol, failed.mechanism, problem)
        self.attempts[self.attempts.index(failed)] = refusal

    def attachment(self) -> Attachment:
        """The first choice as attached, or why there is none."""
        if not self.choices:
            refused = self.refused
            return Attachment(self.point, self.symbol, "", self.problem, self.optional, refused)
        best = self.choices[0]
        return Attachment(
            self.point,
            best.symbol,
            best.mechanism,
            optional=self.optional,
            refused=self.refused,
            includes=best.includes,
        )


def plan(
    point: ProbePoint,
    mechanisms: Sequence[str],
    symbol: str | None,
    btf: Btf,
    mode: Mode = COUNTS,
) -> Plan:
    """All programs that this kernel's type information allows for a point.

    symbol: hook this function and no other, with the values of the catalog's hook of that name
    (whatever a compiler has put behind it), else of its first.
    """
    point = _in_mode(point, mode)
    hooks = [_named(point, symbol)] if symbol else _of_revmap(point, btf)
    attempts = [_attempt(point, hook, by, btf) for hook in hooks for by in mechanisms]
    return Plan(point.name, hooks[0].symbol, attempts, optional=point.optional)


def _of_revmap(point: ProbePoint, btf: Btf) -> list[Hook]:
    """Of hooks that are parts of reverse maps, those that are there; else the first, to say so."""
    found = [h for h in point.hooks if not h.revmap or btf.has_function(without_suffix(h.symbol))]
    return found or list(point.hooks[:1])


def renamed(
    point: ProbePoint, mechanisms: Sequence[str], variants: Variants, btf: Btf, mode: Mode = COUNTS
) -> list[Program | Refusal]:
    """The same of a point's functions as this kernel's compiler has renamed them.

    variants: the names that a function has beside its own.
    """
    point = _in_mode(point, mode)
    hooks = [replace(h, symbol=name) for h in point.hooks for name in variants(h.symbol)]
    return [
        Refusal(hook.symbol, by, why)
        if (why := partial_problem(hook.symbol))
        else _attempt(point, hook, by, btf)
        for hook in hooks
        for by in mechanisms
    ]


def _named(point: ProbePoint, symbol: str) -> Hook:
    known = {hook.symbol: hook for hook in point.hooks}
    return replace(known.get(without_suffix(symbol), point.hooks[0]), symbol=symbol)


def _attempt(point: ProbePoint, hook: Hook, mechanism: str, btf: Btf) -> Program | Refusal:
    try:
        return _program(point, hook, mechanism, btf)
    except UnresolvedError as error:
        return Refusal(hook.symbol, mechanism, str(error))


def _in_mode(point: ProbePoint, mode: Mode) -> ProbePoint:
    """The point with what its programs need beside the counts."""
    hooks, members = point.hooks, dict(point.members)
    if mode.events:
        hooks = tuple(
            replace(h, values=dict(h.values) | dict(h.traced), needs=h.needs + h.needs_traced)
            for h in hooks
        )
        members |= point.traced
    if mode.probing and mode.probing.triggers:
        members |= point.triggers
    # Counts tell nobody how long a record took; the others do.
    timed = mode != COUNTS and point.kind is Kind.RESULT and not point.only_traced
    kind = Kind.CALL if timed else point.kind
    return replace(point, hooks=hooks, members=members, kind=kind)


def _program(point: ProbePoint, hook: Hook, mechanism: str, btf: Btf) -> Program:
    function = without_suffix(hook.symbol)
    if not btf.has_function(function):
        where = f"{hook.where} function: " if hook.where else ""
        raise UnresolvedError(f"{where}this kernel has no function {function}")
    if has_ending(hook.symbol):
        _require_hookable(hook, mechanism)
    prefix = f"NV_{point.name.upper()}"
    defines: dict[str, int | str] = {f"{prefix}_TYPED": int(mechanism == FENTRY)}
    defines |= {f"{prefix}_{name}": value for name, value in hook.flags.items()}
    result = btf.slots(function) if mechanism == FENTRY else 0
    kept = REGISTER_ARGS if point.kind is Kind.BEGIN else KEPT_ARGS
    for name, at in places(hook, function, btf).items():
        if mechanism == KPROBE and at.slot >= REGISTER_ARGS:
            raise UnresolvedError(f"{hook.symbol}() takes {name.lower()} on the stack")
        if mechanism == KPROBE and at.slot >= kept:
            raise UnresolvedError(
                f"{hook.symbol}() takes {name.lower()} as parameter {at.slot + 1}:"
                f" a kprobe keeps {kept}"
            )
        slot = result if at.slot == RESULT_SLOT else at.slot
        defines |= {f"{prefix}_{name}_ARG": slot | at.how, f"{prefix}_{name}_AT": at.at}
    defines[f"{prefix}_RETURN"] = result
    if "CASED" in hook.flags:
        defines[f"{prefix}_CASES"] = cases(hook, function, btf)
    defines |= _offsets(point, btf) | _enumerators(point, hook, btf)
    program = Program(point.name, hook.symbol, mechanism, point.kind, (), hook.needs, hook.includes)
    functions = {"ENTRY": program.entry, "EXIT": program.exit}
    names = {f"{prefix}_{edge}": name for edge, name in functions.items() if name}
    flags = tuple(f"-D{name}={value}" for name, value in (defines | names).items())
    return replace(program, flags=flags)


def _require_hookable(hook: Hook, mechanism: str) -> None:
    """Of a symbol that a compiler has renamed. Raises UnresolvedError."""
    if hook.values and (why := parameters_problem(hook.symbol)):
        raise UnresolvedError(why)
    if mechanism == FENTRY:
        raise UnresolvedError(f"fentry finds functions by the types' names, not {hook.symbol}")


def _offsets(point: ProbePoint, btf: Btf) -> dict[str, int]:
    """Where the members lie that the point's program reads, in bytes."""
    found = {}
    for name, member in (dict(point.members) | dict(point.maybe)).items():
        try:
            found[f"NV_OFFSET_{name}"] = btf.offset(member.struct, member.path)
        except KeyError as error:
            if name in point.members:
                raise UnresolvedError(f"this kernel has no {error.args[0]}") from None
            found[f"NV_OFFSET_{name}"] = ABSENT
    return found


def _enumerators(point: ProbePoint, hook: Hook, btf: Btf) -> dict[str, int]:
    """The enumerators of all hooks that a program may serve: it compares with every one of them."""
    found = {f"NV_KERNEL_{name}": ABSENT for each in point.hooks for name in each.enums}
    for name, place in hook.enums.items():
        value = btf.enumerator(place.enum, place.name)
        found[f"NV_KERNEL_{name}"] = ABSENT if value is None else value
    return found
