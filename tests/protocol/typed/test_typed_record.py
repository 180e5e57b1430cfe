"""The join and its laws, what writes supersede, refusing dot by dot, and pruning by proof."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvgossip.errors import BadContextError, ValueTooLargeError
from kvgossip.protocol.model.ordered_set import OrderedSet
from kvgossip.protocol.typed import add_wins_set, siblings
from kvgossip.protocol.typed.body import encode, fingerprinted
from kvgossip.protocol.typed.forms import value_of
from kvgossip.protocol.typed.siblings import siblings_of
from kvgossip.protocol.typed.typed_record import (
    VALUES_BYTES_MAX,
    TypedRecord,
    context_of,
    covers,
    delete,
    empty,
    join,
    prune,
    without,
    write,
)
from tests.protocol.typed.records import TYPES, any_record, dot, pair, reached, written

types, seeds = st.sampled_from(TYPES), st.integers(0, 2**32)

Join = Callable[[TypedRecord, TypedRecord], TypedRecord]


def broken_laws(merge: Join, a: TypedRecord, b: TypedRecord, c: TypedRecord) -> list[str]:
    """The laws of a join that these three records show to be broken."""
    both = merge(a, b)
    laws = {
        "commutative": both == merge(b, a),
        "associative": merge(both, c) == merge(a, merge(b, c)),
        "idempotent": merge(a, a) == a,
        "monotone": merge(a, both) == both == merge(both, b),
        "newest": both.version == max(a.version, b.version),
        "sorted": list(both.values) == sorted(both.values),
        "superseded": not any(
            value in a.values and value not in b.values and covers(b.seen, value)
            for value in both.values
        ),
        "kept": all(
            value in both.values
            for value in a.values
            if value in b.values or not covers(b.seen, value)
        ),
    }
    return [law for law, holds in laws.items() if not holds]


# -- the join ------------------------------------------------------------------------------------


@given(types, seeds)
def test_a_join_is_commutative_associative_idempotent_and_monotone_over_any_records(
    type_: str, seed: int
) -> None:
    rng = Random(seed)
    a, b, c = (any_record(type_, rng) for _ in range(3))
    assert broken_laws(join, a, b, c) == []


@given(types, seeds)
def test_a_join_keeps_its_laws_over_what_writes_and_joins_lead_to(type_: str, seed: int) -> None:
    a, b, c = reached(type_, Random(seed))
    assert broken_laws(join, a, b, c) == []
    assert not any(value[:16] > a.version for value in a.values)


@given(types, seeds)
def test_a_write_is_above_what_it_was_made_of_so_that_no_join_takes_it_back(
    type_: str, seed: int
) -> None:
    rng = Random(seed)
    for record in reached(type_, rng):
        after = written(record, dot(100, 1), rng)
        assert join(record, after) == join(after, record) == after


def _newest_only(a: TypedRecord, b: TypedRecord) -> TypedRecord:
    return max(a, b, key=lambda record: (record.version, sorted(record.values)))


def _union(a: TypedRecord, b: TypedRecord) -> TypedRecord:
    both = join(a, b)
    return both._replace(values=OrderedSet(sorted([*a.values, *b.values])))


def _one_sided(a: TypedRecord, b: TypedRecord) -> TypedRecord:
    """Forgets to ask what the first one had seen."""
    both = join(a, b)
    came = [value for value in b.values if value not in both.values]
    return both._replace(values=OrderedSet(sorted([*both.values, *came])))


def _of_one_length(a: TypedRecord, b: TypedRecord) -> TypedRecord:
    """Keeps the newest two values, so that a record does not grow."""
    both = join(a, b)
    return both._replace(values=OrderedSet(list(both.values)[-2:]))


def _collapsing(a: TypedRecord, b: TypedRecord) -> TypedRecord:
    """Keeps one of equal payloads, the newest."""
    both = join(a, b)
    newest = {value[16:]: value for value in both.values}
    return both._replace(values=OrderedSet(sorted(newest.values())))


def _forgetful(a: TypedRecord, b: TypedRecord) -> TypedRecord:
    return join(a, b)._replace(seen=a.seen)


def _small_records() -> list[TypedRecord]:
    payload = siblings.put(empty("siblings"), dot(1, 1), b"x").live[0][16:]
    values = [dot(1, 1) + payload, dot(1, 2) + payload, dot(2, 1) + payload]
    return [
        TypedRecord("siblings", dot(3, 1), OrderedSet(values[each] for each in some), seen)
        for some in ([0], [1], [2], [0, 1], [1, 2], [0, 1, 2])
        for seen in ({}, pair(1, 1), pair(2, 1), pair(1, 2))
    ]


@pytest.mark.parametrize(
    ("mistake", "law"),
    [
        (_newest_only, "kept"),
        (_union, "superseded"),
        (_one_sided, "commutative"),
        (_of_one_length, "associative"),
        (_collapsing, "associative"),
        (_forgetful, "commutative"),
    ],
)
def test_a_mistake_in_a_join_is_found(mistake: Join, law: str) -> None:
    rng, records = Random(1), _small_records()
    assert any(law in broken_laws(mistake, *rng.sample(records, 3)) for _ in range(2000))


def test_records_of_two_types_have_no_join() -> None:
    with pytest.raises(ValueError, match="have no join"):
        join(empty("counter"), empty("set"))


# -- writes --------------------------------------------------------------------------------------


def test_a_write_is_later_than_what_it_writes_to() -> None:
    record = siblings.put(empty("siblings"), dot(5, 1), b"x")
    with pytest.raises(ValueError, match="later"):
        delete(record, dot(5, 1))


def test_a_context_that_has_seen_the_future_is_refused_so_that_it_cannot_supersede_it() -> None:
    record = siblings.put(empty("siblings"), dot(5, 1), b"x")
    for seen in (pair(9, 2), pair(6, 1)):
        with pytest.raises(BadContextError):
            delete(record, dot(6, 1), seen)
    assert delete(record, dot(6, 1), pair(5, 2)).live == record.live


def test_a_delete_takes_what_its_context_has_seen_and_the_rest_lives() -> None:
    one = siblings.put(empty("siblings"), dot(1, 1), b"x")
    both = join(one, siblings.put(empty("siblings"), dot(2, 2), b"y"))
    deleted = delete(both, dot(3, 3), context_of(one))
    assert [sibling.value for sibling in siblings_of(deleted)] == [b"y"]
    assert delete(both, dot(3, 3)).deleted
    assert [s.value for s in siblings_of(join(delete(one, dot(3, 3)), both))] == [b"y"]


def test_what_a_context_has_seen_elsewhere_does_not_come_back_when_it_arrives_later() -> None:
    unheard = siblings.put(empty("siblings"), dot(1, 1), b"x")
    written = siblings.put(empty("siblings"), dot(2, 2), b"y", context=context_of(unheard))
    assert [sibling.value for sibling in siblings_of(join(written, unheard))] == [b"y"]


def test_a_write_that_makes_a_record_too_long_is_refused_and_one_that_shortens_it_is_not() -> None:
    half = b"x" * (VALUES_BYTES_MAX * 2 // 3)
    one = siblings.put(empty("siblings"), dot(1, 1), half)
    with pytest.raises(ValueTooLargeError, match="would have 87"):
        siblings.put(one, dot(2, 1), half + b"y")
    other = siblings.put(empty("siblings"), dot(2, 2), half + b"y")
    both = join(one, other)
    assert len(both.live) == 2
    assert len(delete(both, dot(3, 1), context_of(one)).live) == 1


# -- refusing what was here ------------------------------------------------------------------------


def test_of_an_offered_record_only_what_was_here_and_is_gone_is_refused() -> None:
    offered = empty("set")
    for at, element in enumerate("abc", 1):
        offered = add_wins_set.add(offered, dot(at, 1), [element])
    mine = add_wins_set.remove(add_wins_set.add(empty("set"), dot(2, 1), ["b"]), dot(4, 2), ["b"])
    held = mine._replace(values=OrderedSet([*mine.values, *list(offered.values)[2:]]))
    covered = [dot(1, 1), dot(2, 1), dot(3, 1)]
    kept, refused = without(offered, held, lambda at: at in covered)
    assert [value[:16] for value in refused] == [dot(1, 1), dot(2, 1)]
    assert add_wins_set.elements_of(kept) == {"c"}
    assert kept.version == offered.version
    assert without(offered, None, lambda at: at in covered[:1])[0].live == offered.live[1:]
    assert without(offered, None, lambda at: False) == (offered, [])


@given(types, seeds)
def test_what_is_refused_is_never_what_the_store_holds(type_: str, seed: int) -> None:
    rng = Random(seed)
    mine, offered = any_record(type_, rng), any_record(type_, rng)
    kept, refused = without(offered, mine, lambda at: True)
    assert not any(value in mine.values for value in refused)
    assert set(join(mine, kept).values) <= set(mine.values)


# -- pruning -------------------------------------------------------------------------------------


@given(types, seeds)
def test_after_all_have_met_pruning_changes_nothing_that_is_seen_or_fingerprinted(
    type_: str, seed: int
) -> None:
    """All hold the same record, and each prunes some pairs: what they show stays, whoever meets."""
    a, b, c = reached(type_, Random(seed))
    met = join(join(a, b), c)
    some = Random(seed).sample(sorted(met.seen), len(met.seen) // 2)
    pruned, gone = prune(met, lambda at: at[8:] in some and at[:8] == met.seen[at[8:]])
    assert pruned is not None
    assert value_of(pruned) == value_of(met)
    assert pruned.version == met.version
    if not gone:
        assert fingerprinted(encode(pruned)) == fingerprinted(encode(met))
        assert join(pruned, met) == met


@given(types, seeds)
def test_once_all_is_proved_no_pair_and_no_delete_is_left(type_: str, seed: int) -> None:
    a, b, c = reached(type_, Random(seed))
    met = join(join(a, b), c)
    pruned, gone = prune(met, lambda at: True)
    deletes = [value for value in met.values if len(value) == 16]
    assert gone == deletes
    assert (pruned is None) is met.deleted
    if pruned is not None:
        assert pruned.seen == {}
        assert list(pruned.values) == met.live


def test_a_delete_stays_while_a_pair_is_left_since_it_may_be_what_others_lack() -> None:
    record = delete(siblings.put(empty("siblings"), dot(1, 1), b"x"), dot(2, 2))
    kept, gone = prune(record, lambda at: at == dot(2, 2))
    assert (kept, gone) == (record, [])
    kept, gone = prune(record, lambda at: at == dot(1, 1))
    assert kept == record._replace(seen={})
    assert gone == []


def test_a_copy_that_comes_back_after_pruning_is_refused_by_its_dots() -> None:
    old = siblings.put(empty("siblings"), dot(1, 1), b"old")
    new = siblings.put(old, dot(2, 2), b"new", context=context_of(old))
    pruned, _ = prune(new, lambda at: True)
    assert pruned is not None
    assert len(join(pruned, old).live) == 2  # why it is refused first
    kept, refused = without(old, pruned, lambda at: at == dot(1, 1))
    assert refused == list(old.values)
    assert [sibling.value for sibling in siblings_of(join(pruned, kept))] == [b"new"]


def test_nothing_can_be_written_of_what_was_not_there() -> None:
    written = write(empty("set"), dot(1, 1), [b""], [])
    assert written.deleted
    assert value_of(written) is None
