"""Each type against a ledger of what was written, and of what its writers had seen."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvgossip.errors import BadContextError, BadPartError, OtherTypeError, SiblingsError
from kvgossip.protocol.typed import add_wins_set, counter, extremum, field_map, siblings
from kvgossip.protocol.typed.context_token import parse_token, token_of
from kvgossip.protocol.typed.forms import json_of, value_of
from kvgossip.protocol.typed.siblings import SIBLINGS_MAX, siblings_of
from kvgossip.protocol.typed.typed_record import (
    TypedRecord,
    context_of,
    delete,
    empty,
    join,
    prune,
)
from tests.protocol.typed.records import SITES, dot, pair

seeds = st.integers(0, 2**32)


class Wrote(NamedTuple):
    """One line of the ledger: what was done, where, and what of the ledger its writer had seen."""

    what: str
    word: str
    amount: int
    node: int
    known: frozenset[int]


Act = Callable[[TypedRecord, bytes, Random], tuple[TypedRecord, str, str, int]]


def run(type_: str, act: Act, rng: Random) -> tuple[TypedRecord, list[Wrote]]:
    """Three nodes write and meet by chance; what all of them come to, and the ledger."""
    nodes, known = [empty(type_)] * 3, [frozenset[int]()] * 3
    ledger: list[Wrote] = []
    for clock in range(1, rng.randint(4, 24)):
        at, other = rng.randrange(3), rng.randrange(3)
        if rng.random() < 0.6:
            nodes[at], what, word, amount = act(nodes[at], dot(clock, SITES[at]), rng)
            ledger.append(Wrote(what, word, amount, at, known[at]))
            known[at] |= {len(ledger) - 1}
        else:
            nodes[at], known[at] = join(nodes[at], nodes[other]), known[at] | known[other]
    return join(join(nodes[0], nodes[1]), nodes[2]), ledger


def left(
    ledger: list[Wrote], kinds: str, supersedes: Callable[[Wrote, Wrote], bool]
) -> list[Wrote]:
    """The writes of these kinds that no later one has seen that supersedes them."""
    return [
        wrote
        for number, wrote in enumerate(ledger)
        if wrote.what in kinds
        and not any(number in by.known and supersedes(by, wrote) for by in ledger)
    ]


# -- siblings ------------------------------------------------------------------------------------


@given(seeds)
def test_the_siblings_are_the_values_that_no_write_had_seen(seed: int) -> None:
    def act(record: TypedRecord, at: bytes, rng: Random) -> tuple[TypedRecord, str, str, int]:
        if rng.random() < 0.2:
            return delete(record, at), "d", "", 0
        context = context_of(record) if rng.random() < 0.5 else None
        value = f"{at.hex()}"
        new = siblings.put(record, at, value.encode(), context=context)
        return new, "b" if context is None else "p", value, 0

    record, ledger = run("siblings", act, Random(seed))
    expected = left(ledger, "pb", lambda by, wrote: by.what != "b")
    assert [s.value.decode() for s in siblings_of(record)] == sorted(
        (wrote.word for wrote in expected), reverse=True
    )


def test_two_clients_that_write_in_turns_leave_two_siblings() -> None:
    """Each with the context of the answer to its own last write: Almeida's script."""
    record, contexts = empty("siblings"), [dict[bytes, bytes]()] * 2
    for turn in range(100):
        record = siblings.put(record, dot(turn + 1, 1), b"%d" % turn, context=contexts[turn % 2])
        contexts[turn % 2] = context_of(record)
    assert [sibling.value for sibling in siblings_of(record)] == [b"99", b"98"]


def test_equal_values_are_one_sibling_to_readers_and_a_blind_write_takes_their_place() -> None:
    one = siblings.put(empty("siblings"), dot(1, 1), b"x", "text/plain")
    other = siblings.put(empty("siblings"), dot(2, 2), b"x", "text/plain")
    both = join(one, other)
    assert len(both.live) == 2
    shown = siblings_of(both)
    assert [(each.value, each.version.timestamp) for each in shown] == [(b"x", 2)]
    assert len(siblings.put(both, dot(3, 3), b"x", "text/plain").live) == 1
    assert len(siblings_of(siblings.put(both, dot(3, 3), b"x"))) == 2, "no content type"
    assert siblings_of(delete(both, dot(3, 3), pair(1, 1)))[0].version.site == 2


