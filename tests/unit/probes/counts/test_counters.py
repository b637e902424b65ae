"""Counters on real maps: what is read while programs write, and what is forgotten."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from nvscope.probes.counts import decode, pools
from nvscope.probes.counts.counters import Counters
from nvscope.probes.counts.decode import LABELS, Key, Mmu, NvRow
from nvscope.probes.counts.mapped import MappedArray
from nvscope.probes.counts.snapshot import NotifierUnmaps, Room, VmKey
from nvscope.probes.kernel import libbpf
from nvscope.probes.points.sizes import Sizes
from tests.unit.probes.counts.maps import Counted, Maps
from tests.unit.probes.pins.fakes import make_maps

VM, OTHER = VmKey(0xFFFF000012340000, 4711), VmKey(0xFFFF000012350000, 4712)
UNMAP = LABELS[0]


@pytest.fixture
def maps() -> Iterator[Maps]:
    yield from make_maps(Sizes(vms=2))


@pytest.fixture
def counters(maps: Maps) -> Iterator[Counters]:
    made = Counters(maps.fds, None, notifier_seen=True)
    yield made
    made.close()


def unmaps(counters: Counters) -> dict[VmKey, int]:
    return {each.vm: each.durations.count for each in counters.snapshot().notifier_unmaps}


def key(vm: VmKey, labels: int, stripe: int) -> bytes:
    return bytes(Key(vm.kvm, vm.pid, stripe << decode.STRIPE_SHIFT | labels))


def row(maps: Maps, index: int) -> bytes:
    begin = index * decode.ROW_BYTES
    return maps.memory("rows")[begin : begin + decode.ROW_BYTES]


def while_read(
    monkeypatch: pytest.MonkeyPatch, maps: Maps, happens: Callable[[int], None]
) -> list[int]:
    """Let something happen after each look at the rows, which is given its number; returns the
    numbers.
    """
    looks: list[int] = []
    read = MappedArray.read

    def look(array: MappedArray, first: int, count: int) -> bytes:
        found = read(array, first, count)
        if array._fd == maps.fds["rows"]:
            looks.append(len(looks))
            happens(looks[-1])
        return found

    monkeypatch.setattr(MappedArray, "read", look)
    return looks


def test_nothing_yet(maps: Maps, counters: Counters) -> None:
    snapshot = counters.snapshot()
    assert list(snapshot.rows()) == []
    assert snapshot.room == {"rows": Room(0, 96), "mmus": Room(0, 128)}
    assert snapshot.lost == dict.fromkeys(decode.LOSSES, 0)
    assert snapshot.broken == {}


def test_rows_of_both_pools_are_read(maps: Maps, counters: Counters) -> None:
    """48 rows for stripes: then a VM has those for all CPUs."""
    indexes = [
        maps.count(VM, labels, Counted({1: 1}), stripe) for stripe in range(3) for labels in LABELS
    ]
    assert indexes == [*range(48), *range(48, 72)]
    snapshot = counters.snapshot()
    assert snapshot.room["rows"] == Room(72, 96)
    assert {each.durations.count for each in snapshot.rows()} == {3}
    assert len(list(snapshot.rows())) == len(LABELS)


def test_losses_are_read(maps: Maps, counters: Counters) -> None:
    for number, _ in enumerate(decode.LOSSES):
        libbpf.write_array(maps.fds["lost"], number, 10 + number)
    expected = {cause: 10 + number for number, cause in enumerate(decode.LOSSES)}
    expected |= dict.fromkeys(decode.MISSED, 0)  # counted by point
    assert counters.snapshot().lost == counters.losses() == expected


def test_a_vm_is_forgotten_in_every_stripe_and_no_other_is(maps: Maps, counters: Counters) -> None:
    gone: dict[bytes, int] = {}
    for stripe in (0, 1, 3, decode.MAX_STRIPES):
        for labels in (UNMAP, LABELS[3], 3 << decode.TRIGGER_SHIFT | LABELS[8]):
            gone[key(VM, labels, stripe)] = maps.count(VM, labels, Counted({3: 1}), stripe)
    stays = [maps.count(OTHER, labels, Counted({4: 2}, 50, 4096)) for labels in LABELS]
    states = [maps.shadow(number, VM, broken=True) for number in (1, 2)]
    other_state = maps.shadow(3, OTHER, broken=True)
    before = [row(maps, index) for index in stays]
    counters.forget(VM)
    snapshot = counters.snapshot()
    assert {each.vm for each in snapshot.rows()} == {OTHER}
    assert snapshot.broken == {OTHER: 1}
    assert snapshot.room == {"rows": Room(24, 96), "mmus": Room(1, 128)}
    assert {row(maps, index) for index in gone.values()} == {bytes(decode.ROW_BYTES)}
    assert [row(maps, index) for index in stays] == before
    assert [libbpf.lookup(maps.fds["row_index"], each) for each in gone] == [None] * len(gone)
    kept = [libbpf.lookup(maps.fds["row_index"], key(OTHER, each, 0)) for each in LABELS]
    assert kept == stays
    ids = [libbpf.lookup(maps.fds["mmu_index"], n.to_bytes(8, "little")) for n in (1, 2, 3)]
    assert ids == [None, None, other_state]
    # All that is nobody's is to be had again, once, from the stack that it came from.
    free = {
        pool.stack: sorted(
            first + n for first, count in maps.popped(pool.stack) for n in range(count)
        )
        for pool in pools.POOLS
    }
    taken = {*stays, other_state + 1000}
    assert free["free_striped"] == [n for n in range(48) if n not in taken]
    assert free["free_shared"] == [n for n in range(48, 96) if n not in taken]
    assert free["free_mmus"] == [n for n in range(128) if n + 1000 not in taken]
    assert set(gone.values()) <= {*free["free_striped"], *free["free_shared"]}
    assert set(states) <= set(free["free_mmus"])


def test_what_was_forgotten_begins_at_zero(maps: Maps, counters: Counters) -> None:
    maps.count(VM, UNMAP, Counted({3: 9}))
    counters.forget(VM)
    counters.forget(VM)
    assert unmaps(counters) == {}
    maps.count(OTHER, UNMAP, Counted({3: 1}))
    maps.count(VM, UNMAP, Counted({3: 2}))
    assert unmaps(counters) == {VM: 2, OTHER: 1}


def test_another_vm_of_the_same_process_or_place_is_not_forgotten(
    maps: Maps, counters: Counters
) -> None:
    for vm in (VmKey(VM.kvm, OTHER.pid), VmKey(OTHER.kvm, VM.pid), VM):
        maps.count(vm, UNMAP, Counted({3: 1}))
    counters.forget(VM)
    assert set(unmaps(counters)) == {VmKey(VM.kvm, OTHER.pid), VmKey(OTHER.kvm, VM.pid)}


@pytest.mark.parametrize("stripes", [1, 3])
def test_a_row_that_another_got_meanwhile_is_not_taken_from_it(
    maps: Maps, counters: Counters, monkeypatch: pytest.MonkeyPatch, stripes: int
) -> None:
    """The VM's end (vm_exit) comes between the look and the deletion: only one of the two may give
    a row back, else two VMs get it.
    """
    for stripe in range(stripes):
        maps.count(VM, UNMAP, Counted({3: 1}), stripe)
    lookup = libbpf.lookup

    def slowly(fd: int, key: bytes) -> int | None:
        found = lookup(fd, key)
        monkeypatch.setattr(libbpf, "lookup", lookup)
        maps.end(VM)
        maps.count(OTHER, UNMAP, Counted({4: 7}))
        return found

    monkeypatch.setattr(libbpf, "lookup", slowly)
    counters.forget(VM)
    assert unmaps(counters) == {OTHER: 7}
    free = [n for first, count in maps.popped("free_striped") for n in range(first, first + count)]
    assert len(free) == len(set(free)) == 47


def test_a_reading_that_was_disturbed_is_repeated(
    maps: Maps, counters: Counters, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A VM ends, and its row is another's before the other half was read."""
    maps.count(VM, UNMAP, Counted({3: 100}))

    def happens(look: int) -> None:
        if look == 0:
            maps.end(VM)
            maps.count(OTHER, UNMAP, Counted({4: 7}))

    looks = while_read(monkeypatch, maps, happens)
    assert unmaps(counters) == {OTHER: 7}
    assert looks == [0, 1]


