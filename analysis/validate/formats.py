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
from nvscope.analysis.judging.findings import (
    FULL_UNMAPS,
    INVARIANTS,
    NOT_JUDGED,
    OVER_UNMAP,
    PASS,
    UNKNOWN,
    Finding,
    Result,
)
from nvscope.analysis.validate import text
from nvscope.analysis.validate.require import MET, Answer, Requirement, answers
from nvscope.analysis.validate.verdicts import NOTHING, Verdict, doubts_of, told, verdicts
from nvscope.probes.errors import shown

# A file and what came out: a result, or the line that says why there is none.
Judged = tuple[str, Result | str]

_REQUIRE = "require"  # the rule of what --require asks for
_SARIF = "https://json.schemastore.org/sarif-2.1.0.json"


def as_text(files: Sequence[Judged], required: Sequence[Requirement] = ()) -> str:
    """For people; files that could not be read are on stderr already."""
    parts = [
        "\n".join(text.lines(name, result, answers(result, required)))
        for name, result in files
        if isinstance(result, Result)
    ]
    return "\n\n".join(parts) + "\n" if parts else ""


def as_json(files: Sequence[Judged], required: Sequence[Requirement] = ()) -> str:
    """{"files": [{"file", "verdict", ...}]}; addresses are numbers, rows count from 0.

    "invariants": each one's own verdict; "inexact": figure -> why it is known in part only; the
    figures, and "wide_unmaps", are findings.Result's. A finding has all that it is made of, and
    "lines", which say it to people.
    Of a file's name, what is no UTF-8 is U+FFFD: JSON has no other bytes.
    """
    said = [_json(file, result, required) for file, result in files]
    return json.dumps({"files": said}, indent=2) + "\n"


def _json(file: str, result: Result | str, required: Sequence[Requirement]) -> dict[str, Any]:
    name = click.format_filename(file)
    if isinstance(result, str):
        return {"file": name, "verdict": None, "error": result}
    found = asdict(result)
    # asdict() makes a mess of Counters.
    found |= {"judged": dict(sorted(result.judged.items()))}
    found |= {"unjudged": dict(text.reasons(result))}
    for ours in ("unknown", "lacks", "blind", "violations"):  # the verdicts have it
        del found[ours]
    for number, finding in enumerate(found["findings"], 1):
        finding["lines"] = list(text.finding_lines(number, result.findings[number - 1]))
        finding["trace"] = [{"row": at, "event": event} for at, event in finding["trace"]]
    return {
        "file": name,
        "verdict": result.verdict,
        "invariants": {each.invariant: _verdict(each) for each in verdicts(result)},
        "requirements": [asdict(answer) for answer in answers(result, required)],
        "over_unmap_ratio": result.over_unmap_ratio,
        "inexact": {name: dict(doubts_of(result, name)) for name in (OVER_UNMAP, FULL_UNMAPS)},
        **found,
    }


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {
        "verdict": verdict.answer,
        "judged": verdict.judged,
        "violations": verdict.violations,
        "unknown": dict(verdict.unknown),
        "why": verdict.why,
    }


def as_junit(files: Sequence[Judged], required: Sequence[Requirement] = ()) -> str:
    """A suite per file, a case per invariant and per requirement.

    A case is skipped where its answer is unknown, or where an invariant was not judged. Of a
    requirement that is a failure.
    """
    suites = ElementTree.Element("testsuites")
    for name, result in files:
        suite = ElementTree.SubElement(suites, "testsuite", name=shown(name))
        if isinstance(result, str):
            cases = _error_case(suite, result)
        else:
            cases = _cases(suite, result) + _required(suite, answers(result, required))
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
    ElementTree.SubElement(case, "error", message=text.printable(why))
    return [case]