def test_one_sibling_too_many_is_refused_but_not_a_write_that_has_seen_them() -> None:
    record = empty("siblings")
    for clock in range(1, SIBLINGS_MAX + 1):
        record = siblings.put(record, dot(clock, 1), b"%d" % clock)
    with pytest.raises(SiblingsError, match="32 siblings") as caught:
        siblings.put(record, dot(99, 1), b"new")
    assert "KV-Context" in caught.value.hint
    assert len(siblings_of(siblings.put(record, dot(99, 1), b"7"))) == SIBLINGS_MAX
    resolved = siblings.put(record, dot(99, 1), b"new", context=context_of(record))
    assert [sibling.value for sibling in siblings_of(resolved)] == [b"new"]


def test_each_sibling_expires_by_itself_and_the_next_blind_write_takes_it_along() -> None:
    record = siblings.put(empty("siblings"), dot(1, 1), b"x", expires_ms=50)
    record = siblings.put(record, dot(2, 1), b"y", expires_ms=70, flags=5)
    assert siblings.expires_ms(record.values) == 70
    assert [(s.value, s.flags, s.expires_ms) for s in siblings_of(record, 50)] == [(b"y", 5, 70)]
    assert siblings_of(record, 70) == []
    assert siblings.expires_ms(siblings.put(record, dot(3, 1), b"z").values) is None
    assert len(siblings.put(record, dot(3, 1), b"z", wall_ms=50).live) == 2


# -- counters ------------------------------------------------------------------------------------


def _add(record: TypedRecord, at: bytes, rng: Random) -> tuple[TypedRecord, str, str, int]:
    amount = rng.randint(-9, 9)
    return counter.add(record, at, amount), "+", "", amount


@given(seeds)
def test_a_counter_counts_each_increment_once(seed: int) -> None:
    record, ledger = run("counter", _add, Random(seed))
    assert value_of(record) == (sum(wrote.amount for wrote in ledger) if ledger else None)


@given(seeds)
def test_a_delete_takes_the_subtotals_that_it_has_seen_as_they_are(seed: int) -> None:
    def act(record: TypedRecord, at: bytes, rng: Random) -> tuple[TypedRecord, str, str, int]:
        if rng.random() < 0.25:
            return delete(record, at), "d", "", 0
        return _add(record, at, rng)

    record, ledger = run("counter", act, Random(seed))
    expected: int | None = None
    for node in range(3):
        subtotal, newest = 0, None
        for number, wrote in enumerate(ledger):
            if wrote.what != "+" or wrote.node != node:
                continue
            fresh = newest is None or any(
                ledger[by].what == "d" and newest in ledger[by].known for by in wrote.known
            )
            subtotal = wrote.amount + (0 if fresh else subtotal)
            newest = number
        if newest is not None and not any(w.what == "d" and newest in w.known for w in ledger):
            expected = (expected or 0) + subtotal
    assert value_of(record) == expected


@given(seeds)
def test_a_later_life_takes_over_what_its_former_lives_have_counted(seed: int) -> None:
    """Of each life only the last subtotal is under way when it is proved."""
    rng = Random(seed)
    others, total = empty("counter"), 0
    own = counter.add(empty("counter"), dot(1, 9), 7)
    for clock in range(2, 20):
        life = clock // 6
        former = [v[:16] for v in own.live if int.from_bytes(v[8:16], "big") < 10 + life]
        amount = rng.randint(-9, 9)
        total += amount
        own = counter.add(own, dot(clock, 10 + life), amount, former)
        if rng.random() < 0.5:
            others = join(others, own)
    assert len(own.live) == 1
    assert value_of(join(others, own)) == value_of(own) == total + 7


def test_who_takes_over_what_is_not_proved_counts_it_twice() -> None:
    """Why it waits for the proof: the former life had written more, which is still under way."""
    first = counter.add(empty("counter"), dot(1, 1), 7)
    second = counter.add(first, dot(2, 1), 1)
    assert value_of(join(counter.add(first, dot(3, 2), 0, [dot(1, 1)]), second)) == 15
    assert value_of(join(counter.add(second, dot(3, 2), 0, [dot(2, 1)]), second)) == 8


def test_a_subtotal_of_more_than_64_bits_is_refused() -> None:
    record = counter.add(empty("counter"), dot(1, 1), 2**63 - 1)
    with pytest.raises(BadPartError, match="64 bits"):
        counter.add(record, dot(2, 1), 1)
    both = join(record, counter.add(empty("counter"), dot(2, 2), 2**63 - 1))
    assert value_of(both) == 2**64 - 2


# -- sets ----------------------------------------------------------------------------------------


