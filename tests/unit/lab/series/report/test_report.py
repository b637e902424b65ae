"""The report of a series: its data, word by word, and what is made of it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from itertools import permutations
from pathlib import Path
from statistics import median
from xml.etree import ElementTree

import pytest

import nvscope
from nvscope.lab.series.checks.outcome import (
    FAILED,
    LEFT_OUT,
    NOT_TRIED,
    PASSED,
    Item,
    Problem,
    Step,
    not_tried,
)
from nvscope.lab.series.execution.plan import plan
from nvscope.lab.series.report.bounds import ALIKE, CHEAPER, DEARER, UNSURE, change, mean
from nvscope.lab.series.report.junit import junit
from nvscope.lab.series.report.markdown import table
from nvscope.lab.series.report.page import page
from nvscope.lab.series.report.report import report
from nvscope.lab.series.report.written import show
from tests.unit.lab.series.report.boots import BOOTS
from tests.unit.lab.series.story import WORDS, told

# Made anew by: python -m tests.unit.lab.series.report.test_report
GOLDEN = Path(__file__).parent / "golden"


def data() -> dict[str, object]:
    return report(*told())


def test_the_data_word_by_word() -> None:
    golden = json.loads((GOLDEN / "series.json").read_text())
    assert json.loads(json.dumps(data())) == golden | {"nvscope": nvscope.__version__}


def test_the_table_word_by_word() -> None:
    assert table(data()) == (GOLDEN / "series.md").read_text()


def test_numbers_are_whole_where_no_terminal_is(capsys: pytest.CaptureFixture[str]) -> None:
    show(data())
    said = capsys.readouterr().out
    for words in ("7.3.4+deb13-arm64", "51,000,000", "lab:bug=lost-record", "1, in 2 notifiers"):
        assert words in said


def ending(*outcomes: str, base: str = PASSED) -> object:
    """The exit code, by what came of the base and of a series' cases."""
    asked = plan(["lab", "debug"], ["cases"])
    why = {NOT_TRIED: "so"}
    items = tuple(
        Item(f"{n}", outcome, why=why.get(outcome, "")) for n, outcome in enumerate(outcomes)
    )
    done = {
        (0, "host"): Step("host", (Item("host", PASSED),)),
        (1, "host"): Step("host", (Item("host", PASSED),)),
        (0, "cases"): Step("cases", (Item("0", base),)),
        (1, "cases"): Step("cases", items),
    }
    return report(asked, done)["exit_code"]


def test_exit_codes() -> None:
    assert ending(PASSED, "does not apply", "left out") == 0
    assert ending(PASSED, NOT_TRIED) == 3
    assert ending(NOT_TRIED, FAILED) == 1
    # What is wrong with the base is told, and is not the series'.
    assert ending(PASSED, base=FAILED) == 0
    assert ending(PASSED, base=NOT_TRIED) == 3


def test_a_report_before_the_end_says_what_is_left() -> None:
    asked = plan(["lab", "debug"], ["cases"])
    done = {(0, "host"): Step("host", (Item("host", PASSED),))}
    found = report(asked, done)
    assert (found["left"], found["exit_code"]) == (3, 3)
    words = Text(page(found)).said
    assert "Not finished yet" in words and "Steps left: 3" in words
    assert "was asked for" not in words and "could be tried" not in words


def test_what_is_wrong_on_the_base_too_says_so() -> None:
    asked = plan(["lab", "debug"], ["cases"])
    step = Step("cases", (Item("two-mmus", FAILED, (Problem("data", "wrong"),)),))
    found = report(asked, {(0, "cases"): step, (1, "cases"): step})["wrong"]
    assert [(w["role"], w["on_base"]) for w in found] == [("base", True), ("series", True)]


# ---- bounds


def test_bounds_know_chance_from_change() -> None:
    base = mean([100.0, 100.5, 99.5, 100.0])
    assert change(base, mean([200.0, 201.0, 199.0])).said == DEARER
    assert change(base, mean([50.0, 51.0, 49.0])).said == CHEAPER
    assert change(mean([100.0, 110.0, 90.0]), mean([100.1] * 5)).said == UNSURE
    assert change(mean([100.0] * 4), mean([100.1] * 4)).said == ALIKE
    assert change(base, mean([150.0])).said == UNSURE  # one sample has no bounds
    assert change(mean([100.0] * 4), mean([0.0] * 4)).said == CHEAPER


