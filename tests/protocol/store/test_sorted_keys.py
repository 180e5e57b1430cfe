"""The index of keys: always in order, in blocks of bounded size, and nothing for the garbage
collector to visit."""

from __future__ import annotations

import gc
from random import Random
from sys import getsizeof

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvgossip.protocol.store import sorted_keys
from kvgossip.protocol.store.sorted_keys import SortedKeys
from tests.protocol.strategies import few_keys, keys


@given(st.lists(st.tuples(st.booleans(), few_keys), max_size=60), st.integers(2, 5), keys)
def test_the_index_is_a_sorted_set(changes: list[tuple[bool, str]], block: int, first: str) -> None:
    held: set[str] = set()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sorted_keys, "BLOCK_KEYS_MAX", block)
        index_ = SortedKeys()
        for add, key in changes:
            if add and key not in held:
                held.add(key)
                index_.add(key)
            elif not add and key in held:
                held.remove(key)
                index_.remove(key)
            index_._check()
    assert len(index_) == len(held)
    assert list(index_.since("")) == sorted(held)
    assert list(index_.since(first)) == sorted(key for key in held if key >= first)


@given(st.lists(st.sets(few_keys, max_size=12), max_size=6), st.integers(2, 5), st.booleans())
def test_many_keys_at_once_are_as_many_one_by_one(
    portions: list[set[str]], block: int, ordered: bool
) -> None:
    everything, held = sorted(set().union(*portions)), set[str]()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sorted_keys, "BLOCK_KEYS_MAX", block)
        index_ = SortedKeys()
        for portion in portions:
            fresh = (
                everything[len(held) : len(held) + len(portion)]
                if ordered
                else list(portion - held)
            )
            index_.extend(fresh)
            held |= set(fresh)
            index_._check()
            assert list(index_.since("")) == sorted(held)
        for key in sorted(held):
            index_.remove(key)
            index_._check()
    assert not len(index_)


def test_the_garbage_collector_visits_no_key() -> None:
    keys_, index_ = [f"{number:06d}" for number in range(5000)], SortedKeys()
    Random(1).shuffle(keys_)
    for key in keys_:
        index_.add(key)
    assert list(index_.since("")) == sorted(keys_)
    assert not any(gc.is_tracked(block) for block in index_._blocks)


def test_after_many_keys_have_come_and_gone_it_takes_no_more_than_before() -> None:
    stay, go = (
        [f"{2 * number:06d}" for number in range(2000)],
        [f"{number:07d}" for number in range(20_000)],
    )
    index_ = SortedKeys()
    for key in stay:
        index_.add(key)

    def taken() -> int:
        return sum(map(getsizeof, index_._blocks))

    before = taken()
    for order in (go, sorted(go, key=lambda key: key[::-1])):
        for key in order:
            index_.add(key)
        assert taken() > 4 * before
        for key in order:
            index_.remove(key)
            assert all(
                low in block
                for low, block in zip(index_._lows[1:], index_._blocks[1:], strict=True)
            ), "a bound is no key"
        index_._check()
        assert taken() < 2 * before
    assert list(index_.since("")) == stay
