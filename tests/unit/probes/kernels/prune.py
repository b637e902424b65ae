"""Of a kernel's types, those that the catalog asks for: a hundredth of a percent of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tests.unit.probes.kernels import asked
from tests.unit.probes.kernels.btftypes import (
    ARRAY,
    ENUM,
    FUNC,
    FUNC_PROTO,
    INT,
    PTR,
    STRUCT,
    UNION,
    VOID,
    Item,
    Type,
    first,
    resolve,
)

_POINTER_BYTES = 8


def pruned(types: Sequence[Type]) -> list[Type]:
    """The functions that are hooked, and the structs and enums that are looked into.

    A struct keeps all names and offsets of its members. Their types are kept where they are looked
    into too, and where they have no name; others become ones without content, of the same kind and
    size.
    """
    return _Pruner(types).types


class _Pruner:
    """types: the result, from number 1 on."""

    def __init__(self, full: Sequence[Type]) -> None:
        self._full = full
        self._names = first(full, (STRUCT, ENUM, FUNC))
        self.types: list[Type] = []
        # By the number in full, in its order: of types with one name the first stays the first.
        self._kept = {old: new for new, old in enumerate(sorted({*self._opened()}), 1)}
        self._blanks: dict[Type, int] = {}
        self.types = [Type(VOID)] * len(self._kept)
        for old, new in self._kept.items():
            self.types[new - 1] = self._filled(full[old])
        for function in asked.functions():
            if (FUNC, function) in self._names:
                self._function(full[self._names[FUNC, function]])

    def _opened(self) -> Iterator[int]:
        """The structs, unions and enums that are looked into by name or through a pointer."""
        names = [(STRUCT, name) for name in asked.STRUCTS]
        names += [(ENUM, each.enum) for each in asked.enumerators()]
        yield from (self._names[each] for each in names if each in self._names)
        for member in asked.members():
            yield from self._on_the_way(member.struct, member.path)
        for function in asked.functions():
            if (FUNC, function) in self._names:
                prototype = self._full[self._full[self._names[FUNC, function]].size]
                for parameter in prototype.items:
                    yield from self._behind(parameter.words[0])

    def _on_the_way(self, struct: str, path: str) -> Iterator[int]:
        number = self._names.get((STRUCT, struct))
        for name in path.split("."):
            if number is None:
                return
            yield number
            number = self._member(number, name)

    def _member(self, number: int, name: str) -> int | None:
        """The type of a member that is a struct, also of those without a name."""
        for item in self._full[number].items:
            inner = resolve(self._full, item.words[0])
            if self._full[inner].kind not in (STRUCT, UNION):
                continue
            if item.name == name:
                return inner
            found = self._member(inner, name) if not item.name else None
            if found is not None:
                return found
        return None

    def _behind(self, pointer: int) -> Iterator[int]:
        found = self._full[resolve(self._full, pointer)]
        if found.kind == PTR:
            behind = resolve(self._full, found.size)
            if self._full[behind].kind in (STRUCT, UNION):
                yield behind

    def _filled(self, struct: Type) -> Type:
        """With its members' types as they are in the result; an enum has none."""
        if struct.kind == ENUM:
            return struct
        items = (
            Item(item.name, (self._new(item.words[0], bool(item.name)), *item.words[1:]))
            for item in struct.items
        )
        return Type(struct.kind, struct.name, struct.size, tuple(items), struct.flag)

    def _function(self, function: Type) -> None:
        prototype = self._full[function.size]
        items = tuple(Item(item.name, (self._new(item.words[0]),)) for item in prototype.items)
        new = self._add(Type(FUNC_PROTO, size=self._new(prototype.size), items=items))
        self._add(Type(FUNC, function.name, new, linkage=function.linkage))

    def _new(self, number: int, named: bool = True) -> int:
        """The number in the result of what stands for a type; named: a member of this type is."""
        number = resolve(self._full, number)
        found = self._full[number]
        if number in self._kept:
            return self._kept[number]
        if found.kind in (STRUCT, UNION) and not named:
            return self._add(self._filled(found))
        return self._blank(found)

    def _blank(self, found: Type) -> int:
        """A type of this kind and size with nothing in it."""
        if found.kind == VOID:
            return 0
        if found.kind == PTR:
            behind = resolve(self._full, found.size)
            return self._once(Type(PTR, size=self._kept.get(behind, 0)))
        if found.kind == ARRAY:
            # Of bytes. The words: type of an element, type of an index, elements.
            byte, index = self._once(_integer(1)), self._once(_integer(4))
            return self._once(Type(ARRAY, items=(Item("", (byte, index, self._bytes(found))),)))
        if found.kind == INT:
            return self._once(_integer(found.size))
        return self._once(Type(found.kind, size=found.size))

    def _bytes(self, found: Type) -> int:
        if found.kind == ARRAY:
            element, _, count = found.items[0].words
            return count * self._bytes(self._full[resolve(self._full, element)])
        return _POINTER_BYTES if found.kind == PTR else found.size

    def _once(self, new: Type) -> int:
        if new not in self._blanks:
            self._blanks[new] = self._add(new)
        return self._blanks[new]

    def _add(self, new: Type) -> int:
        self.types.append(new)
        return len(self.types)


def _integer(size: int) -> Type:
    """Its word: the bits that it has."""
    return Type(INT, f"u{8 * size}", size, (Item("", (8 * size,)),))
