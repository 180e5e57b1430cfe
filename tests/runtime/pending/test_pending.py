"""Pending: answers are shared, outlive callers that give up, and end when the node stops."""

from __future__ import annotations

import asyncio

import pytest

from kvgossip.config import Address
from kvgossip.errors import ConfigError, JoinRefusedError, LocalError
from kvgossip.runtime.pending.join_attempt import JoinAttempt
from kvgossip.runtime.pending.pending import Answer, Pending

ADDRESS = Address("10.0.0.1", 7481)


def registry() -> Pending[str, Answer[int]]:
    return Pending("the node stopped", "ask another one")


async def test_an_answer_reaches_all_that_wait_though_one_has_given_up() -> None:
    pending = registry()
    answer = pending.begin("a", Answer())
    waits = [asyncio.create_task(answer.wait()) for _ in range(3)]
    await asyncio.sleep(0)
    waits[0].cancel()
    await asyncio.gather(waits[0], return_exceptions=True)
    assert pending.get("a") is answer
    answer.give(1)
    answer.give(2)
    answer.fail(LocalError("too late"))
    assert waits[0].cancelled()
    assert [await wait for wait in waits[1:]] == [1, 1]
    assert await answer.wait() == 1
    assert pending.end("a") is answer
    assert (pending.end("a"), pending.get("a"), pending.answers()) == (None, None, [])


async def test_when_the_node_stops_all_that_wait_have_an_error_and_nobody_begins() -> None:
    pending = registry()
    answers = [pending.begin(key, Answer()) for key in "ab"]
    answers[0].give(1)
    wait = asyncio.create_task(answers[1].wait())
    await asyncio.sleep(0)
    pending.close()
    assert await answers[0].wait() == 1
    with pytest.raises(LocalError, match="the node stopped") as caught:
        await wait
    assert caught.value.hint == "ask another one"
    with pytest.raises(LocalError, match="the node stopped"):
        pending.begin("c", Answer())
    assert pending.get("c") is None


async def test_an_error_that_nobody_waits_for_is_no_complaint_of_the_event_loop() -> None:
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, what: complaints.append(what))
    pending = registry()
    pending.begin("a", Answer())
    pending.close()
    pending.end("a")
    del pending
    await asyncio.sleep(0)
    assert complaints == []


async def test_a_join_is_over_with_the_first_that_takes_the_node_in() -> None:
    attempt = JoinAttempt(["a:1", "b:1"])
    attempt.resolved("a:1", [ADDRESS])
    assert not attempt.refused(Address("10.0.0.9", 1), "not asked")
    attempt.joined(ADDRESS)
    await attempt.wait_until_joined(60)


async def test_a_join_that_fails_says_every_reason_once() -> None:
    attempt = JoinAttempt(["a:1", "b:1"])
    attempt.resolved("b:1", [])
    attempt.resolved("a:1", [ADDRESS])
    assert attempt.refused(ADDRESS, "another cluster")
    with pytest.raises(JoinRefusedError, match=r"^b:1 cannot be resolved; another cluster"):
        await attempt.wait_until_joined(60)
    with pytest.raises(ConfigError, match="there is nobody to join"):
        await JoinAttempt([]).wait_until_joined(60)
    silent = JoinAttempt(["a:1"])
    silent.resolved("a:1", [ADDRESS])
    with pytest.raises(JoinRefusedError, match=r"no answer from 10.0.0.1:7481 within 0 s"):
        await silent.wait_until_joined(0)
