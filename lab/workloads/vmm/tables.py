"""What the kernel shows of this process's VM: the page tables of its shadow MMUs, as text."""

from __future__ import annotations

import os
from pathlib import Path

_KVM = Path("/sys/kernel/debug/kvm")


def shadow_tables() -> dict[str, str]:
    """nested_mmu0, … -> its content; nothing on a kernel that shows none (see arm64's ptdump.c).

    Of a process with one VM.
    """
    files = sorted(_KVM.glob(f"{os.getpid()}-*/nested/nested_mmu*"))
    return {file.name: file.read_text() for file in files}
