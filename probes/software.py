"""What must be installed beside nvscope: bcc and the running kernel's headers."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
from pathlib import Path

NO_BCC = "bcc is not installed: install python3-bpfcc"
# Where bcc looks for headers, beside /lib/modules.
HEADERS_VARIABLE = "BCC_KERNEL_SOURCE"


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


def no_headers(kernel: str) -> str:
    """What to say where bcc finds no headers of a kernel."""
    return (
        f"bcc finds no headers of kernel {kernel}: install linux-headers-{kernel},"
        f" or name their folder in {HEADERS_VARIABLE}"
    )


def headers(kernel: str, modules: Path, sys: Path) -> Path | None:
    """The headers that bcc will take: those named, those installed, or the kernel's own archive."""
    if named := os.environ.get(HEADERS_VARIABLE):
        return Path(named) if Path(named).is_dir() else None
    places = (modules / kernel / "build", modules / kernel / "source")
    found = next((place for place in places if (place / "include").is_dir()), None)
    archive = sys / "kernel/kheaders.tar.xz"
    return found or (archive if archive.is_file() else None)
