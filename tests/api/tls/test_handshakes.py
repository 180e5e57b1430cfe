"""Handshakes share the event loop with the clients that are served already."""

from __future__ import annotations

import asyncio

import pytest

from kvgossip.api.tls import handshakes
from kvgossip.api.tls.handshakes import Handshakes
from tests.api.tls.files import until


async def test_a_turn_does_what_its_time_allows_and_the_next_turns_the_rest_in_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(handshakes, "TURN_S", 0.0)
    done: list[object] = []
    queue = Handshakes()
    asyncio.get_running_loop().call_soon(done.append, "another client")
    queue_results = [queue.do(lambda number=number: done.append(number)) for number in range(3)]  # type: ignore[misc]
    assert queue_results == [False, False, False]
    assert done == []
    await until(lambda: len(done) == 4)
    assert done == ["another client", 0, 1, 2]


async def test_a_step_is_done_at_once_while_the_turn_has_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(handshakes, "TURN_S", 1000.0)
    done: list[int] = []
    queue = Handshakes()
    assert queue.do(lambda: done.append(1))
    assert queue.do(lambda: done.append(2))
    assert done == [1, 2]
    await asyncio.sleep(0)
    assert queue.do(lambda: done.append(3))
    assert done == [1, 2, 3]