def test_a_reading_is_repeated_some_times_and_no_more(
    maps: Maps, counters: Counters, monkeypatch: pytest.MonkeyPatch
) -> None:
    maps.count(VM, UNMAP, Counted({3: 100}))

    def happens(_: int) -> None:
        maps.heads().freed += 1

    looks = while_read(monkeypatch, maps, happens)
    assert unmaps(counters) == {VM: 100}
    assert len(looks) == 5


def test_what_comes_while_it_is_read_is_in_the_next_one(
    maps: Maps, counters: Counters, monkeypatch: pytest.MonkeyPatch
) -> None:
    maps.count(VM, UNMAP, Counted({3: 1}))

    def happens(look: int) -> None:
        if look == 0:
            maps.count(OTHER, UNMAP, Counted({3: 2}))

    looks = while_read(monkeypatch, maps, happens)
    assert unmaps(counters) == {VM: 1}
    assert looks == [0]
    assert unmaps(counters) == {VM: 1, OTHER: 2}


@pytest.mark.parametrize("torn", [NvRow(kvm=OTHER.kvm), NvRow(who=OTHER.pid), NvRow(sum_ns=5)])
def test_a_row_that_is_being_made_is_skipped(maps: Maps, counters: Counters, torn: NvRow) -> None:
    first = maps.count(VM, UNMAP, Counted({3: 1}))
    index = maps.take("free_striped")
    assert index == first + 1
    torn.slots[3] = 9
    maps.put("rows", index, bytes(torn))
    maps.put("mmus", maps.take("free_mmus") or 0, bytes(Mmu(id=7)))
    snapshot = counters.snapshot()
    assert list(snapshot.rows()) == [
        NotifierUnmaps(VM, snapshot.notifier_unmaps[0].durations),
    ]
    assert snapshot.room == {"rows": Room(1, 96), "mmus": Room(0, 128)}
    counters.forget(OTHER)
    assert row(maps, index) == bytes(torn)


def test_after_it_was_closed_it_maps_anew(maps: Maps, counters: Counters) -> None:
    maps.count(VM, UNMAP, Counted({3: 1}))
    assert unmaps(counters) == {VM: 1}
    counters.close()
    counters.close()
    assert unmaps(counters) == {VM: 1}
