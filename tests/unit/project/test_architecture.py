"""The arrows between the subpackages run one way."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

# Subpackage -> the subpackages that it may import; what is not named here it may not.
MAY_USE = {
    "probes": set(),
    "exporter": {"probes"},
    "analysis": {"probes"},
    "lab": {"probes"},
}


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def subpackages_used(path: Path) -> set[str]:
    parts = (name.split(".") for name in imports(path))
    return {part[1] for part in parts if part[0] == "nvscope" and len(part) > 1} & set(MAY_USE)


@pytest.mark.parametrize("subpackage", MAY_USE)
def test_a_subpackage_uses_only_what_it_may(subpackage: str) -> None:
    files = sorted((ROOT / subpackage).rglob("*.py"))
    assert files
    for path in files:
        assert subpackages_used(path) <= MAY_USE[subpackage] | {subpackage}, path


def test_the_command_knows_the_subpackages_by_name_only() -> None:
    for path in sorted((ROOT / "nvscope").glob("*.py")):
        assert subpackages_used(path) <= {"probes"}, path
        used = {name for name in imports(path) if name.startswith("nvscope.probes")}
        assert all(name.startswith("nvscope.probes.errors") for name in used), path


@pytest.mark.parametrize("subpackage", ["nvscope", *MAY_USE])
def test_a_folder_of_modules_is_a_package(subpackage: str) -> None:
    """setup.py finds it by that; the editable install would do without."""
    folders = {path.parent for path in (ROOT / subpackage).rglob("*.py")}
    assert folders
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []


# Of analysis/, folder -> what else of it it may import.
OF_ANALYSIS = {
    "model": set(),
    "interop": {"model"},
    "judging": {"model"},
    "compiled": {"judging", "model"},
    "validate": {"compiled", "interop", "judging", "model"},
    "verify": {"interop", "judging", "model", "validate", "units"},
    "report": {"interop", "judging", "validate", "units"},
    "compare": {"units"},
    "api": {"interop", "judging", "model", "validate", "report", "units"},
}


# The same of probes/, where all may use its errors.
OF_PROBES = {
    "config": set(),
    "kernel": set(),
    "traces": set(),
    "counts": {"kernel"},
    "vms": {"counts"},
    "points": {"config", "counts", "kernel"},
    "commands": {"counts", "kernel", "points", "traces", "vms"},
    "pins": {"commands", "config", "counts", "kernel", "points"},
}
# And of two folders of lab/, which have rooms of their own.
OF_WORKLOADS = {
    "vmm": set(),
    "ledger": {"vmm"},
    "synthetic": {"ledger", "vmm"},
    "cases": {"synthetic"},
    "interference": set(),
}
OF_SERIES = {
    "subjects": set(),
    "checks": set(),
    "execution": {"checks", "subjects"},
    "report": {"checks", "execution"},
}
FOLDERS = [
    *(("analysis", folder, uses) for folder, uses in OF_ANALYSIS.items()),
    *(("probes", folder, uses | {"errors"}) for folder, uses in OF_PROBES.items()),
    *(("lab/workloads", folder, uses) for folder, uses in OF_WORKLOADS.items()),
    *(("lab/series", folder, uses) for folder, uses in OF_SERIES.items()),
]


@pytest.mark.parametrize(("subpackage", "folder", "may_use"), FOLDERS)
def test_a_folder_uses_only_what_it_may(subpackage: str, folder: str, may_use: set[str]) -> None:
    files = sorted((ROOT / subpackage / folder).rglob("*.py"))
    assert files
    for path in files:
        package = ["nvscope", *subpackage.split("/")]
        size = len(package)
        parts = (name.split(".") for name in imports(path))
        used = {part[size] for part in parts if part[:size] == package and part[size:]}
        assert used <= may_use | {folder}, path


@pytest.mark.parametrize(
    ("subpackage", "uses"),
    [
        ("analysis", OF_ANALYSIS),
        ("probes", OF_PROBES),
        ("lab/workloads", OF_WORKLOADS),
        ("lab/series", OF_SERIES),
    ],
)
def test_every_folder_is_among_them(subpackage: str, uses: dict[str, set[str]]) -> None:
    assert {path.parent.name for path in (ROOT / subpackage).glob("*/__init__.py")} == set(uses)


def test_bcc_is_imported_in_one_file_only() -> None:
    users = [
        path.relative_to(ROOT).as_posix()
        for subpackage in MAY_USE
        for path in (ROOT / subpackage).rglob("*.py")
        if any(name.split(".")[0] == "bcc" for name in imports(path))
    ]
    assert users == ["probes/points/module.py"]


OF_LAB = ("errors", "kernel.madvise", "commands.finite")


def test_the_lab_takes_only_errors_numbers_and_a_system_call_from_probes() -> None:
    allowed = tuple(f"nvscope.probes.{name}" for name in OF_LAB)
    packages = {name.rpartition(".")[0] for name in allowed}
    for path in (ROOT / "lab").rglob("*.py"):
        used = {name for name in imports(path) if name.startswith("nvscope.probes")}
        assert all(name.startswith(allowed) or name in packages for name in used), path


def test_no_test_module_uses_another() -> None:
    """What several need lies beside them, in a module that has no tests."""
    for path in sorted((ROOT / "tests").rglob("*.py")):
        last = (name.split(".") for name in imports(path) if name.startswith("tests."))
        assert not [part for part in last if any(each.startswith("test_") for each in part)], path


MOST_MODULES = 12  # beside __init__.py
# What has more, by its nature; the page beside it says why.
CATALOGUES = {"tests/live": "tests/README.md", "probes/bpf": "probes/bpf/README.md"}


def test_a_folder_is_taken_in_at_a_glance() -> None:
    tops = (ROOT / name for name in ("nvscope", *MAY_USE, "bench", "tests"))
    count = Counter(
        path.parent.relative_to(ROOT).as_posix()
        for top in tops
        for path in top.rglob("*.*")
        if path.suffix in (".py", ".c", ".h") and path.name != "__init__.py"
    )
    assert {folder for folder, modules in count.items() if modules > MOST_MODULES} == set(
        CATALOGUES
    )
    assert all("side by side" in (ROOT / page).read_text() for page in CATALOGUES.values())
