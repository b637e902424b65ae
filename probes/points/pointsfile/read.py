"""From a points file to hooks: TOML that says which functions serve the probe points of a kernel.

What is wrong in any kernel is found here (InputError); what this kernel lacks, in check.py.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

from nvscope.probes.config import file
from nvscope.probes.errors import InputError
from nvscope.probes.kernel.symbols import without_suffix
from nvscope.probes.points.catalog.hooks import Case, Hook, Member, ProbePoint
from nvscope.probes.points.catalog.points import BY_NAME
from nvscope.probes.points.pointsfile.keys import BASES, CASES, ENDS, KEYS, KINDS, SWITCHES, Key
from nvscope.probes.points.reach import RETURN, Given, parsed

MOST_BYTES = 64 << 10  # of a file: a trace has all of it
FILES = Path(str(resources.files(__package__))) / "files"
_SYMBOL = re.compile(r"[A-Za-z_][\w.]*", re.ASCII)
_MEMBER = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
_ENUMERATOR = re.compile(r"([A-Za-z_]\w*\.)?[A-Za-z_]\w*", re.ASCII)
# An error of a kernel function is -errno; an int holds it.
_NEGATIVE = (-(1 << 31), -1)


@dataclass(frozen=True)
class PointsFile:
    """A points file that is good as far as can be told without a kernel.

    name: as the user gave it; text: its content; kind: of the reverse map, "" where the kernel's
    types tell; broken: Given's like a member of struct kvm_s2_mmu that tells a broken map, or "";
    hooks: point -> the function to try before the catalog's.
    """

    name: str
    text: str
    kind: str = ""
    broken: str = ""
    hooks: Mapping[str, Hook] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Of its content: "sha256:…"."""
        return f"sha256:{hashlib.sha256(self.text.encode()).hexdigest()}"

    def catalog(self) -> dict[str, ProbePoint]:
        """The catalog, with these hooks in front."""
        points = {
            name: replace(point, hooks=(self.hooks[name], *point.hooks))
            if name in self.hooks
            else point
            for name, point in BY_NAME.items()
        }
        return {name: self._with_broken(point) for name, point in points.items()}

    def _with_broken(self, point: ProbePoint) -> ProbePoint:
        if not self.broken or "MMU_BROKEN" not in point.maybe:
            return point
        return replace(point, maybe={"MMU_BROKEN": Member("kvm_s2_mmu", self.broken)})


def bundled() -> tuple[str, ...]:
    """The names of those in the package."""
    return tuple(sorted(path.stem for path in FILES.glob("*.toml")))


def read(name: str) -> PointsFile:
    """A bundled file by its name, else the one at that path. Raises InputError, LackError."""
    path = FILES / f"{name}.toml" if name in bundled() else Path(name)
    source = replace(file.read(path, ("revmap", *KEYS)), path=Path(name))
    if len(source.text.encode()) > MOST_BYTES:
        raise InputError(f"{path} is no points file: it is longer than {MOST_BYTES:,} bytes")
    hooks = {
        point: _Table(source, point, source.values[point]).hook()
        for point in KEYS
        if point in source.values
    }
    kind, broken = _revmap(source)
    return PointsFile(name, source.text, kind, broken, hooks)


def _revmap(source: file.File) -> tuple[str, str]:
    said = dict(source.values.get("revmap", {}))
    kind, broken = said.pop("kind", ""), said.pop("broken", "")
    for key in said:
        raise InputError(f"{_at(source, 'revmap', key)}: no such key; there are kind, broken")
    if "kind" in source.values.get("revmap", {}) and kind not in KINDS:
        raise InputError(
            f"{_at(source, 'revmap', 'kind')}: {kind!r:.40} is not one of {_or(KINDS)}"
        )
    if broken and not (isinstance(broken, str) and _MEMBER.fullmatch(broken)):
        raise InputError(
            f"{_at(source, 'revmap', 'broken')}: {broken!r:.40} is no member of struct kvm_s2_mmu"
        )
    return kind, broken


def _at(source: file.File, point: str, key: str) -> str:
    return f"{source.where(point, key)}: [{point}] {key}"


def _or(words: tuple[str, ...]) -> str:
    return ", ".join(words)


