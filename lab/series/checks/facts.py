"""What a kernel in a booted host is: by that, checks are sized, or do not apply."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from nvscope.lab.host.remote import GuestError
from nvscope.lab.host.services import Synthetic
from nvscope.lab.host.vm import Lab
from nvscope.lab.workloads.cases.inject import FUNCTIONS
from nvscope.lab.workloads.vmm.kvm import REVMAP_SWITCHES

# How the kernel finds what shadow MMUs map. Of the first three all is known.
ON, OFF, NONE, UNKNOWN = "on", "off", "none", "unknown"
# Of one full unmap, where it cannot be measured: the lab's kernel, 48 bits, on a busy machine.
FULL_UNMAP_SECONDS = 0.7
DOCTOR_SECONDS, UNMAP_SECONDS = 300.0, 900.0

_YES = "&& echo yes || echo no"
_COMMAND = f"""
uname -r
getconf PAGESIZE
cat {" ".join(map(str, REVMAP_SWITCHES.values()))} 2>/dev/null | grep . || echo -
grep -qswE '{"|".join(FUNCTIONS)}' /sys/kernel/debug/fail_function/injectable {_YES}
test -d /sys/kernel/debug/failslab {_YES}
grep -qs '<argname>' /sys/kernel/tracing/README {_YES}
"""


@dataclass(frozen=True)
class Facts:
    """A kernel, as its host shows it.

    kernel: `uname -r`; page_bytes: of its pages; revmap: ON or OFF of the lab's own reverse map,
    NONE, or UNKNOWN: another's; kind: what `nvscope doctor` calls it; injects: stores into the
    lab's can be made to fail; failslab: allocations can; traces: ftrace finds arguments by name;
    unmap_seconds: what a notifier unmap takes, or, with a reverse map, a full unmap at most;
    trouble: what went wrong in the first one; image: a digest of the kernel's Image.
    """

    kernel: str
    page_bytes: int
    revmap: str
    kind: str
    injects: bool
    failslab: bool
    traces: bool
    unmap_seconds: float
    trouble: str = ""
    image: str = ""

    def as_json(self) -> dict[str, Any]:
        """JSON's types only; `of_json` reads it."""
        return asdict(self)


def of_json(data: Mapping[str, Any]) -> Facts:
    """What `as_json` made. Raises TypeError for anything else."""
    return Facts(**data)


def read(host: Lab, *, packaged: bool) -> Facts:
    """Ask a host. packaged: its kernel is as Debian built it. Raises GuestError."""
    words = host.run(_COMMAND).stdout.split()
    kernel, page_bytes, switch, injects, failslab, traces = words
    kind = _kind(host)
    revmap = revmap_of(switch, kind, packaged=packaged)
    seconds, trouble = _first_unmap(host, revmap)
    if revmap in (ON, UNKNOWN) or trouble:
        seconds = max(seconds, FULL_UNMAP_SECONDS)
    return Facts(
        kernel=kernel,
        page_bytes=int(page_bytes),
        revmap=revmap,
        kind=kind,
        injects=injects == "yes",
        failslab=failslab == "yes",
        traces=traces == "yes",
        unmap_seconds=seconds,
        trouble=trouble,
    )


def revmap_of(switch: str, kind: str, *, packaged: bool) -> str:
    """What is known of a kernel's reverse map.

    switch: what the lab kernels' parameter says, "-" where there is none; kind: doctor's word for
    what it found in the kernel's types. A kernel that was built from others' source may have a
    reverse map that no type tells of.

    >>> revmap_of("Y", "maple", packaged=False), revmap_of("-", "none", packaged=True)
    ('on', 'none')
    >>> revmap_of("-", "none", packaged=False), revmap_of("-", "tracking", packaged=True)
    ('unknown', 'unknown')
    """
    if switch in "YN":
        return ON if switch == "Y" else OFF
    return NONE if packaged and kind == "none" else UNKNOWN


def _kind(host: Lab) -> str:
    done = host.run("nvscope doctor --json", timeout=DOCTOR_SECONDS, check=False)
    try:
        return str(json.loads(done.stdout)["host"]["revmap"])
    except (ValueError, KeyError, TypeError):
        raise GuestError(f"`nvscope doctor --json` failed: {done.stderr[-1000:]}") from None


def _first_unmap(host: Lab, revmap: str) -> tuple[float, str]:
    """Seconds that it took, and what went wrong, if anything. Raises GuestError."""
    options = ["--unmaps", "1", "--pages", "4"]
    if revmap == UNKNOWN:
        options.append("--unknown-map")
    try:
        with Synthetic(host, "first", *options, hold=False) as guest:
            return float(guest.facts(UNMAP_SECONDS)["take_back_ns"]) / 1e9, ""
    except GuestError as error:
        if not host.alive():
            raise
        return 0.0, str(error).splitlines()[-1].removeprefix("Error: ")
