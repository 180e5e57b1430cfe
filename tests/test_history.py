"""History: what is told of the past is the same, however much of it is packed, and it is bounded."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kvgossip.protocol.effect import Changed
from kvgossip.runtime.history import History

KEYS = ("a", "ab", "b", "\u00e9")
STEPS = st.lists(st.one_of(st.sampled_from(KEYS), st.none()), max_size=80)


def record(number: int) -> bytes:
    return b"record %d" % number


@given(STEPS, st.integers(1, 5))
def test_the_last_versions_of_each_key_are_told_whatever_was_packed_meanwhile(steps: list[str | None], versions_max: int) -> None:
    history = History(versions_max, 2**20)
    seen: dict[str, list[bytes]] = {key: [] for key in KEYS}
    for number, key in enumerate(steps):
        if key is None:
            while history.tidy():
                pass
            assert not history.tidy()
        else:
            history.changed(Changed(key, record(number), b"new"))
            seen[key].append(record(number))
    for key in KEYS:
        assert history.earlier(key) == seen[key][max(len(seen[key]) - versions_max + 1, 0) :]
    assert history.bytes >= 0


@given(st.lists(st.tuples(st.sampled_from(KEYS), st.integers(0, 300), st.booleans()), max_size=80), st.integers(0, 4000))
def test_no_more_bytes_are_kept_than_the_limit_and_what_is_told_is_the_latest(steps: list[tuple[str, int, bool]], bytes_max: int) -> None:
    history = History(4, bytes_max)
    seen: dict[str, list[bytes]] = {key: [] for key in KEYS}
    for key, size, packs in steps:
        if packs:
            history.tidy()
        history.changed(Changed(key, bytes(size), b"new"))
        seen[key].append(bytes(size))
        assert 0 <= history.bytes <= bytes_max
    for key in KEYS:
        told = history.earlier(key)
        assert told == seen[key][len(seen[key]) - len(told) :]


def test_packing_takes_less_than_it_gives_back_and_the_oldest_pieces_go_first() -> None:
    history = History(4, 200_000)
    for number in range(600):
        history.changed(Changed(f"k{number:03}", bytes(40), b"new"))
    kept = history.bytes
    while history.tidy():
        pass
    assert history.bytes < kept / 2
    for number in range(10_000):
        history.changed(Changed(f"n{number:05}", bytes(40), b"new"))
    assert history.earlier("k000") == []
    assert history.earlier("n09999") == [bytes(40)]


def test_where_nothing_is_kept_nothing_is_told() -> None:
    history = History(0, 2**20)
    history.changed(Changed("a", b"old", b"new"))
    assert history.earlier("a") == []
    assert not history.tidy()
