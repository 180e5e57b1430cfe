"""The changes that wait are folded into the sketch once somebody needs it."""

from __future__ import annotations

import math

import pytest

from kvgossip.protocol.anti_entropy import folding as folding_module
from kvgossip.protocol.anti_entropy.folding import PAUSE_S, REST_S, Folding
from kvgossip.protocol.model.entry import Version, make_record
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.store.digest import DigestTree
from kvgossip.protocol.store.store import Store

KEYS = 1000


def write(store: Store, timestamp: int) -> None:
    for number in range(KEYS):
        store.merge(f"k{number}", make_record(Version(timestamp, 1), b"v"))


def at(second: float) -> Now:
    return Now(second, 0)


def until_idle(folding: Folding, store: Store, news_s: float, second: float) -> float:
    """Folds when it is due; the time when nothing waits any more."""
    while not store.sketch.idle:
        second = max(second, folding.deadline(news_s))
        folding.tick(news_s, at(second))
    folding.tick(news_s, at(second))
    return second


@pytest.fixture
def store() -> Store:
    store = Store(DigestTree(2, seed=7))
    write(store, 1)
    return store


def test_what_was_there_at_the_start_is_folded_in_pieces(store: Store) -> None:
    folding = Folding(store, at(10))
    assert folding.deadline(0) == 10 + PAUSE_S
    folding.tick(0, at(10))
    assert store.sketch.waiting == KEYS, "too soon"
    assert until_idle(folding, store, 0, 10) >= 10 + 3 * PAUSE_S


def test_what_is_written_waits_until_a_root_differs_though_news_is_at_rest(store: Store) -> None:
    folding = Folding(store, at(10))
    second = until_idle(folding, store, 0, 10)
    write(store, 2)
    assert folding.deadline(second) == math.inf
    folding.saw_other_root(second, at(second + REST_S / 2))
    assert folding.deadline(second) == math.inf, "what differs may be under way"
    folding.saw_other_root(second, at(second + REST_S))
    assert folding.deadline(second) == second + REST_S
    second = until_idle(folding, store, second, second)
    write(store, 3)
    assert folding.deadline(second) == math.inf


def test_more_than_can_wait_is_folded_unasked(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    folding = Folding(store, at(10))
    second = until_idle(folding, store, 0, 10)
    monkeypatch.setattr(folding_module, "WAITING_MAX", KEYS)
    write(store, 2)
    assert store.sketch.waiting == 2 * KEYS, "what went and what came"
    assert folding.deadline(second) == second + REST_S
