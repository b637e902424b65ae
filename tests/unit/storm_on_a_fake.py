"""`nvscope storm --way ksm` as a program, on a VM and a switch that are files.

Arguments: the folders that stand for /proc and /sys/kernel/mm/ksm, then the command's own.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from nvscope.probes import vms
from nvscope.probes.identity import Vm
from nvscope.probes.storm import cli
from nvscope.probes.storm.memory import PAGE_BYTES, Mapping
from nvscope.probes.storm.ways import Ksm

PID = 77

if __name__ == "__main__":
    PROC, KSM = map(Path, sys.argv[1:3])
    MEMORY = [Mapping(0, PAGE_BYTES, "", frozenset({"mg"}))]
    os.geteuid = lambda: 0
    vms.find = lambda wanted: Vm(wanted, "", PID)
    cli.make = lambda wanted, vm: Ksm(vm.pid, MEMORY, PROC, KSM)
    cli.command(sys.argv[3:])