@given(seeds)
def test_an_element_is_there_while_an_add_of_it_is_left_that_no_remove_has_seen(seed: int) -> None:
    def act(record: TypedRecord, at: bytes, rng: Random) -> tuple[TypedRecord, str, str, int]:
        word, roll = rng.choice("ab"), rng.random()
        if roll < 0.1:
            return delete(record, at), "d", "", 0
        if roll < 0.4:
            return add_wins_set.remove(record, at, [word]), "-", word, 0
        return add_wins_set.add(record, at, [word, "z"] if roll > 0.8 else [word]), "+", word, 0

    record, ledger = run("set", act, Random(seed))
    present = left(
        ledger, "+", lambda by, wrote: by.what == "d" or (by.what == "-" and by.word == wrote.word)
    )
    elements = add_wins_set.elements_of(record)
    assert {element for element in elements if element != "z"} == {wrote.word for wrote in present}


def test_an_add_wins_over_a_remove_that_has_not_seen_it() -> None:
    one = add_wins_set.add(empty("set"), dot(1, 1), ["x", "y"])
    removed = add_wins_set.remove(one, dot(2, 2), ["x", "q"])
    again = add_wins_set.add(one, dot(2, 1), ["x"])
    assert json_of(removed) == ["y"]
    assert json_of(join(removed, again)) == ["x", "y"]
    assert add_wins_set.remove(one, dot(2, 2), ["q"]) is one
    assert add_wins_set.remove(removed, dot(3, 1), ["y"]).deleted


@pytest.mark.parametrize("elements", ["x", [], [""], ["x" * 1025], ["\ud800"], [7]])
def test_what_is_no_list_of_elements_is_refused(elements: list[str]) -> None:
    with pytest.raises(BadPartError):
        add_wins_set.add(empty("set"), dot(1, 1), elements)


# -- numbers -------------------------------------------------------------------------------------


@given(seeds, st.sampled_from(["max", "min"]))
def test_the_extremum_is_that_of_all_numbers_that_no_delete_has_seen(seed: int, type_: str) -> None:
    def act(record: TypedRecord, at: bytes, rng: Random) -> tuple[TypedRecord, str, str, int]:
        if rng.random() < 0.2:
            return delete(record, at), "d", "", 0
        number = rng.randint(-9, 9)
        new = extremum.put(record, at, number)
        return new, "0" if new is record else "+", "", number

    record, ledger = run(type_, act, Random(seed))
    numbers = [wrote.amount for wrote in left(ledger, "+", lambda by, _: by.what != "0")]
    assert value_of(record) == (max if type_ == "max" else min)(numbers, default=None)


def test_a_number_that_changes_nothing_is_no_write() -> None:
    record = extremum.put(empty("max"), dot(1, 1), 5)
    assert extremum.put(record, dot(2, 1), 5) is record
    assert extremum.put(record, dot(2, 1), 4.9) is record
    assert value_of(extremum.put(record, dot(2, 1), 5.5)) == 5.5
    assert value_of(extremum.put(extremum.put(empty("min"), dot(1, 1), 5), dot(2, 1), -1)) == -1


@pytest.mark.parametrize("number", [float("nan"), float("inf"), 2**64, -(2**63) - 1, True, "7"])
def test_what_is_no_number_of_all_nodes_is_refused(number: float) -> None:
    with pytest.raises(BadPartError, match="no number"):
        extremum.put(empty("max"), dot(1, 1), number)


# -- maps ----------------------------------------------------------------------------------------


def test_a_map_has_registers_counters_and_sets() -> None:
    record = field_map.set_field(empty("map"), dot(1, 1), "name", "x")
    record = field_map.add_to_counter(record, dot(2, 1), "hits", 3)
    record = field_map.add_to_counter(record, dot(3, 2), "hits", 4)
    record = field_map.add_elements(record, dot(4, 1), "tags", ["b", "a"])
    record = field_map.remove_elements(record, dot(5, 1), "tags", ["b"])
    assert value_of(record) == {"hits": 7, "name": "x", "tags": frozenset({"a"})}
    assert json_of(record) == {"hits": 7, "name": "x", "tags": ["a"]}
    record = field_map.remove_field(record, dot(6, 1), "hits")
    assert json_of(field_map.set_field(record, dot(7, 1), "name", None)) == {
        "name": None, "tags": ["a"],
    }  # fmt: skip
    assert field_map.remove_field(record, dot(7, 1), "none") is record


