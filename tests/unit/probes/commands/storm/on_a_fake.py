"""`nvscope storm --way ksm` as a program, on a VM and a switch that are files.

Arguments: the folders that stand for /proc and /sys/kernel/mm/ksm, then the command's own.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from nvscope.probes.commands.storm import cli
from nvscope.probes.commands.storm.memory import PAGE_BYTES, GuestMapping
from nvscope.probes.commands.storm.ways import Ksm
from nvscope.probes.vms import running_vms
from nvscope.probes.vms.identity import Vm

PID = 77

if __name__ == "__main__":
    PROC, KSM = map(Path, sys.argv[1:3])
    MEMORY = [GuestMapping(0, PAGE_BYTES, "", frozenset({"mg"}))]
    os.geteuid = lambda: 0
    running_vms.find = lambda wanted: Vm(wanted, "", PID)
    cli.make = lambda wanted, vm: Ksm(vm.pid, MEMORY, PROC, KSM)
    cli.command(sys.argv[3:])
