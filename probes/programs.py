"""From probe points to source text and compiler flags: all of a BPF module but bcc."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nvscope.probes import decode
from nvscope.probes.btf import Btf
from nvscope.probes.catalog import Hook, ProbePoint
from nvscope.probes.snapshot import Attachment

SOURCES = Path(__file__).parent / "bpf"
HEADER = SOURCES / "nvscope.h"
FENTRY, KPROBE = "fentry", "kprobe"
MECHANISMS = (FENTRY, KPROBE)

# A kprobe's context begins with the argument registers x0..x7 (struct pt_regs
# of arm64); a return probe finds the result in x0.
REGISTER_ARGS = 8


@dataclass(frozen=True)
class Program:
    """One probe point on one hook by one mechanism; flags: -D options for the compiler."""

    point: str
    symbol: str
    mechanism: str
    flags: tuple[str, ...]

    @property
    def entry(self) -> str:
        """The entry program's name: for fentry bcc reads kind and place out of it."""
        return self._function("kfunc__vmlinux__", "entry")

    @property
    def exit(self) -> str:
        """The exit program's name."""
        return self._function("kretfunc__vmlinux__", "exit")

    def _function(self, prefix: str, suffix: str) -> str:
        return prefix + self.symbol if self.mechanism == FENTRY else f"{self.point}_{suffix}"


class UnresolvedError(Exception):
    """A hook that this kernel cannot serve; the message says what was not found."""


@dataclass
class Plan:
    """What to try for a probe point. choices: best first; problem: why the first one failed."""

    point: str
    symbol: str
    choices: list[Program]
    problem: str = ""

    def reject(self, problem: str) -> None:
        """The first choice failed."""
        self.choices.pop(0)
        self.problem = self.problem or problem

    def attachment(self) -> Attachment:
        """The first choice as attached, or why there is none."""
        if not self.choices:
            return Attachment(self.point, self.symbol, "", self.problem)
        return Attachment(self.point, self.choices[0].symbol, self.choices[0].mechanism)


def plan(point: ProbePoint, mechanisms: Sequence[str], symbol: str | None, btf: Btf) -> Plan:
    """All programs that this kernel's type information allows for a point.

    symbol: hook this function instead, with the values of the catalog's first hook.
    """
    hooks = [replace(point.hooks[0], symbol=symbol)] if symbol else list(point.hooks)
    made = Plan(point.name, hooks[0].symbol, [])
    for hook in hooks:
        for mechanism in mechanisms:
            try:
                made.choices.append(_program(point, hook, mechanism, btf))
            except UnresolvedError as error:
                made.problem = made.problem or str(error)
    return made


def source(programs: Sequence[Program]) -> str:
    """The module's source. Joined, not included: bcc rewrites map calls in the main text only."""
    files = [HEADER, *(SOURCES / f"{program.point}.c" for program in programs)]
    return "".join(f'#line 1 "{path.name}"\n{path.read_text()}\n' for path in files)


def compiler_flags(programs: Sequence[Program], max_vms: int) -> list[str]:
    """The options for bcc's compiler; max_vms: VMs that have room in the map of rows."""
    flags = [f"-I{SOURCES}", f"-DNV_ROWS={max_vms * len(decode.LABELS)}"]
    return [*flags, *sorted({flag for program in programs for flag in program.flags})]


def _program(point: ProbePoint, hook: Hook, mechanism: str, btf: Btf) -> Program:
    if not btf.has_function(hook.symbol):
        raise UnresolvedError(f"this kernel has no function {hook.symbol}")
    prefix = f"NV_{point.name.upper()}"
    defines = {f"{prefix}_TYPED": int(mechanism == FENTRY)}
    for name, kernel_name in hook.values.items():
        slot, at = _locate(hook.symbol, kernel_name, btf)
        if mechanism == KPROBE and slot >= REGISTER_ARGS:
            raise UnresolvedError(f"{hook.symbol}() takes {kernel_name} on the stack")
        defines |= {f"{prefix}_{name}_ARG": slot, f"{prefix}_{name}_AT": at}
    defines[f"{prefix}_RETURN"] = btf.slots(hook.symbol) if mechanism == FENTRY else 0
    for name, member in point.members.items():
        try:
            defines[f"NV_OFFSET_{name}"] = btf.offset(member.struct, member.path)
        except KeyError as error:
            raise UnresolvedError(f"this kernel has no {error.args[0]}") from None
    program = Program(point.name, hook.symbol, mechanism, ())
    names = {f"{prefix}_ENTRY": program.entry, f"{prefix}_EXIT": program.exit}
    flags = tuple(f"-D{name}={value}" for name, value in (defines | names).items())
    return replace(program, flags=flags)


def _locate(function: str, name: str, btf: Btf) -> tuple[int, int]:
    """(argument slot, -1) of a parameter, or (slot, offset) of a member behind a parameter."""
    parameters = btf.parameters(function)
    for parameter in parameters:
        if parameter.name == name:
            return parameter.slot, -1
    for parameter in parameters:
        at = btf.member_behind(parameter.type_id, name)
        if at is not None:
            return parameter.slot, at
    raise UnresolvedError(f"{function}() has no parameter {name}, nor a struct with one")
