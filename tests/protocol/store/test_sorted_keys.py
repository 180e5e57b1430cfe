"""The index of keys is a sorted set, however keys come and go, and its room goes with them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from random import Random
from sys import getsizeof
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sortedcontainers import SortedList

from kvgossip.protocol.store.sorted_keys import SortedKeys
from tests.protocol.strategies import few_keys, keys

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["add", "remove", "extend", "ask"]), st.sets(few_keys | keys, max_size=6)
    ),
    max_size=30,
)


@given(STEPS, st.integers(4, 6), keys)
def test_the_index_is_a_sorted_set(
    steps: list[tuple[str, set[str]]], load: int, first: str
) -> None:
    """`load`: lists as short as this are split and joined by a few keys."""
    held: set[str] = set()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(SortedList, "DEFAULT_LOAD_FACTOR", load)
        index = SortedKeys()
    for step, some in steps:
        match step:
            case "extend":
                index.extend(some - held)
                held |= some
            case "ask":
                assert [key in index for key in some] == [key in held for key in some]
            case "add":
                for key in some - held:
                    index.add(key)
                held |= some
            case "remove":
                for key in some & held:
                    index.remove(key)
                held -= some
        assert len(index) == len(held)
    index._check()
    assert list(index.since("")) == sorted(held)
    assert list(index.since(first)) == sorted(key for key in held if key >= first)
    assert list(index.since(first, 2)) == sorted(key for key in held if key >= first)[2:]
    prefix = first[: len(first) // 2]
    assert index.count(prefix) == sum(key.startswith(prefix) for key in held)


@given(
    st.sets(st.text("ab/\U0010ffff", min_size=1, max_size=6)), st.text("ab/\U0010ffff", max_size=2)
)
def test_folders_are_what_keys_have_up_to_their_next_slash_and_come_page_by_page(
    held: set[str], prefix: str
) -> None:
    index = SortedKeys()
    index.extend(held)
    under = [key for key in sorted(held) if key.startswith(prefix)]
    parts = [key[: key.find("/", len(prefix)) + 1] for key in under]
    wanted = [(part, parts.count(part)) for part in dict.fromkeys(parts) if part]
    assert index.folders(prefix, "", 99, steps=99) == (wanted, None)
    found: list[tuple[str, int]] = []
    first: str | None = ""
    while first is not None:
        # one folder a page, or one key that is in none
        page, first = index.folders(prefix, first, 1, steps=1)
        found += page
    assert found == wanted


@given(
    st.sets(st.text("ab", min_size=1, max_size=5), max_size=12),
    st.text("ab", max_size=6),
    st.text("ab", max_size=2),
)
def test_the_longest_key_that_a_text_starts_with_is_found(
    held: set[str], text: str, least: str
) -> None:
    index = SortedKeys()
    index.extend(held)
    starts = [key for key in held if text.startswith(key) and key.startswith(least)]
    assert index.longest_start_of(text, least) == max(starts, key=len, default=None)


def test_of_an_index_of_many_keys_a_page_is_read_without_the_rest() -> None:
    names, index = [f"{number:06d}" for number in range(20_000)], SortedKeys()
    shuffled = Random(1).sample(names, len(names))
    index.extend(shuffled[:10_000])
    for name in shuffled[10_000:]:
        index.add(name)
    assert list(islice(index.since("0123455"), 3)) == ["012346", "012347", "012348"]
    assert list(index.since("")) == names


def reverse(text: str) -> str:
    return text[::-1]


@pytest.mark.parametrize("order", [str, reverse])
def test_after_many_keys_have_come_and_gone_it_takes_no_more_than_twice_as_much_as_before(
    order: Callable[[str], str],
) -> None:
    index = SortedKeys()
    stay = [f"{2 * number:06d}" for number in range(2000)]
    index.extend(stay)

    def taken() -> int:
        sorted_: Any = index.sort()
        return sum(map(getsizeof, sorted_._lists))

    before = taken()
    go = sorted((f"{number:07d}" for number in range(20_000)), key=order)
    for key in go:
        index.add(key)
    assert taken() > 4 * before
    for key in go:
        index.remove(key)
    index._check()
    assert taken() < 2 * before
    assert list(index.since("")) == stay
