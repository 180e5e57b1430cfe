"""Calls that may never return: nobody waits for them at the end, neither a loop nor a node."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from kvgossip.runtime.daemon_threads import DaemonThreads
from kvgossip.runtime.loop import run
from kvgossip.runtime.node import Node
from tests.runtime.test_node import TIMEOUT_S, configured, until


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Opens at the end of the test, so that no thread stays."""
    event = threading.Event()
    yield event
    event.set()


async def test_a_call_gives_its_result_or_its_error() -> None:
    threads = DaemonThreads("test", 1)
    assert await threads.run(lambda: 1) == 1
    with pytest.raises(ZeroDivisionError):
        await threads.run(lambda: 1 // 0)


async def test_calls_beyond_the_threads_wait_for_one_and_those_that_were_given_up_are_not_made(
    gate: threading.Event,
) -> None:
    threads, made = DaemonThreads("test", 2), list[int]()

    def call(number: int) -> int:
        gate.wait(TIMEOUT_S)
        made.append(number)
        return number

    calls = [threads.run(lambda number=number: call(number)) for number in range(4)]  # type: ignore[misc]
    calls[2].cancel()
    gate.set()
    assert [await calls[number] for number in (0, 1, 3)] == [0, 1, 3]
    assert sorted(made) == [0, 1, 3]


def test_a_loop_ends_though_a_call_does_not(gate: threading.Event) -> None:
    threads, ended = DaemonThreads("test", 1), threading.Event()

    def call() -> None:
        gate.wait(TIMEOUT_S)
        ended.set()

    async def main() -> None:
        threads.run(call)
        await asyncio.sleep(0)

    run(main())
    assert not ended.is_set()
    gate.set()
    assert ended.wait(TIMEOUT_S)


def test_a_node_stops_though_no_name_server_answers(
    gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = threading.Event()

    def getaddrinfo(*arguments: Any) -> list[Any]:
        asked.set()
        gate.wait(TIMEOUT_S)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    async def main() -> None:
        async with Node(configured("n1", join=("n2.example:7481", "n3.example:7481"))):
            await until(asked.is_set)

    run(main())
    assert not gate.is_set()
