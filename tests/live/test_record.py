"""Recordings that are cut short: each leaves what can be read, and says so."""

from __future__ import annotations

import contextlib
import io

from nvscope.lab.host.services import GuestProcess, Synthetic
from nvscope.lab.host.vm import Lab
from nvscope.probes.traces.tracefile import Reader

SMALL = "/tmp/small"  # a file system with room for the first batches only
BEGIN_SECONDS = 300


def readable(trace: bytes) -> tuple[int, bool]:
    """(rows, whether the recorder has ended it)"""
    reader = Reader(io.BytesIO(trace))
    rows = sum(batch.num_rows for batch in reader.batches())
    return rows, reader.complete


def test_recordings_that_are_cut_short(lab_host: Lab) -> None:
    """A full disk, a reader that goes, SIGKILL: at once, for compiling takes the time."""
    lab_host.run(f"mkdir -p {SMALL}; mount -t tmpfs -o size=16k none {SMALL}")
    commands = {
        "full": f"nvscope record {SMALL}/a.arrows",
        "piped": "bash -o pipefail -c 'nvscope record - | head -c 4000 > /tmp/piped.arrows'",
        "killed": "nvscope record /tmp/killed.arrows",
    }
    with contextlib.ExitStack() as stack:
        processes = {
            name: stack.enter_context(GuestProcess(lab_host, command))
            for name, command in commands.items()
        }
        for process in processes.values():
            process.await_error("nvscope: recording", BEGIN_SECONDS)
        # More than fits, over more than one batch.
        with Synthetic(lab_host, "cut", "--unmaps", "250", "--pages", "64", hold=False) as guest:
            guest.facts(300)
        assert processes["full"].wait() == 3
        assert processes["piped"].wait() == 0
        processes["killed"].signal(9)
        processes["killed"].wait()
        said = {name: process.errors() for name, process in processes.items()}
    fetched = {
        name: readable(lab_host.remote.fetch(path))
        for name, path in (
            ("full", f"{SMALL}/a.arrows"),
            ("piped", "/tmp/piped.arrows"),
            ("killed", "/tmp/killed.arrows"),
        )
    }
    lab_host.run(f"umount {SMALL}; rm /tmp/*.arrows")
    assert "No space left on device; what was written before that is readable" in said["full"]
    assert "Traceback" not in "".join(said.values())
    rows = {name: found[0] for name, found in fetched.items()}
    assert 0 < rows["full"] < rows["killed"]
    assert rows["killed"] > 1000
    assert not any(complete for _, complete in fetched.values())
