"""The report as one HTML page that needs nothing else: no network, no other file, no script."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup

import nvscope
from nvscope.analysis.report.drawing.charts import bins_used
from nvscope.analysis.report.drawing.space import spaces
from nvscope.analysis.report.measures.follow import MAX_MAPPINGS
from nvscope.analysis.report.measures.gather import Findings
from nvscope.analysis.report.measures.tally import SERIES
from nvscope.analysis.report.measures.vms import MAX_MMUS, MAX_VMS, Vm
from nvscope.analysis.report.sections import durations, recording, unmaps
from nvscope.analysis.report.sections.headlines import headlines
from nvscope.analysis.report.sections.mmus import mmus
from nvscope.analysis.report.verdicts import Verdict
from nvscope.analysis.units import duration, name, number

TEMPLATE = "page.html"
STYLE = "style.css"
MAX_PICTURES = 8  # VMs whose IPA space is drawn: those that map most
MAX_VM_SECTIONS = 16


def render(found: Findings, path_name: str, verdicts: Sequence[Verdict] | None) -> str:
    """The page. path_name: of the trace. Complexity: O(1) in its length."""
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        loader=jinja2.FunctionLoader(_text),
    )
    page = environment.get_template(TEMPLATE)
    return page.render(
        style=Markup(_text(STYLE)),  # our own file
        version=nvscope.__version__,
        file=name(path_name, 200),
        verdicts=verdicts,
        **_content(found, path_name),
    )


def _content(found: Findings, path_name: str) -> dict[str, Any]:
    tally, used = found.tally, bins_used(found.timeline, found.tally.last_ns)
    refaults = found.follower.costs.refaults
    names = dict(SERIES)
    return {
        "headlines": headlines(found),
        "about": recording.about(found, path_name),
        "probes": recording.probes(found),
        "kinds": recording.rows_by_kind(found),
        "histograms": durations.histograms(tally.latencies, names),
        "quantiles": durations.quantiles(tally.latencies, names),
        "over_time": durations.over_time(found, used),
        "bin": duration(found.timeline.width_ns),
        "unmaps_over_time": unmaps.unmaps_over_time(found, used),
        "unmaps_by_cause": unmaps.unmaps_by_cause(found),
        "takers": unmaps.takers(found),
        "has_revmap": found.about.revmap != "none",
        "fallbacks": unmaps.fallbacks(found),
        "over_unmap": unmaps.over_unmap(found),
        "refault_sums": unmaps.refault_sums(found),
        "refaults": durations.histograms(refaults, {scope: scope for scope in unmaps.SCOPES}),
        "worst": unmaps.worst_unmaps(found),
        "pictures": _pictures(found),
        "vms": [_vm(vm) for vm in found.vms.seen[:MAX_VM_SECTIONS]],
        "cautions": _cautions(found),
    }


def _pictures(found: Findings) -> list[dict[str, Any]]:
    shown = sorted(
        (vm for vm in found.vms.seen if vm.picture),
        key=lambda vm: vm.picture.mappings if vm.picture else 0,
        reverse=True,
    )[:MAX_PICTURES]
    return [
        {
            "vm": title(vm),
            "at": duration(max(0, vm.picture.time_ns - found.timeline.start_ns)),
            "mmus": spaces(vm.picture),
            "left_out": max(0, len(vm.picture.mmus) - len(spaces(vm.picture))),
        }
        for vm in shown
        if vm.picture
    ]


def _vm(vm: Vm) -> dict[str, Any]:
    return {
        "title": title(vm),
        "said": f"struct kvm {vm.kvm:#x}, process {vm.pid}; "
        + (
            f"seen for {duration(max(0, vm.last_ns - vm.first_ns))}"
            + (", then destroyed" if vm.ended else "")
        ),
        "quantiles": durations.quantiles(
            {series: vm.latencies[series] for series in SERIES if series in vm.latencies},
            dict(SERIES),
        ),
        "mmus": mmus(vm),
        "mmus_left_out": vm.mmus_left_out > 0,
    }


def title(vm: Vm) -> str:
    """How the page calls a VM."""
    return f"VM {vm.number}: {vm.name or f'process {vm.pid}'}"


def _cautions(found: Findings) -> list[str]:
    said = []
    if found.ending:
        said.append(f"The trace is cut short: {name(found.ending, 200)}.")
    if found.lost:
        said.append(
            f"{number(found.lost)} events are missing (dashed lines in the charts). Counts are too"
            " low by them, and what is said of mappings after them may be wrong."
        )
    if found.vms.left_out:
        said.append(f"Only the first {MAX_VMS} VMs are told apart; the totals have all.")
    if len(found.vms.seen) > MAX_VM_SECTIONS:
        said.append(f"Only the first {MAX_VM_SECTIONS} VMs have a section.")
    if any(vm.mmus_left_out for vm in found.vms.seen):
        said.append(f"Of a VM, only {MAX_MMUS} shadow MMUs are followed.")
    if found.follower.counts["not followed"]:
        said.append(f"More than {number(MAX_MAPPINGS)} mappings at a time: not all were followed.")
    if found.impossible:
        said.append(
            f"Left out, for no page table has their size: {number(found.impossible)} mappings."
        )
    return said


def _text(file: str) -> str:
    return (resources.files(__package__) / file).read_text(encoding="utf-8")
