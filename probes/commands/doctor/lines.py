"""Lines of a points file: which of a function's values is what, and what is not certain of it."""

from __future__ import annotations

import re
from collections.abc import Mapping

from nvscope.probes.commands.doctor.values import PAGES, Value
from nvscope.probes.kernel.btf import Btf

NESTED = re.compile(r"nested|l2|n_?ipa|guest|fault_ipa")
_CANONICAL = re.compile(r"canon|l1|gpa|gfn|ipa|phys")
_SIZE = re.compile(r"size|len|bytes|granule")
# What an outcome's or a reason's name may have in it, by our words.
_OUTCOME_WORDS = {
    "skipped": r"skip|was_broken|ignored",
    "failed": r"fail|nomem|error|_not_|_lost",
    "overlapped": r"overlap|pollut|merged|unknown",
    "unchanged": r"unchanged|same|exist|already|dup",
    "stored": r"stored|added|inserted|recorded|tracked|new|ok|done",
}
_REASON_WORDS = {
    "broken": r"broken|fail|nomem",
    "unknown_ipa": r"unknown|pollut",
    "raced": r"race|raced|busy",
}


def addresses(found: list[Value], sizes: list[Value]) -> list[tuple[str, str]]:
    """Lines for the nested IPA, the canonical one, and the size. sizes: those that are sure."""
    left = list(found)

    def take(pattern: re.Pattern[str] | None) -> Value | None:
        for value in left:
            if pattern is None or pattern.search(value.name):
                left.remove(value)
                return value
        return None

    size = next((v for v in sizes if _SIZE.search(v.name)), None) or take(_SIZE)
    end = None if size else take(re.compile(r"^(end|last)"))
    nested = take(NESTED)
    canonical = take(_CANONICAL)
    unsure = "" if nested and canonical else "the names do not tell which is which"
    nested, canonical = nested or take(None), canonical or take(None)
    lines = [
        (_line(key, value), unsure)
        for key, value in (("nested_ipa", nested), ("canonical_ipa", canonical))
        if value
    ]
    lines += [
        (f"# {key} = …", "no parameter looks like it")
        for key, value in (("nested_ipa", nested), ("canonical_ipa", canonical))
        if not value
    ]
    if size:
        return [*lines, (_line("size", size), "")]
    if end:
        return [*lines, (_line(end.name[:4].rstrip("_"), end), "of which IPA is it the end?")]
    return [*lines, ('size = { value = 0, unit = "order" }', "no parameter tells it: a page")]


def _line(key: str, value: Value) -> str:
    if value.type in PAGES:
        return f'{key} = {{ value = "{value.path}", unit = "page" }}'
    return f'{key} = "{value.path}"'


def outcome(btf: Btf, function: str) -> list[tuple[str, str]]:
    result = btf.returns(function)
    names = btf.enumerators(result)
    if names:
        return _cases('outcome = "return"', "outcomes", names, _OUTCOME_WORDS)
    if btf.text(result).strip() == "int":
        usual = 'outcomes = { stored = 0, failed = "negative" }'
        return [('outcome = "return"', ""), (usual, "as kernel functions mostly return")]
    return [('# outcome = "return"', f"it returns {btf.text(result).strip()}")]


def reason(btf: Btf, function: str, values: list[Value]) -> list[tuple[str, str]]:
    for value in values:
        if names := btf.enumerators(value.type_id):
            return _cases(f'reason = "{value.path}"', "reasons", names, _REASON_WORDS)
    return [('# reason = "…"', "no parameter is an enum")]


def _cases(
    where: str, key: str, names: list[str], words: Mapping[str, str]
) -> list[tuple[str, str]]:
    """Where an enum is, and its names by our words; those that fit none are told."""
    told: dict[str, list[str]] = {}
    left = []
    for name in names:
        word = next((w for w, sign in words.items() if re.search(sign, name.lower())), "")
        told.setdefault(word, []).append(name) if word else left.append(name)
    each = [f"{word} = [{', '.join(map(_quoted, names))}]" for word, names in told.items()]
    unsure = f"not placed: {', '.join(left)}" if left else "by the names"
    if not each:
        return [(f"# {where}", ""), (f"# {key} = …", unsure)]
    return [(where, ""), (f"{key} = {{ {', '.join(each)} }}", unsure)]


def _quoted(name: str) -> str:
    return f'"{name}"'
