"""Many VMs, VMs that come and go, and VMs with hostile names, on the exporter's page."""

from __future__ import annotations

import gc
import pathlib
import tracemalloc
from collections.abc import Sequence
from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, exposition
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics import parser as openmetrics_parser
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from nvscope.exporter.collector import VmCollector
from nvscope.probes.counts.decode import LABELS
from nvscope.probes.counts.pools import SHARES
from nvscope.probes.counts.snapshot import NotifierUnmaps, Room, Snapshot, VmKey
from tests.unit.exporter.fakes import FakeHost, FakeProc, FakeSource, busy, durations

# All that a VM can have, and as many to share out among stripes of CPUs.
ROWS_PER_VM = SHARES * len(LABELS)
UNMAPS = "nvscope_notifier_unmap_duration_seconds_count"


def registry(source: FakeSource, most: int | None = None) -> CollectorRegistry:
    made = CollectorRegistry()
    source.host = FakeHost(revmap="maple")
    made.register(VmCollector(source, most))
    return made


def samples(made: CollectorRegistry) -> list[Sample]:
    text = exposition.generate_latest(made).decode()
    return [s for family in text_string_to_metric_families(text) for s in family.samples]


def by_vm(page: Sequence[Sample], name: str = UNMAPS) -> dict[str, float]:
    found = [(s.labels["vm"], s.value) for s in page if s.name == name]
    assert len(dict(found)) == len(found), "a series is there twice"
    return dict(found)


def value(page: Sequence[Sample], name: str, **labels: str) -> float:
    (found,) = (s.value for s in page if s.name == name and s.labels == labels)
    return found


def unmaps(counts: dict[VmKey, int]) -> Snapshot:
    rows = (NotifierUnmaps(vm, durations({12: n}, 10 * n)) for vm, n in counts.items())
    return Snapshot(tuple(rows))


def test_more_vms_than_the_bound(proc: FakeProc) -> None:
    keys = [VmKey(0xFF00 + n, 100 + n) for n in range(1100)]
    for n, key in enumerate(keys):
        proc.start(key.pid, b"vmm\0-name\0vm%d\0" % n, start=n)
    source = FakeSource(unmaps(dict.fromkeys(keys, 3)))
    made = registry(source, 1024)
    page = samples(made)
    expected = {f"vm{n}": 3.0 for n in range(1024)} | {"other": 76 * 3}
    assert by_vm(page) == expected, "the older ones have series of their own"
    assert value(page, "nvscope_vms", series="own") == 1024
    assert value(page, "nvscope_vms", series="other") == 76
    assert value(page, "nvscope_vm_info", vm="other", uuid="", pid="", vcpus="") == 1
    assert len(by_vm(page, "nvscope_vm_info")) == 1025
    assert len(by_vm(page, "nvscope_revmap_broken")) == 1025
    # Ten of the others end, one of those with series does, and two new ones come: one has room.
    for key in (*keys[1030:1040], keys[7]):
        proc.end(key.pid)
    new = [VmKey(1, 5001), VmKey(2, 5002)]
    for key in new:
        proc.start(key.pid, b"vmm\0-name\0new%d\0" % key.pid, start=9000 + key.pid)
    read = set(keys) - set(keys[1030:1035]) | set(new)
    source.counts = unmaps(dict.fromkeys(read, 4))
    page = samples(made)
    own = {f"vm{n}": 4.0 for n in range(1024) if n != 7} | {"new5001": 4.0}
    gone, alive = 5 * 3, 71 * 4
    assert by_vm(page) == own | {"other": gone + alive + 4}
    assert value(page, "nvscope_vms", series="other") == 76 - 10 + 1


def test_without_a_bound_it_is_the_maps(proc: FakeProc) -> None:
    for pid in (40, 50, 60):
        proc.start(pid, b"vmm\0-name\0vm%d\0" % pid, start=pid)
    counts = unmaps({VmKey(pid, pid): 3 for pid in (40, 50, 60)})
    source = FakeSource(replace(counts, room={"rows": Room(3, 2 * ROWS_PER_VM + 1)}))
    made = registry(source, None)
    assert by_vm(samples(made)) == {"vm40": 3, "vm50": 3, "other": 3}
    proc.start(70, b"vmm\0-name\0vm70\0", start=70)
    counts = unmaps({VmKey(pid, pid): 3 for pid in (40, 50, 60, 70)})
    source.counts = replace(counts, room={"rows": Room(4, 3 * ROWS_PER_VM)})  # of another loader
    assert by_vm(samples(made)) == {"vm40": 3, "vm50": 3, "vm70": 3, "other": 3}


def test_below_the_bound_there_is_no_other(proc: FakeProc) -> None:
    proc.start(40, b"vmm\0-name\0other\0")
    page = samples(registry(FakeSource(busy(VmKey(1, 40))), 1))
    assert by_vm(page) == {"other@40": 7}
    assert value(page, "nvscope_vms", series="other") == 0


def held_bytes() -> int:
    """What Python holds; but for pathlib, which interns names: the table of all that are, of 2 MiB
    when other tests have filled it, may grow at any time.
    """
    left = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(False, pathlib.__file__)])
    return sum(statistic.size for statistic in left.statistics("filename"))


