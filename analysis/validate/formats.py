"""Results for programs: JSON, JUnit's XML, and SARIF 2.1.0."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

import click

import nvscope
from nvscope.analysis.validate import text
from nvscope.analysis.validate.findings import INVARIANTS, PASS, UNKNOWN, Finding, Result
from nvscope.probes.errors import shown

# A file and what came out: a result, or the line that says why there is none.
Judged = tuple[str, Result | str]

_SARIF = "https://json.schemastore.org/sarif-2.1.0.json"


def as_text(files: Sequence[Judged]) -> str:
    """For people; files that could not be read are on stderr already."""
    parts = ["\n".join(text.lines(name, r)) for name, r in files if isinstance(r, Result)]
    return "\n\n".join(parts) + "\n" if parts else ""


def as_json(files: Sequence[Judged]) -> str:
    """{"files": [{"file", "verdict", ...}]}; addresses are numbers, rows count from 0.

    A finding has all that it is made of, and "lines", which say it to people.

    Of a file's name, what is no UTF-8 is U+FFFD: JSON has no other bytes.
    """
    return json.dumps({"files": [_json(*judged) for judged in files]}, indent=2) + "\n"


def _json(file: str, result: Result | str) -> dict[str, Any]:
    name = click.format_filename(file)
    if isinstance(result, str):
        return {"file": name, "verdict": None, "error": result}
    found = asdict(result)
    # asdict() makes a mess of Counters.
    found |= {"judged": dict(sorted(result.judged.items()))}
    found |= {"unjudged": dict(text.reasons(result))}
    for number, finding in enumerate(found["findings"], 1):
        finding["lines"] = list(text.finding_lines(number, result.findings[number - 1]))
        finding["trace"] = [{"row": at, "event": event} for at, event in finding["trace"]]
    return {
        "file": name,
        "verdict": result.verdict,
        "over_unmap_ratio": result.over_unmap_ratio,
        **found,
    }


def as_junit(files: Sequence[Judged]) -> str:
    """A suite per file, a case per invariant; what is unknown is a skipped case."""
    suites = ElementTree.Element("testsuites")
    for name, result in files:
        suite = ElementTree.SubElement(suites, "testsuite", name=shown(name))
        cases = _error_case(suite, result) if isinstance(result, str) else _cases(suite, result)
        for kind in ("failure", "error", "skipped"):
            count = sum(len(case.findall(kind)) > 0 for case in cases)
            suite.set(f"{kind}s" if kind != "skipped" else kind, str(count))
        suite.set("tests", str(len(cases)))
    ElementTree.indent(suites)
    # Of ASCII, with all else as references: it is the same in whichever encoding it is written.
    text: bytes = ElementTree.tostring(suites, "us-ascii", xml_declaration=True)
    return text.decode() + "\n"


def _error_case(suite: ElementTree.Element, why: str) -> list[ElementTree.Element]:
    case = ElementTree.SubElement(suite, "testcase", name="read", classname="nvscope.validate")
    ElementTree.SubElement(case, "error", message=text.plain(why))
    return [case]


def _cases(suite: ElementTree.Element, result: Result) -> list[ElementTree.Element]:
    cases = []
    for invariant in INVARIANTS:
        attributes = {"name": invariant, "classname": "nvscope.validate"}
        case = ElementTree.SubElement(suite, "testcase", attributes)
        cases.append(case)
        for found in result.findings:
            if found.invariant == invariant:
                failure = ElementTree.SubElement(
                    case, "failure", message=text.plain(message(found))
                )
                failure.text = text.plain("\n".join(text.finding_lines(1, found)))
        if invariant == "honesty" and (result.unjudged or result.verdict == UNKNOWN):
            why = ", ".join(f"{why} ({count})" for why, count in text.reasons(result))
            ElementTree.SubElement(case, "skipped", message=text.plain(why or "nothing to judge"))
    return cases


def as_sarif(files: Sequence[Judged]) -> str:
    """A result per finding, a notification per file that could not be judged, or not wholly."""
    rules = [{"id": name, "shortDescription": {"text": says}} for name, says in INVARIANTS.items()]
    driver = {"name": "nvscope", "version": nvscope.__version__, "rules": rules}
    results, notes = [], []
    for name, result in files:
        if isinstance(result, str):
            notes.append(_note("error", name, result))
            continue
        results += [_sarif_result(name, found) for found in result.findings]
        if result.verdict != PASS and not result.findings:
            notes.append(_note("warning", name, text.headline(name, result)))
    ran = {
        "executionSuccessful": all(isinstance(result, Result) for _, result in files),
        "toolExecutionNotifications": notes,
    }
    run = {"tool": {"driver": driver}, "results": results, "invocations": [ran]}
    return json.dumps({"$schema": _SARIF, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"


def _note(level: str, name: str, what: str) -> dict[str, Any]:
    return {"level": level, "message": {"text": shown(what)}, "locations": [_location(name)]}


def _location(name: str) -> dict[str, Any]:
    return {"physicalLocation": {"artifactLocation": {"uri": quote(os.fsencode(name))}}}


def _sarif_result(name: str, found: Finding) -> dict[str, Any]:
    # A trace has no lines: the row is a logical location.
    where = {"name": f"row {found.row}", "kind": "element", "fullyQualifiedName": f"{found.row}"}
    return {
        "ruleId": found.invariant,
        "ruleIndex": list(INVARIANTS).index(found.invariant),
        "level": "error",
        "message": {"text": message(found)},
        "locations": [{**_location(name), "logicalLocations": [where]}],
        "properties": {"row": found.row, "mmu": f"{found.mmu:#x}", "kvm": f"{found.event.kvm:#x}"},
    }


def message(found: Finding) -> str:
    """One line."""
    return f"row {found.row}, {found.event.kind}: expected {found.expected}; seen {found.seen}"


FORMATS: Mapping[str, Callable[[Sequence[Judged]], str]] = {
    "text": as_text,
    "json": as_json,
    "junit": as_junit,
    "sarif": as_sarif,
}
