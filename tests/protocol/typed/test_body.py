"""The bytes of typed records: one content, one form; and hostile bytes."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvgossip.errors import RemoteError
from kvgossip.protocol.model.entry import (
    META_BYTES_MAX,
    Version,
    check_record,
    expires_in,
    fields_in,
    is_dead,
    make_record,
    make_typed_record,
    parent_in,
    value_offset,
    version_of,
)
from kvgossip.protocol.model.ordered_set import OrderedSet
from kvgossip.protocol.typed import add_wins_set, counter, siblings
from kvgossip.protocol.typed.body import (
    DELETES_MAX,
    PAIRS_MAX,
    decode,
    encode,
    fingerprinted,
    merged,
    parse,
    type_in,
)
from kvgossip.protocol.typed.typed_record import TypedRecord, delete, dot_of, empty, join
from tests.protocol.typed.records import TYPES, any_record, dot, pack, pair, reached

types, seeds = st.sampled_from(TYPES), st.integers(0, 2**32)


def test_the_bytes_of_a_record_are_these() -> None:
    record = add_wins_set.add(empty("set"), dot(0x0102, 0xA), ["é"])
    record = add_wins_set.add(record, dot(0x0103, 0xB), ["é", "z"])
    assert encode(record).hex() == (
        "1a" + "0000000000000103" + "000000000000000b"  # typed, with meta; the version
        "001d" + "82"
        "a179" + "9201a3736574"  # y: [1, "set"]
        "a173" + "c410" + "000000000000000a" + "0000000000000102"  # s: a site, and its time
        + "92"
        + "c412" + "0000000000000103" + "000000000000000b" + "a17a"
        + "c413" + "0000000000000103" + "000000000000000b" + "a2c3a9"
    )  # fmt: skip
    assert encode(delete(record, dot(0x0104, 0xB))).hex() == (
        "1b" + "0000000000000104" + "000000000000000b"  # and a tombstone, without a value
        "0041" + "83"
        "a179" + "9201a3736574"
        "a164" + "c410" + "0000000000000104" + "000000000000000b"  # d: its dot
        "a173" + "c420" + "000000000000000a" + "0000000000000102"
        + "000000000000000b" + "0000000000000103"
    )  # fmt: skip


@given(types, seeds)
def test_any_record_is_read_as_it_was_written_and_has_one_form(type_: str, seed: int) -> None:
    record = any_record(type_, Random(seed))
    data = encode(record)
    assert parse(data) == decode(data) == record
    assert encode(parse(data)) == data
    assert (type_in(data), is_dead(data)) == (type_, record.deleted)
    shuffled = Random(seed).sample(sorted(record.seen), len(record.seen))
    again = record._replace(seen={site: record.seen[site] for site in shuffled})
    assert encode(again) == data


@given(types, seeds)
def test_what_merges_of_bytes_come_to_is_the_join_and_what_peers_take(
    type_: str, seed: int
) -> None:
    a, b, c = reached(type_, Random(seed))
    both = merged(encode(a), encode(b))
    assert both is not None
    assert parse(both) == join(a, b)
    assert both == merged(encode(b), encode(a))
    assert merged(both, encode(c)) == merged(encode(a), merged(encode(b), encode(c)) or b"")
    assert merged(both, encode(a)) == both


def test_records_of_two_types_or_of_one_that_is_unknown_are_not_merged() -> None:
    one = encode(counter.add(empty("counter"), dot(1, 1), 1))
    other = encode(add_wins_set.add(empty("set"), dot(2, 1), ["x"]))
    plain = make_record(Version(3, 1), b"v")
    later = one.replace(pack([1, "counter"]), pack([2, "counter"]))
    foreign = one.replace(b"counter", b"lottery")
    for offered in (other, plain, later, foreign):
        assert merged(one, offered) is None
        assert merged(offered, one) is None
        assert merged(offered, offered) == (offered if offered is other else None)
    assert merged(one, one) is one
    for unknown in (plain, later, foreign):
        assert type_in(unknown) is None


# -- as any other record -------------------------------------------------------------------------


@given(types, seeds)
def test_a_node_that_knows_no_types_reads_version_tombstone_and_expiry(
    type_: str, seed: int
) -> None:
    record = any_record(type_, Random(seed))
    data = encode(record)
    untyped = bytes((data[0] & ~0b1000,)) + data[1:]
    for each in (data, untyped):
        check_record(each)
        assert dot_of(version_of(each)) == record.version
        assert is_dead(each) is record.deleted
        assert is_dead(each) is (value_offset(each) == len(each))
        expires = [siblings.expires_ms([value]) for value in record.live if type_ == "siblings"]
        ends = [each for each in expires if each is not None]
        last = max(ends) if ends and len(ends) == len(expires) else None
        assert expires_in(each) == last


def test_a_tombstone_of_two_hundred_lives_fits_into_the_meta_that_old_nodes_take() -> None:
    seen = {site.to_bytes(8, "big"): dot(1, 1)[:8] for site in range(200)}
    record = TypedRecord("siblings", dot(3, 1), OrderedSet([dot(3, 1)]), seen)
    assert value_offset(encode(record)) - 19 <= META_BYTES_MAX


def test_fields_that_this_node_does_not_know_stay_and_the_newer_record_has_its_own() -> None:
    one = siblings.put(empty("siblings"), dot(1, 1), b"x")._replace(others=pack({"q": [1, "z"]}))
    other = siblings.put(empty("siblings"), dot(2, 2), b"y")._replace(
        others=pack({"p": b"12345678901"})
    )
    assert fields_in(encode(one))["q"] == [1, "z"]
    both = merged(encode(one), encode(other))
    assert both is not None
    assert parent_in(both) == b"12345678901"
    assert "q" not in fields_in(both)


@given(types, seeds)
def test_a_fingerprint_is_over_all_but_what_was_seen(type_: str, seed: int) -> None:
    record = any_record(type_, Random(seed))
    data = fingerprinted(encode(record))
    assert fingerprinted(encode(record._replace(seen=pair(2, 3)))) == data
    others = [
        record._replace(version=dot(9, 9)),
        record._replace(others=pack({"new": 1})),
        record._replace(values=OrderedSet(sorted([*record.values, dot(1, 7)]))),
    ]
    assert not any(fingerprinted(encode(other)) == data for other in others)


# -- hostile bytes -------------------------------------------------------------------------------


def accepted(data: bytes) -> bool:
    """Whatever the bytes are, they are a record in its one form, or they are refused."""
    try:
        record = parse(data)
    except RemoteError as error:
        reason = error.reason
    else:
        assert encode(record) == data
        return True
    assert reason == "bad_record"
    return False


@given(types, seeds)
def test_a_fingerprint_is_that_of_the_record_once_what_was_seen_is_pruned(
    type_: str, seed: int
) -> None:
    record = any_record(type_, Random(seed))
    assert fingerprinted(encode(record)) == encode(record._replace(seen={}))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_record_or_are_refused(data: bytes) -> None:
    accepted(data)
    accepted(b"\x1a" + data)


@given(types, seeds)
def test_bytes_that_were_tampered_with_are_a_record_or_are_refused(type_: str, seed: int) -> None:
    rng = Random(seed)
    data = bytearray(encode(any_record(type_, rng)))
    assert accepted(bytes(data))
    for _ in range(8):
        at = rng.randrange(len(data))
        match rng.randrange(3):
            case 0:
                data[at] = rng.randrange(256)
            case 1:
                del data[at]
            case _:
                data.insert(at, rng.randrange(256))
        accepted(bytes(data))


X, Y = dot(1, 1) + pack("x"), dot(1, 1) + pack("y")


def made(
    values: list[bytes] | bytes = [X],  # noqa: B006
    *,
    type_: str = "set",
    seen: Any = b"",
    deletes: bytes = b"",
    version: bytes = dot(2, 1),
    first: dict[str, Any] | None = None,
    deleted: bool = False,
) -> bytes:
    fields = {**(first or {}), "y": [1, type_], **({"d": deletes} if deletes else {}), "s": seen}
    value = values if isinstance(values, bytes) else pack(values)
    return make_typed_record(version, fields, value, deleted=deleted)


SITE, TIME = dot(1, 1)[8:], dot(1, 1)[:8]

HOSTILE: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "plain": lambda: make_record(Version(1, 1), b"v"),
    "no type": lambda: make_typed_record(dot(2, 1), {"s": b""}, pack([X]), deleted=False),
    "no seen": lambda: make_typed_record(dot(2, 1), {"y": [1, "set"]}, pack([X]), deleted=False),
    "unknown type": lambda: made(type_="list"),
    "type true": lambda: made().replace(pack([1, "set"]), pack([True, "set"])),
    "unsorted": lambda: made([Y, X]),
    "twice": lambda: made([X, X]),
    "no values": lambda: made([]),
    "empty value": lambda: made(b""),
    "dead with values": lambda: made(deleted=True),
    "a value without a dot": lambda: made([b"x"]),
    "a delete among the values": lambda: made([dot(1, 1)]),
    "half a delete": lambda: made(deletes=b"12345678"),
    "deletes unsorted": lambda: made(deletes=dot(2, 1) + dot(1, 2)),
    "a dot after the version": lambda: made([dot(2, 2) + pack("x")]),
    "a delete after the version": lambda: made(deletes=dot(3, 1)),
    "half a pair": lambda: made(seen=SITE),
    "pairs unsorted": lambda: made(seen=dot(2, 0) + dot(1, 0)),
    "a site twice": lambda: made(seen=SITE + TIME + SITE + TIME),
    "seen up to the version": lambda: made(seen=dot(2, 1)[8:] + dot(2, 1)[:8]),
    "seen beyond": lambda: made(seen=SITE + b"\xff" * 8),
    "seen is text": lambda: made(seen="x" * 16),
    "seen is a number": lambda: made(seen=7),
    "an element that is a number": lambda: made([dot(1, 1) + pack(1)]),
    "an element in long form": lambda: made([dot(1, 1) + b"\xd9\x01x"]),
    "an element that is empty": lambda: made([dot(1, 1) + pack("")]),
    "an element that is too long": lambda: made([dot(1, 1) + pack("x" * 1025)]),
    "an element and more": lambda: made([X + b"\x00"]),
    "a counter of true": lambda: made([dot(1, 1) + pack(True)], type_="counter"),
    "a counter of 64 bits": lambda: made([dot(1, 1) + pack(2**63)], type_="counter"),
    "a number that is none": lambda: made([dot(1, 1) + pack(float("nan"))], type_="max"),
    "an infinite number": lambda: made([dot(1, 1) + pack(float("inf"))], type_="min"),
    "a number of 32 bits": lambda: made([dot(1, 1) + b"\xca\x3f\x80\x00\x00"], type_="max"),
    "a field of no kind": lambda: made([dot(1, 1) + pack(["f", 3, 1])], type_="map"),
    "a field with a list": lambda: made([dot(1, 1) + pack(["f", 0, [1]])], type_="map"),
    "a field of bytes": lambda: made([dot(1, 1) + pack(["f", 0, b"x"])], type_="map"),
    "a counter that is text": lambda: made([dot(1, 1) + pack(["f", 1, "x"])], type_="map"),
    "a sibling that is text": lambda: made(
        [dot(1, 1) + pack(["x", None, 0, None])], type_="siblings"
    ),
    "a sibling with a bad content type": lambda: made(
        [dot(1, 1) + pack([b"x", "\n", 0, None])], type_="siblings"
    ),
    "a sibling that expires, and the record does not say so": lambda: made(
        [dot(1, 1) + pack([b"x", None, 0, 5])], type_="siblings"
    ),
    "an expiry that no value has": lambda: made(first={"x": 5}),
    "fields in another order": lambda: made(first={"z": 1, "a": 1}),
    "values nested without end": lambda: made(b"\x91" * 100_000),
    "fields nested without end": lambda: (
        b"\x1a" + dot(2, 1) + b"\x13\x88" + b"\x81\xa1a" + b"\x91" * 4_997
    ),
    "too many pairs": lambda: made(
        seen=b"".join(site.to_bytes(8, "big") + TIME for site in range(PAIRS_MAX + 1))
    ),
    "too many deletes": lambda: made(
        deletes=b"".join(dot(1, site) for site in range(DELETES_MAX + 1))
    ),
    "too long": lambda: made([dot(1, 1) + pack([b"x" * 2**20, None, 0, None])], type_="siblings"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_no_bytes_but_those_that_a_node_writes_are_a_record(what: str) -> None:
    assert not accepted(HOSTILE[what]())


def test_what_is_hostile_above_is_so_for_that_alone() -> None:
    assert accepted(made())
    assert accepted(made([X, Y], seen=SITE + TIME, deletes=dot(1, 2) + dot(2, 1)))
    assert accepted(made(first={"a": 1, "z": 1}))
    for type_, content in (
        ("set", "x" * 1024), ("counter", 2**63 - 1), ("max", 1.0), ("map", ["f", 2, "x"]),
        ("siblings", [b"x", "text/plain", 1, None]),
    ):  # fmt: skip
        assert accepted(made([dot(1, 1) + pack(content)], type_=type_)), type_
    expires = [dot(1, 1) + pack([b"x", None, 0, 5])]
    fields = {"x": 5, "y": [1, "siblings"], "s": b""}
    assert accepted(make_typed_record(dot(2, 1), fields, pack(expires), deleted=False))
