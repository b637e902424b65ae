"""The report as JUnit's XML: a suite for each subject and check, a case for each item."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree

from nvscope.lab.series.checks.outcome import FAILED, NOT_TRIED, PASSED

_LINE_ENDS = "\n"


def junit(data: Mapping[str, Any]) -> str:
    """Of ASCII, so that it is the same in whichever encoding it is written."""
    suites = ElementTree.Element("testsuites", name="nvscope lab series")
    for step in data["steps"]:
        suite = ElementTree.SubElement(
            suites, "testsuite", name=printable(f"{step['subject']}: {step['check']}")
        )
        for item in step["items"]:
            _case(suite, step, item)
        outcomes = [item["outcome"] for item in step["items"]]
        suite.set("tests", str(len(outcomes)))
        suite.set("failures", str(outcomes.count(FAILED)))
        suite.set("errors", str(outcomes.count(NOT_TRIED)))
        skipped = sum(outcome not in (FAILED, NOT_TRIED, PASSED) for outcome in outcomes)
        suite.set("skipped", str(skipped))
        suite.set("time", f"{step['seconds']:.1f}")
    ElementTree.indent(suites)
    text: bytes = ElementTree.tostring(suites, "us-ascii", xml_declaration=True)
    return text.decode() + "\n"


def _case(suite: ElementTree.Element, step: Mapping[str, Any], item: Mapping[str, Any]) -> None:
    case = ElementTree.SubElement(
        suite,
        "testcase",
        name=printable(item["name"]),
        classname=printable(f"{step['subject']}.{step['check']}"),
        time=f"{item['seconds']:.1f}",
    )
    for problem in item["problems"]:
        failure = ElementTree.SubElement(
            case, "failure", type=problem["kind"], message=printable(problem["said"])
        )
        failure.text = printable(_LINE_ENDS.join(problem["lines"]))
    if item["outcome"] == NOT_TRIED:
        ElementTree.SubElement(case, "error", message=printable(item["why"]))
    elif item["outcome"] not in (FAILED, PASSED):
        ElementTree.SubElement(
            case, "skipped", message=printable(f"{item['outcome']}: {item['why']}".rstrip(": "))
        )


def printable(text: str) -> str:
    r"""Without what XML forbids: consoles have escape sequences.

    >>> printable("a\x1b[2Jb\n")
    'a\ufffd[2Jb\n'
    """
    return "".join(
        c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text
    )
