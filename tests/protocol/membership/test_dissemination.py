"""Dissemination: each piece of news is sent often enough, the least sent first, and none for ever."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvgossip.protocol.model.member import MemberState
from kvgossip.protocol.wire.unit import encode
from tests.protocol.membership.side import Side, drain, record_of
from tests.protocol.net import member

ALIVE, SUSPECT, DEAD, LEFT = MemberState


@pytest.mark.parametrize(("others", "times"), [(1, 4), (8, 4), (9, 8), (10, 8)])
def test_news_is_sent_multiplier_times_log_n_times(others: int, times: int) -> None:
    side = Side(*(f"n{number:02}" for number in range(others)))
    drain(side)
    side.merge(member("n00", 1, DEAD))
    sent = 0
    while side.membership.dissemination.has_news:
        assert side.news() == [encode(member("n00", 1, DEAD))]
        sent += 1
    assert sent == times


def test_newer_news_about_a_name_replaces_older_news() -> None:
    side = Side("b")
    drain(side)
    side.merge(member("b", 1, SUSPECT, accuser="x"))
    side.news()
    side.merge(member("b", 1, DEAD))
    assert side.news() == [encode(member("b", 1, DEAD))]


def test_the_least_sent_news_goes_first_and_what_has_no_room_waits() -> None:
    side = Side("b", "c")
    drain(side)
    one, other = member("b", 1, incarnation=1), member("c", 2, incarnation=1)
    side.merge(one)
    room = len(encode(one))
    assert side.news(room) == [encode(one)]
    side.merge(other)
    assert side.news(room) == [encode(other)]
    assert side.news(room - 1) == []
    assert side.news(2 * room) == [encode(one), encode(other)]


@given(st.integers(0, 400), st.integers(1, 12))
def test_news_never_takes_more_than_its_room(room: int, count: int) -> None:
    side = Side(*(f"name-{number:02}" for number in range(count)))
    assert sum(map(len, side.news(room))) <= room


def test_the_news_that_waits_is_bounded_also_where_there_is_nobody_to_tell() -> None:
    side = Side("b")
    for generation in range(2, 2000):
        side.merge(member("b", 1, DEAD, generation=generation))
    assert len(side.membership.dissemination) <= 100
    assert encode(member("b", 1, DEAD, generation=1999)) in side.news()


def test_news_that_nobody_could_use_is_dropped() -> None:
    side = Side("b", forget_after_s=1.0)
    drain(side)
    side.merge(member("b", 1, DEAD))
    side.tick(5.0)
    assert side.state("b") is None
    assert side.news() == []


@pytest.mark.parametrize("order", list(permutations(["suspect", "refuted", "dead"])))
def test_the_news_of_one_period_end_alike_in_any_order(order: tuple[str, ...]) -> None:
    news = {
        "suspect": member("b", 1, SUSPECT, accuser="x"),
        "refuted": member("b", 1, incarnation=1),
        "dead": member("b", 1, DEAD),
    }
    side = Side("b")
    for name in order:
        side.merge(news[name])
    assert record_of(side, "b") == news["dead"]