@given(seeds)
def test_a_field_shows_the_newest_write_and_a_removal_takes_what_it_has_seen(seed: int) -> None:
    def act(record: TypedRecord, at: bytes, rng: Random) -> tuple[TypedRecord, str, str, int]:
        field = rng.choice("ab")
        if rng.random() < 0.3:
            return field_map.remove_field(record, at, field), "-", field, 0
        number = int.from_bytes(at[:8], "big")
        return field_map.set_field(record, at, field, number), "+", field, number

    record, ledger = run("map", act, Random(seed))
    present = left(ledger, "+", lambda by, wrote: by.word == wrote.word)
    expected = {field: [w.amount for w in present if w.word == field] for field in "ab"}
    assert (value_of(record) or {}) == {f: max(found) for f, found in expected.items() if found}


def test_an_increment_lives_where_its_field_was_removed_meanwhile() -> None:
    one = field_map.add_to_counter(empty("map"), dot(1, 1), "n", 5)
    removed = field_map.remove_field(one, dot(2, 2), "n")
    added = field_map.add_to_counter(one, dot(2, 1), "n", 1)
    assert removed.deleted
    assert json_of(join(removed, added)) == {"n": 6}
    elsewhere = field_map.add_to_counter(one, dot(2, 3), "n", 1)
    assert json_of(join(removed, elsewhere)) == {"n": 1}


def test_a_field_of_another_kind_is_refused_and_of_two_kinds_the_newer_is_shown() -> None:
    register = field_map.set_field(empty("map"), dot(1, 1), "f", "x")
    with pytest.raises(OtherTypeError, match="is a register, and no counter"):
        field_map.add_to_counter(register, dot(2, 1), "f", 1)
    with pytest.raises(OtherTypeError):
        field_map.remove_elements(register, dot(2, 1), "f", ["x"])
    counted = field_map.add_to_counter(empty("map"), dot(2, 2), "f", 1)
    both = join(register, counted)
    assert json_of(both) == {"f": 1}
    assert len(field_map.add_to_counter(both, dot(3, 1), "f", 1).live) == 2
    assert json_of(field_map.set_field(both, dot(3, 1), "f", "y")) == {"f": "y"}


@pytest.mark.parametrize(
    "act",
    [
        lambda record, at: field_map.set_field(record, at, "", 1),
        lambda record, at: field_map.set_field(record, at, "f", float("nan")),
        lambda record, at: field_map.set_field(record, at, "f", [1]),  # type: ignore[arg-type]
        lambda record, at: field_map.set_field(record, at, "f", "\ud800"),
        lambda record, at: field_map.add_to_counter(record, at, "f", 2**63),
        lambda record, at: field_map.add_elements(record, at, "f", "text"),
        lambda record, at: field_map.add_elements(record, at, "f", []),
        lambda record, at: field_map.remove_field(record, at, ""),
    ],
)
def test_what_no_field_may_be_is_refused(act: Callable[[TypedRecord, bytes], TypedRecord]) -> None:
    with pytest.raises(BadPartError):
        act(empty("map"), dot(1, 1))


# -- contexts ------------------------------------------------------------------------------------


def test_a_context_goes_to_a_client_and_comes_back_as_it_was() -> None:
    record = siblings.put(empty("siblings"), dot(1, 1), b"x")
    record = join(delete(record, dot(2, 2)), siblings.put(record, dot(3, 1), b"y"))
    token = token_of("k", record)
    assert token == "kwHECKkh43BP2ogdxCAAAAAAAAAAAQAAAAAAAAADAAAAAAAAAAIAAAAAAAAAAg"
    assert parse_token(token, "k") == context_of(record)
    assert parse_token(token_of("k", empty("set")), "k") == {}
    pruned, _ = prune(record, lambda at: True)
    assert pruned is not None
    assert parse_token(token_of("k", pruned), "k") == pair(3, 1)


@given(st.text("kwHECKh43BP2ogdxAQ=-_/+é ", max_size=80))
def test_what_is_no_context_is_refused_in_words(text: str) -> None:
    with pytest.raises(BadContextError) as caught:
        parse_token(text, "k")
    assert caught.value.hint


def test_a_context_of_another_key_or_of_a_later_format_is_refused_in_words() -> None:
    record = siblings.put(empty("siblings"), dot(1, 1), b"x")
    with pytest.raises(BadContextError, match="another key"):
        parse_token(token_of("other", record), "k")
    with pytest.raises(BadContextError, match="format 2"):
        parse_token("kwLECKkh43BP2ogdxAA", "k")
    with pytest.raises(BadContextError, match="no context"):
        parse_token("kwHECKkh43BP2ogdxAEA", "k")
