"""`nvscope lab demo`: a nested guest, the exporter, and its metrics changing, in one command.

Where the lab kernel is not built yet, Debian's own is shown while it is.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from nvscope.lab.assets import Assets, may_build, prepare
from nvscope.lab.host import running
from nvscope.lab.host.services import Exporter, Linux, Synthetic
from nvscope.lab.host.vm import Lab
from nvscope.lab.kernel.names import STOCK
from nvscope.lab.kernel.subject import Subject
from nvscope.lab.runs import view
from nvscope.lab.runs.background import Build
from nvscope.lab.runs.watch import EMULATED, Span, lasting, watch
from nvscope.lab.setup.steps import console, step

GUESTS = ("synthetic", "linux")
LINUX_BOOT_SECONDS = 600
SOME_UNMAPS_SECONDS = 30.0

Rows = list[view.ViewRow]


@dataclass(frozen=True)
class Part:
    """What is shown on one kernel. pace: seconds between the synthetic guest's unmaps."""

    assets: Assets
    guest: str = "synthetic"
    cpus: int = 2
    revmap: bool = True
    pace: float = 1.0


def demo(length: float, keep: bool, wanted: Subject, guest: str, revmap: str | None) -> bool:
    """Show it on one kernel; returns whether events were seen.

    length: seconds of the live view; keep: it has no end but Ctrl-C; revmap: "on" or "off" where
    the kernel must have one.
    """
    assets = prepare(wanted)
    if revmap:
        assets.require_revmap()
    if guest == "linux":
        assets.require_linux()
    rows, _ = _show(Part(assets, guest, revmap=revmap != "off"), lasting(None if keep else length))
    console.print(f"[dim]{EMULATED}[/]")
    return _seen(rows)


def demo_beside_build(length: float, keep: bool) -> bool:
    """Show it on Debian's kernel while the lab's is built, then on that; and both side by side.

    length, keep: as for `demo`, of the second view. Raises LackError where the build fails, after
    the first view was that long too; KeyboardInterrupt where that was ended by Ctrl-C.
    """
    may_build()
    stock = prepare(STOCK)
    # Of two cores one, and most of the other's time, are for the build. A full unmap takes an
    # emulated host of one CPU some seconds, and one of more CPUs longer.
    first = Part(stock, cpus=1, pace=5.0)
    names = f"Debian's {stock.kernel.split('+')[0]}", "lab kernel"
    console.print(f"[bold]{names[0]}[/]: a kernel without a reverse map")
    with Build() as build:
        before, interrupted = _show(first, _until_built(build, length), build.begin)
        if interrupted:
            raise KeyboardInterrupt
        build.result()
    console.print(f"[bold]{names[1]}[/]: the same guest on a kernel with a reverse map")
    after, _ = _show(Part(prepare("lab")), lasting(None if keep else length))
    console.print(view.both(dict(zip(names, (before, after), strict=True))))
    console.print(f"[dim]{EMULATED}[/]")
    return _seen(before) and _seen(after)


def _show(part: Part, span: Span, counting: Callable[[], None] = lambda: None) -> tuple[Rows, bool]:
    """Boot, count and watch; what was counted, and whether Ctrl-C ended it.

    counting: called when metrics are served.
    """
    interrupted = False
    with ExitStack() as stack:
        host = stack.enter_context(part.assets.boot(cpus=part.cpus, revmap=part.revmap))
        with step("lab host boots: arm64 with FEAT_NV2, emulated"):
            host.wait_ready()
        stack.enter_context(running.announced(host, part.assets.kernel))
        with step("exporter in it: compiles its BPF programs and attaches them"):
            exporter = stack.enter_context(Exporter(host))
        with step(f"nested guest in it ({part.guest})") as tell:
            tell("booting")
            _start_guest(stack, host, part)
        console.print(f"[bold]metrics[/] {exporter.url}")
        counting()
        try:
            watch(exporter, span)
        except KeyboardInterrupt:
            console.print("the view is ended by Ctrl-C")
            interrupted = True
        last = exporter.scrape()
    rows = view.rows(last)
    console.print(view.table(rows, [], 0, "Summary: since the exporter started"))
    console.print(f"events lost: {int(last.sum('nvscope_events_lost_total'))}")
    return rows, interrupted


def _start_guest(stack: ExitStack, host: Lab, part: Part) -> None:
    if part.guest == "linux":
        linux = stack.enter_context(Linux(host, "demo-linux", "--forever"))
        linux.event(LINUX_BOOT_SECONDS)
    else:
        options = ("--forever", "--pace", f"{part.pace:g}", "--pages", "64")
        stack.enter_context(Synthetic(host, "demo", *options, hold=False))


def _until_built(build: Build, length: float) -> Span:
    """Until the build is done; where it fails, until so many seconds have passed.

    Where many CPUs build it in no time, there are still some unmaps to be seen.
    """

    def over(passed: float) -> bool:
        least = length if build.failure() else min(length, SOME_UNMAPS_SECONDS)
        return not build.running() and passed >= least

    def note() -> str:
        return build.failure() or f"building the lab kernel: {build.progress()}"

    return Span("until the lab kernel is built; Ctrl-C ends all", over, note, 2.0)


def _seen(rows: Rows) -> bool:
    return any(row.events for row in rows)
