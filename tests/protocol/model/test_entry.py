"""Entries: keys, records, and the one order that decides every merge."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kvgossip.errors import BadKeyError, RemoteError
from kvgossip.protocol.model.entry import (
    HEAD_BYTES,
    META_BYTES_MAX,
    Entry,
    Version,
    check_record,
    entry_of,
    is_dead,
    make_record,
    supersedes,
    timestamp_in,
    value_in,
    value_offset,
    version_of,
)
from kvgossip.protocol.model.key import check_key
from tests.protocol.net import refused
from tests.protocol.strategies import records

U64 = st.integers(0, 2**64 - 1)


# -- keys ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key",
    [
        "a",
        "a b",
        "100%",
        "ç",
        "\U0001f600",
        "a/b/",
        "a//b",
        "...",
        "a/.../b",
        "a..b",
        ".a",
        "a.",
        "\x00",
        "é" * 512,
        "a\n",
    ],
)
def test_any_text_that_is_no_climbing_path_is_a_key(key: str) -> None:
    assert check_key(key) == key.encode()


# F15
@pytest.mark.parametrize("key", [".\n", "..\n", "a/..\n"])
def test_a_segment_that_only_starts_with_dots_is_a_key(key: str) -> None:
    assert check_key(key) == key.encode()


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/",
        "/a",
        ".",
        "..",
        "a/..",
        "../a",
        "a/./b",
        "a/../b",
        "./a",
        "a/.",
        "é" * 513,
        "a" * 1025,
        "\ud800",
    ],
)
def test_a_key_is_refused_when_it_is_empty_too_long_no_text_or_climbs(key: str) -> None:
    with pytest.raises(BadKeyError):
        check_key(key)


@given(st.text(max_size=20))
@example("a/..")
def test_a_key_is_taken_or_refused_and_nothing_else(key: str) -> None:
    climbs = key[:1] == "/" or any(segment in (".", "..") for segment in key.split("/"))
    try:
        encoded = check_key(key)
    except BadKeyError:
        assert climbs or not key
    else:
        assert encoded == key.encode()
        assert not climbs


# -- records -------------------------------------------------------------------------------------


@given(U64, U64, st.none() | st.binary(max_size=20), st.none() | st.text(min_size=1, max_size=30))
def test_a_record_gives_back_what_it_was_made_of(
    timestamp: int, site: int, value: bytes | None, content_type: str | None
) -> None:
    record = make_record(Version(timestamp, site), value, content_type)
    check_record(record)
    assert entry_of("k", record) == Entry("k", value, Version(timestamp, site), content_type)
    assert (version_of(record), timestamp_in(record), value_in(record)) == (
        Version(timestamp, site),
        timestamp,
        value,
    )
    assert is_dead(record) == entry_of("k", record).deleted == (value is None)
    assert record[value_offset(record) :] == (value or b"")


def test_a_record_is_these_bytes() -> None:
    version = Version(0x0102030405060708, 0x1112131415161718)
    head = bytes.fromhex("01020304050607081112131415161718")
    assert make_record(version, b"v") == b"\x10" + head + b"v"
    assert make_record(version, None) == b"\x11" + head
    assert make_record(version, b"v", "a/b") == b"\x12" + head + b"\x00\x07\x81\xa1t\xa3a/b" + b"v"
    assert str(version) == "0102030405060708-1112131415161718"


def test_an_empty_value_is_no_death_certificate() -> None:
    record = make_record(Version(1, 1), b"")
    assert not is_dead(record)
    assert value_in(record) == b""


def test_names_in_the_meta_that_are_unknown_are_kept_and_passed_over() -> None:
    meta = msgspec.msgpack.encode({"t": "a/b", "zz": [1, {"deep": None}]})
    record = make_record(Version(1, 2), b"v")
    record = (
        bytes((record[0] | 2,)) + record[1:HEAD_BYTES] + len(meta).to_bytes(2, "big") + meta + b"v"
    )
    check_record(record)
    assert entry_of("k", record) == Entry("k", b"v", Version(1, 2), "a/b")


def test_a_content_type_that_is_no_text_is_passed_over() -> None:
    meta = msgspec.msgpack.encode({"t": 5})
    record = b"\x12" + bytes(16) + len(meta).to_bytes(2, "big") + meta
    check_record(record)
    assert entry_of("k", record).content_type is None


META = b"\x12" + bytes(16)
BAD_RECORDS = {
    "empty": b"",
    "cut off in the head": b"\x10" + bytes(15),
    "an unknown format": b"\x20" + bytes(16),
    "a tombstone with a value": b"\x11" + bytes(16) + b"v",
    "no length of the meta": META,
    "half a length of the meta": META + b"\x00",
    "a meta that is cut off": META + b"\x00\x05\x80",
    "a meta that is no map": META + b"\x00\x01\x01",
    "a meta with trailing bytes": META + b"\x00\x02\x80\x80",
    "a meta whose names are no text": META + b"\x00\x03\x81\x01\x01",
    "a meta that is too long": META
    + (META_BYTES_MAX + 1).to_bytes(2, "big")
    + bytes(META_BYTES_MAX + 1),
    "a meta with text that is no UTF-8": META + b"\x00\x05\x81\xa1t\xa1\xff",
    "a meta that claims four billion items": META + b"\x00\x08\x81\xa1x\xdd\xff\xff\xff\xff",
    "a meta that is nested too deeply": META + b"\x0f\xff\x81\xa1x" + b"\x91" * 4092,
}


@pytest.mark.parametrize("record", BAD_RECORDS.values(), ids=BAD_RECORDS)
def test_a_record_that_cannot_be_read_is_refused(record: bytes) -> None:
    with pytest.raises(RemoteError) as caught:
        check_record(record)
    assert caught.value.reason == "bad_record"


@given(st.binary(max_size=60) | st.binary(max_size=40).map(lambda tail: META + tail))
def test_any_bytes_are_a_record_that_can_be_read_or_are_refused(data: bytes) -> None:
    reason = refused(lambda: check_record(data))
    assert reason in ("", "bad_record")
    if not reason:
        assert entry_of("k", data).version == version_of(data)
        assert supersedes(data, data) is False


# -- the order -----------------------------------------------------------------------------------


@given(records, records)
def test_of_two_different_records_exactly_one_supersedes_the_other(
    one: bytes, other: bytes
) -> None:
    assert (supersedes(one, other), supersedes(other, one)).count(True) == (one != other)


@given(records, records, records)
def test_the_order_is_transitive(one: bytes, two: bytes, three: bytes) -> None:
    if supersedes(one, two) and supersedes(two, three):
        assert supersedes(one, three)


@given(records, records)
def test_the_greater_version_wins_whatever_the_bodies(one: bytes, other: bytes) -> None:
    if version_of(one) > version_of(other):
        assert supersedes(one, other)


def test_the_timestamp_counts_before_the_site_and_both_before_the_body() -> None:
    low = make_record(Version(1, 9), b"z")
    assert supersedes(make_record(Version(2, 1), b"a"), low)
    assert supersedes(make_record(Version(1, 10), None), low)
    # numbers, not text: 256 is greater than 255 although its last byte is smaller
    assert supersedes(make_record(Version(256, 0), b""), make_record(Version(255, 0), b""))


def test_equal_versions_with_different_bodies_are_decided_by_the_hash_of_the_body() -> None:
    bodies = [make_record(Version(1, 1), body) for body in (b"a", b"b", b"c", None)]
    winner = next(
        one for one in bodies if all(one == other or supersedes(one, other) for other in bodies)
    )
    # the hash is part of the wire protocol: another one would make nodes of two releases disagree
    # for ever
    assert value_in(winner) == b"c"
