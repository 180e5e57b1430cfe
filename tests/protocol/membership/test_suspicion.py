"""Lifeguard: how long a suspect may refute, and how much a node doubts itself."""

from __future__ import annotations

import math

import pytest

from kvgossip.config import Config, config_from
from kvgossip.protocol.membership.suspicion import Awareness, Suspicion

CONFIG = Config()  # multiplier 4, max multiplier 6, interval 1 s


def deadline(members: int, *accusers: str, config: Config = CONFIG) -> float:
    suspicion = Suspicion(config, members, "a", 100.0)
    for accuser in accusers:
        suspicion.confirm(accuser)
    return suspicion.deadline_s - 100.0


@pytest.mark.parametrize(
    ("members", "accusers", "seconds"),
    [
        # nobody could confirm: the shortest time from the start
        (2, "", 4.0),
        (4, "", 4.0),
        # max(min, max - (max - min) * log(c + 1) / log(k + 1)) with min 4, max 24, k 3
        (5, "", 24.0),
        (5, "b", 24 - 20 * math.log(2) / math.log(4)),
        (5, "bc", 24 - 20 * math.log(3) / math.log(4)),
        (5, "bcd", 4.0),
        (5, "bcdefg", 4.0),
        (10, "", 24.0),
        (100, "", 48.0),
        (100, "bcd", 8.0),
        (1000, "b", 72 - 60 * 0.5),
    ],
)
def test_a_suspicion_starts_long_and_shrinks_with_every_confirmation(
    members: int, accusers: str, seconds: float
) -> None:
    assert deadline(members, *accusers) == pytest.approx(seconds)


def test_the_profiles_times_are_memberlists() -> None:
    assert deadline(10, "b", "c", "d", config=config_from({}, "wan")) == pytest.approx(30.0)
    assert deadline(10, config=config_from({}, "wan")) == pytest.approx(180.0)
    assert deadline(10, "b", "c", "d", config=config_from({}, "local")) == pytest.approx(3.0)


def test_a_confirmation_counts_once_for_each_accuser_and_never_without_a_name() -> None:
    suspicion = Suspicion(CONFIG, 10, "a", 0.0)
    assert [suspicion.confirm(accuser) for accuser in ("a", "", "b", "b", "c", "d", "e")] == [
        False,
        False,
        True,
        False,
        True,
        True,
        False,
    ]


def test_nothing_confirms_where_there_are_too_few_to_confirm() -> None:
    suspicion = Suspicion(CONFIG, 4, "a", 0.0)
    assert not suspicion.confirm("b")
    assert suspicion.deadline_s == 4.0


def test_a_deadline_never_moves_later() -> None:
    suspicion, before = Suspicion(CONFIG, 50, "a", 0.0), math.inf
    for accuser in "bcdefg":
        assert suspicion.deadline_s <= before
        before = suspicion.deadline_s
        suspicion.confirm(accuser)


def test_awareness_stays_between_healthy_and_its_bound() -> None:
    awareness = Awareness(8)
    assert awareness.factor == 1
    awareness.add(-3)
    assert (awareness.score, awareness.factor) == (0, 1)
    awareness.add(5)
    assert (awareness.score, awareness.factor) == (5, 6)
    awareness.add(100)
    assert (awareness.score, awareness.factor) == (8, 9)
    awareness.add(-1)
    assert awareness.score == 7


def test_a_bound_of_zero_switches_awareness_off() -> None:
    awareness = Awareness(0)
    awareness.add(5)
    assert awareness.factor == 1
