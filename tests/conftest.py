"""Settings of all tests: property tests use the same examples on every run and every machine."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# ci: what must pass before a change lands. deep: HYPOTHESIS_PROFILE=deep pytest tests/test_exchange.py, before touching the merge laws.
settings.register_profile("ci", derandomize=True, deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("deep", deadline=None, max_examples=5000, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))
