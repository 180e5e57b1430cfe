"""A cache that is a member, with real sockets and a real disk: the application may do what it likes,
and what it reads is the cluster's, or its own disk's, and it can tell."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kvgossip.cache.config_cache import ConfigCache
from kvgossip.cache.member import MemberSource
from kvgossip.cache.news import Change
from kvgossip.cache.source import Applied, NodeApplied
from kvgossip.config import config_from
from kvgossip.errors import ConfigError, DataDirError, LocalError, NotSettledError, Refused
from kvgossip.protocol.model.member import MemberState
from kvgossip.protocol.model.write import Writing
from kvgossip.runtime.node import Node
from tests.cache.sources import TIMEOUT_S
from tests.cache.test_config_cache import Limits
from tests.runtime.test_node import FAST, configured, until

PREFIX = "shop/"
HERE: dict[str, Any] = {**FAST, "gossip": "127.0.0.1:0"}
NOBODY = "127.0.0.1:1"


def cache(name: str, *friends: Node, **given: Any) -> ConfigCache:
    join = [str(friend.address) for friend in friends]
    return ConfigCache(PREFIX, **{**HERE, "name": name, "join": join, **given})


async def in_thread(function: Callable[..., Any], *given: Any) -> Any:
    """As a program without a loop calls it."""
    return await asyncio.wait_for(asyncio.to_thread(function, *given), TIMEOUT_S)


async def test_what_anybody_writes_is_read_and_what_is_written_here_is_everybodys() -> None:
    async with Node(configured("n1")) as node:
        await node.put("shop/theme", "dark")
        await node.put("other/theme", "red")
        async with cache("web", node) as config:
            await config.settled(TIMEOUT_S)
            assert dict(config.snapshot()) == {"theme": "dark"}
            status = config.status()
            assert (status.source, status.role, status.node) == ("peers", "member", "web")
            assert (status.settled, status.stale, status.problem) == (True, False, "")
            changes = config.changes("theme")
            await node.put("shop/theme", "light")
            assert await anext(changes) == Change("theme", "dark", "light")
            version = await in_thread(config.put, "limits/rate", 20)
            assert config["limits/rate"] == 20
            await until(lambda: node.get("shop/limits/rate") == b"20")
            entry = node.entry("shop/limits/rate")
            assert entry is not None
            assert (str(entry.version), entry.content_type) == (version, "application/json")
            await config.adelete("theme")
            await until(lambda: node.get("shop/theme") is None)
        await until(
            lambda: any(m.name == "web" and m.state is MemberState.LEFT for m in node.members())
        )


async def test_what_nodes_merge_is_read_as_what_it_is() -> None:
    async with Node(configured("n1")) as node:
        await node.set("shop/tags").add("x", "y")
        async with cache("web", node) as config:
            await config.settled(TIMEOUT_S)
            assert dict(config.snapshot()) == {"tags": frozenset("xy")}
            changes = config.changes("hits")
            await node.counter("shop/hits").add(3)
            assert (await asyncio.wait_for(anext(changes), TIMEOUT_S)).new == 3


async def test_a_batch_is_one_set_of_changes() -> None:
    async with Node(configured("n1")) as node, cache("web", node) as config:
        await config.settled(TIMEOUT_S)
        limits = config.bind(Limits, "limits/")
        changes = config.changes()
        for number in range(1, 30):
            hosts = f'["{number}"]'.encode()
            await node.batch(
                [
                    Writing("shop/limits/rate", str(number).encode()),
                    Writing("shop/limits/hosts", hosts),
                ]
            )
            change = await anext(changes)
            assert change.new == {"limits/rate": number, "limits/hosts": [str(number)]}
        assert limits.value == Limits(29, ("29",))


async def test_a_watcher_that_does_not_keep_up_begins_anew_and_ends_with_the_data() -> None:
    few = configured("n1")
    async with Node(few) as node, cache("web", node, watch_events_max=1) as config:
        await config.settled(TIMEOUT_S)
        for number in range(100):
            await node.batch([Writing(f"shop/k{each}", str(number).encode()) for each in range(20)])
        await until(lambda: dict(config.snapshot()) == {f"k{each}": 99 for each in range(20)})


async def test_an_application_that_computes_stops_neither_gossip_nor_callbacks() -> None:
    async with Node(configured("n1")) as node:
        config = cache("web", node)
        await config.settled(TIMEOUT_S)
        loop, mine = asyncio.get_running_loop(), threading.get_ident()
        told: list[tuple[int, bool]] = []
        last = threading.Event()

        @config.on_change("n")
        def tells(change: Change) -> None:
            told.append((change.new, threading.get_ident() == mine))
            if change.new == 20:
                last.set()

        def computes() -> None:
            for number in range(1, 21):
                asyncio.run_coroutine_threadsafe(node.put("shop/n", str(number)), loop).result(
                    TIMEOUT_S
                )
            end_s = time.monotonic() + TIMEOUT_S
            while not last.is_set():
                assert time.monotonic() < end_s

        await in_thread(computes)
        assert told[-1] == (20, False)
        await in_thread(config.close)


async def test_before_it_has_settled_defaults_are_read_and_then_everything_at_once() -> None:
    config = ConfigCache(PREFIX, **{**HERE, "name": "web", "join": [NOBODY]}, defaults={"a": 1})
    with pytest.raises(NotSettledError, match="has not settled"):
        await config.settled(0.05)
    assert config["a"] == 1
    assert config.get("b", 2) == 2
    status = config.status()
    assert (status.settled, status.stale, status.source) == (False, True, "defaults")
    assert "has not caught up" in status.problem
    await in_thread(config.close)


async def test_who_is_alone_is_not_stale() -> None:
    config = cache("web", stale_after_s=0.5)
    await config.settled(TIMEOUT_S)
    config.put("a", 1)
    for _ in range(3):
        await asyncio.sleep(0.6)  # longer than `stale_after_s`, which is by wall time
        await until(lambda: not config.status().stale)
    await in_thread(config.close)


# -- a disk ----------------------------------------------------------------------------------------


async def test_the_disk_is_read_at_once_and_tells_how_old_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("rocksdict")
    async with Node(configured("n1")) as node:
        await node.put("shop/theme", "dark")
        async with cache("web", node, data_dir=tmp_path) as config:
            await config.settled(TIMEOUT_S)
            await until(lambda: config.status().age_s is not None)
        join = [str(node.address)]
    hour_s = 3600.0
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + hour_s)
    monkeypatch.setattr(time, "time_ns", lambda: round((now() + hour_s) * 1e9))
    config = ConfigCache(
        PREFIX,
        **{**HERE, "name": "web", "join": join},
        data_dir=tmp_path,
        defaults={"theme": "light"},
    )
    assert config["theme"] == "dark"
    status = config.status()
    assert (status.settled, status.stale, status.source) == (False, True, "disk")
    assert status.age_s is not None
    assert hour_s <= status.age_s < hour_s + 60
    config.put("theme", "red")
    assert config["theme"] == "red"
    await in_thread(config.close)


async def test_a_directory_that_another_node_has_is_an_error_until_it_is_free(
    tmp_path: Path,
) -> None:
    pytest.importorskip("rocksdict")
    async with Node(configured("web", data_dir=str(tmp_path))):
        config = cache("web", data_dir=tmp_path)
        with pytest.raises(DataDirError):
            await in_thread(config.open)
        assert config.get("theme", "light") == "light"
        assert config.status().problem
    await in_thread(config.open)
    await in_thread(config.close)


async def test_two_of_one_directory_are_one_member_and_one_who_follows(tmp_path: Path) -> None:
    pytest.importorskip("rocksdict")
    first, second = (cache("web", data_dir=tmp_path) for _ in range(2))
    async with first:
        await in_thread(second.open)
        await second.settled(TIMEOUT_S)
        assert (first.status().role, second.status().role) == ("member", "follower")
        changes = first.changes("theme")
        await second.aput("theme", "dark")
        assert (await anext(changes)).new == "dark"
    await second.settled(TIMEOUT_S)
    assert (second.status().role, second["theme"]) == ("member", "dark")
    await in_thread(second.close)


async def test_a_survey_counts_this_process_and_those_that_follow_it() -> None:
    source = MemberSource(config_from({**HERE, "name": "web"}), PREFIX)
    config = ConfigCache._over(lambda: source, PREFIX)
    config.bind(Limits, "limits/")
    await config.settled(TIMEOUT_S)
    bad = (("limits/rate", "Expected `int`, got `str`"),)
    source.followers_applied([Applied(PREFIX, ""), Applied(PREFIX, "r1"), Applied("other/", "")])
    assert source.survey(PREFIX, 1.0).result().answers == (
        NodeApplied("web", "", 2),
        NodeApplied("web", "r1", 1),
    )
    write = source.write([Writing("shop/limits/rate", b"many")])
    await asyncio.wrap_future(write)
    assert source.survey(PREFIX, 1.0).result().answers == (
        NodeApplied("web", "", 1, bad),
        NodeApplied("web", "r1", 1),
    )
    await in_thread(config.close)


# -- errors ----------------------------------------------------------------------------------------


async def test_a_port_that_is_taken_is_an_error_for_who_opens_and_defaults_for_who_reads(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        config = cache("web", gossip=f"127.0.0.1:{port}")
        assert config.get("theme", "light") == "light"
        assert port in config.status().problem
        with pytest.raises(ConfigError, match=port):
            await config.settled(1)
        with pytest.raises(ConfigError):
            async with config:
                pass
    assert not [each for each in threading.enumerate() if each.name.startswith("kvgossip shop/")]


async def test_errors_of_the_node_reach_the_writer() -> None:
    async with cache("web", value_bytes_max=1000) as config:
        with pytest.raises(LocalError, match="1001 bytes"):
            await config.aput("a", "x" * 1001)
        with pytest.raises(LocalError, match="cannot expire"):
            await in_thread(lambda: config.put("a", 1, ttl_s=-1))
        config.bind(Limits, "limits/")
        with pytest.raises(Refused):
            await config.aput("limits/rate", "many")
        assert len(config) == 0


async def test_a_value_that_expires_is_gone() -> None:
    async with cache("web") as config:
        await config.settled(TIMEOUT_S)
        changes = config.changes("lease")
        await config.aput("lease", 1, ttl_s=0.2)
        assert (await anext(changes)).new == 1
        assert (await anext(changes)).new is None
        assert "lease" not in config


async def test_it_can_be_opened_again_and_again() -> None:
    async with Node(configured("n1")) as node:
        await node.put("shop/n", "1")
        config = cache("web", node)
        for number in range(3):
            async with config:
                await config.settled(TIMEOUT_S)
                await config.aput(f"k{number}", number)
                assert config["n"] == 1
        assert config["k2"] == 2
    assert not [each for each in threading.enumerate() if each.name.startswith("kvgossip shop/")]


# -- processes -------------------------------------------------------------------------------------

HEAD = f"""
import logging, sys, time
from kvgossip import ConfigCache
# how long a turn of the loop took is the machine's, and a warning in asyncio's debug mode
logging.getLogger("asyncio").setLevel("ERROR")
config = ConfigCache({PREFIX!r}, gossip="127.0.0.1:0", founding_s=0.0, gossip_interval_s=0.02)
"""


def run(program: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *options, "-c", HEAD + textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    "program",
    [
        "config.get('a')",
        "config.wait_settled(30); config.put('a', 1); sys.exit(0)",
        "with config: config['b'] if 'b' in config else None",
        "import asyncio; asyncio.run(config.settled(30))",
        """
        import os
        def slow(change): time.sleep(0.1); os.write(1, b'told')
        config.on_change('a')(slow); config.put('a', 1)
        """,
    ],
)
@pytest.mark.parametrize("options", [(), ("-W", "error", "-X", "dev")])
def test_a_process_ends_without_a_word_whatever_it_left_open(
    program: str, options: tuple[str, ...]
) -> None:
    done = run(program, *options)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == ("told" if "told" in program else "")


def test_a_process_that_opens_nothing_loads_no_node() -> None:
    done = run(
        """
        from dataclasses import dataclass
        @dataclass
        class Limits:
            rate: int = 1
        config.bind(Limits, "limits/")
        config.on_change("a")(print)
        heavy = ("kvgossip.runtime.node", "kvgossip.api", "aiohttp", "rocksdict", "pydantic", "uvloop")
        print([name for name in sys.modules if name.startswith(heavy)])
        import threading; print(threading.active_count())
        """
    )
    assert (done.stdout, done.stderr) == ("[]\n1\n", "")


def test_an_interrupted_process_says_farewell() -> None:
    program = HEAD + textwrap.dedent(
        """
        config.wait_settled(30)
        print("ready", flush=True)
        time.sleep(60)
        """
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        os.kill(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert errors.rstrip().endswith("KeyboardInterrupt")
