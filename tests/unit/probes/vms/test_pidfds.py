"""Pidfds under a low limit of open files: they take what is left, and nothing of the server's."""

from __future__ import annotations

import subprocess
import sys

from nvscope.exporter.web.connections import limits
from nvscope.probes.vms.exits import pidfds

# Hears as many of its children as there are files for. Arguments: the limit, and how many.
LIMITED = """
import logging, os, resource, subprocess, sys
from nvscope.exporter.vms import exits
from nvscope.exporter.web.connections.places import room
from nvscope.probes.vms.exits.pidfds import PidFds
from nvscope.probes.vms.exits.procevents import Connector

most, count = int(sys.argv[1]), int(sys.argv[2])
logging.basicConfig(format="%(message)s", level=logging.WARNING)
resource.setrlimit(resource.RLIMIT_NOFILE, (min(200, most), most))
def refuse(_):
    raise OSError("no connector")
Connector.__init__ = refuse
way = exits.best_way()
if way is None:
    print("none", room())
    sys.exit()
connections = room()
pipe, held = os.pipe()
ours = [subprocess.Popen(["cat"], stdin=pipe) for _ in range(count)]
os.close(pipe)
pids = {child.pid for child in ours}
way.watch(pids)
way.watch(pids)
taken = [os.open("/dev/null", os.O_RDONLY) for _ in range(connections)]
os.close(held)
for child in ours:
    child.wait()
print(connections, len(way.read()[0]))
way.close()
"""


def limited(most: int, count: int) -> subprocess.CompletedProcess[str]:
    """What it says with so many files, and processes to hear."""
    command = [sys.executable, "-c", LIMITED, str(most), str(count)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)


def test_the_server_has_the_files_that_it_may_want() -> None:
    """Beside what an exporter has open that attaches the probes itself: maps, programs, links."""
    assert pidfds.FILES_LEFT >= limits.CONNECTIONS + limits.SPARE_FILES + 110


def test_without_a_file_to_spare_scrapes_look() -> None:
    done = limited(260, 0)
    kind, connections = done.stdout.split()
    assert kind == "none"
    assert int(connections) == limits.CONNECTIONS
    assert done.stderr.count("with a limit of 260 open files none is left") == 1


def test_what_is_left_is_used_and_the_rest_said_once() -> None:
    done = limited(pidfds.FILES_LEFT + 20, 30)
    heard = 20
    assert done.stdout.split() == [str(limits.CONNECTIONS), str(heard)]
    said = f"there are files for the ends of {heard} processes, and not of all"
    assert done.stderr.count(said) == 1


def test_where_there_are_enough_nothing_is_said() -> None:
    done = limited(4096, 30)
    assert done.stdout.split() == [str(limits.CONNECTIONS), "30"]
    assert done.stderr == ""
