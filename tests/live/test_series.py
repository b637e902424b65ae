"""`nvscope lab series`: our kernel against itself with a mistake, which the report has to name."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

# The mistake is that of two MMUs one is unmapped: one case meets it.
WORDS = ["lab", "lab:bug=first-mmu"]
OPTIONS = ["--quick", "--only", "cases", "--case", "two-mmus", "--case", "no-entry"]


def series(*words: str) -> subprocess.CompletedProcess[str]:
    nvscope = Path(sys.executable).with_name("nvscope")
    return subprocess.run(
        [nvscope, "lab", "series", *words], capture_output=True, text=True, timeout=800, check=False
    )


def test_a_mistake_is_found_and_its_case_is_named(tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = series(*WORDS, *OPTIONS, "--out", str(out))
    assert done.returncode == 1, done.stderr
    data = json.loads((out / "report.json").read_text())
    (wrong,) = [each for each in data["wrong"] if each["item"] == "two-mmus"]
    assert (wrong["subject"], wrong["check"], wrong["on_base"]) == (WORDS[1], "cases", False)
    first = wrong["problems"][0]
    assert first["kind"] == "violation" and first["said"].startswith("safety: ")
    assert any("notifier_end" in line for line in first["lines"])  # the sub-trace
    cells = {each["name"]: each["cells"]["cases"] for each in data["subjects"]}
    assert cells["lab"] == "3 passed"  # two cases, and the trace
    assert {each["role"] for each in data["wrong"]} == {"series"}
    suites = ElementTree.parse(out / "junit.xml").getroot()
    failed = {
        case.get("name") for case in suites.iter("testcase") if case.find("failure") is not None
    }
    assert "two-mmus" in failed
    assert "two-mmus" in (out / "report.html").read_text()
    assert "two-mmus" in done.stdout
    # Nothing is left to do, and nothing is done again.
    again = series("--resume", "--out", str(out))
    assert again.returncode == 1
    assert "boot" not in again.stderr
