"""Random operations on the synthetic guest: exporter, ledger and ftrace agree on every count."""

from __future__ import annotations

import pytest

from nvscope.lab.host.services import Synthetic
from tests.live.conftest import Observed
from tests.live.counts import assert_all_agree, oracle

OPERATIONS = ("--operations", "300", "--max-full-unmaps", "80")
# What the operations cannot cause, by the kind of reverse map.
NEVER = {
    "none": {
        "ranged_unmaps_in_notifier",
        "fallbacks_unknown_ipa",
        "records_stored",
        "records_unchanged",
        "records_overlapped",
    },
    "maple": set[str](),
    # Nothing is unknown, and what was unmapped is no longer there to be found unchanged.
    "tracking": {
        "full_unmaps_in_notifier",
        "fallbacks_unknown_ipa",
        "records_unchanged",
        "records_overlapped",
    },
}
# These take a failed allocation.
FAILURES = {"fallbacks_broken", "records_failed", "records_skipped", "broken_mmus"}


# Seeds that do all that is asked of them at the end, with a reverse map and without.
@pytest.mark.parametrize("observed", ["lab-fentry", "off-fentry", "tracking-fentry"], indirect=True)
@pytest.mark.parametrize(("seed", "el1"), [(1, False), (4, False), (5, False), (2, True)])
def test_counts_of_random_operations_are_exact(observed: Observed, seed: int, el1: bool) -> None:
    """el1: L1's own EL1 takes part, on a shadow MMU with its stage 2 off."""
    host, exporter, _ = observed
    oracle(host, "start")
    options = ("--seed", str(seed), *OPERATIONS, *(["--el1"] if el1 else []))
    with Synthetic(host, f"shuffle-{seed}", *options, script="shuffle") as guest:
        facts = guest.facts(timeout=120)
        metrics = exporter.scrape()
        seen = oracle(host, "stop")
        guest.release()
        assert guest.wait() == 0
    assert_all_agree(facts, metrics, seen)
    # The operations were such that this says something.
    assert {"take_back", "remap", "unmap", "tlbi_context", "tlbi_all"} <= facts["done"].keys()
    assert ("el1_write" in facts["done"]) == el1
    never = {name for name, count in facts["expected"].items() if count == 0}
    assert never == NEVER[facts["revmap"]] | FAILURES
