"""Positions follow from another seed: nothing is lost on the way, and at the end nothing tells that
there ever was another one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from kvgossip.protocol.model.entry import is_dead
from kvgossip.protocol.store import reseeding
from kvgossip.protocol.store import store as store_module
from kvgossip.protocol.store.digest import DigestTree
from kvgossip.protocol.store.store import Store
from tests.protocol.net import record
from tests.protocol.strategies import records

LEVELS = st.integers(1, 4)
SEEDS = st.integers(0, 3)
KEYS = st.sampled_from([f"k{number}" for number in range(40)])


@pytest.fixture(autouse=True)
def small_steps() -> Iterator[None]:
    """Of three keys, so that few keys take many of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reseeding, "STEP_KEYS", 3)
        patch.setattr(store_module, "STEP_KEYS", 3)
        yield


def filled(keys: int, seed: int = 7) -> Store:
    store = Store(DigestTree(4, seed))
    store.load([(f"k{number}", record(b"v")) for number in range(keys)])
    return store


def finish(store: Store) -> int:
    """How many steps were left."""
    steps = 0
    while store.reseeding:
        store.work_on_seed()
        steps += 1
    return steps


def is_fresh(store: Store, seed: int) -> bool:
    """True if it is what it would be if it had been filled under that seed."""
    fresh = Store(DigestTree(store.digest.levels, seed))
    for key, held in store.records():
        fresh.merge(key, held)
    levels = range(store.digest.levels + 1)
    return (
        store.digest.seed == seed
        and all(store.digest.sums(level) == fresh.digest.sums(level) for level in levels)
        and store.sketch.prefix(store.sketch.length) == fresh.sketch.prefix(fresh.sketch.length)
    )


class Reseeded(RuleBasedStateMachine):
    """A store whose seed changes while keys come and go, beside a plain dictionary."""

    @initialize(levels=LEVELS)
    def begin(self, levels: int) -> None:
        self.store = Store(DigestTree(levels, 0))
        self.wanted, self.held = 0, dict[str, bytes]()

    @rule(key=KEYS, held=records)
    def merge(self, key: str, held: bytes) -> None:
        if self.store.merge(key, held) is not None:
            self.held[key] = held

    @rule(key=KEYS)
    def remove(self, key: str) -> None:
        if key in self.held:
            assert self.store.remove(key) == self.held.pop(key)

    @rule(seed=SEEDS)
    def reseed(self, seed: int) -> None:
        self.store.reseed(seed)
        self.wanted = seed

    @rule()
    def work(self) -> None:
        self.store.work_on_seed()

    @rule()
    def tidy(self) -> None:
        self.store._removed = 10**6
        self.store.tidy()

    @rule()
    def end(self) -> None:
        finish(self.store)
        assert is_fresh(self.store, self.wanted)

    @invariant()
    def every_question_has_its_answer(self) -> None:
        if not hasattr(self, "store"):
            return
        assert dict(self.store.records()) == self.held
        assert all(self.store.record(key) == held for key, held in self.held.items())
        assert self.store.live == sum(not is_dead(held) for held in self.held.values())
        self.store._check()


TestReseeded = Reseeded.TestCase


def test_the_old_seed_holds_until_the_last_key_has_its_place() -> None:
    store, other = filled(20), filled(20, seed=8)
    old, new = store.digest.root, other.digest.root
    store.reseed(8)
    roots = [store.digest.root]
    while store.digest.seed == 7:
        store.work_on_seed()
        roots.append(store.digest.root)
    assert dict.fromkeys(roots) == dict.fromkeys([old, new])
    assert len(roots) > 6
    finish(store)
    assert is_fresh(store, 8)


def test_few_keys_have_their_places_at_once_and_many_in_steps() -> None:
    few = filled(2)
    few.reseed(8)
    assert not few.reseeding
    assert is_fresh(few, 8)
    many = filled(300)
    many.reseed(8)
    assert finish(many) >= 100


def test_a_seed_that_is_there_already_is_no_work_and_one_that_is_taken_back_is_none_left() -> None:
    store = filled(20)
    digest = store.digest
    store.reseed(7)
    assert not store.reseeding
    store.reseed(8)
    assert store.reseeding
    store.reseed(7)
    assert not store.reseeding
    assert store.digest is digest
    assert is_fresh(store, 7)


def test_a_crowd_of_keys_at_one_position_moves_in_steps_too() -> None:
    # one level has sixteen slots, so what lies in one of them is never split
    store = Store(DigestTree(1, 7))
    store.load([(f"k{number}", record(b"v")) for number in range(2000)])
    store.reseed(8)
    assert finish(store) > 600
    assert is_fresh(store, 8)