def _cases(suite: ElementTree.Element, result: Result) -> list[ElementTree.Element]:
    cases = []
    for verdict in verdicts(result):
        attributes = {"name": verdict.invariant, "classname": "nvscope.validate"}
        case = ElementTree.SubElement(suite, "testcase", attributes)
        cases.append(case)
        for found in result.findings:
            if found.invariant == verdict.invariant:
                failure = ElementTree.SubElement(
                    case, "failure", message=text.printable(message(found))
                )
                failure.text = text.printable("\n".join(text.finding_lines(1, found)))
        if verdict.answer in (UNKNOWN, NOT_JUDGED):
            why = f"{verdict.answer}: {verdict.why or told(verdict.unknown)}"
            ElementTree.SubElement(case, "skipped", message=text.printable(why))
    attributes = {"name": "honesty", "classname": "nvscope.validate"}
    cases.append(ElementTree.SubElement(suite, "testcase", attributes))
    if result.unjudged or result.verdict == UNKNOWN:
        why = ", ".join(f"{why} ({count})" for why, count in text.reasons(result))
        ElementTree.SubElement(cases[-1], "skipped", message=text.printable(why or NOTHING))
    return cases


def _required(suite: ElementTree.Element, said: Sequence[Answer]) -> list[ElementTree.Element]:
    cases = []
    for answer in said:
        attributes = {"name": answer.requirement, "classname": "nvscope.require"}
        case = ElementTree.SubElement(suite, "testcase", attributes)
        cases.append(case)
        if answer.answer != MET:
            kind = "skipped" if answer.answer == UNKNOWN else "failure"
            ElementTree.SubElement(
                case, kind, message=text.printable(text.requirement_line(answer))
            )
    return cases


def as_sarif(files: Sequence[Judged], required: Sequence[Requirement] = ()) -> str:
    """A result per finding and per requirement that is not met.

    A notification per file that could not be judged, or not wholly; and, in the run's properties,
    each file's verdicts.
    """
    says = dict(INVARIANTS)
    if required:
        says[_REQUIRE] = "what --require asks for is so"
    rules = [{"id": name, "shortDescription": {"text": what}} for name, what in says.items()]
    driver = {"name": "nvscope", "version": nvscope.__version__, "rules": rules}
    results, notes, properties = [], [], []
    for name, result in files:
        if isinstance(result, str):
            notes.append(_note("error", name, result))
            continue
        results += [_sarif_result(name, found) for found in result.findings]
        results += [
            _sarif_unmet(name, answer)
            for answer in answers(result, required)
            if answer.answer != MET
        ]
        properties.append(_sarif_verdicts(name, result))
        if result.verdict != PASS and not result.findings:
            notes.append(_note("warning", name, text.headline(name, result)))
    ran = {
        "executionSuccessful": all(isinstance(result, Result) for _, result in files),
        "toolExecutionNotifications": notes,
    }
    run = {
        "tool": {"driver": driver},
        "results": results,
        "invocations": [ran],
        "properties": {"files": properties},
    }
    return json.dumps({"$schema": _SARIF, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"


def _sarif_verdicts(name: str, result: Result) -> dict[str, Any]:
    return {
        "uri": _uri(name),
        "verdict": result.verdict,
        "invariants": {each.invariant: _verdict(each) for each in verdicts(result)},
    }


def _sarif_unmet(name: str, answer: Answer) -> dict[str, Any]:
    unknown = answer.answer == UNKNOWN
    return {
        "ruleId": _REQUIRE,
        "ruleIndex": len(INVARIANTS),
        "level": "warning" if unknown else "error",
        "message": {"text": text.requirement_line(answer)},
        "locations": [_location(name)],
    }


def _note(level: str, name: str, what: str) -> dict[str, Any]:
    return {"level": level, "message": {"text": shown(what)}, "locations": [_location(name)]}


def _location(name: str) -> dict[str, Any]:
    return {"physicalLocation": {"artifactLocation": {"uri": _uri(name)}}}


def _uri(name: str) -> str:
    return quote(os.fsencode(name))


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


FORMATS: Mapping[str, Callable[[Sequence[Judged], Sequence[Requirement]], str]] = {
    "text": as_text,
    "json": as_json,
    "junit": as_junit,
    "sarif": as_sarif,
}
