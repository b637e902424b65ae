"""How probe and top look on 80 columns, character by character."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console, RenderableType

from nvscope.probes.commands.probe import text
from nvscope.probes.commands.probe.kinds import KINDS
from nvscope.probes.commands.probe.meter import Asked, Interval
from nvscope.probes.commands.top.rates import Rates
from nvscope.probes.commands.top.view import Frame, State, screen, visible
from nvscope.probes.counts.durations import total
from nvscope.probes.vms.identity import Vm
from tests.unit.probes.commands.probe.fakes import calls

ASKED = Asked(KINDS["shadow_unmap"], ("vm", "scope"))
MEASURED = Interval(
    12.5,
    {
        ("alpha", "ranged"): total([calls(9000, 1234), calls(70_000, 30)]),
        ("a [red] VM of a long name", "full"): calls(90_000_000, 23),
    },
    {"vm_full": 0, "recursion": 2},
)
SUMMARY = """\
shadow_unmap: 1,287 calls in 12.5 s, 2 lost (recursion 2)

 vm         scope   calls  per s     mean       p50       p90      p99    p99.9
 ──────────────────────────────────────────────────────────────────────────────
 alpha      ranged  1,264    101  10.4 µs  <16.4 µs  <16.4 µs  <131 µs  <131 µs
 a [red]    full       23   1.84    90 ms   <134 ms   <134 ms  <134 ms  <134 ms
 VM of a
 long name

A percentile lies below the bound shown, and not below half of it.

vm=alpha scope=ranged
 8.19 µs -  16.4 µs     1,234 |****************************************|
 16.4 µs -  32.8 µs         0 |                                        |
 32.8 µs -  65.5 µs         0 |                                        |
 65.5 µs -   131 µs        30 |*                                       |

vm=a [red] VM of a long name scope=full
 67.1 ms -   134 ms        23 |****************************************|
"""
ROWS = [
    Rates(Vm("alpha", "", 7), 1234.5, 3, 1200, {"broken": 2, "unknown_ipa": 1}, 0.0123, 55, 0.0001),
    Rates(Vm("a virtual machine of a long name", "", 8)),
    Rates(Vm("plain", "", 9), 12, 12, 0, {"no_revmap": 12}, 0.91, 12000, 0.5),
]
FRAME = Frame(ROWS, 1.002, {"vm_full": 0})
TOP = """\
nvscope top: 3 of 3 VMs, over 1.0 s, none lost

 VM              unmaps/s    full  locked/s↓  refaults/s  why full
 ──────────────────────────────────────────────────────────────────────────────
 plain                 12   100 %     910 ms      500 ms  no_revmap 12
 alpha              1,234  0.25 %    12.3 ms      100 µs  broken 2 unknown_ipa
                                                          1
 a virtual mac…         0                  0           0

s sort, r reverse, / filter, p pause, q quit
"""


def rendered(what: RenderableType, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    with console.capture() as captured:
        console.print(what)
    return "".join(f"{line.rstrip()}\n" for line in captured.get().splitlines())


def test_the_summary() -> None:
    assert rendered(text.summary(ASKED, MEASURED)) == SUMMARY


def test_the_summary_of_nothing() -> None:
    nothing = Interval(3.0, {}, {"vm_full": 0})
    assert rendered(text.summary(ASKED, nothing)) == ("shadow_unmap: 0 calls in 3.0 s, none lost\n")


def test_the_live_table_says_what_it_leaves_out() -> None:
    many = Interval(2.0, {(f"vm{i:02}", "full"): calls(5, 99 - i) for i in range(12)})
    shown = rendered(text.live(ASKED, many, many))
    assert "vm09" in shown
    assert "vm10" not in shown
    assert "2 groups more" in shown
    assert shown.startswith("shadow_unmap: 2 s, 561 calls/s now, none lost (Ctrl-C ends it)\n")


def test_nothing_is_wider_than_the_terminal() -> None:
    for width in (80, 60):
        for what in (text.summary(ASKED, MEASURED), screen(FRAME, State())):
            assert max(map(len, rendered(what, width).splitlines())) <= width


def test_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    percentiles = "p50<16.4 µs p99<131 µs p99.9<131 µs"
    assert text.lines(MEASURED, 3661)[0] == (
        f"01:01:01 alpha ranged: 1,264 calls, mean 10.4 µs, {percentiles}"
    )
    assert text.lines(MEASURED, 0)[-1] == "00:00:00 2 lost (recursion 2)"
    assert text.lines(Interval(1.0), 0) == ["00:00:00 no calls"]


def test_the_last_slot_has_no_end() -> None:
    for_ever = Interval(1.0, {("x", "full"): calls(1 << 38)})
    shown = rendered(text.summary(ASKED, for_ever))
    assert "≥275 s" in shown
    assert "275 s -                  1 |***" in shown


def test_top() -> None:
    assert rendered(screen(FRAME, State())) == TOP


def test_top_before_its_first_frame() -> None:
    assert rendered(screen(None, State())).startswith("nvscope top: measuring …\n")


def test_top_has_no_more_rows_than_lines() -> None:
    many = Frame([Rates(Vm(f"vm{i:02}", "", i)) for i in range(50)], 1.0, {})
    shown = rendered(screen(many, State(sort="vm"), height=24))
    assert len(shown.splitlines()) <= 24
    assert "50 of 50 VMs" in shown
    assert "vm17" in shown


@pytest.mark.parametrize(
    ("state", "names"),
    [
        (State(sort="unmaps"), ["alpha", "plain", "a virtual machine of a long name"]),
        (State(sort="full"), ["plain", "alpha", "a virtual machine of a long name"]),
        (State(sort="refaults", filter="PL"), ["plain"]),
        (State(sort="vm"), ["a virtual machine of a long name", "alpha", "plain"]),
        (State(sort="vm", reverse=True), ["plain", "alpha", "a virtual machine of a long name"]),
        (State(filter="7"), ["alpha"]),  # its pid
    ],
)
def test_what_is_visible(state: State, names: list[str]) -> None:
    assert [row.vm.label for row in visible(FRAME, state)] == names
