"""`nvscope verify`: the kernel's own page tables, against traces that are true and false."""

from __future__ import annotations

import base64
import contextlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from nvscope.analysis.model.variants import VARIANTS
from nvscope.analysis.validate.engine import Engine
from nvscope.lab.host.services import Recording, Synthetic
from nvscope.lab.host.vm import Lab
from nvscope.lab.workloads.cases.player import BLOCK_IPA
from nvscope.lab.workloads.synthetic.layout import BLOCK_BYTES, DATA_IPA, PAGE_BYTES
from nvscope.lab.workloads.synthetic.script import NESTED_IPA
from nvscope.lab.workloads.vmm.protocol import L2_CODE_NESTED_IPA, RAM_IPA
from nvscope.probes.traces.events import About, Event
from nvscope.probes.traces.tracefile import Reader, Writer, columns_of

SECONDS = 240
CODE = [L2_CODE_NESTED_IPA, L2_CODE_NESTED_IPA + PAGE_BYTES]


def pages(first: int, *numbers: int) -> list[list[int]]:
    """The spans of pages, none of which touch."""
    return [[first + n * PAGE_BYTES, first + (n + 1) * PAGE_BYTES] for n in numbers]


# Case -> what each of its shadow MMUs maps at its end: by the story, written by hand.
HELD = {
    "pollution": [[*pages(NESTED_IPA, 0, 2), CODE], []],
    "block-over-pages": [[[BLOCK_IPA, BLOCK_IPA + BLOCK_BYTES], CODE], []],
    # L2's code; then that of L1's own EL1, with its stage 2 off, and its two pages.
    "stage2-off": [
        [*pages(NESTED_IPA, 0), CODE],
        [*pages(RAM_IPA, 0), [DATA_IPA, DATA_IPA + 2 * PAGE_BYTES]],
    ],
}
# Bug -> the number of the MMU that still maps what was taken back, which is L2's first page.
SURVIVORS = {"lost-record": 0, "first-mmu": 1}


@dataclass
class Verified:
    """What it prints with --json."""

    exit_code: int
    said: dict[str, Any]
    errors: str

    def vm(self, name: str) -> dict[str, Any]:
        (found,) = [vm for vm in self.said["vms"] if vm["vm"] == name]
        return dict(found)


def verify(host: Lab, path: str, *options: str) -> Verified:
    words = " ".join(["nvscope", "verify", "--json", *options, path])
    done = host.run(words, timeout=SECONDS, check=False)
    return Verified(done.returncode, json.loads(done.stdout or "null"), done.stderr)


@pytest.fixture(scope="module")
def recording(lab_host: Lab) -> Iterator[Recording]:
    with Recording(lab_host, "--strict") as recording:
        yield recording
        recording.finish()


def test_vms_at_rest_map_what_their_events_say(lab_host: Lab, recording: Recording) -> None:
    """Also where the kernel forgot to unmap: the page tables have the survivor, and events too."""
    with contextlib.ExitStack() as stack:
        for script, names in (("case", HELD), ("bug", SURVIVORS)):
            for name in names:
                guest = stack.enter_context(Synthetic(lab_host, name, name, script=script))
                assert guest.facts(SECONDS)["tables"]
        found = verify(lab_host, recording.path)
        assert (found.exit_code, found.said["verdict"]) == (0, "equal"), found
        assert not found.said["trace_ended"]
        for name, mmus in HELD.items():
            assert [mmu["both"] for mmu in found.vm(name)["mmus"]] == mmus
        before = lab_host.remote.fetch(recording.path)
        for name, number in SURVIVORS.items():
            assert violated(before, found.vm(name)["kvm"]) == {"safety"}
            survive = [pages(NESTED_IPA, 0)[0] in mmu["both"] for mmu in found.vm(name)["mmus"]]
            assert [n for n, survives in enumerate(survive) if survives] == [number]
        false = falsified(before, kvm=found.vm("pollution")["kvm"])
        put(lab_host, "/tmp/false.arrows", false)
        tell_what_is_false(verify(lab_host, "/tmp/false.arrows"))
    put(lab_host, "/tmp/before.arrows", before)
    later = verify(lab_host, "/tmp/before.arrows")
    assert later.exit_code == 3
    assert {vm["why"] for vm in later.said["vms"]} == {"debugfs does not show it: it has ended"}
    lab_host.run("rm /tmp/false.arrows /tmp/before.arrows")


def violated(trace: bytes, kvm: int) -> set[str]:
    """Which invariants a VM of a trace violates."""
    reader = Reader(io.BytesIO(trace))
    engine = Engine(reader.about, VARIANTS["maple-v2"])
    engine.feed_events(dict(enumerate(e for e in reader.events() if e.kvm == kvm)))
    return {finding.invariant for finding in engine.finish().findings}


def falsified(trace: bytes, kvm: int) -> bytes:
    """Without two things of the case `pollution`: its full unmap, and its last map of page 2."""
    reader = Reader(io.BytesIO(trace))
    events = list(reader.events())
    ours = [at for at, event in enumerate(events) if event.kvm == kvm]
    unmap = [at for at in ours if events[at].kind.startswith("unmap_") and events[at].full]
    third = NESTED_IPA + 2 * PAGE_BYTES
    maps = [at for at in ours if events[at].kind == "map" and events[at].nested_ipa == third]
    assert (len(unmap), len(maps)) == (2, 3)
    gone = {*unmap, maps[-1]}
    return trace_of([event for at, event in enumerate(events) if at not in gone], reader.about)


def trace_of(events: list[Event], about: About) -> bytes:
    stream = io.BytesIO()
    with Writer(stream, about) as writer:
        writer.write(columns_of(events))
    return stream.getvalue()


def put(host: Lab, path: str, content: bytes) -> None:
    host.run(f"base64 -d > {path}", stdin=base64.b64encode(content).decode())


def tell_what_is_false(found: Verified) -> None:
    assert (found.exit_code, found.said["verdict"], found.said["trace_ended"]) == (
        1,
        "differs",
        True,
    )
    assert {vm["vm"] for vm in found.said["vms"] if vm["verdict"] != "equal"} == {"pollution"}
    first, second = found.vm("pollution")["mmus"]
    assert first["mapped_but_no_event"] == pages(NESTED_IPA, 2)
    assert first["event_but_not_mapped"] == pages(NESTED_IPA, 1)
    assert first["both"] == [*pages(NESTED_IPA, 0), CODE]
    assert second["verdict"] == "equal"


def test_a_vm_that_does_not_come_to_rest(lab_host: Lab, recording: Recording) -> None:
    with Synthetic(lab_host, "busy", "--forever", hold=False) as guest:
        shown = f"/sys/kernel/debug/kvm/{guest.pid}-*/nested/nested_mmu0"
        lab_host.run(f"until grep -qs VTTBR {shown}; do sleep 0.2; done", timeout=SECONDS)
        found = verify(lab_host, recording.path, "--wait", "1s")
        guest.signal()
        guest.facts(SECONDS)
        assert guest.wait() == 0
    assert found.exit_code == 3
    assert found.vm("busy")["verdict"] == "changing"
