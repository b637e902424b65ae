"""What lets each of the lab kernels' mistakes on demand show, and in which way it must show.

0003-nested-revmap-bugs.patch and 0002-guest-s2-bugs.patch in lab/kernel/patches make them.
A mapping that a mistake lets survive leads to
memory that is the host's again: no story writes through it, each ends at its take-back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nvscope.lab.workloads.cases.player import BLOCK_IPA, Player
from nvscope.lab.workloads.synthetic.layout import BLOCK_BYTES, BLOCK_PAGES, DATA_IPA
from nvscope.lab.workloads.synthetic.script import NESTED_IPA
from nvscope.probes.errors import LackError

_PARAMETERS = Path("/sys/module/kvm_arm/parameters")
# Kind of reverse map -> the parameter that chooses a mistake.
PARAMETERS = {
    "maple": _PARAMETERS / "nested_revmap_bug",
    "tracking": _PARAMETERS / "guest_s2_bug",
}
NO_BUG = 0  # KVM_REVMAP_BUG_NONE, KVM_GUEST_S2_BUG_NONE


@dataclass(frozen=True)
class Bug:
    """play: lets it show; revmap: the kind that makes it, by its number.

    number: of enum kvm_revmap_bug or kvm_guest_s2_bug; breaks: the invariant that it breaks, a name
    of analysis.judging.findings.INVARIANTS. huge, injects: as stated.Case's.
    """

    play: Callable[[Player], None]
    revmap: str
    number: int
    breaks: str
    huge: bool = False
    injects: bool = False


BUGS: dict[str, Bug] = {}


def bug(
    number: int, breaks: str, revmap: str = "maple", *, huge: bool = False, injects: bool = False
) -> Callable[[Callable[[Player], None]], Callable[[Player], None]]:
    """Enter a function into BUGS, by its name with dashes."""

    def enter(play: Callable[[Player], None]) -> Callable[[Player], None]:
        BUGS[play.__name__.replace("_", "-")] = Bug(play, revmap, number, breaks, huge, injects)
        return play

    return enter


def bugs_of(revmap: str) -> dict[str, Bug]:
    """The mistakes of one kind of reverse map, by name."""
    return {name: bug for name, bug in BUGS.items() if bug.revmap == revmap}


@contextmanager
def made(bug: Bug) -> Iterator[None]:
    """The kernel makes this mistake, in all VMs. Raises LackError."""
    parameter = PARAMETERS[bug.revmap]
    if not parameter.exists():
        raise LackError(f"{parameter} is not there: it needs the lab's kernel with {bug.revmap}")
    parameter.write_text(f"{bug.number}\n")
    try:
        yield
    finally:
        parameter.write_text(f"{NO_BUG}\n")


@bug(1, "safety")
def lost_record(player: Player) -> None:
    """A mapping is not recorded: the take-back finds nothing."""
    player.map(0, 0)
    player.write(0)
    player.take_back(0)


@bug(2, "fallback")
def known_overlap(player: Player) -> None:
    """An entry pretends to know where a page is mapped that is mapped twice."""
    player.map(0, 0)
    player.map(1, 0)
    player.write(0, 1)
    player.take_back(0)


@bug(3, "conformance", huge=True)
def short_unmap(player: Player) -> None:
    """Of a block, one page is unmapped."""
    player.guest.map(BLOCK_IPA, DATA_IPA, BLOCK_BYTES)
    player.write(100, base=BLOCK_IPA)
    player.take_back(0, BLOCK_PAGES)


@bug(4, "safety")
def first_mmu(player: Player) -> None:
    """Two MMUs map the page, and one is unmapped."""
    for context in range(2):
        player.map(0, 0, context)
        player.guest.switch(context)
        player.write(0)
    player.take_back(0)


@bug(5, "fallback", injects=True)
def trust_broken(player: Player) -> None:
    """A map that is known to lack an entry is relied on, for one that it has."""
    player.map(0, 0)
    player.map(1, 1)
    player.write(0)
    player.fail_in(1)
    player.write(1)
    player.take_back(0)


@bug(6, "conformance", injects=True)
def stay_broken(player: Player) -> None:
    """All was unmapped and the map is empty, and still it is not used."""
    player.map(0, 0)
    player.map(1, 1)
    player.write(0)
    player.fail_in(1)
    player.write(1)
    player.take_back(0)
    player.write(0)
    player.take_back(0)


@bug(1, "safety", "tracking")
def not_added(player: Player) -> None:
    """A mapping is not tracked: the take-back finds nothing."""
    player.map(0, 0)
    player.write(0)
    player.take_back(0)


@bug(2, "safety", "tracking")
def next_untracked(player: Player) -> None:
    """A TLBI unmaps a page, and the page behind it is no longer tracked either."""
    player.map(0, 0)
    player.map(1, 1)
    player.write(0, 1)
    player.guest.tlbi_page(NESTED_IPA)
    player.take_back(1)


@bug(3, "safety", "tracking")
def all_untracked(player: Player) -> None:
    """A TLBI unmaps a page in one MMU, and the other's is no longer tracked either."""
    for context in range(2):
        player.map(0, 0, context)
        player.guest.switch(context)
        player.write(0)
    player.guest.tlbi_page(NESTED_IPA)
    player.take_back(0)


@bug(4, "safety", "tracking")
def first_nested(player: Player) -> None:
    """A page is mapped twice, and unmapped once."""
    player.map(0, 0)
    player.map(1, 0)
    player.write(0, 1)
    player.take_back(0)


@bug(5, "safety", "tracking", injects=True)
def loss_ignored(player: Player) -> None:
    """There is no memory to track a mapping, and the tracking is relied on."""
    player.map(0, 0)
    player.write(0)
    player.guest.tlbi_page(NESTED_IPA)
    player.fail_in(1)
    player.write(0)
    player.take_back(0)


@bug(6, "fallback", "tracking", injects=True)
def never_mended(player: Player) -> None:
    """All was unmapped and nothing is lost any more, and still the tracking is not relied on."""
    player.map(0, 0)
    player.map(1, 1)
    player.write(0)
    player.fail_in(1)
    player.write(1)
    player.take_back(0)
    player.write(0)
    player.take_back(0)
