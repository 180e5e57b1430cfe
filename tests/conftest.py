"""Settings of all tests: property tests use the same examples on every run and every machine. And
the fixtures of the HTTP tests."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from tests.api.serving import Serve, Served

# ci: what must pass before a change lands. deep, before touching the merge laws:
# HYPOTHESIS_PROFILE=deep pytest tests/protocol/anti_entropy/test_exchange.py
settings.register_profile(
    "ci",
    derandomize=True,
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "deep", deadline=None, max_examples=5000, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Starts nodes with HTTP servers, and stops them after the test."""
    # here, so that tests without HTTP need not wait for aiohttp
    from tests.api.serving import serving

    async with serving() as start:
        yield start


@pytest.fixture
async def served(serve: Serve) -> Served:
    return await serve()
