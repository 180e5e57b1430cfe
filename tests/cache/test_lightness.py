"""A process that follows pays for little more than its interpreter: it loads no node, no event
loop, no parameters, and nothing that is not of the standard library."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kvgossip import ConfigCache

LOADED = """
import sys
import {module}
print(*sorted(sys.modules))
"""
FOLLOWER = """
import sys
from kvgossip import ConfigCache

cache = ConfigCache("shop/", cluster="light", data_dir=sys.argv[1])
heard = []

@cache.on_change("")
def note(change):
    heard.append(change)

assert cache["theme"] == "dark"
assert cache.status().role == "follower"
print(*sorted(sys.modules))
cache.close()
"""
MEMBER = """
import sys
from kvgossip import ConfigCache

with ConfigCache("shop/", cluster="light", gossip="127.0.0.1:0", founding_s=0.0) as cache:
    cache.put("theme", "dark")
    assert cache.status().role == "member"
    print(*sorted(sys.modules))
"""
LIGHT = (
    "kvgossip.cache",
    "kvgossip.client",
    "kvgossip.errors",
    "kvgossip.protocol.model.key",
    "kvgossip.protocol.model.plain_text",
    "kvgossip.releases",
    "kvgossip.runtime.disk",
)
PACKAGES = {"kvgossip", "kvgossip.protocol", "kvgossip.protocol.model", "kvgossip.runtime"}
FOR_MEMBERS = {
    "kvgossip.cache.followers",
    "kvgossip.cache.member",
    "kvgossip.cache.models",
    "kvgossip.cache.on_loop",
    "kvgossip.cache.record_bytes",
    "kvgossip.cache.url_source",
    "kvgossip.client",
}
HEAVY = {"asyncio", "dataclasses", "inspect", "pathlib", "ssl", "urllib", "http", "subprocess"}


def modules_of(program: str, *arguments: str) -> set[str]:
    run = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return set(run.stdout.split())


def own(loaded: set[str]) -> set[str]:
    """What it has of kvgossip that is heavy."""
    named = {name for name in loaded if name.startswith("kvgossip.")}
    return {name for name in named - PACKAGES if not name.startswith(LIGHT)}


def foreign(loaded: set[str]) -> set[str]:
    """The packages that are neither ours nor the standard library's."""
    before = modules_of("import sys; print(*sys.modules)")
    packages = {name.partition(".")[0] for name in loaded - before}
    return packages - sys.stdlib_module_names - {"kvgossip"}


def test_a_process_that_follows_loads_the_standard_library_and_what_it_is_for(
    tmp_path: Path,
) -> None:
    member = ConfigCache(
        "shop/", cluster="light", data_dir=tmp_path, gossip="127.0.0.1:0", founding_s=0.0
    )
    with member:
        member.put("theme", "dark")
        loaded = modules_of(FOLLOWER, str(tmp_path))
    assert own(loaded) == set()
    assert not loaded & (HEAVY | FOR_MEMBERS)
    assert foreign(loaded) == set()


@pytest.mark.parametrize("module", ["kvgossip.cache.host_source", "kvgossip.cache.url_source"])
def test_no_source_of_a_follower_loads_a_node_or_an_event_loop(module: str) -> None:
    loaded = modules_of(LOADED.format(module=module))
    assert own(loaded) == set()
    assert "asyncio" not in loaded
    assert foreign(loaded) == set()


def test_a_member_does_without_numpy_before_a_bulk_load() -> None:
    assert "numpy" not in modules_of(MEMBER)


def test_what_a_member_loads_would_be_seen() -> None:
    loaded = modules_of(LOADED.format(module="kvgossip.cache.followers"))
    assert {"kvgossip.runtime.node", "kvgossip.config"} <= own(loaded)
    assert "asyncio" in loaded & HEAVY
    assert {"msgspec", "xxhash"} <= foreign(loaded)
