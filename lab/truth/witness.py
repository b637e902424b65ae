"""Who else has seen it: a workload's own counts held against those of ftrace (`oracle`)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

SCOPES = ("full", "ranged")
# The ledger's word -> what the oracle and the metrics call it.
WITHIN = {"in_notifier": "notifier", "in_tlbi": "tlbi", "in_recycling": "recycling"}
FALLBACKS = ("broken", "unknown_ipa")
OUTCOMES = ("stored", "unchanged", "overlapped", "failed", "skipped")
# enum kvm_revmap_record and enum kvm_revmap_fallback of the lab kernel's patch, in order.
RETURNED = OUTCOMES
REASONS = ("broken", "unknown_ipa", "raced")
# enum kvm_guest_s2_tracked of the tracking kernel's patch, which falls back for one reason.
TRACKED = ("stored", "unchanged", "failed")
# Of the ledger's counts, what ftrace has no event for.
NOT_TRACED = frozenset({"refaults", "refaults_mapped", "broken_mmus"})

# What the oracle has read: event -> its key values -> count.
Seen = Mapping[str, Mapping[str, int]]


def by_ftrace(seen: Seen, threads: Collection[int], ipa_bits: int) -> dict[str, int]:
    """The oracle's counts of one VM: what these threads of its process did.

    Without canonical_faults and shadow_faults where the kernel has user_mem_abort inlined. What no
    ledger has a name for, an unmap made in something else for instance, is a count more.
    """

    def keys(event: str) -> list[tuple[list[str], int]]:
        rows = [(key.split(","), count) for key, count in seen.get(event, {}).items()]
        return [(key[1:], count) for key, count in rows if int(key[0]) in threads]

    counts = {f"{scope}_unmaps_{word}": 0 for scope in SCOPES for word in WITHIN}
    del counts["ranged_unmaps_in_recycling"]  # there is none
    words = {label: word for word, label in WITHIN.items()}
    counts["ranged_bytes"] = 0
    for (size, within), count in keys("shadow_unmap"):
        full = int(size) == 1 << ipa_bits
        _add(counts, f"{'full' if full else 'ranged'}_unmaps_{words.get(within, within)}", count)
        counts["ranged_bytes"] += 0 if full else int(size) * count
    for name, events in (
        ("notifier_unmaps", ["notifier"]),
        ("canonical_faults", ["canonical"]),
        ("shadow_faults", ["shadow"]),
        ("canonical_mapped", ["canonical_map", "canonical_relax"]),
        ("shadow_mapped", ["shadow_map", "shadow_relax"]),
        ("reflected_aborts", ["reflected"]),
    ):
        if seen.keys() >= set(events):
            counts[name] = sum(count for event in events for _, count in keys(event))
    counts |= {f"records_{outcome}": 0 for outcome in OUTCOMES}
    for (value,), count in keys("record"):
        _add(counts, f"records_{_word(RETURNED, value)}", count)
    for (value,), count in keys("track"):
        _add(counts, f"records_{_word(TRACKED, value)}", count)
    counts |= {f"fallbacks_{why}": 0 for why in FALLBACKS}
    for (value,), count in keys("fallback"):
        _add(counts, f"fallbacks_{_word(REASONS, value)}", count)
    counts["fallbacks_broken"] += sum(count for _, count in keys("track_fallback"))
    return counts


def threads_of(facts: Mapping[str, Any]) -> list[int]:
    """The threads in which a workload did all that it did: one, unless it names them."""
    return list(facts.get("threads", [facts["pid"]]))


def differences(facts: Mapping[str, Any], seen: Seen) -> Iterator[str]:
    """What ftrace has counted otherwise than a workload says it must be, a line each.

    facts: as workloads.main prints them. Of "bounds" only what is outside is told; what they leave
    open may be anything.
    """
    found = by_ftrace(seen, threads_of(facts), facts["shadow_ipa_bits"])
    expected, bounds = facts["expected"], facts.get("bounds", {})
    for name, count in found.items():
        if name in bounds:
            least, most = bounds[name]
            if not least <= count <= most:
                yield f"{name}: {count:,}, not {least:,} to {most:,}"
        elif name in expected or not bounds:
            wanted = expected.get(name, 0)
            if count != wanted:
                yield f"{name}: {count:,}, not {wanted:,}"


def _add(counts: dict[str, int], name: str, count: int) -> None:
    counts[name] = counts.get(name, 0) + count


def _word(words: Collection[str], value: str) -> str:
    number = int(value, 0)
    return list(words)[number] if number < len(words) else str(number)
