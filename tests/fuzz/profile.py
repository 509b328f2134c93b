"""How many cases the fuzz tests try together: 500, or as many as SPUPROJ_FUZZ_CASES says, as ``make fuzz`` does."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

TESTS = 11
"""Tests that share the cases."""

fuzzed = settings(
    max_examples=max(1, int(os.environ.get("SPUPROJ_FUZZ_CASES", "500")) // TESTS),
    deadline=None,
    print_blob=True,
    # A failing case is small as it is; to make it smaller takes minutes.
    phases=[phase for phase in Phase if phase not in (Phase.shrink, Phase.explain)],
    suppress_health_check=list(HealthCheck),
)
