"""QEMU's command line, and what the demo makes of an exposition."""

from __future__ import annotations

from pathlib import Path

from nvscope.lab.host.machine import Machine, Share, kernel_command_line, qemu_arguments
from nvscope.lab.host.services import Metrics
from nvscope.lab.runs import view

PORTS = {22: 40022, 9810: 49810}


def arguments(machine: Machine) -> str:
    share = Share("src", Path("/src"))
    return " ".join(qemu_arguments(machine, Path("/root.ext4"), [share], Path("/log"), PORTS))


def test_ports_are_on_loopback_only_and_the_guest_is_shut_in() -> None:
    text = arguments(Machine(Path("/Image")))
    assert "hostfwd=tcp:127.0.0.1:40022-:22" in text
    assert "hostfwd=tcp:127.0.0.1:49810-:9810" in text
    assert "restrict=on" in text


def test_the_checkout_is_read_only() -> None:
    assert "path=/src,mount_tag=src,security_model=none,readonly=on" in arguments(
        Machine(Path("/Image"))
    )


def test_icount_is_single_threaded() -> None:
    text = arguments(Machine(Path("/Image"), cpus=1, icount=True))
    assert "-icount shift=0,sleep=off" in text
    assert "tcg,thread=single" in text


def test_the_kernel_mode_is_a_choice() -> None:
    assert "kvm-arm.mode=nested" in kernel_command_line(Machine(Path("/Image")))
    assert "kvm-arm.mode=vhe" in kernel_command_line(Machine(Path("/Image"), kernel_mode="vhe"))


EXPOSITION = """\
# TYPE nvscope_notifier_unmap_duration_seconds histogram
nvscope_notifier_unmap_duration_seconds_bucket{vm="a",le="0.5"} 2.0
nvscope_notifier_unmap_duration_seconds_bucket{vm="a",le="1.0"} 4.0
nvscope_notifier_unmap_duration_seconds_bucket{vm="a",le="+Inf"} 4.0
nvscope_notifier_unmap_duration_seconds_count{vm="a"} 4.0
nvscope_notifier_unmap_duration_seconds_sum{vm="a"} 2.0
# TYPE nvscope_s2_fault_duration_seconds histogram
nvscope_s2_fault_duration_seconds_count{vm="a",stage="shadow",result="ok"} 7.0
nvscope_s2_fault_duration_seconds_count{vm="b",stage="canonical",result="ok"} 3.0
# TYPE nvscope_shadow_unmaps_total counter
nvscope_shadow_unmaps_total{vm="a",scope="full",within="notifier",reason="no_revmap"} 4.0
"""


def test_rows_of_the_demo() -> None:
    first, second = view.rows(Metrics(EXPOSITION))
    assert (first.vm, first.notifier_unmaps, first.full, first.shadow_faults) == ("a", 4, 4, 7)
    assert first.p50 == 0.5
    assert (second.vm, second.canonical_faults, second.events) == ("b", 3, 3)
    assert second.p50 != second.p50  # no unmap, no quantile


def test_rates_are_shown_against_the_scrape_before() -> None:
    rows = view.rows(Metrics(EXPOSITION))
    table = view.table(rows, rows, 1.0, "now")
    assert table.row_count == 2
