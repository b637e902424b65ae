"""What a trace lets one judge: by what its recorder saw, and by what is known of its kernel.

Safety, and what notifiers unmapped, are told by notifier unmaps, shadow unmaps and shadow mappings
alone. All kernels have these; without them nothing can be told. How a kernel decides has to be
modelled, and its decisions have to be shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from nvscope.analysis.model.variants import Variant
from nvscope.probes.traces.events import About

NOT_SEEN = "the recorder did not see all that is needed: {} was not attached"
NOT_MODELLED = "no model knows how this kernel decides"
NOT_SHOWN = "this kernel does not show its decisions: {} was not attached"
NO_REVMAP = "this kernel has no reverse map: {}"

# The probe points that behaviour is told by.
_NEEDED = ("notifier_unmap", "shadow_unmap", "shadow_map")


@dataclass(frozen=True)
class Scope:
    """blind: why nothing can be judged; "": something can. lacks: invariant -> why that cannot be.

    variant: what of a variant can be held against the trace. says_fallbacks: whether the recorder
    saw why notifiers fell back.
    """

    variant: Variant
    blind: str
    lacks: Mapping[str, str]
    says_fallbacks: bool


def scope_of(about: About, variant: Variant) -> Scope:
    """What a trace of such a kernel lets one judge.

    >>> from nvscope.analysis.model.variants import VARIANTS
    >>> sorted(scope_of(About(probes={"revmap_record": ""}), VARIANTS["maple-v2"]).lacks)
    ['conformance', 'fallback', 'precision']
    """
    missing = [point for point in _NEEDED if (about.probes or {}).get(point, "yes") == ""]
    blind = NOT_SEEN.format(", ".join(missing)) if missing else ""
    hidden = [point for point in variant.shown_by if not _is_seen(about, point)]
    told = _is_seen(about, "revmap_fallback")
    if not variant.modelled:
        lacks = dict.fromkeys(("fallback", "precision", "conformance"), NOT_MODELLED)
    elif not variant.revmap:
        lacks = {
            "precision": NO_REVMAP.format("notifiers unmap all of an MMU"),
            "conformance": NO_REVMAP.format("nothing is decided"),
        }
    elif hidden:
        why = NOT_SHOWN.format(", ".join(hidden))
        lacks = dict.fromkeys(("fallback", "precision", "conformance"), why)
        variant = replace(variant, modelled=False)
    else:
        lacks = {}
    return Scope(variant, blind, lacks, told)


def _is_seen(about: About, point: str) -> bool:
    """Whether a point that not all kernels have was attached. Who names shadow_map names all."""
    probes = about.probes or {}
    return bool(probes.get(point, "" if "shadow_map" in probes else "yes"))
