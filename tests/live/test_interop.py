"""A recording by ftrace or perf alone, as RECIPES.md tells it, says the same as the workload."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from nvscope.analysis.interop.cli import convert
from nvscope.analysis.validate.jobs.run import validate
from nvscope.lab.host.services import GuestProcess, Synthetic
from nvscope.lab.host.vm import Lab
from nvscope.probes.traces.tracefile import open_trace
from tests.live.counts import NOT_RECORDED, by_trace


@pytest.mark.parametrize(("kind", "tool"), [("lab", "ftrace"), ("off", "ftrace"), ("lab", "perf")])
def test_a_recording(request: pytest.FixtureRequest, kind: str, tool: str, tmp_path: Path) -> None:
    host: Lab = request.getfixturevalue(f"{kind}_host")
    host.run(f"nvscope convert --recipe {tool} > /tmp/record.sh")
    facts = []
    with GuestProcess(host, "sh /tmp/record.sh") as recording:
        recording.line(60)  # says that it records, and how to end it
        for case in ("pollution", "several-entries", "recycling"):
            with Synthetic(host, case, case, hold=False, script="case") as guest:
                facts.append(guest.facts(120))
                assert guest.wait() == 0
        recording.send("\n")
        assert recording.wait() == 0
    text = tmp_path / f"nv.{tool}"
    text.write_bytes(host.remote.fetch(f"/var/tmp/{text.name}"))
    trace = tmp_path / "nv.arrows"
    done = CliRunner().invoke(convert, [str(text), str(trace)])
    assert done.exit_code == 0, done.output
    with open_trace(trace) as reader:
        rows = list(reader.events())
    for said in facts:
        expected = {key: n for key, n in said["expected"].items() if n and key not in NOT_RECORDED}
        assert by_trace(row for row in rows if row.pid == said["pid"]) == expected
    result = validate(trace)
    assert (result.findings, dict(result.unjudged), result.verdict) == ([], {}, "pass")
