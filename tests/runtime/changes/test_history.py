"""History: what is told of the past is the same, however much of it is packed, and it is
bounded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvgossip.protocol.effect import Dropped
from kvgossip.runtime.changes.history import History

KEYS = ("a", "ab", "b", "\u00e9")
STEPS = st.lists(
    st.tuples(st.sampled_from(KEYS), st.sampled_from(["change", "change", "drop", "tidy"])),
    max_size=80,
)


def record(number: int) -> bytes:
    return b"record %d" % number


@given(STEPS, st.integers(1, 5), st.sampled_from([1, 3, 256]))
def test_the_last_versions_of_each_key_are_told_whatever_was_packed_meanwhile(
    steps: list[tuple[str, str]], versions_max: int, chunk_keys: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kvgossip.runtime.changes.history.CHUNK_KEYS", chunk_keys)
        history = History(versions_max, 2**20)
        seen: dict[str, list[bytes]] = {key: [] for key in KEYS}
        for number, (key, what) in enumerate(steps):
            if what == "tidy":
                while history.tidy():
                    pass
                assert not history.tidy()
                continue
            if what == "change":
                history.keep(key, record(number))
            else:
                history.dropped(Dropped(key, record(number)))
            seen[key].append(record(number))
        for key in KEYS:
            assert history.earlier(key) == seen[key][max(len(seen[key]) - versions_max + 1, 0) :]
        assert history.kept_bytes >= 0


@given(
    st.lists(st.tuples(st.sampled_from(KEYS), st.integers(0, 300), st.integers(0, 3)), max_size=80),
    st.integers(0, 4000),
)
def test_no_more_bytes_are_kept_than_the_limit_and_what_is_told_is_the_latest(
    steps: list[tuple[str, int, int]], bytes_max: int
) -> None:
    history = History(4, bytes_max)
    seen: dict[str, list[bytes]] = {key: [] for key in KEYS}
    for key, size, what in steps:
        if what == 0:
            history.tidy()
        if what == 1:
            history.dropped(Dropped(key, bytes(size)))
        else:
            history.keep(key, bytes(size))
        seen[key].append(bytes(size))
        assert 0 <= history.kept_bytes <= bytes_max
    for key in KEYS:
        told = history.earlier(key)
        assert told == seen[key][len(seen[key]) - len(told) :]


def test_what_is_packed_takes_less_and_what_has_not_changed_for_longest_goes_first() -> None:
    history = History(4, 200_000)
    for number in range(300):
        history.keep(f"k{number:03}", bytes(40))
    kept = history.kept_bytes
    while history.tidy():
        pass
    assert history.kept_bytes < kept / 2
    assert history.earlier("k000") == [bytes(40)]
    for number in range(6_000):
        history.keep("hot", bytes(40))
        history.dropped(Dropped(f"d{number:04}", bytes(40)))
    assert history.earlier("k000") == []
    assert history.earlier("d5999") == [bytes(40)]
    assert history.earlier("hot") == [bytes(40)] * 3


def test_where_nothing_is_kept_nothing_is_told() -> None:
    history = History(0, 2**20)
    history.keep("a", b"old")
    assert history.earlier("a") == []
    assert not history.tidy()
