"""Long answers leave a few at a time, and whoever asks for something short is served between."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

import pytest
import uvloop

from kvgossip.api.lanes.turns import LONG_BYTES_A_TURN, Turns
from tests.api.lanes.test_fast import get, replies, rest_of
from tests.api.serving import Serve, Served, serving

VALUE = bytes(1024 * 1024 - 1)


async def two_values(serve: Serve) -> Served:
    served = await serve(value_bytes_max=len(VALUE))
    for key, value in (("long", VALUE), ("short", b"v")):
        assert (await served.call("PUT", f"/kv/{key}", value)).status == 200
    return served


def test_those_that_wait_go_on_in_order_as_many_in_a_turn_as_fit() -> None:
    async def main() -> None:
        turns, seen = Turns(asyncio.get_running_loop()), list[int]()

        def go_on(number: int) -> None:
            assert not turns.is_over
            seen.append(number)
            turns.spend(LONG_BYTES_A_TURN // 2)

        turns.spend(LONG_BYTES_A_TURN)
        assert turns.is_over
        for number in range(5):
            turns.wait(partial(go_on, number))
        assert seen == []
        for count in (2, 4, 5, 5):
            await asyncio.sleep(0)
            assert seen == list(range(count))
        assert not turns.is_over

    asyncio.run(main())


@pytest.mark.parametrize("make_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_client_that_asks_for_many_long_values_at_once_holds_nobody(
    make_loop: Callable[[], asyncio.AbstractEventLoop], monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[list[int]] = [[]]
    spend, next_turn = Turns.spend, Turns._next

    def counted(turns: Turns, size: int) -> None:
        left[-1].append(size)
        spend(turns, size)

    def counted_turn(turns: Turns) -> None:
        left.append([])
        next_turn(turns)

    monkeypatch.setattr(Turns, "spend", counted)
    monkeypatch.setattr(Turns, "_next", counted_turn)

    async def main() -> None:
        async with serving() as serve:
            served = await two_values(serve)
            made = [await served.connect(limit=2 * len(VALUE)) for _ in range(12)]
            for _, writer in made:
                writer.write(get("long") + get("short"))
            for reader, writer in made:
                long, short = await replies(reader, 2)
                assert (long.status, long.body) == (200, VALUE)
                assert (short.status, short.body) == (200, b"v")
                writer.close()

    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(main())
    assert sum(map(len, left)) == 12
    assert all(sum(turn) < LONG_BYTES_A_TURN + len(VALUE) for turn in left)


def test_who_waits_for_its_turn_gets_its_answer_also_where_it_sends_no_more() -> None:
    async def main() -> None:
        async with serving() as serve:
            served = await two_values(serve)
            made = [await served.connect(limit=2 * len(VALUE)) for _ in range(8)]
            for _, writer in made:
                writer.write(get("long"))
                writer.write_eof()
            # one that goes away meanwhile harms nobody
            made[3][1].transport.abort()
            for number, (reader, writer) in enumerate(made):
                data = await rest_of(reader, writer)
                assert data.endswith(VALUE) or number == 3

    asyncio.run(main())
