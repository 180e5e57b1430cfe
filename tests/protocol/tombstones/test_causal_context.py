"""Which versions a replica has ever merged: the algebra of contexts, and what of them travels."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvgossip.protocol.model.entry import Version
from kvgossip.protocol.tombstones import causal_context as module
from kvgossip.protocol.tombstones import context_difference, own_writes
from kvgossip.protocol.tombstones.causal_context import CausalContext
from kvgossip.protocol.tombstones.context_difference import (
    ContextDifference,
    decode,
    difference,
    encode,
    lacking,
    summary,
)
from kvgossip.protocol.tombstones.fact import DOTS, Fact, Kind, encoded, fact_of
from kvgossip.protocol.wire.message import FACTS_BYTES_MAX
from tests.protocol.net import refused

OWN = 99
facts = st.builds(fact_of, st.integers(0, 12), st.integers(1, 4), st.sampled_from(list(Kind)))
contents = st.lists(facts, max_size=12)
versions = st.builds(Version, st.integers(0, 12), st.integers(1, 4))
ALL_VERSIONS = [Version(timestamp, site) for timestamp in range(14) for site in range(1, 5)]


def context_of(content: list[Fact], site: int = OWN) -> CausalContext:
    context = CausalContext(site)
    context.join(content)
    return context


def state(context: CausalContext) -> tuple[object, ...]:
    return context.vector, set(context.dots), context.gaps, context.seen


def covered(context: CausalContext) -> set[Version]:
    return {version for version in ALL_VERSIONS if context.covers(version)}


def own(context: CausalContext) -> list[Fact]:
    """What it tells a peer, without its own row."""
    return [fact for fact in context.facts(0) if fact[8:16] != OWN.to_bytes(8, "big")]


# -- the algebra ---------------------------------------------------------------------------------


@given(contents, contents, contents)
def test_joining_is_commutative_associative_and_idempotent(
    a: list[Fact], b: list[Fact], c: list[Fact]
) -> None:
    one, other = context_of(a), context_of(b)
    one.join(own(context_of(b)))
    other.join(own(context_of(a)))
    assert state(one) == state(other)
    together = context_of(b)
    together.join(c)
    left, right = context_of(a), context_of(a)
    left.join(b)
    left.join(c)
    right.join(own(together))
    assert state(left) == state(right)
    again = state(context_of(own(left)))
    left.join(own(left))
    assert state(left) == again


@given(contents, contents, versions)
def test_what_is_covered_stays_covered_and_a_join_covers_what_either_side_did(
    a: list[Fact], b: list[Fact], more: Version
) -> None:
    one, other = context_of(a), context_of(b)
    before = covered(one)
    one.join(own(other))
    assert covered(one) == before | covered(other)
    one.add(more)
    assert covered(one) == before | covered(other) | {more}


class Plain:
    """The context of protocol.md's model: every version that is not below a row is a dot."""

    def __init__(self) -> None:
        self.vector: dict[int, int] = {}
        self.dots: set[tuple[int, int]] = set()

    def covers(self, version: Version) -> bool:
        return (
            self.vector.get(version.site, -1) >= version.timestamp
            or (version.site, version.timestamp) in self.dots
        )

    def join(self, vector: dict[int, int], dots: set[tuple[int, int]]) -> None:
        for site, clock in vector.items():
            self.vector[site] = max(self.vector.get(site, -1), clock)
        self.dots = {dot for dot in self.dots | dots if self.vector.get(dot[0], -1) < dot[1]}


@given(
    st.lists(
        st.tuples(
            st.dictionaries(st.integers(1, 4), st.integers(0, 12)), st.lists(versions, max_size=6)
        ),
        max_size=6,
    )
)
def test_it_covers_what_the_model_covers(
    joined: list[tuple[dict[int, int], list[Version]]],
) -> None:
    context, plain = CausalContext(OWN), Plain()
    for vector, dots in joined:
        context.join(
            [fact_of(clock, site, Kind.VECTOR_ENTRY) for site, clock in vector.items()]
            + [fact_of(*dot, Kind.DOT) for dot in dots]
        )
        plain.join(vector, {(dot.site, dot.timestamp) for dot in dots})
        assert covered(context) == {version for version in ALL_VERSIONS if plain.covers(version)}
        assert len(context.dots) == len(plain.dots), "dots that the vector has passed are dropped"


