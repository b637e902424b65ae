"""The kernel's flavours, its selftests, and what counts as a complaint of the kernel."""

from __future__ import annotations

from pathlib import Path

import pytest

from nvscope.lab.host import complaints
from nvscope.lab.host.remote import GuestError
from nvscope.lab.kernel import selftests as programs
from nvscope.lab.kernel import tools
from nvscope.lab.kernel.building import build, config
from nvscope.lab.kernel.source import SourceTree
from nvscope.lab.runs import selftests

SOURCE = SourceTree(Path("/nowhere"), "7.3.4")


@pytest.fixture(autouse=True)
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "versions", lambda *commands: [f"{c} 1.0" for c in commands])


def test_a_flavour_is_all_its_fragments() -> None:
    lab, debug = build.fragment("lab"), build.fragment("debug")
    assert debug.startswith(lab)
    assert "CONFIG_PROVE_LOCKING=y" in debug.splitlines()
    assert "CONFIG_PROVE_LOCKING=y" not in lab


def test_flavours_lie_under_keys_of_their_own() -> None:
    assert build.key(SOURCE, "lab") != build.key(SOURCE, "debug")
    assert build.key(SOURCE, "lab") == build.key(SOURCE)


def test_no_setting_is_given_twice() -> None:
    names = [
        line.split("=")[0]
        for line in build.fragment("debug").splitlines()
        if line.startswith("CONFIG_")
    ]
    assert sorted(names) == sorted(set(names))


def test_a_setting_of_either_fragment_that_is_dropped_is_named() -> None:
    text = build.fragment("debug").replace("CONFIG_KASAN=y\n", "").replace("CONFIG_KVM=y\n", "")
    asked = config.settings(build.fragment("debug"))
    assert config.dropped(asked, config.settings(text)) == ["CONFIG_KVM=y", "CONFIG_KASAN=y"]


def test_only_our_selftests_are_built_and_statically() -> None:
    words = programs.arguments(Path("/tree"), Path("/out"))
    assert words[:4] == ["make", "-C", "/tree/tools/testing/selftests/kvm", "ARCH=arm64"]
    assert "LDFLAGS=-static" in words
    assert f"TEST_GEN_PROGS_arm64={' '.join(programs.TARGETS)}" in words


def test_what_is_run_is_what_is_built() -> None:
    assert {test.name for test in selftests.SELFTESTS} == {Path(t).name for t in programs.TARGETS}


class FakeHost:
    """A host in which a command says and ends as told, and then the kernel complains."""

    def __init__(self, code: int = 0, complaints: list[str] | None = None, lost: str = "") -> None:
        self.code, self.later, self.lost = code, complaints or [], lost
        self.now: list[str] = []
        self.ran: list[str] = []

    def run(self, command: str, **_: object) -> object:
        self.ran.append(command)
        self.now = self.later
        if self.lost:
            raise GuestError(self.lost)
        return type("Done", (), {"returncode": self.code, "stdout": "Random seed: 0x1\n"})

    def warnings(self) -> list[str]:
        return self.now

    def alive(self) -> bool:
        return self.lost != "gone"


def result_of(host: FakeHost) -> selftests.Result:
    return selftests.run(host, selftests.Selftest("a_test", "-b 8M"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("code", "outcome"), [(0, "passed"), (4, "skipped"), (1, "failed"), (254, "failed")]
)
def test_outcomes(code: int, outcome: str) -> None:
    host = FakeHost(code)
    result = result_of(host)
    assert (result.outcome, result.exit_code) == (outcome, code)
    assert host.ran == ["/mnt/artifacts/selftests/a_test -b 8M 2>&1"]
    assert ("Random seed" in str(result)) == result.failed


def test_a_test_during_which_the_kernel_complains_has_failed() -> None:
    result = result_of(FakeHost(0, ["WARNING: possible circular locking dependency detected"]))
    assert result.failed
    assert "circular locking" in str(result)


def test_a_test_without_end_has_failed_but_a_lost_guest_is_an_error() -> None:
    assert result_of(FakeHost(lost="no end of it in 900 s")).exit_code == 124
    with pytest.raises(GuestError):
        result_of(FakeHost(lost="gone"))


@pytest.mark.parametrize(
    "line",
    [
        "WARNING: possible circular locking dependency detected",
        "WARNING: inconsistent lock state",
        "WARNING: suspicious RCU usage",
        "WARNING: held lock freed!",
        "WARNING: CPU: 0 PID: 1 at arch/arm64/kvm/nested.c:1 f+0x1/0x2",
        "BUG: sleeping function called from invalid context at mm/slab.h:1",
        "BUG: KASAN: slab-use-after-free in mas_store+0x1/0x2",
        "BUG: MAX_LOCKDEP_CHAINS too low!",
        "turning off the locking correctness validator.",
        "list_add corruption. next->prev should be prev",
        "BUG at mas_validate_gaps:7000 (1)",
        "WARN at mas_store:10 (1)",
        "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
    ],
)
def test_complaints(line: str) -> None:
    assert complaints.complaints(f"[    1.0] ok\n[    2.0] {line}\n") == [f"[    2.0] {line}"]


@pytest.mark.parametrize(
    "line", ["kvm [1]: VHE+NV2 mode initialized successfully", "Kernel command line: root=/dev/vda"]
)
def test_no_complaints(line: str) -> None:
    assert complaints.complaints(f"[    1.0] {line}\n") == []
