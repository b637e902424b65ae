"""`nvscope top` and the views of `nvscope probe` on whatever terminal there is, without a kernel.

Run as a program: with "top" or "probe". VM alpha's counters grow with each look at them.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
from pathlib import Path

import psutil

from nvscope.probes.commands import session
from nvscope.probes.commands.probe import run
from nvscope.probes.commands.probe.kinds import KINDS
from nvscope.probes.commands.probe.meter import Asked
from nvscope.probes.commands.top import cli as top
from nvscope.probes.commands.top.view import State
from nvscope.probes.counts.snapshot import Attachment, Snapshot, VmKey
from tests.unit.exporter.fakes import FakeProc
from tests.unit.probes.commands.probe.fakes import ALPHA, BETA, HOST, busy


class Growing:
    """A source whose VMs are always busy: ten unmaps of alpha and four of beta at each look."""

    attachments = (Attachment("notifier_unmap", "kvm_unmap_gfn_range", "fentry"),)

    def __init__(self) -> None:
        self._looks = itertools.count()

    def snapshot(self) -> Snapshot:
        look = next(self._looks)
        alpha, beta = busy(ALPHA, 10 * look), busy(BETA, 4 * look)
        return Snapshot(
            alpha.notifier_unmaps + beta.notifier_unmaps,
            alpha.s2_faults + beta.s2_faults,
            alpha.shadow_unmaps + beta.shadow_unmaps,
            lost={"vm_full": 0},
        )

    def forget(self, vm: VmKey) -> None:
        raise AssertionError(f"{vm} is alive")

    def detach(self) -> None:
        pass

    def drain(self) -> tuple[bytes, dict[str, int]]:
        raise AssertionError("no slow calls were asked for")

    def symbol(self, address: int) -> str:
        raise AssertionError(f"no stack was asked for, but {address:#x}")


def main(command: str) -> None:
    session.block()
    with tempfile.TemporaryDirectory() as folder:
        psutil.PROCFS_PATH = folder
        proc = FakeProc(Path(folder))
        proc.start(77, b"qemu\0-name\0alpha\0")
        proc.start(88, b"qemu\0-name\0beta\0")
        if command == "top":
            top.show(Growing(), HOST, top.TopOptions(State(), 0.2, None, False))
        else:
            asked = Asked(KINDS["notifier_unmap"])
            wanted = run.ProbeOptions(asked, None, 0.2, 0, None, None, (), {}, False)
            run.Run(Growing(), wanted, HOST).run()
    print("ended in order")


if __name__ == "__main__":
    main(*sys.argv[1:])
