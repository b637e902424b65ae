"""What it costs to hear that a VM's process has ended: `.venv/bin/python bench/exits.py`, as root.

A shell starts so many processes, one after the other, while one way listens for the shell's own
end. Each way is measured in a process of its own.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click

from nvscope.probes.vms.exits import sockfilter
from nvscope.probes.vms.exits.pidfds import PidFds
from nvscope.probes.vms.exits.procevents import Connector, Way

LOOP = "i=0; while [ $i -lt $0 ]; do /bin/true; i=$((i+1)); done"


class AllExits(Connector):
    """Every exit of the host is read."""

    def watch(self, _: object) -> None:
        sockfilter.attach(self._socket, sockfilter.only(sockfilter.EVENT_EXIT))


class AllEvents(Connector):
    """Every fork, exec and exit is."""

    def watch(self, _: object) -> None:
        take_all = (0x06, 0, 0, 0xFFFFFFFF)  # BPF_RET|BPF_K
        sockfilter.attach(self._socket, [take_all])


WAYS: dict[str, Callable[[], Way]] = {
    "connector, all events": AllEvents,
    "connector, all exits": AllExits,
    "connector, exits of VMs (used)": Connector,
    "pidfd (where there is no connector)": PidFds,
}


def measure(name: str, starts: int) -> str:
    """A row of the table."""
    before = _resident()
    way = WAYS[name]()
    resident, lost, reads, used = _resident() - before, 0, 0, time.process_time()
    with subprocess.Popen(["sh", "-c", LOOP, str(starts)]) as shell:
        # As many VMs as a host may have; these pids are above the limit.
        way.watch({shell.pid, *range(1 << 23, (1 << 23) + 1000 * isinstance(way, Connector))})
        heard: set[int] = set()
        while shell.pid not in heard and select.select([way], [], [], 5)[0]:
            heard, overrun = way.read()
            lost, reads = lost + overrun, reads + 1
    cpu_us = 1e6 * (time.process_time() - used) / starts
    way.close()
    return f"| {name} | {cpu_us:.1f} | {reads} | {lost} | {resident / (1 << 20):.1f} |"


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE")


@click.command()
@click.option("--starts", default=3000, show_default=True)
@click.option("--way", type=click.Choice(list(WAYS)), help="This one alone, without the head.")
def main(starts: int, way: str | None) -> None:
    """Print a table."""
    if way:
        from nvscope.exporter import cli  # noqa: F401 (what an exporter has imported anyhow)

        click.echo(measure(way, starts))
        return
    click.echo("| way | CPU us per process start | reads | overruns | MiB resident |")
    click.echo("| --- | ---: | ---: | ---: | ---: |")
    for name in WAYS:
        subprocess.run(
            [sys.executable, __file__, "--way", name, "--starts", str(starts)], check=True
        )


if __name__ == "__main__":
    main()
