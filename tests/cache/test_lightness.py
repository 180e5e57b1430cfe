"""A process that follows pays for little more than its interpreter: it loads no node."""

from __future__ import annotations

import subprocess
import sys

import pytest

LOADED = """
import sys
import {module}
print(*sorted(sys.modules))
"""
LIGHT = ("kvgossip.cache", "kvgossip.errors", "kvgossip.releases", "kvgossip.runtime.disk")


def loaded_by(module: str) -> set[str]:
    run = subprocess.run(
        [sys.executable, "-c", LOADED.format(module=module)],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(run.stdout.split())


@pytest.mark.parametrize("module", ["kvgossip.cache.host_source", "kvgossip.cache.url_source"])
def test_a_follower_loads_neither_a_node_nor_an_event_loop(module: str) -> None:
    loaded = loaded_by(module)
    own = {name for name in loaded if name.startswith("kvgossip.") and not name.startswith(LIGHT)}
    assert own <= {"kvgossip.runtime"}
    assert not loaded & {"asyncio", "xxhash", "sortedcontainers", "rocksdict", "aiohttp"}


def test_what_a_member_loads_would_be_seen() -> None:
    assert {"kvgossip.runtime.node", "asyncio"} <= loaded_by("kvgossip.cache.followers")
