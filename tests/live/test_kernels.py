"""Kernels of the field, as Debian builds them, without their headers: all counts are exact.

NVSCOPE_KERNELS says which (`make test-matrix`: all that there are).
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from nvscope.analysis.validate.jobs.run import validate
from nvscope.lab import assets
from nvscope.lab.host.vm import Lab
from nvscope.probes.traces.tracefile import open_trace
from tests.live import tables
from tests.live.counts import GUEST_ABORT, NOT_RECORDED, assert_all_agree, by_trace
from tests.live.kernels import UNMAPS, VMS, Seen, watch

# What users have most, and the last one without user_mem_abort(). The other tests have 7.3.
KERNELS = os.environ.get("NVSCOPE_KERNELS", "6.18 7.0").split()

pytestmark = pytest.mark.parametrize("kernel", KERNELS, indirect=True)


@pytest.fixture(scope="module")
def kernel(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """A host with Debian's kernel of that name; one CPU: see stock_host."""
    with assets.prepare(request.param).boot(cpus=1) as host:
        host.wait_ready(300)
        yield host
        assert host.warnings() == [], "the kernel complained on its console"


@pytest.fixture(scope="module")
def seen(
    kernel: Lab, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Seen]:
    """All that was seen of it, in one go."""
    failed = request.session.testsfailed
    found = watch(kernel, tmp_path_factory.mktemp("kernel"))
    yield found
    tables.keep(found, failures=request.session.testsfailed - failed)


def test_there_are_no_headers(kernel: Lab) -> None:
    if not kernel.run("ls -d /usr/src/linux-headers-$(uname -r)", check=False).returncode:
        pytest.skip("the image has headers of this one, for the tools that bench uses")
    assert kernel.run("ls -d /lib/modules/$(uname -r)/build", check=False).returncode


@pytest.mark.parametrize("vm", VMS)
def test_counts_are_the_workloads_and_ftraces(seen: Seen, vm: str) -> None:
    facts = seen.facts[vm]
    assert_all_agree(facts, seen.metrics[vm], seen.ftrace[vm], seen.hook)
    assert facts["expected"]["shadow_faults"] > 0
    assert facts["page_bytes"] == seen.page_bytes


def test_a_fault_is_of_the_mmu_in_use(seen: Seen) -> None:
    """L1's own EL1, without a stage 2 of its own, runs on a shadow MMU."""
    counts = seen.expected("stage2-off")
    assert counts["shadow_faults"] > 0 < counts["refaults"]


def test_a_shadow_mmu_that_was_moved_is_the_same(seen: Seen) -> None:
    """One entry for each of the VM's three contexts: none is left of where they were."""
    assert seen.metrics["late-vcpu"].sum("nvscope_map_entries", map="mmus") == 3


def test_nothing_is_left_of_vms_that_have_ended(seen: Seen) -> None:
    assert seen.end
    assert seen.end.values("nvscope_map_entries", "map") == {"mmus": 0, "rows": 0}


def test_what_durations_include_is_said(seen: Seen) -> None:
    inlined = seen.hook == GUEST_ABORT
    (attached,) = seen.metrics["off"].select("nvscope_probe_attached", probe="s2_fault")
    assert attached.labels["includes"] == ("l1_walk" if inlined else "")
    assert seen.probe["includes"] == ("l1_walk" if inlined else "")
    with open_trace(seen.trace) as reader:
        said = (reader.about.probes or {})["s2_fault"]
    assert said == f"fentry {seen.hook}" + (", with the walk of L1's stage 2" if inlined else "")


def test_what_is_foreseen_is_what_is_attached(seen: Seen) -> None:
    samples = seen.metrics["off"].select("nvscope_probe_attached")
    assert {sample.value for sample in samples} == {1}
    labels = ("probe", "hook", "mechanism", "includes")
    attached = {tuple(sample.labels[name] for name in labels) for sample in samples}
    foreseen = [p for p in seen.doctor["probes"] if p["for"] == "metrics"]
    assert {tuple(p[name] for name in labels) for p in foreseen} == attached
    with open_trace(seen.trace) as reader:
        recorded = {k: text.partition(",")[0] for k, text in (reader.about.probes or {}).items()}
    assert recorded == {p["probe"]: f"{p['mechanism']} {p['hook']}" for p in seen.doctor["probes"]}


def test_a_trace_passes_and_has_the_same_events(seen: Seen) -> None:
    with open_trace(seen.trace) as reader:
        events = list(reader.events())
        assert reader.complete
    pids = {facts["pid"]: vm for vm, facts in seen.facts.items()}
    assert {event.pid for event in events} == set(pids)
    for pid, vm in pids.items():
        rows = [event for event in events if event.pid == pid]
        told = {k: n for k, n in seen.expected(vm).items() if n and k not in NOT_RECORDED}
        assert by_trace(rows) == told, vm
        assert_addresses(rows, seen.page_bytes)
    result = validate(seen.trace)
    assert result.verdict == "pass"
    assert result.judged["safety"] >= result.notifiers > 0
    assert not result.unjudged


def assert_addresses(rows: list[Any], page_bytes: int) -> None:
    """IPAs and sizes are in whole pages of the host; a fault's lead to what was mapped for it."""
    mapped = {(e.mmu, e.nested_ipa, e.canonical_ipa) for e in rows if e.kind == "map"}
    assert mapped
    for event in rows:
        if event.kind in ("map", "notifier_begin", "unmap_begin"):
            for value in (event.nested_ipa, event.canonical_ipa, event.size):
                assert value % page_bytes == 0, event
    down = ~(page_bytes - 1)
    faults = {
        (e.mmu, e.nested_ipa & down, e.canonical_ipa & down)
        for e in rows
        if e.kind == "fault" and e.mmu
    }
    assert mapped <= faults


def test_a_one_shot_probe_counts_the_same(seen: Seen) -> None:
    found: Counter[tuple[str, str]] = Counter()
    for group in seen.probe["groups"]:
        labels = group["labels"]
        assert labels["result"] == "ok"
        found[labels["vm"], labels["stage"]] += group["count"]
    for vm in VMS:
        told = seen.expected(vm)
        assert found[vm, "canonical"] == told["canonical_faults"]
        assert found[vm, "shadow"] == told["shadow_faults"]
    assert set(seen.probe["lost"].values()) == {0}


def test_top_shows_the_same(seen: Seen) -> None:
    unmaps: Counter[str] = Counter()
    for frame in seen.top:
        for row in frame["vms"]:
            unmaps[row["vm"]] += round(row["unmaps_per_second"] * frame["seconds"])
    assert unmaps["off"] == UNMAPS
    for vm in VMS:
        assert unmaps[vm] == seen.expected(vm)["notifier_unmaps"]


def test_a_symbol_that_the_compiler_has_renamed(kernel: Lab) -> None:
    """A mark needs no parameter: any function of KVM's will do to show that it attaches."""
    names = kernel.run(r"grep -Eo ' kvm_\w+\.isra\.0$' /proc/kallsyms || true").stdout.split()
    if not names:
        pytest.skip("this kernel's compiler has renamed none")
    done = kernel.run(
        f"nvscope doctor --json --attach --symbol tlbi_all={names[0]}", timeout=600, check=False
    )
    points = {p["probe"]: p for p in json.loads(done.stdout)["probes"]}
    if points["tlbi_all"]["problem"].startswith("this kernel has no function"):
        pytest.skip(f"{names[0]} is in no types")
    assert (points["tlbi_all"]["mechanism"], points["tlbi_all"]["hook"]) == ("kprobe", names[0])
