"""Who traces the kernel."""

from __future__ import annotations

import time

from nvscope.lab.host.vm import Lab

DETACH_SECONDS = 20


def attached(lab: Lab) -> str:
    """All functions that anybody traces, and all kprobes."""
    files = "/sys/kernel/tracing/enabled_functions /sys/kernel/debug/kprobes/list"
    return lab.run(f"cat {files}").stdout


def await_attached(lab: Lab, wanted: str) -> None:
    """The kernel detaches what is no longer pinned a moment later (bpf_free_inode)."""
    deadline = time.monotonic() + DETACH_SECONDS
    while (found := attached(lab)) != wanted:
        assert time.monotonic() < deadline, found
        time.sleep(0.2)
