"""What a scrape shows, read back with both of prometheus_client's parsers."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry, ProcessCollector

from nvscope.exporter.collector import VmCollector
from nvscope.probes.counts.decode import LOSSES, RECURSION
from nvscope.probes.counts.snapshot import Attachment, Snapshot, VmKey
from nvscope.probes.errors import LackError
from tests.unit.exporter.fakes import LOST, FakeHost, FakeProc, FakeSource, busy, durations, idle
from tests.unit.exporter.pages import Scrape, as_text, both_formats, registry_of, value

DB, WEB, GONE = VmKey(1, 40), VmKey(2, 50), VmKey(3, 60)


@pytest.fixture
def proc(proc: FakeProc) -> FakeProc:
    proc.start(40, b'vmm\0-name\0d"b\\\xff\n\0')
    proc.start(50, b"vmm\0-name\0web\0")
    return proc


@both_formats
def test_counts(proc: FakeProc, scrape: Scrape) -> None:
    page = scrape(registry_of(FakeSource(busy(DB, WEB))))
    name = "nvscope_notifier_unmap_duration_seconds"
    assert value(page, name + "_count", vm="web") == 7
    assert value(page, name + "_sum", vm="web") == 2.5
    assert value(page, name + "_bucket", vm="web", le="1.024e-06") == 1
    assert value(page, name + "_bucket", vm="web", le="4.096e-06") == 5
    assert value(page, name + "_bucket", vm="web", le="68.719476736") == 5
    name = "nvscope_s2_fault_duration_seconds_count"
    assert value(page, name, vm="web", stage="shadow", result="ok") == 2 + 4
    assert value(page, "nvscope_refaults_total", vm="web") == 4
    assert value(page, "nvscope_refault_seconds_total", vm="web") == pytest.approx(40e-6)
    name = "nvscope_shadow_unmap_duration_seconds_count"
    assert value(page, name, vm="web", scope="full") == 23
    assert value(page, "nvscope_shadow_unmapped_bytes_total", vm="web") == 8192 + 4096
    assert value(page, "nvscope_vm_info", vm="web", uuid="", pid="50", vcpus="") == 1
    assert value(page, "nvscope_vm_info", vm='d"b\\\ufffd\ufffd', uuid="", pid="40", vcpus="") == 1
    assert value(page, "nvscope_up") == 1


@both_formats
@pytest.mark.parametrize(
    ("revmap", "reasons"),
    [
        ("none", {"no_revmap": 7 + 13}),
        ("maple", {"unknown": 7, "broken": 13}),
        ("tracking", {"unknown": 7, "broken": 13}),
        ("unknown", {"unknown": 7, "broken": 13}),
    ],
)
def test_reason_of_a_full_unmap(
    proc: FakeProc, scrape: Scrape, revmap: str, reasons: dict[str, int]
) -> None:
    page = scrape(registry_of(FakeSource(busy(WEB), host=FakeHost(revmap=revmap))))

    def unmaps(**labels: str) -> float:
        return value(page, "nvscope_shadow_unmaps_total", vm="web", **labels)

    for reason, count in reasons.items():
        assert unmaps(scope="full", within="notifier", reason=reason) == count
    assert unmaps(scope="full", within="other", reason="none") == 3
    assert unmaps(scope="ranged", within="notifier", reason="none") == 11


@both_formats
def test_the_reverse_map(proc: FakeProc, scrape: Scrape) -> None:
    page = scrape(registry_of(FakeSource(busy(DB, WEB), host=FakeHost(revmap="maple"))))
    fallbacks = {
        labels["reason"]: value
        for name, pairs in page
        if name == "nvscope_fallbacks_total" and (labels := dict(pairs))["vm"] == "web"
        for value in [page[(name, pairs)]]
    }
    # At 0 too: a rate() begins where the first one happens.
    assert fallbacks == {"broken": 13, "unknown_ipa": 0, "raced": 0}
    assert value(page, "nvscope_revmap_records_total", vm="web", outcome="stored") == 17
    assert value(page, "nvscope_revmap_broken", vm="web") == 0
    assert value(page, "nvscope_revmap_broken", vm='d"b\\\ufffd\ufffd') == 1


@both_formats
@pytest.mark.parametrize("revmap", ["none", "unknown"])
def test_where_no_fallback_can_be_seen_none_is_shown(
    proc: FakeProc, scrape: Scrape, revmap: str
) -> None:
    page = scrape(registry_of(FakeSource(busy(WEB), host=FakeHost(revmap=revmap))))
    names = {name for name, _ in page}
    assert not names & {
        "nvscope_fallbacks_total",
        "nvscope_revmap_records_total",
        "nvscope_revmap_broken",
    }


def test_the_fakes_losses_are_real_ones() -> None:
    assert LOST.keys() <= {*LOSSES, RECURSION}


@both_formats
def test_before_anything_happened(scrape: Scrape) -> None:
    page = scrape(registry_of(FakeSource()))
    assert value(page, "nvscope_events_lost_total", cause="vm_full") == 0
    assert value(page, "nvscope_events_lost_total", cause="missed_exit") == 3
    labels = {"probe": "notifier_unmap", "hook": "kvm_unmap_gfn_range", "mechanism": "fentry"}
    labels["includes"] = ""
    assert value(page, "nvscope_probe_attached", **labels) == 1
    labels = {"probe": "shadow_unmap", "hook": "kvm_stage2_unmap_range", "mechanism": ""}
    labels["includes"] = ""
    assert value(page, "nvscope_probe_attached", **labels) == 0
    labels = {"revmap": "none", "nv2": "true", "kernel": "7.3.4"}
    assert value(page, "nvscope_host_info", **labels) == 1
    assert any(name == "nvscope_build_info" for name, _ in page)


@pytest.mark.parametrize(("nv2", "label"), [(True, "true"), (False, "false"), (None, "unknown")])
def test_nested_virtualization_of_the_host(nv2: bool | None, label: str) -> None:
    page = as_text(registry_of(FakeSource(host=FakeHost(nv2=nv2))))
    assert value(page, "nvscope_host_info", revmap="none", nv2=label, kernel="7.3.4") == 1


@both_formats
def test_series_end_with_the_vm(proc: FakeProc, scrape: Scrape) -> None:
    source = FakeSource(busy(WEB, GONE))
    registry = registry_of(source)
    vms = {labels for name, labels in scrape(registry) if name == "nvscope_vm_info"}
    assert len(vms) == 1
    assert source.forgotten == [GONE]
    proc.end(50)
    assert not any("vm" in dict(labels) for _, labels in scrape(registry))
    assert source.forgotten == [GONE, GONE, WEB] or source.forgotten == [GONE, WEB, GONE]


@both_formats
def test_a_snapshot_that_fails_is_no_half_page(
    proc: FakeProc, scrape: Scrape, caplog: pytest.LogCaptureFixture
) -> None:
    source = FakeSource(busy(WEB), problem=OSError(22, "bad map"))
    registry = registry_of(source)
    with caplog.at_level(logging.ERROR):
        page = scrape(registry)
        scrape(registry)
        assert len(caplog.records) == 1, "one line for as long as it fails"
        source.problem = LackError("unloaded")
        scrape(registry)
    assert caplog.messages[1:] == ["unloaded; nvscope_up is 0 until then"], "another cause"
    assert value(page, "nvscope_up") == 0
    shown = {name for name, _ in page if name.startswith("nvscope_")}
    assert shown == {
        "nvscope_up",
        "nvscope_gather_duration_seconds",
        "nvscope_probe_attached",
        "nvscope_host_info",
        "nvscope_build_info",
    }
    source.problem = None
    page = scrape(registry)
    assert value(page, "nvscope_up") == 1
    assert value(page, "nvscope_notifier_unmap_duration_seconds_count", vm="web") == 7


class RealSource(FakeSource):
    """Drops the rows of a VM that is forgotten; fails at the second, once."""

    failing = True

    def forget(self, vm: VmKey) -> None:
        if self.failing and self.forgotten:
            self.failing = False
            raise OSError(24, "Too many open files")
        super().forget(vm)
        faults = tuple(row for row in self.counts.s2_faults if row.vm != vm)
        self.counts = Snapshot(s2_faults=faults, lost=LOST)


def test_a_scrape_that_fails_half_way_loses_no_count_of_others(proc: FakeProc) -> None:
    proc.start(60, b"vmm\0-name\0gone\0")
    source = RealSource(idle(WEB, "shadow"))
    registry = CollectorRegistry()
    registry.register(VmCollector(source, 1))
    assert value(as_text(registry), "nvscope_up") == 1
    source.counts = Snapshot(s2_faults=busy(DB, WEB, GONE).s2_faults, lost=LOST)
    assert value(as_text(registry), "nvscope_vms", series="other") == 2
    name = "nvscope_refaults_total"
    assert value(as_text(registry), name, vm="other") == 2 * 4
    more = (
        replace(each, durations=durations({14: 10}, 100_000)) for each in source.counts.s2_faults
    )
    source.counts = Snapshot(s2_faults=tuple(more), lost=LOST)
    proc.end(40)
    proc.end(60)
    assert value(as_text(registry), "nvscope_up") == 0
    page = as_text(registry)
    assert value(page, "nvscope_up") == 1
    assert value(page, name, vm="other") == 2 * 10


@both_formats
def test_the_same_hook_twice_is_one_row(scrape: Scrape) -> None:
    hook = "kvm_handle_guest_abort"
    twice = (Attachment("s2_fault", hook, "fentry", includes="l1_walk"),) * 2
    page = scrape(registry_of(FakeSource(Snapshot(), twice)))
    labels = {"probe": "s2_fault", "hook": hook, "mechanism": "fentry", "includes": "l1_walk"}
    assert value(page, "nvscope_probe_attached", **labels) == 1


@both_formats
def test_beside_the_metrics_of_the_process_metrics(scrape: Scrape) -> None:
    registry = registry_of(FakeSource())
    ProcessCollector(registry=registry)
    assert value(scrape(registry), "process_resident_memory_bytes") > 0


@both_formats
def test_what_the_probes_themselves_take(proc: FakeProc, scrape: Scrape) -> None:
    page = scrape(registry_of(FakeSource(busy(DB, WEB))))
    assert value(page, "nvscope_map_entries", map="rows") == 14
    assert value(page, "nvscope_map_capacity", map="rows") == 1024
    assert value(page, "nvscope_program_runs_total", program="s2_fault_entry") == 5
    assert value(page, "nvscope_program_run_seconds_total", program="s2_fault_entry") == 1.5
    assert ("nvscope_program_runs_total", frozenset({("program", "vm_exit_entry")})) not in page
    assert 0 < value(page, "nvscope_gather_duration_seconds") < 10
