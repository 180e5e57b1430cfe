"""What was asked of a member, and is not answered yet: nothing hangs, and nothing is done twice."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

from kvgossip.cache import calls
from kvgossip.cache.calls import Calls
from kvgossip.cache.line import Ask, FromFollower
from kvgossip.errors import BadKeyError, NoMemberError


def ask(prefix: str) -> Callable[[int], FromFollower]:
    return lambda number: Ask(number, prefix, 1.0)


def test_a_call_is_sent_once_and_has_its_own_answer() -> None:
    mine = Calls()
    one, other = mine.add(ask("a/")), mine.add(ask("b/"))
    assert mine.take() == [Ask(1, "a/", 1.0), Ask(2, "b/", 1.0)]
    assert mine.take() == []
    mine.answered(2, "two")
    mine.answered(1, BadKeyError("no"))
    # nobody has asked that
    mine.answered(3, "three")
    mine.answered(2, "again")
    assert other.result(0) == "two"
    assert isinstance(one.exception(0), BadKeyError)


def test_a_call_whose_line_broke_fails_and_one_that_waits_goes_on() -> None:
    mine = Calls()
    sent = mine.add(ask("a/"))
    mine.take()
    waits = mine.add(ask("b/"))
    mine.broken()
    error = sent.exception(0)
    assert isinstance(error, NoMemberError)
    assert "perhaps" in error.hint or "may have" in error.hint
    assert mine.take() == [Ask(2, "b/", 1.0)]
    assert not waits.done()


def test_a_call_waits_so_long_for_a_member_and_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now_s[0])
    mine = Calls()
    early = mine.add(ask("a/"))
    now_s[0] += calls.PATIENCE_S - 1
    late = mine.add(ask("b/"))
    mine.give_up("why")
    assert not early.done()
    now_s[0] += 1
    mine.give_up("the disk is full")
    assert isinstance(early.exception(0), NoMemberError)
    assert "the disk is full" in str(early.exception(0))
    assert not late.done()


def test_what_is_cancelled_is_not_sent() -> None:
    mine = Calls()
    future = mine.add(ask("a/"))
    assert future.cancel()
    assert mine.take() == []


def test_all_end_when_it_is_closed() -> None:
    mine = Calls()
    futures: list[Future[Any]] = [mine.add(ask("a/"))]
    mine.take()
    futures.append(mine.add(ask("b/")))
    mine.close()
    futures.append(mine.add(ask("c/")))
    assert all(isinstance(future.exception(0), NoMemberError) for future in futures)


def test_what_waits_may_be_taken_by_another_and_nothing_comes_after_that() -> None:
    mine = Calls()
    future = mine.add(ask("a/"))
    (call,) = mine.unsent()
    assert (call.future, call.make(0)) == (future, Ask(0, "a/", 1.0))
    assert mine.add(ask("b/")).exception(0) is not None
