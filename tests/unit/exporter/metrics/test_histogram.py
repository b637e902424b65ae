"""Slots to buckets."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from nvscope.exporter.metrics.histogram import Histograms, buckets
from nvscope.probes.counts.durations import total
from nvscope.probes.counts.snapshot import SLOTS
from tests.unit.exporter.fakes import durations


def test_bounds_are_powers_of_two_from_a_microsecond_to_a_minute() -> None:
    bounds = [float(bound) for bound, _ in buckets((0,) * SLOTS)]
    assert bounds == [*(2**k / 1e9 for k in range(10, 37)), float("inf")]


@pytest.mark.parametrize("duration_ns", [0, 1, 1023, 1024, 1025, 5000, 2**36 - 1, 2**36, 2**50])
def test_a_duration_is_below_its_bound(duration_ns: int) -> None:
    slot = min(duration_ns.bit_length(), SLOTS - 1)  # 2**(slot-1) <= duration_ns < 2**slot
    for bound, count in buckets(durations({slot: 1}).slots):
        assert count == (duration_ns < float(bound) * 1e9)


@given(st.lists(st.integers(0, 2**63), min_size=SLOTS, max_size=SLOTS))
def test_buckets_never_fall(slots: list[int]) -> None:
    counts = [count for _, count in buckets(tuple(slots))]
    assert counts == sorted(counts)
    assert counts[-1] == sum(slots)


def test_total() -> None:
    both = total([durations({3: 1}, 5), durations({3: 2, 39: 1}, 7)])
    assert (both.count, both.sum_ns, both.slots) == (4, 12, durations({3: 3, 39: 1}).slots)


@pytest.mark.parametrize("generate", [generate_latest, openmetrics.generate_latest])
@given(
    st.lists(
        st.tuples(
            st.tuples(st.text(), st.text()),
            st.lists(st.integers(0, 2**40) | st.just(0), min_size=SLOTS, max_size=SLOTS).map(tuple),
            st.integers(0, 2**62),
        ),
        max_size=3,
    )
)
def test_lines_are_those_of_prometheus_client(
    generate: Callable[[Collector], bytes],
    rows: list[tuple[tuple[str, str], tuple[int, ...], int]],
) -> None:
    family = Histograms("nvscope_x_seconds", "of y\n\\", ("vm", "scope"))
    for labels, slots, sum_ns in rows:
        family.add(labels, slots, sum_ns)
    registry = SimpleNamespace(collect=lambda: [family])
    page = generate(registry).decode()  # type: ignore[arg-type]
    expected = [line for line in page.split("\n") if line[:1] != "#"]
    assert family.lines().split("\n") == expected
