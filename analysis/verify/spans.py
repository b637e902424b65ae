"""Sets of addresses as spans: sorted, disjoint, no two of which touch."""

from __future__ import annotations

from collections.abc import Iterable

Span = tuple[int, int]  # [start, end) in bytes
Spans = tuple[Span, ...]


def merged(spans: Iterable[Span]) -> Spans:
    """Any spans as such a set. O(n log n).

    >>> merged([(8, 12), (0, 4), (4, 6), (1, 2)])
    ((0, 6), (8, 12))
    """
    found: list[Span] = []
    for start, end in sorted(spans):
        if start >= end:
            continue
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return tuple(found)


def minus(whole: Spans, less: Spans) -> Spans:
    """What is in the first set and not in the second. O(n).

    >>> minus(((0, 6), (8, 12)), ((1, 2), (5, 9)))
    ((0, 1), (2, 5), (9, 12))
    """
    left: list[Span] = []
    first = 0
    for start, end in whole:
        while first < len(less) and less[first][1] <= start:
            first += 1
        begin, at = start, first
        while at < len(less) and less[at][0] < end:
            if begin < less[at][0]:
                left.append((begin, less[at][0]))
            begin = less[at][1]
            at += 1
        if begin < end:
            left.append((begin, end))
    return tuple(left)


def common(one: Spans, other: Spans) -> Spans:
    """What is in both.

    >>> common(((0, 6), (8, 12)), ((1, 2), (5, 9)))
    ((1, 2), (5, 6), (8, 9))
    """
    return minus(one, minus(one, other))


def size_bytes(spans: Spans) -> int:
    """How many addresses there are in it."""
    return sum(end - start for start, end in spans)
