"""KVM's own selftests in a lab host: at which size each runs, and what came of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from nvscope.lab.host.remote import TIMED_OUT, GuestError
from nvscope.lab.host.vm import Lab

FOLDER = "/mnt/artifacts/selftests"
SKIPPED = 4  # KSFT_SKIP of tools/testing/selftests/kselftest.h
LIMIT_SECONDS = 900  # each; the longest takes far less on the lab kernel
TAIL_CHARACTERS = 2000


@dataclass(frozen=True)
class Selftest:
    """A test and its options, of a size that an emulated machine bears."""

    name: str
    options: str = ""

    @property
    def command(self) -> str:
        """As it is typed in the guest, without the folder."""
        return f"{self.name} {self.options}".rstrip()


# All but hello_el2, which asks for it itself, get their vCPUs from the selftests' library, and
# that gives them EL2 where the host can (vm_supports_el2() in lib/arm64/processor.c; NV=0 in the
# environment would keep it from that). So the guest code of all five runs at virtual EL2, and the
# notifiers and memslot changes reach kvm_nested_s2_unmap*(). But none has a stage 2 of its own, so
# no shadow MMU maps anything: kvm_nested_revmap_record() is never called (counted by ftrace's
# function profiler). They say that the reverse map does not disturb KVM; what it does with shadow
# MMUs is for the workloads to say.
# -m 6 is VM_MODE_P40V48_4K (include/kvm_util.h), the default where a test runs but one mode; left
# to themselves these run nine, which differ in the guest's stage 1 and take nine times as long.
SELFTESTS = (
    Selftest("hello_el2"),
    Selftest("demand_paging_test", "-m 6 -v 2 -b 8M"),
    Selftest("kvm_page_table_test", "-m 6 -v 2 -b 64M"),
    Selftest("dirty_log_test", "-m 6 -i 4 -I 5"),
    Selftest("memslot_modification_stress_test", "-m 6 -v 2 -b 2M -i 20"),
)


@dataclass(frozen=True)
class Result:
    """What came of a command in the guest. said: the end of its output, where it failed."""

    command: str
    outcome: str
    exit_code: int
    seconds: float
    said: str = ""

    @property
    def failed(self) -> bool:
        """Whether it is a reason to look."""
        return self.outcome == "failed"

    def __str__(self) -> str:
        line = f"{self.outcome:7} {self.seconds:6.1f} s  exit {self.exit_code:<3}  {self.command}"
        return "\n    ".join([line, *self.said.splitlines()])


def outcome(exit_code: int, complaints: list[str]) -> str:
    """In one word.

    >>> outcome(0, []), outcome(4, []), outcome(254, []), outcome(0, ["BUG: KASAN"])
    ('passed', 'skipped', 'failed', 'failed')
    """
    if complaints or exit_code not in (0, SKIPPED):
        return "failed"
    return "skipped" if exit_code == SKIPPED else "passed"


def run(host: Lab, test: Selftest, limit_seconds: float = LIMIT_SECONDS) -> Result:
    """Run one test; what the kernel says of itself meanwhile counts against it.

    Raises GuestError only where the guest is gone.
    """
    before, started = len(host.warnings()), time.monotonic()
    try:
        done = host.run(f"{FOLDER}/{test.command} 2>&1", timeout=limit_seconds, check=False)
        code, said = done.returncode, done.stdout
    except GuestError as error:
        if not host.alive():
            raise
        code, said = TIMED_OUT, str(error)
    complaints = host.warnings()[before:]
    result = outcome(code, complaints)
    tail = "\n".join([*complaints, said[-TAIL_CHARACTERS:].strip()]) if result == "failed" else ""
    return Result(test.command, result, code, time.monotonic() - started, tail)


def run_all(host: Lab) -> Iterator[Result]:
    """Each test, and at last a line for the kernel itself: failed where it ever complained."""
    started = time.monotonic()
    for test in SELFTESTS:
        yield run(host, test)
    complaints = host.last_warnings()
    yield Result(
        "(the kernel, of itself)",
        outcome(0, complaints),
        int(bool(complaints)),
        time.monotonic() - started,
        "\n".join(complaints),
    )
