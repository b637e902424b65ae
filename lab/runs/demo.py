"""`nvscope lab demo`: a nested guest, the exporter, and its metrics changing, in one command."""

from __future__ import annotations

import time
from contextlib import ExitStack

from rich.console import Group
from rich.live import Live
from rich.text import Text

from nvscope.lab import running
from nvscope.lab.assets import prepare
from nvscope.lab.runs import view
from nvscope.lab.services import Exporter, Linux, Metrics, Synthetic
from nvscope.lab.setup.steps import console, step
from nvscope.lab.vm import Lab
from nvscope.probes.errors import LackError

GUESTS = ("synthetic", "linux")
EMULATED = "durations are of an emulated machine: for the proportions, not for performance"
SCRAPE_SECONDS = 1.0
LINES_SECONDS = 5.0
LINUX_BOOT_SECONDS = 600


def demo(seconds: float, keep: bool, kernel: str, guest: str, revmap: bool) -> bool:
    """Run it all; returns whether events were seen. seconds: of the live view; revmap: use it."""
    assets = prepare(kernel)
    if guest == "linux" and assets.machine.in_memory:
        raise LackError(
            f"the kernel {assets.kernel} runs from memory here, without the QEMU that --guest linux"
            " needs: choose another kernel"
        )
    with ExitStack() as stack:
        host = stack.enter_context(assets.boot(revmap=revmap))
        with step("lab host boots: arm64 with FEAT_NV2, emulated"):
            host.wait_ready()
        stack.enter_context(running.announced(host, assets.kernel))
        with step("exporter in it: compiles its BPF programs and attaches them"):
            exporter = stack.enter_context(Exporter(host))
        with step(f"nested guest in it ({guest})") as tell:
            tell("booting")
            _start_guest(stack, host, guest)
        console.print(f"[bold]metrics[/] {exporter.url}")
        _watch(exporter, None if keep else seconds)
        last = exporter.scrape()
    rows = view.rows(last)
    console.print(view.table(rows, [], 0, "Summary: since the exporter started"))
    _say_losses(last)
    console.print(f"[dim]{EMULATED}[/]")
    return any(row.events for row in rows)


def _start_guest(stack: ExitStack, host: Lab, guest: str) -> None:
    if guest == "linux":
        linux = stack.enter_context(Linux(host, "demo-linux", "--forever"))
        linux.event(LINUX_BOOT_SECONDS)
    else:
        options = ("--forever", "--pace", "1", "--pages", "64")
        stack.enter_context(Synthetic(host, "demo", *options, hold=False))


def _watch(exporter: Exporter, seconds: float | None) -> None:
    """Show the metrics for so long (None: until Ctrl-C)."""
    ends = float("inf") if seconds is None else time.monotonic() + seconds
    until = "until Ctrl-C" if seconds is None else f"for {seconds:.0f} s; Ctrl-C ends it earlier"
    console.print(f"the metrics as they change, {until}")
    try:
        if console.is_terminal:
            _watch_live(exporter, ends)
        else:
            _watch_lines(exporter, ends)
    except KeyboardInterrupt:
        console.print("ended by Ctrl-C")


def _watch_live(exporter: Exporter, ends: float) -> None:
    before: tuple[float, list[view.Row]] = (time.monotonic(), [])
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while time.monotonic() < ends:
            at, now = time.monotonic(), view.rows(exporter.scrape())
            title = f"scraped from {exporter.url}"
            table = view.table(now, before[1], at - before[0], title)
            live.update(Group(table, Text(EMULATED, style="dim")), refresh=True)
            before = (at, now)
            time.sleep(min(SCRAPE_SECONDS, max(0.0, ends - time.monotonic())))


def _watch_lines(exporter: Exporter, ends: float) -> None:
    while time.monotonic() < ends:
        for row in view.rows(exporter.scrape()):
            console.print(view.line(row))
        time.sleep(min(LINES_SECONDS, max(0.0, ends - time.monotonic())))


def _say_losses(metrics: Metrics) -> None:
    lost = int(metrics.sum("nvscope_events_lost_total"))
    console.print(f"events lost: {lost}")
