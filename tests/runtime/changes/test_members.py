"""The fan-out of changes of members: ordered, complete or openly cut off."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kvgossip.errors import WatchLaggedError
from kvgossip.protocol.effect import MemberChanged
from kvgossip.protocol.model.peer import PoolKind
from kvgossip.runtime.changes.members import MemberChange, MemberChanges
from tests.protocol.net import member

TIMEOUT_S = 30.0


def publish(changes: MemberChanges, name: str, pool: PoolKind = PoolKind.LAN) -> MemberChange:
    changes.publish(MemberChanged(None, member(name), pool))
    return MemberChange(None, member(name), pool.value)


async def test_every_stream_and_every_callback_gets_every_change_in_order() -> None:
    changes, called = MemberChanges(100), list[MemberChange]()
    one, other = changes.watch(), changes.watch()
    changes.call(called.append)
    told = [publish(changes, "b"), publish(changes, "c", PoolKind.WAN), publish(changes, "d")]
    assert called == [], "nobody is called while it is told"
    async with asyncio.timeout(TIMEOUT_S):
        for stream in (one, other):
            assert [await anext(stream) for _ in told] == told
    await asyncio.sleep(0)
    assert called == told
    assert told[1].pool == "wan"


async def test_a_stream_that_does_not_keep_up_is_cut_off_and_told_and_others_are_not() -> None:
    changes = MemberChanges(2)
    slow, quick = changes.watch(), changes.watch()
    for name in "bc":
        publish(changes, name)
    for _ in range(2):
        await anext(quick)
    last = publish(changes, "d")
    with pytest.raises(WatchLaggedError) as lagged:
        await anext(slow)
    assert "members()" in lagged.value.hint
    assert await anext(quick) == last


async def test_a_callback_that_was_ended_hears_not_even_what_was_told_before() -> None:
    changes, called = MemberChanges(100), list[MemberChange]()
    end = changes.call(called.append)
    publish(changes, "b")
    end()
    await asyncio.sleep(0)
    assert called == []


async def test_a_callback_that_raises_costs_the_node_and_its_neighbours_nothing() -> None:
    changes, called, faults = MemberChanges(100), list[MemberChange](), list[Any]()
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: faults.append(context))
    changes.call(lambda change: 1 / 0)
    changes.call(called.append)
    told = publish(changes, "b")
    await asyncio.sleep(0)
    assert called == [told]
    assert [type(fault["exception"]) for fault in faults] == [ZeroDivisionError]


async def test_a_stream_ends_with_the_node_after_what_waits_and_at_once_when_it_is_closed() -> None:
    changes = MemberChanges(100)
    one, other = changes.watch(), changes.watch()
    told = publish(changes, "b")
    await other.aclose()
    changes.close()
    async with asyncio.timeout(TIMEOUT_S):
        assert [change async for change in one] == [told]
        assert [change async for change in other] == []


async def test_a_stream_that_nobody_holds_any_more_is_gone() -> None:
    changes = MemberChanges(100)
    changes.watch()
    assert len(changes._queues) == 0