@pytest.mark.parametrize("measure", ["unmap", "recover", "fault"])
def test_what_boots_of_one_kernel_differ_by_is_no_change(measure: str) -> None:
    """SAME and the bounds allow for it; by how much they differ is what docs/series.md says."""
    most = {"unmap": 0.022, "recover": 0.006, "fault": 0.002}
    for one, other in permutations((boot[measure] for boot in BOOTS), 2):
        found = change(mean(one), mean(other))
        assert found.said in (ALIKE, UNSURE)
        assert abs(found.ratio - 1) < most[measure]
        assert abs(median(other) / median(one) - 1) < 0.003


# ---- what is made of it


def test_junit() -> None:
    root = ElementTree.fromstring(junit(data()))
    suites = {suite.get("name"): suite for suite in root}
    assert len(suites) == len(told()[1])
    broken = suites["lab:bug=lost-record: cases"]
    counts = {name: broken.get(name) for name in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": "2", "failures": "1", "errors": "1", "skipped": "0"}
    (first, second) = broken.iter("failure")
    assert first.get("type") == "violation" and "row 7" in (first.text or "")
    assert second.get("type") == "data"
    assert suites["stock: cases"].get("skipped") == "2"


class Text(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.said, self.tags = "", list[str]()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, text: str) -> None:
        self.said += text


def test_the_page_says_all_and_loads_nothing() -> None:
    html = page(data())
    found = Text(html)
    words = re.sub(r"\s+", " ", found.said)
    assert "script" not in found.tags
    for word in (
        *WORDS,
        "Something is wrong",
        "safety: expected no mapping into <0x40200000>; seen one",
        "row 7, notifier_end",
        "the guest was gone",
        "a full unmap takes 20 s here",
        "cheaper",
    ):
        assert word in words, word
    assert "a notifier unmap of one page" in words
    assert "writing 64 pages" not in words  # nothing of it was measured


def test_what_was_not_tried_for_one_reason_has_one_row() -> None:
    asked = plan(["lab", "debug", "stock"], ["linux"])
    done = {(n, "linux"): not_tried("linux", "--quick", LEFT_OUT) for n in range(3)}
    done[1, "linux"] = not_tried("linux", "too little memory")
    (section,) = re.findall('(?s)id="not-tried".*?</section>', page(report(asked, done)))
    rows = re.findall(r"<tr>(<th scope=\"row\">.*?)</tr>", section)
    assert [re.sub("<[^>]+>", "|", row) for row in rows] == [
        "|lab, stock||linux||linux||left out||--quick|",
        "|debug||linux||linux||not tried||too little memory|",
    ]


def test_hostile_words_do_not_leave_their_place() -> None:
    asked = plan(["lab", "debug"], ["cases"])
    evil = Problem("complaint", "<script>\x1b[2J|`", ("</pre><script>alert(1)</script>\x00",))
    done = {(1, "cases"): Step("cases", (Item("<b>", FAILED, (evil,)),))}
    found = report(asked, done)
    html = page(found)
    assert "<script" not in html and "\x1b" not in html and "\x00" not in html
    ElementTree.fromstring(junit(found))
    assert len(table(found).splitlines()) == 6  # head, rule, kernel, map, boot, cases


BROWSER = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here: apt-get install chromium")
def test_the_page_in_a_browser(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(page(data()))
    assert BROWSER
    done = subprocess.run(
        [
            *(BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom"),
            *("--enable-logging=stderr", f"--user-data-dir={tmp_path}/profile", path.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "Something is wrong" in done.stdout
    assert "CONSOLE" not in done.stderr, done.stderr


if __name__ == "__main__":
    (GOLDEN / "series.json").write_text(json.dumps(data(), indent=1) + "\n")
    (GOLDEN / "series.md").write_text(table(data()))
