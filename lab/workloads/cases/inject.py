"""Makes one store into a reverse map fail, by the kernel's own fault injection.

Documentation/fault-injection/fault-injection.rst of the kernel: fail_function, with a filter by
task, so that only this process's vCPU is hit.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nvscope.probes.errors import LackError

# Where entries are stored, in the lab's kernels: of each, one of these is there.
FUNCTIONS = ("kvm_nested_revmap_store", "kvm_guest_s2_add")
_FOLDER = Path("/sys/kernel/debug/fail_function")
_MAKE_IT_FAIL = Path("/proc/self/make-it-fail")
_ENOMEM = hex((1 << 64) - errno.ENOMEM)
# Nothing fails before it is armed: see Injection.fail_in.
_SETTINGS: dict[str, str | int] = {
    "task-filter": "Y",
    "probability": 100,
    "interval": 1,
    "verbose": 0,
    "times": 0,
    "space": 0,
}


class Injection:
    """Fault injection that is set up, with nothing armed."""

    def fail_in(self, stores: int) -> None:
        """Let the stores-th call from now fail, that one only. stores: from 1 on.

        should_fail_ex() (lib/fault-inject.c) takes 1 from `space` for each call, and lets calls
        pass as long as it is above 1.
        """
        _set("times", 0)
        _set("space", stores)
        _set("times", 1)

    def pending(self) -> bool:
        """Whether the failure that was armed is yet to come."""
        return int((_FOLDER / "times").read_text()) != 0


@contextmanager
def injection() -> Iterator[Injection]:
    """Set up for this process, one at a time; at the end all is as before. Raises LackError."""
    if not _FOLDER.exists():
        raise LackError(f"{_FOLDER} is not there: it needs CONFIG_FAIL_FUNCTION and debugfs")
    function = _function()
    before = {name: (_FOLDER / name).read_text().strip() for name in _SETTINGS}
    try:
        for name, value in _SETTINGS.items():
            _set(name, value)
        _set("inject", function)
        _set(f"{function}/retval", _ENOMEM)
        _MAKE_IT_FAIL.write_text("1")
        yield Injection()
    finally:
        _MAKE_IT_FAIL.write_text("0")
        _set("inject", "")
        for name, value in before.items():
            _set(name, value)


def _function() -> str:
    words = (_FOLDER / "injectable").read_text().split()
    for function in FUNCTIONS:
        if function in words:
            return function
    raise LackError(f"this kernel has none of {', '.join(FUNCTIONS)}: it needs one of the lab's")


def _set(name: str, value: str | int) -> None:
    (_FOLDER / name).write_text(f"{value}\n")
