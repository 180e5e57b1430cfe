"""Limits: a flood from one source costs little, and neither a burst nor the other sources
notice."""

from __future__ import annotations

import asyncio
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvgossip.config import Address, Config
from kvgossip.errors import ConfigError
from kvgossip.protocol.ingress.rate_limit import BURST_S, SOURCES_MAX, RateLimit
from kvgossip.protocol.model.member import SyncState
from kvgossip.protocol.wire.message import Ping
from kvgossip.protocol.wire.unit import encode
from kvgossip.runtime.node import Node
from tests.protocol.net import LAN, STRANGER, at, logs, make_replica
from tests.runtime.test_node import configured, until

PING = LAN.frame([encode(Ping(1, "b", "a", 2**63, at().wall_ms, SyncState.SETTLED))])


@given(st.floats(1, 1000), st.lists(st.floats(0, 3), max_size=200))
def test_no_source_gets_more_than_a_burst_and_its_rate(per_s: float, pauses: list[float]) -> None:
    buckets, now_s, admitted = RateLimit(per_s), 100.0, 0
    for pause_s in pauses:
        now_s += pause_s
        admitted += buckets.admits("a", now_s)
    assert admitted <= max(1.0, per_s * BURST_S) + (now_s - 100.0) * per_s + 1e-6


def test_a_burst_is_taken_whole_and_the_rate_for_ever() -> None:
    buckets = RateLimit(10.0)
    assert [buckets.admits("a", 0.0) for _ in range(25)] == [True] * 20 + [False] * 5
    assert all(buckets.admits("a", 0.5 + 0.1 * number) for number in range(1000))
    assert buckets.admits("b", 0.0)


def test_a_clock_that_stands_still_or_goes_back_gives_nothing() -> None:
    buckets = RateLimit(1.0)
    assert [buckets.admits("a", now_s) for now_s in (9.0, 5.0, 1.0, 5.0)] == [
        True,
        True,
        False,
        True,
    ]


def test_the_table_of_sources_is_bounded() -> None:
    buckets = RateLimit(1.0)
    for number in range(SOURCES_MAX + 100):
        assert buckets.admits(str(number), 0.0)
    assert len(buckets) == SOURCES_MAX


def test_a_flood_of_datagrams_is_dropped_counted_and_logged_once_and_others_are_answered() -> None:
    replica = make_replica("a", source_datagrams_per_s=10.0)
    answers = [replica.receive(PING, STRANGER._replace(port=port), at()) for port in range(1, 101)]
    assert [bool(effects) for effects in answers[:20]] == [True] * 20
    assert [len(logs(effects)) for effects in answers[20:]] == [1] + [0] * 79
    assert "source_datagrams_per_s = 10" in logs(answers[20])[0]
    assert replica.statistics()["frames_dropped.rate_limited"] == 80
    assert replica.receive(PING, Address("192.0.2.10", 1), at())
    assert replica.receive(PING, STRANGER, at(1.0))


def test_what_comes_over_a_link_meets_no_limit() -> None:
    replica = make_replica("a", source_datagrams_per_s=10.0)
    assert all(replica.receive(PING, STRANGER, at(), reliable=True) for _ in range(1000))


@pytest.mark.parametrize("name", ["source_datagrams_per_s", "source_links_per_s"])
def test_the_limits_have_bounds(name: str) -> None:
    for value in (0.0, 1e9):
        with pytest.raises(ConfigError, match=name):
            Config(**{name: value})  # type: ignore[arg-type]


async def test_a_flood_of_links_is_closed_and_counted_and_the_node_serves_on() -> None:
    async with Node(configured(source_links_per_s=5.0)) as node:
        connections = []
        # so many and no fewer on a machine that takes long for them
        while node.status()["transport"].get("links_refused.rate_limited", 0) < 20:
            connections.append(await asyncio.open_connection(*node.address))
        assert node.status()["transport"]["links_accepted"] >= 10
        for _, writer in connections:
            writer.close()
            await asyncio.gather(writer.wait_closed(), return_exceptions=True)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.sendto(PING, node.address)
        await until(lambda: node.status()["statistics"].get("frames_received", 0) >= 1)