def test_of_the_own_site_its_writes_alone_are_covered_and_facts_of_it_change_nothing() -> None:
    context = context_of([fact_of(5, OWN, kind) for kind in Kind])
    assert state(context) == ({}, set(), {}, {})
    for timestamp in (3, 7):
        context.wrote(timestamp)
    every = [Version(timestamp, OWN) for timestamp in range(9)]
    assert [each.timestamp for each in every if context.covers(each)] == [3, 7]
    assert [each.timestamp for each in every if context.vector_covers(each)] == [3, 7]
    assert fact_of(7, OWN, Kind.VECTOR_ENTRY) in context.facts(9), "it ends at the last own write"
    assert fact_of(9, OWN, Kind.SEEN) in context.facts(9)


def test_of_very_many_own_writes_the_oldest_count_as_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(own_writes, "OWN_MAX", 2)
    context = CausalContext(OWN)
    for timestamp in (2, 4, 6, 8):
        context.wrote(timestamp)
    covered_ = [each for each in range(10) if context.covers(Version(each, OWN))]
    assert covered_ == [0, 1, 2, 3, 4, 5, 6, 8]


def test_what_a_peer_has_of_the_own_site_beyond_what_it_wrote_shows_a_set_back() -> None:
    context = CausalContext(OWN)
    for timestamp in (3, 7):
        context.wrote(timestamp)
    assert context.lost_in(context.facts(9), 9) is None
    assert context.lost_in([fact_of(3, OWN, Kind.VECTOR_ENTRY)], 9) is None
    assert context.lost_in([fact_of(8, OWN, Kind.VECTOR_ENTRY)], 9) == 8
    assert context.lost_in([fact_of(5, OWN, Kind.VECTOR_ENTRY)], 9) is None, "contexts are capped"
    assert context.lost_in([fact_of(5, OWN, Kind.DOT)], 9) == 5
    assert context.lost_in([fact_of(8, OWN, Kind.DOT)], 9) == 8
    assert context.lost_in([fact_of(9, OWN, Kind.SEEN)], 9) is None
    assert context.lost_in([fact_of(10, OWN, Kind.SEEN)], 9) == 10
    assert context.lost_in([fact_of(99, 1, Kind.VECTOR_ENTRY)], 9) is None


def test_after_a_set_back_the_life_before_covers_what_it_is_sure_of() -> None:
    context, disk = CausalContext(OWN), dict[bytes, bytes]()
    for timestamp in (3, 7, 9):
        context.wrote(timestamp)
    context.begin_life(98, 8)
    every = [Version(timestamp, OWN) for timestamp in range(12)]
    assert [each.timestamp for each in every if context.covers(each)] == [0, 1, 2, 3, 4, 5, 6, 7, 9]
    assert not context.covers(Version(5, 98))
    commit(context, disk)
    later = CausalContext(97)
    later.restore(disk)
    assert state(later) == state(context)


def test_entries_of_present_members_stay_however_many_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "VECTOR_MAX", 2)
    context = CausalContext(OWN)
    context.join([fact_of(each, each, Kind.VECTOR_ENTRY) for each in (1, 2, 3, 4)], present={1})
    assert context.vector == {1: 1, 4: 4}


def test_a_dot_is_no_row() -> None:
    context = context_of([fact_of(5, 1, Kind.DOT)])
    assert context.covers(Version(5, 1))
    assert not context.vector_covers(Version(5, 1))


# -- bounds --------------------------------------------------------------------------------------


def test_versions_for_which_there_is_no_room_leave_a_gap_until_a_row_passes_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "DOTS_MAX", 3)
    context = CausalContext(OWN)
    for timestamp in (5, 7, 6, 9, 8):
        context.add(Version(timestamp, 1))
    assert list(context.dots) == [encoded(Version(timestamp, 1)) for timestamp in (5, 7, 6)]
    assert context.gaps == {1: 9}
    context.join([fact_of(6, 1, Kind.VECTOR_ENTRY)])
    assert context.gaps == {1: 9}
    context.add(Version(10, 1))
    assert list(context.dots) == [encoded(Version(timestamp, 1)) for timestamp in (7, 10)]
    context.join([fact_of(9, 1, Kind.VECTOR_ENTRY)])
    assert context.gaps == {}
    assert list(context.dots) == [encoded(Version(10, 1))]


