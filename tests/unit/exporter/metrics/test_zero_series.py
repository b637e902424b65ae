"""What is shown of a VM that has not done it yet, and of what nobody looks at."""

from __future__ import annotations

import pytest

from nvscope.probes.counts.snapshot import Attachment, VmKey
from tests.unit.exporter.fakes import FakeHost, FakeProc, FakeSource, busy, idle
from tests.unit.exporter.pages import Scrape, both_formats, first, registry_of

WEB = VmKey(2, 50)
LOOKING = tuple(
    Attachment(p, "f", "fentry") for p in ("notifier_unmap", "s2_fault", "shadow_unmap")
)


@pytest.fixture
def proc(proc: FakeProc) -> FakeProc:
    proc.start(50, b"vmm\0-name\0web\0")
    return proc


@both_formats
def test_of_an_unknown_map_what_a_points_file_names_is_shown(
    proc: FakeProc, scrape: Scrape
) -> None:
    named = (*LOOKING, Attachment("revmap_fallback", "f", "fentry"))
    page = scrape(registry_of(FakeSource(busy(WEB), named, FakeHost(revmap="unknown"))))
    fallbacks = first(page, "nvscope_fallbacks_total")
    assert fallbacks == {("broken",): 13, ("unknown_ipa",): 0, ("raced",): 0}
    names = {name for name, _ in page}
    assert not names & {"nvscope_revmap_records_total", "nvscope_revmap_broken"}


@both_formats
def test_what_a_vm_may_do_is_0_before_it_does(proc: FakeProc, scrape: Scrape) -> None:
    def shadow_unmaps(revmap: str) -> dict[tuple[str, ...], float]:
        source = FakeSource(idle(WEB, "canonical", "shadow"), LOOKING, FakeHost(revmap=revmap))
        page = scrape(registry_of(source))
        for name in ("notifier_unmap_duration_seconds_count", "refaults_total"):
            assert first(page, f"nvscope_{name}") == {(): 0}
        assert first(page, "nvscope_shadow_unmapped_bytes_total") == {(): 0}
        return first(page, "nvscope_shadow_unmaps_total")

    assert shadow_unmaps("none") == {("no_revmap", "full", "notifier"): 0}
    full = {(why, "full", "notifier"): 0 for why in ("broken", "unknown_ipa", "raced")}
    assert shadow_unmaps("maple") == {("none", "ranged", "notifier"): 0} | full
    either = {("none", "ranged", "notifier"): 0, ("unknown", "full", "notifier"): 0}
    assert shadow_unmaps("unknown") == either


@both_formats
def test_without_shadow_stage_2s_there_are_none_to_unmap(proc: FakeProc, scrape: Scrape) -> None:
    page = scrape(registry_of(FakeSource(idle(WEB, "canonical"), LOOKING)))
    assert first(page, "nvscope_notifier_unmap_duration_seconds_count") == {(): 0}
    assert not first(page, "nvscope_shadow_unmaps_total")
    assert not first(page, "nvscope_refaults_total")


@both_formats
def test_what_is_not_looked_at_is_not_0(proc: FakeProc, scrape: Scrape) -> None:
    source = FakeSource(idle(WEB, "canonical", "shadow"), LOOKING[1:])
    page = scrape(registry_of(source))
    assert not first(page, "nvscope_notifier_unmap_duration_seconds_count")
    assert not first(page, "nvscope_shadow_unmaps_total")
    source.attachments = LOOKING[:2]
    page = scrape(registry_of(source))
    assert first(page, "nvscope_notifier_unmap_duration_seconds_count") == {(): 0}
    assert not first(page, "nvscope_shadow_unmaps_total")
