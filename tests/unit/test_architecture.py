"""The arrows between the wings run one way."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Wing -> the wings that it may import; what is not named here it may not.
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


def wings_used(path: Path) -> set[str]:
    parts = (name.split(".") for name in imports(path))
    return {part[1] for part in parts if part[0] == "nvscope" and len(part) > 1} & set(MAY_USE)


@pytest.mark.parametrize("wing", MAY_USE)
def test_a_wing_uses_only_what_it_may(wing: str) -> None:
    files = sorted((ROOT / wing).rglob("*.py"))
    assert files
    for path in files:
        assert wings_used(path) <= MAY_USE[wing] | {wing}, path


def test_the_command_knows_the_wings_by_name_only() -> None:
    for path in sorted((ROOT / "nvscope").glob("*.py")):
        assert wings_used(path) <= {"probes"}, path
        used = {name for name in imports(path) if name.startswith("nvscope.probes")}
        assert all(name.startswith("nvscope.probes.errors") for name in used), path


# Of analysis/, folder -> what else of it it may import.
OF_ANALYSIS = {
    "model": set(),
    "plain": set(),
    "interop": {"model"},
    "validate": {"model", "plain", "interop"},
    "verify": {"interop", "model", "validate", "units"},
    "report": {"interop", "validate", "units"},
    "compare": {"units"},
    "api": {"interop", "model", "validate", "report", "units"},
}


@pytest.mark.parametrize("folder", OF_ANALYSIS)
def test_a_folder_of_analysis_uses_only_what_it_may(folder: str) -> None:
    files = sorted((ROOT / "analysis" / folder).rglob("*.py"))
    assert files
    for path in files:
        parts = (name.split(".") for name in imports(path))
        used = {part[2] for part in parts if part[:2] == ["nvscope", "analysis"] and part[2:]}
        assert used <= OF_ANALYSIS[folder] | {folder}, path


def test_bcc_is_imported_in_one_file_only() -> None:
    users = [
        path.relative_to(ROOT).as_posix()
        for wing in MAY_USE
        for path in (ROOT / wing).rglob("*.py")
        if any(name.split(".")[0] == "bcc" for name in imports(path))
    ]
    assert users == ["probes/loader.py"]


def test_the_lab_takes_only_errors_numbers_and_a_system_call_from_probes() -> None:
    for path in (ROOT / "lab").rglob("*.py"):
        used = {name for name in imports(path) if name.startswith("nvscope.probes")}
        modules = {".".join(name.split(".")[:3]) for name in used}
        assert modules <= {f"nvscope.probes.{name}" for name in ("errors", "madvise", "finite")}, (
            path
        )
