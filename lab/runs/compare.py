"""The same workloads with the nested reverse map off and on: what it changes.

Each figure comes from one place: instructions from the workload's own clock on a machine without
any probe attached, where one instruction is one nanosecond; all else from the exporter.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import isnan

from rich.box import SIMPLE_HEAD
from rich.table import Table

from nvscope.lab.assets import Assets
from nvscope.lab.host.services import Exporter, Linux, Metrics, Synthetic
from nvscope.lab.host.vm import Lab
from nvscope.lab.runs.view import SHADOW_UNMAPS, UNMAPS, duration, quantile
from nvscope.lab.setup.steps import step

MODES = (False, True)
WORDS = {False: "off", True: "on"}

# Workload A: the synthetic guest. Few under instruction counting: with the reverse map off and
# 52-bit IPA spaces each take-back walks 2**52 bytes, 8e8 instructions.
COUNTED_UNMAPS, COUNTED_PAGES = 5, 8
TIMED_UNMAPS, TIMED_PAGES = 101, 64
FACTS_SECONDS = 600.0
# Workload B: a Linux in a Linux.
LINUX_BOOT_SECONDS = 600.0


@dataclass(frozen=True)
class Figure:
    """One row of the comparison. unit: "instructions" | "seconds" | "bytes" | "" (a number)."""

    workload: str
    name: str
    unit: str
    off: float
    on: float

    @property
    def ratio(self) -> float:
        """How many times more without the reverse map; NaN where there is nothing with it."""
        return self.off / self.on if self.on else float("nan")


Figures = dict[str, float]


def compare(assets: Assets, linux: bool) -> list[Figure]:
    """Run all; boots a host for each mode and way of measuring. Takes some minutes."""
    rows: list[Figure] = []
    for bits, lpa2 in ((48, False), (52, True)):
        counted = {on: instructions(assets, revmap=on, lpa2=lpa2) for on in MODES}
        name = f"notifier unmap, {bits}-bit IPA"
        rows.append(Figure("A", name, "instructions", counted[False], counted[True]))
    measured = {on: dict(_measured(assets, on, linux)) for on in MODES}
    for workload in measured[False]:
        off, on = measured[False][workload], measured[True][workload]
        rows += [Figure(workload, key, UNITS[key], off[key], on[key]) for key in off]
    return rows


def instructions(assets: Assets, *, revmap: bool, lpa2: bool) -> float:
    """The median of the instructions of a take-back, its system call included; nothing probes it.

    lpa2: with IPA spaces of 52 bits, else 48.
    """
    title = f"instructions of a notifier unmap, reverse map {WORDS[revmap]}, LPA2 {WORDS[lpa2]}"
    with step(title), assets.boot(cpus=1, icount=True, lpa2=lpa2, revmap=revmap) as host:
        host.wait_ready()
        options = ("--unmaps", str(COUNTED_UNMAPS), "--pages", str(COUNTED_PAGES))
        with Synthetic(host, "counted", *options, hold=False) as guest:
            return float(guest.facts(FACTS_SECONDS)["take_back_ns"])


def _measured(assets: Assets, revmap: bool, linux: bool) -> Iterator[tuple[str, Figures]]:
    with assets.boot(revmap=revmap) as host:
        with step(f"host and exporter, reverse map {WORDS[revmap]}"):
            host.wait_ready()
            exporter = Exporter(host, "--strict")
        with exporter:
            with step(f"synthetic guest, {TIMED_UNMAPS} unmaps"):
                yield "A", _synthetic(host, exporter)
            if linux:
                with step("Linux in Linux under reclaim"):
                    yield "B", _linux(host, exporter)


def _synthetic(host: Lab, exporter: Exporter) -> Figures:
    options = ("--unmaps", str(TIMED_UNMAPS), "--pages", str(TIMED_PAGES))
    with Synthetic(host, "fixed", *options) as guest:
        facts = guest.facts(FACTS_SECONDS)
        return figures(exporter.scrape(), "fixed") | {"time for it all": facts["seconds"]}


def _linux(host: Lab, exporter: Exporter) -> Figures:
    """From when the nested guest works until all ways of reclaim were gone through."""
    with Linux(host, "linux") as guest:
        began = guest.event(LINUX_BOOT_SECONDS)
        while (event := guest.event(LINUX_BOOT_SECONDS))["event"] != "done":
            pass
        seconds = event["seconds"] - began["seconds"]
        found = figures(exporter.scrape(), "linux")
    return found | {
        "time for it all": seconds,
        "nested guest's rounds/s": event["rounds"] / seconds,
    }


def figures(metrics: Metrics, vm: str) -> Figures:
    """What the table shows of a VM."""
    buckets = {float(k): v for k, v in metrics.values(f"{UNMAPS}_bucket", "le", vm=vm).items()}
    return {
        "notifier unmaps": metrics.sum(f"{UNMAPS}_count", vm=vm),
        "notifier unmap p50": quantile(buckets, 0.5),
        "notifier unmap p99": quantile(buckets, 0.99),
        "full shadow unmaps": metrics.sum(SHADOW_UNMAPS, vm=vm, scope="full", within="notifier"),
        "shadow unmapped": metrics.sum("nvscope_shadow_unmapped_bytes_total", vm=vm),
        "refaults": metrics.sum("nvscope_refaults_total", vm=vm),
        "refault time": metrics.sum("nvscope_refault_seconds_total", vm=vm),
        "events lost": metrics.sum("nvscope_events_lost_total"),
    }


UNITS = {
    "notifier unmaps": "",
    "notifier unmap p50": "seconds",
    "notifier unmap p99": "seconds",
    "full shadow unmaps": "",
    "shadow unmapped": "bytes",
    "refaults": "",
    "refault time": "seconds",
    "events lost": "",
    "time for it all": "seconds",
    "nested guest's rounds/s": "",
}


def table(rows: list[Figure]) -> Table:
    """The comparison, 80 columns wide."""
    result = Table(
        title="The nested reverse map, off and on", title_justify="left", box=SIMPLE_HEAD
    )
    result.add_column("")
    result.add_column("", overflow="fold")
    for heading in ("off", "on", "off : on"):
        result.add_column(heading, justify="right")
    workload = ""
    for row in rows:
        name = f"{row.name} (instr.)" if row.unit == "instructions" else row.name
        ratio = "-" if isnan(row.ratio) else f"{row.ratio:,.3g}"
        first = row.workload if row.workload != workload else ""
        result.add_row(first, name, amount(row.off, row.unit), amount(row.on, row.unit), ratio)
        workload = row.workload
    return result


def amount(value: float, unit: str) -> str:
    """A figure as people read it.

    >>> amount(51837000, "instructions"), amount(0.25, "seconds"), amount(12288, "bytes")
    ('51,837,000', '250 ms', '12.0 KiB')
    >>> amount(101.0, ""), amount(0.123456, ""), amount(2.0**48 * 101, "bytes")
    ('101', '0.123', '101 * 2^48')
    """
    if unit == "seconds":
        return duration(value) if value else "0"
    if unit == "bytes":
        return _bytes(int(value))
    return f"{value:,.0f}" if value == int(value) else f"{value:.3g}"


def _bytes(value: int) -> str:
    whole = 1 << 48  # of a full shadow unmap
    if value >= whole:
        return f"{value // whole} * 2^48"
    for unit, bits in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if value >= 1 << bits:
            return f"{value / (1 << bits):.1f} {unit}"
    return str(value)
