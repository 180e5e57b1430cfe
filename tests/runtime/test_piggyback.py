"""News on messages of the application, between real nodes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kvgossip import LocalError, Writing
from kvgossip.runtime.node import Node
from tests.runtime.test_node import cluster, configured, statistic

SEALED: dict[str, Any] = {"keyring": ("5a" * 32,), "datagram_bytes_max": 1400}


def cut_off(monkeypatch: pytest.MonkeyPatch, *nodes: Node) -> None:
    """Nothing that these nodes send to their peers arrives any more."""
    for node in nodes:
        for transport in node._open.transports.values():
            monkeypatch.setattr(transport, "send", lambda *given: None)


async def test_a_write_and_a_batch_come_by_a_ride_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    async with cluster(2, **SEALED) as (one, two):
        cut_off(monkeypatch, one, two)
        sets = two.watch_sets("config/")
        await one.put("config/theme", "dark")
        await one.batch([Writing("config/rate", b"10"), Writing("config/burst", b"50")])
        two.absorb(one.piggyback(1000))
        assert two["config/theme"] == b"dark"
        assert {key: two[key] for key in two} == {key: one[key] for key in one}
        # a message is one input, and so one set: no part of a batch was seen
        assert {change.key for change in await anext(sets)} == set(one)
        assert statistic(one, "piggybacks_made") == 1
        assert statistic(two, "piggybacks_absorbed") == 1


async def test_without_a_keyring_nothing_rides_and_the_hint_says_what_to_do() -> None:
    async with Node(configured()) as node:
        for call in (lambda: node.piggyback(1000), lambda: node.absorb(b"x")):
            with pytest.raises(LocalError, match="sealed") as refused:
                call()
            assert "keygen" in refused.value.hint


async def test_what_is_no_bytes_is_a_mistake_of_the_caller_and_what_is_no_ride_is_counted() -> None:
    async with Node(configured(**SEALED)) as node:
        with pytest.raises(LocalError, match="bytes, not str") as refused:
            node.absorb("bm90IHlldA==")  # type: ignore[arg-type]
        assert "b64decode" in refused.value.hint
        node.absorb(b"")
        node.absorb(b"noise")
        assert statistic(node, "piggybacks_dropped.bad_magic") == 1
        assert statistic(node, "piggybacks_absorbed") == 0


async def test_a_write_that_rode_away_is_no_ack_of_a_write_that_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with cluster(2, **SEALED) as (one, two):
        cut_off(monkeypatch, one, two)
        waiting = asyncio.ensure_future(one.put_and_wait("k", b"v", "2", timeout_s=0.3))
        await asyncio.sleep(0)
        two.absorb(one.piggyback(1000))
        one.absorb(two.piggyback(1000))
        assert two["k"] == b"v"
        written = await waiting
        assert not written.met
        assert [holder.name for holder in written.held_by] == ["n1"]
