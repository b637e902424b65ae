"""`nvscope doctor --suggest`: which functions of this kernel may be its reverse map's.

By their names, their parameters and their place among the kernel's symbols: guesses, each with its
reasons. candidates.py looks for them, this file writes them as a points file.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from nvscope.probes.commands.doctor.candidates import ROLES, Candidate, candidates
from nvscope.probes.kernel.btf import Btf
from nvscope.probes.kernel.features import Roots, revmap
from nvscope.probes.kernel.symbols import KALLSYMS

_OTHERS = 3  # that are named beside the best
_OTHER = {"": "tracking", "maple": "tracking", "tracking": "maple"}


@dataclass(frozen=True)
class Suggestion:
    """kind: of the reverse map, "" where the kernel's types do not tell it; like: the one that it
    is most like, or ""; why: what tells so; broken: a member of struct kvm_s2_mmu, or ""; found:
    role -> best first.
    """

    kind: str
    like: str
    why: str
    broken: str
    found: dict[str, list[Candidate]]


def told(as_json: bool, roots: Roots | None = None) -> str:
    """The suggestion for the running kernel, as text to print. Raises LackError."""
    roots = roots or Roots()
    btf = Btf(roots.sys / "kernel/btf/vmlinux")
    found = suggestion(btf, _bytes(roots.proc / KALLSYMS.name))
    return json.dumps(as_dict(found), indent=2) + "\n" if as_json else toml(found)


def suggestion(btf: Btf, kallsyms: bytes) -> Suggestion:
    """What this kernel's types and symbols make likely."""
    found = candidates(btf, kallsyms)
    return Suggestion(*_kind(btf, found), _broken(btf), found)


def as_dict(found: Suggestion) -> dict[str, object]:
    """For programs. file: the points file; candidates: best first, each for its role."""
    return {
        "revmap": {
            "kind": found.kind,
            "like": found.like,
            "why": found.why,
            "broken": found.broken,
        },
        "candidates": [asdict(each) for role in ROLES for each in found.found[role]],
        "file": toml(found),
    }


def toml(found: Suggestion) -> str:
    """A points file. A line that ends with "# ?" is a guess."""
    lines = [
        "# Proposed by nvscope doctor --suggest. Names and types were looked at, not what the code",
        '# does. Look at each line with "?" in it before you believe what is measured.',
        "",
        "[revmap]",
        *_kind_lines(found),
    ]
    if found.broken:
        lines.append(f'broken = "{found.broken}"  # ? of struct kvm_s2_mmu: the map cannot be used')
    for role in ROLES:
        section = _section(role, found.found[role])
        # What is done about a map means little where nothing notes what is in it.
        alone = not found.found["revmap_record"]
        lines += ["", *(f"# {line.removeprefix('# ')}" if alone else line for line in section)]
    return "\n".join(lines) + "\n"


def _kind_lines(found: Suggestion) -> list[str]:
    if found.kind:
        return [f"# {found.why}", f'kind = "{found.kind}"']
    lines = [f"# {found.why}"]
    if found.like:
        lines += [
            "# With a kind, validate holds the map's decisions against the model of that kind;",
            "# without one it judges the kernel's behaviour, which needs no model.",
        ]
    return [*lines, f'# kind = "{found.like or "maple"}"  # or "{_OTHER[found.like]}"']


def _section(role: str, found: Sequence[Candidate]) -> list[str]:
    if not found:
        return [f"# [{role}]: no function looks like it; {ROLES[role].without}"]
    best, *others = found
    lines = [f"# {line}" for line in _reasons(best)]
    lines += [f"# or: {other.signature} (score {other.score})" for other in others[:_OTHERS]]
    lines += [f"[{role}]", f'function = "{best.function}"']
    lines += [f"{line}  # ? {why}" if why else line for line, why in best.lines]
    return lines


def _reasons(best: Candidate) -> list[str]:
    return [best.signature, f"score {best.score}: {', '.join(best.why)}"]


def _kind(btf: Btf, found: dict[str, list[Candidate]]) -> tuple[str, str, str]:
    known = revmap(btf)
    if known not in ("none", "unknown"):
        return known, known, f"nvscope knows this one by its types: {known}"
    if not found["revmap_record"]:
        return "", "", "nothing looks like a reverse map"
    if "maple_tree" in (btf.struct_name(of) for _, of in btf.members("kvm_s2_mmu")):
        return "", "maple", "? struct kvm_s2_mmu has a maple tree"
    return "", "tracking", "? struct kvm_s2_mmu has no maple tree: another structure"


def _broken(btf: Btf) -> str:
    """A flag of an MMU whose name says it."""
    for name, of in btf.members("kvm_s2_mmu"):
        number = btf.number(of)
        if "broken" in name and number and number.size_bytes == 1:
            return name
    return ""


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""
