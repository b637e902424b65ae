"""That a complaint of the kernel is seen: faults on demand, each in a host of its own."""

from __future__ import annotations

import pytest

from nvscope.lab import assets
from tests.debug.conftest import BOOT_SECONDS


@pytest.mark.parametrize(
    ("crash", "complaint", "ends_lockdep"),
    [
        # Ends with a lock held (drivers/misc/lkdtm/bugs.c).
        ("SPINLOCKUP", "lock held when returning to user space", True),
        # A kernel whose memory is bad does not trust its locks either (add_taint()).
        ("READ_AFTER_FREE", "BUG: KASAN: ", True),
        ("WARNING", "WARNING: ", False),
    ],
)
def test_a_complaint_is_seen(crash: str, complaint: str, ends_lockdep: bool) -> None:
    with assets.prepare("debug").boot(cpus=1, memory_mib=1024) as host:
        host.wait_ready(BOOT_SECONDS)
        assert host.last_warnings() == []
        host.run(f"echo {crash} > /sys/kernel/debug/provoke-crash/DIRECT", check=False)
        assert any(complaint in line for line in host.warnings()), host.console()
        assert ("lockdep was turned off" in host.last_warnings()) == ends_lockdep
