"""What a validation takes of memory at most."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_PEAK = """
import re, sys
from nvscope.cli import main
try:
    main(["validate", sys.argv[1]])
except SystemExit as ending:
    print(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1], ending.code)
"""


def peak(path: Path) -> tuple[int, int, str]:
    """Peak memory in KiB, the exit code, and what is on stderr, of `nvscope validate`."""
    command = [sys.executable, "-c", _PEAK, str(path)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    kib, code = ran.stdout.splitlines()[-1].split()
    return int(kib), int(code), ran.stderr