def test_of_too_long_a_vector_and_too_many_gaps_the_newest_are_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "VECTOR_MAX", 3)
    monkeypatch.setattr(module, "GAPS_MAX", 2)
    context = context_of(
        [fact_of(timestamp, 10 + timestamp, Kind.VECTOR_ENTRY) for timestamp in (4, 1, 3, 2, 5)]
    )
    assert context.vector == {13: 3, 14: 4, 15: 5}
    context.join([fact_of(timestamp, 20 + timestamp, Kind.GAP) for timestamp in (4, 1, 3, 2)])
    assert context.gaps == {23: 3, 24: 4}


@pytest.mark.parametrize("seed", range(5))
def test_its_facts_are_those_of_vector_gaps_seen_and_dots_whatever_has_come_and_gone(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("VECTOR_MAX", "SEEN_MAX", "GAPS_MAX", "DOTS_MAX"):
        monkeypatch.setattr(module, name, 8)
    rng, context = Random(seed), CausalContext(OWN)
    for clock in range(60):
        facts = [
            fact_of(rng.randrange(100), rng.randrange(20), rng.choice(list(Kind)))
            for _ in range(rng.randrange(6))
        ]
        context.join(facts, present={rng.randrange(20)})
        if rng.random() < 0.1:
            context.end_gaps(rng.randrange(100))
        kept = [
            fact_of(timestamp, site, kind)
            for kind, times in (
                (Kind.VECTOR_ENTRY, context.vector),
                (Kind.GAP, context.gaps),
                (Kind.SEEN, {**context.seen, OWN: clock}),
            )
            for site, timestamp in times.items()
        ]
        kept += [dot + bytes((Kind.DOT,)) for dot in context.dots]
        assert context.facts(clock) == sorted(kept, reverse=True)


# -- the disk ------------------------------------------------------------------------------------


def commit(context: CausalContext, disk: dict[bytes, bytes]) -> dict[bytes, bytes | None]:
    """What a commit changes on the disk: what inputs changed, and then what the checkpoint adds."""
    changes = [*context.take_changes(), *context.take_dots()]
    context.dots_came()
    written = {change.key: change.value for change in changes}
    for key, value in written.items():
        if value is None:
            disk.pop(key, None)
        else:
            disk[key] = value
    assert not context.has_changed
    assert not context.take_dots()
    return written


@given(st.lists(st.one_of(contents, versions), max_size=8), st.data())
def test_what_is_kept_on_disk_gives_the_same_context_back(
    steps: list[list[Fact] | Version], commits: st.DataObject
) -> None:
    context, disk = CausalContext(OWN), dict[bytes, bytes]()
    for step in steps:
        if isinstance(step, Version):
            context.add(step)
        else:
            context.join(step)
        if commits.draw(st.booleans()):
            commit(context, disk)
    commit(context, disk)
    context.wrote(77)
    fact = context.own_entry()
    assert fact.value is not None
    later = CausalContext(OWN + 1)
    later.restore({**disk, fact.key: fact.value, b"replica/clock": b"x"})
    assert later.vector.pop(OWN) == 77, "the earlier life is a past site now"
    context.seen.clear()
    assert state(later) == state(context)
    assert later.take_changes() == []


def test_dots_of_one_commit_share_a_key_on_the_disk_until_the_last_of_them_has_gone() -> None:
    context, disk = CausalContext(OWN), dict[bytes, bytes]()
    for timestamp in (5, 7, 9):
        context.add(Version(timestamp, 1))
    ((key, value),) = commit(context, disk).items()
    assert value == encoded(Version(7, 1)) + encoded(Version(9, 1))
    context.add(Version(8, 1))
    assert len(commit(context, disk)) == 1, "another commit, another key"
    context.join([fact_of(8, 1, Kind.VECTOR_ENTRY)])
    gone = commit(context, disk)
    assert key not in gone, "one of its dots is left"
    assert list(gone.values()).count(None) == 1, "the other key has none left"
    later = CausalContext(OWN + 1)
    later.restore(disk)
    assert list(later.dots) == [encoded(Version(9, 1))]
    for each in (context, later):
        each.join([fact_of(9, 1, Kind.VECTOR_ENTRY)])
        assert (key, None) in [(fact.key, fact.value) for fact in each.take_changes()]


def test_a_dot_that_has_come_and_gone_between_two_commits_costs_the_disk_nothing() -> None:
    context = CausalContext(OWN)
    context.add(Version(5, 1))
    context.join([fact_of(6, 1, Kind.VECTOR_ENTRY)])
    assert list(commit(context, {}).values()) == [(6).to_bytes(8, "big")]


def test_a_dot_that_comes_again_after_its_row_was_let_go_takes_no_others_off_the_disk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "VECTOR_MAX", 1)
    context, disk = CausalContext(OWN), dict[bytes, bytes]()
    for version in (Version(5, 1), Version(5, 2), Version(6, 2)):
        context.add(version)
    commit(context, disk)
    context.join([fact_of(5, 1, Kind.VECTOR_ENTRY)])
    context.join([fact_of(9, 3, Kind.VECTOR_ENTRY)])
    commit(context, disk)
    for version in (Version(5, 1), Version(7, 2)):
        context.add(version)
    commit(context, disk)
    later = CausalContext(OWN + 1)
    later.restore(disk)
    assert (
        later.dots.keys()
        == context.dots.keys()
        == {encoded(Version(*each)) for each in ((5, 1), (5, 2), (6, 2), (7, 2))}
    )
    context.join([fact_of(7, 2, Kind.VECTOR_ENTRY), fact_of(5, 1, Kind.VECTOR_ENTRY)])
    commit(context, disk)
    assert not [key for key in disk if key.startswith(DOTS)]