class _Table:
    """What a file says of one point."""

    def __init__(self, source: file.File, point: str, said: Mapping[str, Any]) -> None:
        self._source, self._point, self._said = source, point, said
        self._keys = KEYS[point]
        self._switches = SWITCHES.get(point, {})
        self._cases_key, self._cased = CASES.get(point, ("", ""))

    def hook(self) -> Hook:
        """The catalog's hook of that name, else the first, with what the file says instead."""
        symbol = self._symbol()
        self._require_known()
        known = {hook.symbol: hook for hook in BY_NAME[self._point].hooks}
        base = known.get(without_suffix(symbol), BY_NAME[self._point].hooks[0])
        given = {self._keys[key].name: self._given(key) for key in self._said if key in self._keys}
        flags = {**base.flags, **self._flags()}
        if "REASON" in base.values and "REASON" not in given and symbol not in known:
            given["REASON"] = Given(0, self._where("reason"))
            flags["CASED"] = 1  # and no case: it is unknown
        always = {*base.values, *base.given}
        self._require_use(given, {*always, *base.traced, *base.maybe})
        return replace(
            base,
            symbol=symbol,
            values={**base.values, **{n: v for n, v in given.items() if n in always}},
            traced={**base.traced, **{n: v for n, v in given.items() if n in base.traced}},
            maybe={**base.maybe, **{n: v for n, v in given.items() if n in base.maybe}},
            flags=flags,
            needs=(*base.needs, *(("notifier_unmap",) if flags.get("ONLY_WITHIN") else ())),
            cases=tuple(self._cases()),
            where=f"{self._source.where(self._point)}: [{self._point}]",
            revmap="",  # its function has to be there
        )

    def _require_use(self, given: Mapping[str, Given], used: set[str]) -> None:
        for key in self._said:
            name = self._keys[key].name if key in self._keys else ""
            if name in given and name not in used:
                raise self._wrong(key, "nothing reads it where that function is hooked")

    def _symbol(self) -> str:
        symbol = self._said.get("function")
        if symbol is None:
            raise InputError(
                f"{self._source.where(self._point)}: [{self._point}] has no function:"
                ' say which serves it, function = "NAME"'
            )
        if not isinstance(symbol, str) or not _SYMBOL.fullmatch(symbol):
            raise self._wrong("function", f"{symbol!r:.60} is no name of a function")
        return symbol

    def _require_known(self) -> None:
        known = ["function", *self._keys, *self._switches, *filter(None, [self._cases_key])]
        for key in self._said:
            if key not in known:
                raise self._wrong(key, f"no such key; there are {', '.join(known)}")
        sizes = [key for key in ("size", *ENDS) if key in self._said]
        if len(sizes) > 1:
            raise self._wrong(sizes[1], f"there is {sizes[0]} already: give one of them")
        pair = {self._cases_key, self._cased} & {*self._said}
        if len(pair) == 1:
            (there,) = pair
            (lacking,) = {self._cases_key, self._cased} - pair
            raise self._wrong(there, f"it needs {lacking} beside it")

    def _given(self, key: str) -> Given:
        said, wanted = self._said[key], self._keys[key]
        unit = "byte"
        if isinstance(said, dict):
            known = ["value", *(["unit"] if wanted.units else []), *(["of"] if key in ENDS else [])]
            for each in said:
                if each not in known:
                    raise self._wrong(key, f"no {each} here; there are {', '.join(known)}")
            unit = said.get("unit", "byte")
            if unit not in (wanted.units or ("byte",)):
                raise self._wrong(key, f"unit {unit!r:.40} is not one of {_or(wanted.units)}")
            if said.get("of", "canonical_ipa") not in BASES:
                raise self._wrong(key, f"of {said['of']!r:.40} is not one of {_or(tuple(BASES))}")
            said = said.get("value")
        return Given(
            self._value(key, wanted, said),
            self._where(key),
            struct=wanted.struct,
            unit=unit,
            last=key == "last",
            cased=bool(wanted.cases),
        )

    def _value(self, key: str, wanted: Key, said: Any) -> Any:
        if isinstance(said, int) and not isinstance(said, bool) and not wanted.struct:
            return said
        if said == RETURN and key == "outcome":
            return RETURN
        if isinstance(said, str):
            try:
                return parsed(said)
            except ValueError:
                pass
        raise self._wrong(
            key, f'{said!r:.60} is no parameter or path to a member, as "vcpu->arch.hw_mmu"'
        )

    def _flags(self) -> dict[str, int]:
        flags: dict[str, int] = {}
        for key, name in self._switches.items():
            said = self._said.get(key, False)
            if not isinstance(said, bool):
                raise self._wrong(key, f"{said!r:.40} is not true or false")
            flags[name] = int(said)
        if self._cased in self._said:
            flags["CASED"] = 1
        if self._said.get("outcome") == RETURN:
            flags["RETURNED"] = 1
        for key in ENDS:
            if key in self._said:
                said = self._said[key]
                of = said.get("of", "canonical_ipa") if isinstance(said, dict) else "canonical_ipa"
                flags["SIZE_IS"] = BASES[of]
        return flags

    def _cases(self) -> Iterator[Case]:
        said = self._said.get(self._cases_key, {})
        if not isinstance(said, dict):
            raise self._wrong(self._cases_key, f"{said!r:.40} is no table")
        words = self._keys[self._cased].cases if self._cased else {}
        for word, values in said.items():
            if word not in words:
                raise self._wrong(word, f"no such word; there are {', '.join(words)}")
            for value in values if isinstance(values, list) else [values]:
                first, last = self._range(word, value)
                yield Case(first, last, words[word], self._where(word))

    def _range(self, word: str, value: Any) -> tuple[int | str, int | str]:
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63:
            return value, value
        if value == "negative":
            return _NEGATIVE
        if isinstance(value, str) and _ENUMERATOR.fullmatch(value):
            return value, value
        raise self._wrong(word, f'{value!r:.40} is no number, name of an enum, or "negative"')

    def _where(self, key: str) -> str:
        return _at(self._source, self._point, key)

    def _wrong(self, key: str, what: str) -> InputError:
        return InputError(f"{self._where(key)}: {what}")
