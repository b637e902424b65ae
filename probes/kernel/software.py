"""What must be installed beside nvscope: bcc. Kernel headers need not be (bpf/headers)."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from pathlib import Path

NO_BCC = "bcc is not installed: install python3-bpfcc"


def version(package: str) -> str:
    """The version of an installed distribution package of Python, or ""."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def bcc_problem() -> str:
    """Why there is no bcc, or "". It is not imported: that takes a second and 100 MB."""
    found = importlib.util.find_spec("bcc")
    if found is None:
        return NO_BCC
    folders = found.submodule_search_locations or ()
    if any((Path(folder) / "libbcc.py").is_file() for folder in folders):
        return ""
    return "the bcc that is installed is another project of that name: install python3-bpfcc"
