"""How many examples hypothesis tries: NVSCOPE_HYPOTHESIS=nightly for many more than usual."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

# To explain a failure takes longer than to find it.
_PHASES = (Phase.explicit, Phase.reuse, Phase.generate, Phase.target, Phase.shrink)

_PROFILES = {
    "ci": settings(
        max_examples=200, stateful_step_count=30, deadline=None, print_blob=True, phases=_PHASES
    ),
    "nightly": settings(
        max_examples=10_000,
        stateful_step_count=100,
        deadline=None,
        print_blob=True,
        phases=_PHASES,
        suppress_health_check=[HealthCheck.too_slow],
    ),
}

PROFILE = _PROFILES[os.environ.get("NVSCOPE_HYPOTHESIS", "ci")]