def test_after_its_data_is_lost_a_context_is_taken_off_the_disk() -> None:
    context = context_of([fact_of(5, 1, Kind.VECTOR_ENTRY), fact_of(9, 1, Kind.DOT)])
    saved = dict[bytes, bytes]()
    commit(context, saved)
    later = CausalContext(OWN + 1)
    later.drop({**saved, b"peer/x": b""})
    assert {(fact.key, fact.value) for fact in later.take_changes()} == {
        (key, None) for key in saved
    }


# -- what travels --------------------------------------------------------------------------------


def test_equal_contexts_cost_sixteen_bytes() -> None:
    facts = context_of([fact_of(5, 1, Kind.VECTOR_ENTRY), fact_of(9, 1, Kind.DOT)]).facts(10)
    assert len(summary(facts)) == 16
    assert difference(facts, summary(facts)) == b""


@given(contents, contents, st.integers(0, 14), st.integers(0, 14), st.integers(1, 40))
def test_both_sides_learn_what_they_lack(
    a: list[Fact], b: list[Fact], my_clock: int, their_clock: int, width: int
) -> None:
    before, context_difference.RANGE_FACTS_MIN = context_difference.RANGE_FACTS_MIN, width
    try:
        mine, theirs = context_of(a, site=98), context_of(b, site=97)
        my_facts, their_facts = mine.facts(my_clock), theirs.facts(their_clock)
        asked = summary(my_facts)
        answer = decode(difference(their_facts, asked))
        for_them = decode(encode(ContextDifference(0, lacking(my_facts, asked, answer)))).facts
    finally:
        context_difference.RANGE_FACTS_MIN = before
    mine.join(answer.facts)
    theirs.join(for_them)
    whole = context_of(a, site=0)
    whole.join(b)
    for side in (mine, theirs):
        assert covered(whole) <= covered(side)
        assert side.gaps == whole.gaps
        assert whole.seen.items() <= side.seen.items()
    assert (mine.seen[97], theirs.seen[98]) == (their_clock, my_clock)


def test_old_facts_that_both_have_are_not_sent_again() -> None:
    past = [fact_of(timestamp, 1000 + timestamp, Kind.VECTOR_ENTRY) for timestamp in range(8000)]
    mine, theirs = context_of(past), context_of([*past, fact_of(9000, 1, Kind.VECTOR_ENTRY)])
    asked = summary(mine.facts(9001))
    assert len(asked) <= 16 * 9
    answer = decode(difference(theirs.facts(9000), asked))
    assert fact_of(9000, 1, Kind.VECTOR_ENTRY) in answer.facts
    assert len(answer.facts) <= 2 * context_difference.RANGE_FACTS_MIN


@given(st.binary(max_size=200))
def test_any_bytes_give_facts_or_a_remote_error(data: bytes) -> None:
    reason = refused(lambda: decode(data))
    assert reason in ("", "bad_context")
    if not reason:
        answer = decode(data)
        assert encode(answer) == data or not data
        assert CausalContext(OWN).join(answer.facts) >= 0
    assert refused(lambda: difference(CausalContext(OWN).facts(5), data)) in ("", "bad_context")


def test_facts_that_are_too_many_or_of_a_kind_that_is_not_known_are_refused() -> None:
    assert refused(lambda: decode(bytes(FACTS_BYTES_MAX + 17))) == "bad_context"
    assert (
        refused(lambda: decode(encode(ContextDifference(1, [fact_of(1, 1, 4)])))) == "bad_context"
    )
