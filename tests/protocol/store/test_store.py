"""The store: one door, `merge`, and a state that depends on what came through it, never on the
order."""

from __future__ import annotations

from itertools import permutations
from sys import getsizeof

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from xxhash import xxh3_64_intdigest

from kvgossip.protocol.model.change import Changed
from kvgossip.protocol.model.entry import entry_of, is_dead, supersedes
from kvgossip.protocol.store import digest as digest_module
from kvgossip.protocol.store.digest import DigestTree
from kvgossip.protocol.store.store import Store
from tests.protocol.net import record
from tests.protocol.strategies import few_keys, records

ARRIVALS = st.lists(st.tuples(few_keys, records), max_size=12)


def make_store(arrivals: list[tuple[str, bytes]] | None = None, levels: int = 2) -> Store:
    store = Store(DigestTree(levels, seed=7))
    for key, arrived in arrivals or ():
        store.merge(key, arrived)
    return store


def content(store: Store) -> dict[str, bytes]:
    return dict(store.records())


# -- the laws of merge ---------------------------------------------------------------------------


@given(ARRIVALS, st.randoms(use_true_random=False))
def test_merging_is_commutative(arrivals: list[tuple[str, bytes]], rng: object) -> None:
    shuffled = list(arrivals)
    rng.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = make_store(arrivals), make_store(shuffled)
    assert content(one) == content(other)
    assert one.digest.root == other.digest.root
    one._check()


@given(ARRIVALS, ARRIVALS, ARRIVALS)
def test_merging_is_associative(
    a: list[tuple[str, bytes]], b: list[tuple[str, bytes]], c: list[tuple[str, bytes]]
) -> None:
    left = make_store([*content(make_store(a + b)).items(), *c])
    right = make_store([*a, *content(make_store(b + c)).items()])
    assert content(left) == content(right)


@given(ARRIVALS)
def test_merging_is_idempotent(arrivals: list[tuple[str, bytes]]) -> None:
    store = make_store(arrivals)
    before, root = content(store), store.digest.root
    assert [store.merge(key, arrived) for key, arrived in arrivals] == [None] * len(arrivals)
    assert (content(store), store.digest.root) == (before, root)


@given(ARRIVALS)
def test_a_merge_returns_the_news_and_only_the_news(arrivals: list[tuple[str, bytes]]) -> None:
    store, held = make_store(), dict[str, bytes]()
    for key, arrived in arrivals:
        old = held.get(key)
        is_news = old is None or supersedes(arrived, old)
        assert store.merge(key, arrived) == (Changed(key, old, arrived) if is_news else None)
        if is_news:
            held[key] = arrived
    assert content(store) == held


def test_a_key_never_goes_back_to_an_older_version_in_any_order_of_arrival() -> None:
    versions = [record(b"1", ms=1), record(None, ms=2), record(b"3", ms=3)]
    for order in permutations(versions):
        store = make_store()
        for arrived in order:
            store.merge("k", arrived)
        assert store.value("k") == b"3"


def test_a_deleted_key_stays_deleted_when_its_old_value_comes_again() -> None:
    store = make_store([("k", record(b"old", ms=1)), ("k", record(None, ms=2))])
    assert store.merge("k", record(b"old", ms=1)) is None
    assert (store.get("k"), store.value("k"), store.live, len(store)) == (None, None, 0, 1)


# -- the store as a machine, beside a model that is a dict ---------------------------------------


class StoreMachine(RuleBasedStateMachine):
    """The store answers as a dict of the winning records would."""

    def __init__(self) -> None:
        super().__init__()
        self.store = make_store()
        self.held: dict[str, bytes] = {}

    @initialize(levels=st.integers(1, 2))
    def start(self, levels: int) -> None:
        self.store = make_store(levels=levels)

    @rule(key=few_keys, arrived=records)
    def merge(self, key: str, arrived: bytes) -> None:
        old = self.held.get(key)
        news = self.store.merge(key, arrived)
        assert (news is not None) == (old is None or supersedes(arrived, old))
        if news is not None:
            self.held[key] = arrived

    @rule(
        prefix=st.sampled_from(["", "a", "b", "ba", "z"]),
        after=st.sampled_from(["", "a", "b", "é", "zz"]),
        limit=st.integers(0, 7),
    )
    def scan(self, prefix: str, after: str, limit: int) -> None:
        live = [
            key
            for key in sorted(self.held)
            if not is_dead(self.held[key]) and key.startswith(prefix) and key > after
        ]
        assert (
            self.store.scan(prefix, after, limit) == [(key, self.held[key]) for key in live][:limit]
        )

    @rule(key=few_keys)
    def ask(self, key: str) -> None:
        arrived = self.held.get(key)
        entry = entry_of(key, arrived) if arrived is not None else None
        assert self.store.record(key) == arrived
        assert self.store.get(key) == (None if entry is None or entry.deleted else entry)
        assert self.store.value(key) == (None if entry is None else entry.value)

    @rule()
    def pages(self) -> None:
        """Two keys a page gives every live key once, in order."""
        found: list[str] = []
        while page := self.store.scan("", found[-1] if found else "", 2):
            found += [key for key, _ in page]
        assert found == sorted(key for key, arrived in self.held.items() if not is_dead(arrived))

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        assert content(self.store) == self.held
        assert len(self.store) == len(self.held)
        assert self.store.live == sum(not is_dead(arrived) for arrived in self.held.values())

    def teardown(self) -> None:
        self.store._check()


StoreMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=30)
TestStoreMachine = StoreMachine.TestCase


# -- scanning ------------------------------------------------------------------------------------


def scanned(prefix: str = "", after: str = "", limit: int = 100) -> list[str]:
    names = ["a", "a/", "a/1", "a/2", "a0", "b", "é", "\U0001f600", "\uffff"]
    store = make_store([(name, record(b"v")) for name in reversed(names)])
    return [key for key, _ in store.scan(prefix, after, limit)]


def test_a_scan_is_sorted_by_code_point_and_not_by_utf_16() -> None:
    assert scanned() == ["a", "a/", "a/1", "a/2", "a0", "b", "é", "\uffff", "\U0001f600"]


def test_a_scan_gives_the_keys_of_the_prefix_after_the_one_given() -> None:
    assert scanned("a/") == ["a/", "a/1", "a/2"]
    assert scanned("a/", after="a/") == ["a/1", "a/2"]
    assert scanned("a/", after="a/1") == ["a/2"]
    assert scanned("a/", after="A") == ["a/", "a/1", "a/2"]
    assert scanned("a/", after="b") == []
    assert scanned("a", limit=2) == ["a", "a/"]
    assert scanned("x") == []
    assert scanned(limit=0) == []


def test_finding_many_fingerprints_reads_every_entry_once_at_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = make_store([(f"k{number}", record(b"v")) for number in range(2000)], levels=1)
    by_fingerprint = {store.digest.fingerprint(key, held): key for key, held in store.records()}
    hashed: list[int] = []

    def counted(data: bytes, seed: int = 0) -> int:
        hashed.append(seed)
        return xxh3_64_intdigest(data, seed)

    monkeypatch.setattr(digest_module, "xxh3_64_intdigest", counted)
    assert store.find(by_fingerprint) == by_fingerprint
    # a key and a record each
    assert len(hashed) <= 2 * 2000


# -- fingerprints --------------------------------------------------------------------------------


@given(ARRIVALS, st.integers(1, 4))
def test_every_fingerprint_finds_its_key_and_no_other_one_does(
    arrivals: list[tuple[str, bytes]], levels: int
) -> None:
    store = make_store(arrivals, levels)
    by_fingerprint = {
        store.digest.fingerprint(key, arrived): key for key, arrived in store.records()
    }
    strange = [
        fingerprint ^ bit
        for fingerprint in by_fingerprint
        for bit in (1, 1 << 47, 1 << 48, 1 << 63)
    ] + [0, 2**64 - 1]
    strange = [fingerprint for fingerprint in strange if fingerprint not in by_fingerprint]
    assert store.find([*by_fingerprint, *strange]) == by_fingerprint
    for level in range(min(levels, 2) + 1):
        listed = [pair for bucket in range(16**level) for pair in store.entries_in(level, bucket)]
        assert dict(listed) == content(store)
        assert len(listed) == len(store)


# -- loading -------------------------------------------------------------------------------------


def sketch_of(store: Store) -> bytes:
    return store.sketch.prefix(store.sketch.length)


@given(ARRIVALS, st.lists(ARRIVALS, max_size=4), ARRIVALS, st.integers(1, 4), st.integers(0, 200))
def test_what_is_loaded_is_what_would_have_been_merged(
    before: list[tuple[str, bytes]],
    portions: list[list[tuple[str, bytes]]],
    after: list[tuple[str, bytes]],
    levels: int,
    expected: int,
) -> None:
    loaded, merged = make_store(levels=levels), make_store(before, levels)
    loaded.expect(expected)
    for key, arrived in before:
        loaded.merge(key, arrived)
    for portion in portions:
        loaded.load(portion)
        for key, arrived in portion:
            merged.merge(key, arrived)
        assert loaded.digest.root == merged.digest.root
    for key, arrived in after:
        assert loaded.merge(key, arrived) == merged.merge(key, arrived)
    loaded._check()
    assert content(loaded) == content(merged)
    assert sketch_of(loaded) == sketch_of(merged)