def test_ten_thousand_vms_leave_nothing_behind(proc: FakeProc) -> None:
    source, sizes, total = FakeSource(), [], 0.0
    collector = VmCollector(source, 60)

    def scrape(counts: dict[VmKey, int]) -> dict[str, float]:
        source.counts = unmaps(counts)
        source.forgotten.clear()
        families = collector.collect()
        return by_vm([s for family in families for s in family.samples])

    tracemalloc.start()
    try:
        for turn in range(50):
            # Half of the struct kvms and pids are those of the last turn's.
            keys = [VmKey(n, 1000 + n) for n in range(100 * (turn % 2), 100 * (turn % 2) + 200)]
            for key in keys:
                proc.start(key.pid, b"vmm\0-name\0vm\0", start=turn * 1000 + key.pid)
            shown = scrape(dict.fromkeys(keys, 5))
            total += 140 * 5
            assert len(shown) == 61
            assert shown["other"] == total
            for key in keys:
                proc.end(key.pid)
            if turn % 2:  # ended, and still read
                assert scrape(dict.fromkeys(keys, 5)) == {"other": total}
            assert scrape({}) == {"other": total}
            if turn % 10 == 9:
                del shown
                gc.collect()
                sizes.append(held_bytes())
    finally:
        tracemalloc.stop()
    page = [s for family in collector.collect() for s in family.samples]
    assert value(page, "nvscope_vm_events_total", kind="started") == 10_000
    assert value(page, "nvscope_vm_events_total", kind="ended") == 10_000
    assert max(sizes[1:]) - min(sizes[1:]) < 64 << 10, sizes


_BYTES = st.binary(max_size=40).map(lambda b: b.replace(b"\0", b""))
_NAMES = _BYTES | st.text(max_size=40).map(
    lambda text: text.encode(errors="surrogatepass").replace(b"\0", b"")
)
HOSTILE = [
    b"a\nb",
    b'a"} 1\nnvscope_up 0\n# EOF\n',
    b"\\",
    b"x" * 65536,
    b'"' * 65536,
    b"\xff\xfe",
    "\u202eevil\u200b".encode(),
    "𝕏é中".encode() * 9000,
    b"\xed\xa0\x80",
    b" ",
    b"other",
]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(_NAMES, min_size=1, max_size=5))
def test_any_name_leaves_the_page_valid(proc: FakeProc, given_names: list[bytes]) -> None:
    _page_is_valid(proc, given_names)


def test_hostile_names_leave_the_page_valid(proc: FakeProc) -> None:
    _page_is_valid(proc, HOSTILE)
    _page_is_valid(proc, [name for name in HOSTILE for _ in range(2)])


def _page_is_valid(proc: FakeProc, given_names: list[bytes]) -> None:
    keys = [VmKey(n, 100 + n) for n, _ in enumerate(given_names)]
    ways = (b"qemu\0-name\0guest=", b"crosvm\0run\0-s\0", b"firecracker\0--id\0", b"lkvm\0--name\0")
    for key, name in zip(keys, given_names, strict=True):
        proc.start(key.pid, ways[key.pid % 4] + name + b"\0-uuid\0" + name + b"\0", comm=name[:15])
    made = registry(FakeSource(busy(*keys)), 1024)
    assert len(by_vm(samples(made))) == len(keys)
    text = openmetrics.generate_latest(made).decode()
    parsed = openmetrics_parser.text_string_to_metric_families(text)
    shown = by_vm([s for family in parsed for s in family.samples])
    assert len(shown) == len(keys)
    assert all(label.isprintable() and 0 < len(label) <= 128 for label in shown)
    assert "other" not in shown


def test_vcpus(proc: FakeProc) -> None:
    proc.start(40, b"vmm\0-name\0db\0")
    folder = proc.root / "40/fd"
    folder.mkdir()
    files = ["kvm-vm", "kvm-vcpu:0", "kvm-vcpu:1", "kvm-vcpu-stats:0", "[eventfd]"]
    for n, name in enumerate(files):
        (folder / str(n)).symlink_to(f"anon_inode:{name}")
    made = registry(FakeSource(busy(VmKey(1, 40))))
    assert value(samples(made), "nvscope_vm_info", vm="db", uuid="", pid="40", vcpus="2") == 1
    (folder / "9").symlink_to("anon_inode:kvm-vcpu:2")
    assert value(samples(made), "nvscope_vm_info", vm="db", uuid="", pid="40", vcpus="3") == 1


def test_sums_of_other_never_go_down_while_vms_come_and_go(proc: FakeProc) -> None:
    keys = [VmKey(n, 100 + n) for n in range(4)]
    source = FakeSource()
    made, before = registry(source, 1), 0.0
    for turn in range(12):
        key = keys[turn % 4]
        proc.start(key.pid, b"vmm\0-name\0vm\0", start=turn)
        source.counts = unmaps(dict.fromkeys(keys[: 1 + turn % 4], turn + 1))
        other = by_vm(samples(made)).get("other", 0)
        assert other >= before
        before = other
    assert before > 0
    source.counts = replace(source.counts, notifier_unmaps=())
    assert by_vm(samples(made)) == {"other": before}
