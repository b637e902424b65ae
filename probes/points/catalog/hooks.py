"""What a probe point and its hooks are stated by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from nvscope.probes.points.reach import Given


class Kind(Enum):
    """What of a call a probe point sees."""

    CALL = "its begin and its end"
    RESULT = "its end, and there what it was called with"
    BEGIN = "its begin only"


@dataclass(frozen=True)
class Enumerator:
    """A name out of an enum of the kernel, whose value the programs compare with."""

    enum: str
    name: str


@dataclass(frozen=True)
class Case:
    """What a value means. first, last: numbers, or an enumerator's name (first and last the same),
    of the enum of the value's own type, or "ENUM.NAME"; word: the meaning's C name.
    """

    first: int | str
    last: int | str
    word: str
    where: str = ""


@dataclass(frozen=True)
class Hook:
    """A kernel function that serves a probe point.

    values: C name -> the kernel's name for it: a parameter, or a member of the struct that a
    parameter points to (kernel 7.3 gathers the parameters of user_mem_abort() in a struct), or
    "struct NAME": the first parameter that points to one. traced: more of them, for traces.
    maybe: the same, of those that not all kernels have. flags: C name -> what the program has to
    know of this function. needs, needs_traced: points whose programs have to run as well.
    enums: C name -> enumerator, of those that are not there in all kernels. includes: what a call's
    duration includes that it would not at the first hook, one of snapshot.INCLUDES, or "". revmap:
    the kind of reverse map that the function is part of ("": of none); such a hook counts only
    where the function is there. From a points file come Given ones; given: C names of values that
    nothing but such a file has; cases: what ranges of such a value mean (first, last, C name);
    where: the file and the place in it, for messages.
    """

    symbol: str
    values: Mapping[str, str | Given]
    traced: Mapping[str, str | Given] = field(default_factory=dict)
    maybe: Mapping[str, str | Given] = field(default_factory=dict)
    flags: Mapping[str, int] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    needs_traced: tuple[str, ...] = ()
    enums: Mapping[str, Enumerator] = field(default_factory=dict)
    includes: str = ""
    given: tuple[str, ...] = ()
    cases: tuple[Case, ...] = ()
    where: str = ""
    revmap: str = ""


@dataclass(frozen=True)
class Member:
    """A member's place in a struct; path goes through members by value ("a.b")."""

    struct: str
    path: str


@dataclass(frozen=True)
class ProbePoint:
    """A logical event.

    hooks: in order of preference; members: C name -> place; maybe: the same, of members that not
    all kernels have; traced: the same, that only traces need; triggers: C name -> place, of what
    tells who caused a call, which one-shot probes may ask; revmap: the kind of reverse map that
    always has it, beside those of which a hook's function is there ("": all kernels have it);
    optional: another point tells nearly the same where this one cannot be had; only_traced: nothing
    is counted; only_probed: of use to one-shot probes alone; helper: only where a hook of another
    point needs it.
    """

    name: str
    hooks: tuple[Hook, ...]
    members: Mapping[str, Member] = field(default_factory=dict)
    maybe: Mapping[str, Member] = field(default_factory=dict)
    traced: Mapping[str, Member] = field(default_factory=dict)
    triggers: Mapping[str, Member] = field(default_factory=dict)
    kind: Kind = Kind.CALL
    revmap: str = ""
    optional: bool = False
    only_traced: bool = False
    only_probed: bool = False
    helper: bool = False
