"""The reverse map beyond what the cases state: real failures, other names, the end of a VM."""

from __future__ import annotations

import shlex

import pytest

from nvscope.lab import assets
from nvscope.lab.host.services import Exporter, GuestProcess, Synthetic
from nvscope.lab.host.vm import Lab
from nvscope.lab.runs import compare
from nvscope.lab.series.checks import starving
from nvscope.lab.truth.witness import REASONS, by_ftrace
from tests.live.conftest import Observed
from tests.live.counts import UNMAPS, USER_MEM_ABORT, by_exporter, expected_at, oracle

REVMAP = pytest.mark.parametrize("observed", ["lab-fentry"], indirect=True)
EACH_REVMAP = pytest.mark.parametrize("observed", ["lab-fentry", "tracking-fentry"], indirect=True)
RACED = REASONS.index("raced")
PAYLOAD = "--payload /mnt/artifacts/l1.bin"


def test_a_patch_whose_functions_have_other_names(lab_host: Lab) -> None:
    """Records by a name that is given; reasons and broken maps are told from the MMUs' state."""
    symbols = {
        "revmap_record": "kvm_nested_revmap_record",
        "revmap_broken": "elsewhere_named_break",
        "revmap_fallback": "elsewhere_named_fallback",
    }
    options = [f"--symbol={point}={name}" for point, name in symbols.items()]
    with Exporter(lab_host, "--strict", *options) as exporter:
        attached = exporter.scrape().values("nvscope_probe_attached", "probe")
        missing = {point for point, value in attached.items() if not value}
        assert missing == {"revmap_broken", "revmap_fallback"}
        assert "elsewhere_named_break" in exporter.errors()
        for case in ("pollution", "broken-at-record", "broken-at-erase"):
            with Synthetic(lab_host, case, case, script="case") as guest:
                facts = guest.facts(120)
                counts = by_exporter(exporter.scrape(), case, facts["shadow_ipa_bits"])
            expected = expected_at(USER_MEM_ABORT, facts["expected"])
            del expected["reflected_aborts"]  # has no metric
            assert counts == expected


@EACH_REVMAP
def test_allocations_that_really_fail(observed: Observed) -> None:
    """With no memory for a first tree node, or for any mapping, each notifier falls back."""
    lab_host, exporter, _ = observed
    unmaps, pages = 23, 16
    script = f"python3 -m nvscope.lab.workloads.main -name starved {PAYLOAD} --hold"
    sizes = f"--unmaps {unmaps} --pages {pages}"
    starved = shlex.quote(f"echo 1 > /proc/self/make-it-fail; exec {script} {sizes}")
    [revmap] = exporter.scrape().values("nvscope_host_info", "revmap")
    oracle(lab_host, "start")
    lab_host.run(starving.script(100, starving.SLABS[revmap]))
    try:
        with GuestProcess(lab_host, f"sh -c {starved}") as guest:
            guest.line(timeout=180)  # it checks its data itself
            metrics = exporter.scrape()
            seen = oracle(lab_host, "stop")
            pid = guest.pid
    finally:
        lab_host.run(starving.script(0, starving.SLABS[revmap]))
    counts = by_exporter(metrics, "starved", ipa_bits=48)
    assert counts["notifier_unmaps"] == counts["fallbacks_broken"] == unmaps
    failed = counts["records_failed"]
    if revmap == "tracking":
        # It tries anew each time. All went with each unmap, and L2 wrote a page, then all of them.
        assert failed == counts["shadow_faults"] > 2 * unmaps
    else:
        assert failed == unmaps + 1  # the first one, and after each fallback
    assert counts["records_stored"] == 0
    assert counts["broken_mmus"] == 1
    traced = expected_at(USER_MEM_ABORT, by_ftrace(seen, [pid], ipa_bits=48))
    del traced["reflected_aborts"]
    assert {name: counts[name] for name in traced} == traced
    assert metrics.sum("nvscope_events_lost_total") == 0


@EACH_REVMAP
def test_notifiers_that_race_with_full_unmaps(observed: Observed) -> None:
    """They come while a full unmap has let go of mmu_lock, and must not trust an emptied map.

    What is tracked goes step by step instead, and can be trusted all the time.
    """
    lab_host, exporter, _ = observed
    oracle(lab_host, "start")
    with Synthetic(lab_host, "race", "--seconds", "10", script="race") as guest:
        facts = guest.facts(timeout=180)  # it checks that no mapping survived
        metrics = exporter.scrape()
        seen = oracle(lab_host, "stop")
    raced = metrics.sum("nvscope_fallbacks_total", vm="race", reason="raced")
    if "fallback" in seen:
        assert raced > 0
        # By the thread that took pages back, which is not the vCPU's.
        assert raced == sum(n for key, n in seen["fallback"].items() if key.endswith(f",{RACED}"))
    else:
        assert (metrics.sum("nvscope_fallbacks_total", vm="race"), seen["track_fallback"]) == (
            0,
            {},
        )
    assert metrics.sum(f"{UNMAPS}_count", vm="race") == sum(seen["notifier"].values())
    assert sum(seen["notifier"].values()) == facts["taken"] + 1
    assert metrics.sum("nvscope_events_lost_total") == 0


def test_a_notifier_unmap_is_cheaper_by_four_orders_of_magnitude() -> None:
    """In instructions, with 52-bit IPA spaces: 2**52 bytes are not walked for one page."""
    ready = assets.prepare()
    counted = {on: compare.instructions(ready, revmap=on, lpa2=True) for on in (False, True)}
    assert counted[False] > 10_000 * counted[True]


TWO_VMS = """
import sys
from pathlib import Path
from nvscope.lab.workloads.synthetic.guest import NestedGuest
from nvscope.lab.workloads.synthetic.layout import DATA_IPA
code = Path("/mnt/artifacts/l1.bin").read_bytes()
for unmaps in (5, 3):
    guest = NestedGuest(code)
    guest.map(0, DATA_IPA, 4096)
    for _ in range(unmaps):
        guest.l2_write(0, 1)
        guest.take_back(DATA_IPA)
    print(unmaps, flush=True)
    sys.stdin.readline()
    guest.close()
print("closed", flush=True)
sys.stdin.readline()
"""


@REVMAP
def test_counts_end_with_the_vm_though_its_process_goes_on(observed: Observed) -> None:
    lab_host, exporter, _ = observed
    unmaps = "nvscope_notifier_unmap_duration_seconds_count"
    command = f"python3 -c {shlex.quote(TWO_VMS)} -name twice"
    with GuestProcess(lab_host, command) as process:
        for expected in (5, 3):
            assert process.line(60) == str(expected)
            # The second one may well have the address of the first.
            assert exporter.scrape().values(unmaps, "vm") == {"twice": expected}
            process.send("\n")
        assert process.line(60) == "closed"
        assert exporter.scrape().values("nvscope_vm_info", "vm") == {}
