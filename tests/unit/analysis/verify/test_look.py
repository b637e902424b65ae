"""Looking until VMs are at rest: a trace in a file, page tables in a folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from nvscope.analysis.verify import compared as words
from nvscope.analysis.verify.compared import CHANGING, DIFFERS, EQUAL, UNKNOWN
from nvscope.analysis.verify.debugfs import NO_PTDUMP, NO_SHADOW
from nvscope.analysis.verify.look import Looker, Result
from nvscope.probes.errors import InputError, LackError
from tests.unit.analysis.kernel import BLOCK, PAGE, Kernel
from tests.unit.analysis.traces import M1, VM, VM2, Events, booted, of_kind, without, written
from tests.unit.analysis.verify.debugfs import printed, show, tables
from tests.unit.analysis.verify.lived import PID, C, lived

BOOT = "a-boot"


class Host:
    """wait: what happens meanwhile, by the number of the look, from 0."""

    def __init__(self, folder: Path) -> None:
        self.trace = folder / "trace.arrows"
        self.mounted = folder / "debug"
        (self.mounted / "kvm").mkdir(parents=True)
        self.now_ns = 10**12
        self.looks = 0
        self.meanwhile: Callable[[int], None] = lambda number: None

    def write(self, events: Events, *, ended: bool = True, boot_id: str = BOOT) -> None:
        ours = [replace(event, pid=event.pid or PID, vm="web") for event in events]
        self.trace.write_bytes(written(ours, ended=ended, boot_id=boot_id))

    def show(self, kernel: Kernel, pid: int = PID, kvm: int = VM) -> Path:
        return show(self.mounted, pid, map(tables, kernel.vms[kvm].values()))

    def wait(self, seconds: float) -> None:
        self.meanwhile(self.looks)
        self.looks += 1
        self.now_ns += int(seconds * 1e9)

    def look(self) -> Result:
        looker = Looker(self.mounted, BOOT, wait=self.wait, clock_ns=lambda: self.now_ns)
        return looker.look(self.trace)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path)
    kernel = lived()
    host.write(kernel.events)
    host.show(kernel)
    return host


def why(result: Result) -> tuple[str, str]:
    (vm,) = result.vms
    return result.verdict, vm.why


def test_a_vm_at_rest(host: Host) -> None:
    result = host.look()
    assert (result.verdict, host.looks, result.ended) == (EQUAL, 1, True)
    assert (result.vms[0].name, result.vms[0].pid) == ("web", PID)
    assert result.vms[0].folder == str(host.mounted / "kvm" / f"{PID}-9")


def test_a_recorder_that_is_behind_catches_up(host: Host) -> None:
    kernel = lived()
    host.write(kernel.events[:-2], ended=False)

    def meanwhile(number: int) -> None:
        if number == 2:
            host.write(kernel.events, ended=False)

    host.meanwhile = meanwhile
    assert (host.look().verdict, host.looks) == (EQUAL, 3)


def test_a_difference_is_told_at_once_of_a_trace_that_has_ended(host: Host) -> None:
    events = without(lived().events, of_kind("map", mmu=M1, nested_ipa=PAGE))
    host.write(events)
    assert (host.look().verdict, host.looks) == (DIFFERS, 1)
    host.write(events, ended=False)
    assert (host.look().verdict, host.looks) == (DIFFERS, 1 + 5)


def test_page_tables_that_change_between_two_looks(host: Host) -> None:
    kernel = lived()

    def meanwhile(number: int) -> None:
        if number % 2:
            kernel.tlbi(VM, M1, BLOCK, PAGE)
        else:
            kernel.fault(VM, M1, BLOCK, C, PAGE)
        host.show(kernel)
        host.write(kernel.events, ended=False)

    host.meanwhile = meanwhile
    assert why(host.look()) == (CHANGING, words.NOT_AT_REST)
    assert host.looks == 5


def test_mappings_that_come_and_go_between_two_looks(host: Host) -> None:
    """The page tables are the same, and the events are newer than the first look."""
    kernel = lived()

    def meanwhile(number: int) -> None:
        if number < 2:
            kernel._now = host.now_ns
            kernel.fault(VM, M1, BLOCK, C, PAGE)
            kernel.tlbi(VM, M1, BLOCK, PAGE)
            host.write(kernel.events, ended=False)

    host.meanwhile = meanwhile
    assert (host.look().verdict, host.looks) == (EQUAL, 3)


def test_a_vm_that_has_ended_since(host: Host) -> None:
    (host.mounted / "kvm" / f"{PID}-9").rename(host.mounted / "kvm" / f"{PID + 1}-9")
    assert why(host.look()) == (UNKNOWN, words.ENDED)


def test_a_process_with_several_vms(host: Host) -> None:
    show(host.mounted, PID, [], fd=10)
    assert why(host.look()) == (UNKNOWN, words.SEVERAL)
    kernel = lived()
    kernel.start_vm(VM2)
    kernel.add_mmu(VM2, M1 + 64)
    host.write(kernel.events)
    assert {vm.why for vm in host.look().vms} == {words.SEVERAL}


def test_kernels_that_show_no_shadow_page_tables(host: Host) -> None:
    folder = host.mounted / "kvm" / f"{PID}-9"
    for file in (folder / "nested").iterdir():
        file.unlink()
    assert why(host.look()) == (UNKNOWN, NO_SHADOW)
    (folder / "stage2_page_tables").unlink()
    assert why(host.look()) == (UNKNOWN, NO_PTDUMP)


def test_files_that_are_none_of_the_kernels(host: Host) -> None:
    first, second = (host.mounted / "kvm" / f"{PID}-9/nested/nested_mmu{n}" for n in (0, 1))
    good = first.read_text()
    first.write_text("hello\n")
    assert why(host.look()) == (
        UNKNOWN,
        f"{first}: line 1 is not '---[ Guest IPA ]---' with a range after it",
    )
    first.write_bytes(b"\xff\n")
    assert why(host.look()) == (UNKNOWN, f"{first}: it is no text")
    first.write_text(good)
    second.rename(second.with_name("nested_mmu2"))
    assert "without gaps" in why(host.look())[1]
    second.with_name("nested_mmu2").rename(second)
    second.unlink()
    second.mkdir()
    assert why(host.look()) == (UNKNOWN, f"{second}: Is a directory")


def test_vms_without_nested_guests_have_nothing_to_compare(host: Host) -> None:
    kernel = lived()
    kernel.events += [replace(event, pid=5) for event in other_vm().events]
    host.write(kernel.events)
    show(host.mounted, 5, [])
    result = host.look()
    assert (result.verdict, [vm.pid for vm in result.vms]) == (EQUAL, [PID])
    host.write([replace(event, pid=5) for event in other_vm().events])
    assert (host.look().verdict, host.look().vms) == (UNKNOWN, ())


def other_vm() -> Kernel:
    kernel = Kernel()
    kernel.start_vm(VM2)
    return kernel


def test_a_vm_that_has_ended_in_the_trace_is_not_asked_for(host: Host) -> None:
    kernel = lived()
    kernel.end_vm(VM)
    host.write(kernel.events)
    assert (host.look().verdict, host.look().vms) == (UNKNOWN, ())


def test_mmus_without_a_context_are_empty(host: Host) -> None:
    host.write(booted().events)
    show(host.mounted, PID, [printed([]), printed([], None)])
    result = host.look()
    assert result.verdict == EQUAL
    assert [mmu.vttbr is None for mmu in result.vms[0].mmus] == [False, True]


def test_traces_of_another_boot(host: Host) -> None:
    host.write(lived().events, boot_id="another")
    with pytest.raises(LackError, match=r"another host, or of an earlier boot"):
        host.look()
    host.write(lived().events, boot_id="")
    with pytest.raises(InputError, match="does not say of which boot"):
        host.look()


def test_no_debugfs(host: Host) -> None:
    host.mounted = host.mounted.with_name("elsewhere")
    with pytest.raises(LackError, match=r"elsewhere/kvm: No such file.*mount debugfs"):
        host.look()