@pytest.mark.parametrize("expected", [0, 300, 9000, 1_000_000])
def test_more_keys_than_a_table_may_hold_are_loaded_whatever_was_expected(expected: int) -> None:
    entries = sorted((f"k{number}", record(b"v")) for number in range(9000))
    loaded, merged = make_store(levels=4), make_store(entries, levels=4)
    loaded.expect(expected)
    for start in range(0, len(entries), 2000):
        loaded.load(entries[start : start + 2000])
    loaded._check()
    assert content(loaded) == content(merged)
    while loaded.tidy():
        pass
    loaded._check()
    assert taken(loaded) <= 2 * taken(merged), (
        "of tables for keys that did not come most are joined"
    )


# -- room that removed keys took -----------------------------------------------------------------


def taken(store: Store) -> int:
    return sum(map(getsizeof, store._tables))


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_when_much_was_removed_the_tables_give_back_the_room_that_it_took(levels: int) -> None:
    stay = [(f"s{number}", record(b"v")) for number in range(1000)]
    fresh, store = make_store(stay, levels), make_store(stay, levels)
    for number in range(20_000):
        store.merge(f"g{number}", record(b"v"))
    for number in range(20_000):
        store.remove(f"g{number}")
    full = taken(store)
    while store.tidy():
        pass
    assert taken(store) <= min(2 * taken(fresh), full)
    assert len(store._tables._spares) <= 64
    assert content(store) == content(fresh)
    store._check()


def test_little_that_was_removed_is_no_reason_to_look_at_all_tables() -> None:
    store = make_store([(f"s{number}", record(b"v")) for number in range(2000)], 3)
    for number in range(1000):
        store.remove(f"s{number}")
    full = taken(store)
    assert not store.tidy()
    assert taken(store) == full
    for number in range(1000, 1100):
        store.remove(f"s{number}")
    while store.tidy():
        pass
    assert taken(store) < full


def test_while_it_is_tidied_keys_come_and_go() -> None:
    store = make_store([(f"g{number}", record(b"v")) for number in range(20_000)], 4)
    for number in range(19_000):
        store.remove(f"g{number}")
    portions = 0
    while store.tidy():
        for number in range(200 * portions, 200 * (portions + 1)):
            store.merge(f"n{number}", record(b"v"))
        portions += 1
        store._check()
    assert portions > 1
    for number in range(200 * portions):
        store.remove(f"n{number}")
    assert sorted(content(store)) == sorted(f"g{number}" for number in range(19_000, 20_000))
    store._check()


@given(st.integers(1, 4), st.integers(0, 3000), st.integers(0, 3000), st.integers(0, 3000))
@settings(max_examples=30, deadline=None)
def test_tables_are_split_and_joined_as_keys_come_and_go(
    levels: int, first: int, gone: int, more: int
) -> None:
    store = make_store(levels=levels)
    held: dict[str, bytes] = {}
    for number in range(first):
        store.merge(f"k{number}", record(b"v"))
        held[f"k{number}"] = record(b"v")
    for number in range(min(gone, first)):
        store.remove(f"k{number}")
        del held[f"k{number}"]
    while store.tidy():
        pass
    for number in range(more):
        store.merge(f"m{number}", record(b"v"))
        held[f"m{number}"] = record(b"v")
    store._check()
    assert content(store) == held
    for level in range(min(levels, 3) + 1):
        for bucket in range(0, 16**level, 1 + 16**level // 40):
            listed = dict(store.entries_in(level, bucket))
            assert listed == {
                key: held[key]
                for key in held
                if store.digest.hash_of(key) >> 64 - 4 * level == bucket
            }


def test_parts_of_a_table_that_changes_between_the_questions_are_what_is_there() -> None:
    store = make_store([(f"k{number}", record(b"v")) for number in range(100)], 4)
    position = store.digest.hash_of("k7") >> 48
    assert ("k7", record(b"v")) in list(store.entries_in(4, position))
    store.merge("k7", record(b"w", ms=1))
    assert ("k7", record(b"w", ms=1)) in list(store.entries_in(4, position))
    store.remove("k7")
    assert "k7" not in dict(store.entries_in(4, position))
    store.merge("k7", record(b"x", ms=2))
    assert ("k7", record(b"x", ms=2)) in list(store.entries_in(4, position))
