"""What kvgossip sends and stores is MessagePack for others too: the package msgpack reads it.

Nothing of kvgossip decodes here. What is around the MessagePack is read as the modules describe it:

    frame    16 bytes (frame.py), a checksum (8), and units: kind (1 byte), length (4 bytes), a
             MessagePack array; in place of the units a zstd frame of them, where the flag 2 says so
    record   17 bytes (entry.py), the length of a MessagePack map (2 bytes) and the map, where bit 1
             says so, and the value
    fact     MessagePack under `replica/self` and `peer/`; under all other keys big-endian numbers
             of 64 bits, in the value or in the key

Fields that are lists of numbers (fingerprints, buckets, counts, symbols) are MessagePack bytes, in
which the numbers lie big-endian side by side.
"""

from __future__ import annotations

import json
from base64 import b64decode
from struct import Struct, iter_unpack
from typing import Any, NamedTuple

import msgpack
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvgossip.api.archive import Writer
from kvgossip.config import Config
from kvgossip.protocol.effect import Quarantined
from kvgossip.protocol.model.entry import EXPIRES_MS_MAX, FLAGS_MAX, Version, make_record
from kvgossip.protocol.model.member import Member
from kvgossip.protocol.wire.exchange_messages import Compare, Leaves
from kvgossip.protocol.wire.message import Message, Rumor
from kvgossip.protocol.wire.unit import encode
from kvgossip.runtime.disk.quarantine import Quarantine
from kvgossip.zstd import ZstdDecompressor
from tests.protocol.net import LAN, Disk, Network
from tests.protocol.strategies import KINDS, of_kind, records
from tests.protocol.wire.test_frame import GOLDEN

FRAME = Struct(">2sBBIII")
UNIT = Struct(">BI")
CHECKSUM_BYTES = 8
RECORD = Struct(">BQQ")
COMPRESSED = 2
DEAD, HAS_META, EXPIRES = 1, 2, 4


def unpack(data: bytes) -> Any:
    """What is packed in these bytes, all of them."""
    return msgpack.unpackb(data)


def plain(value: Any) -> Any:
    """A structure as what its array holds."""
    if isinstance(value, Member):
        *known, later = msgspec.structs.astuple(value)
        if not (value.types or later):
            known.pop()
            if not value.signature:
                known.pop()
        return [*map(plain, known), *map(unpack, later)]
    if isinstance(value, msgspec.Struct):
        return [plain(field) for field in msgspec.structs.astuple(value)]
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    return value


# -- the wire --------------------------------------------------------------------------------------


def read_units(data: bytes) -> list[tuple[int, Any]]:
    """The kind and the array of each unit."""
    found, at = [], 0
    while at < len(data):
        kind, length = UNIT.unpack_from(data, at)
        at += UNIT.size + length
        assert at <= len(data)
        found.append((kind, unpack(data[at - length : at])))
    return found


def read_frame(frame: bytes) -> list[tuple[int, Any]]:
    magic, version, flags, _, _, _ = FRAME.unpack_from(frame)
    assert (magic, version) == (b"kv", 2)
    body = frame[FRAME.size + CHECKSUM_BYTES :]
    return read_units(ZstdDecompressor().decompress(body) if flags & COMPRESSED else body)


def kind_of(message: Message | Member) -> int:
    return 5 if isinstance(message, Member) else message.kind


@pytest.mark.parametrize(("message", "golden"), GOLDEN, ids=lambda value: type(value).__name__)
def test_every_golden_unit_is_read(message: Message | Member, golden: str) -> None:
    assert read_units(bytes.fromhex(golden)) == [(kind_of(message), plain(message))]


@pytest.mark.parametrize("kind", [*KINDS, Member], ids=lambda kind: kind.__name__)
def test_every_kind_of_message_is_read_and_can_be_written(kind: type[Message | Member]) -> None:
    @settings(max_examples=25)
    @given(of_kind(kind), st.booleans())
    def reads_and_writes(message: Message | Member, reliable: bool) -> None:
        frame = LAN.frame([encode(message)], reliable=reliable)
        assert read_frame(frame) == [(kind_of(message), plain(message))]
        body = msgpack.packb(plain(message))
        written = UNIT.pack(kind_of(message), len(body)) + body
        assert LAN.open(LAN.frame([written]), reliable=True) == ([message], [])

    reads_and_writes()


def test_a_frame_that_is_compressed_is_read() -> None:
    message = Rumor("k", bytes(5000))
    frame = LAN.frame([encode(message)], reliable=True)
    assert FRAME.unpack_from(frame)[2] & COMPRESSED
    assert read_frame(frame) == [(Rumor.kind, plain(message))]


def test_the_numbers_in_bytes_are_big_endian() -> None:
    golden = {type(message): bytes.fromhex(told) for message, told in GOLDEN}
    ((_, compare),) = read_units(golden[Compare])
    assert list(iter_unpack(">Q", compare[5])) == [(1,)]
    ((_, leaves),) = read_units(golden[Leaves])
    assert (list(iter_unpack(">I", leaves[3])), list(iter_unpack(">I", leaves[4]))) == (
        [(7,)],
        [(0,)],
    )


# -- what is stored --------------------------------------------------------------------------------


class Read(NamedTuple):
    version: tuple[int, int]
    fields: dict[str, Any]
    value: bytes | None


def read_record(record: bytes) -> Read:
    bits, timestamp, site = RECORD.unpack_from(record)
    assert bits >> 4 == 1
    fields, at = {}, RECORD.size
    if bits & HAS_META:
        length = int.from_bytes(record[at : at + 2])
        fields, at = unpack(record[at + 2 : at + 2 + length]), at + 2 + length
    assert bool(bits & EXPIRES) == ("x" in fields)
    assert not bits & DEAD or at == len(record)
    return Read((timestamp, site), fields, None if bits & DEAD else record[at:])


NUMBERS = st.integers(0, 2**64 - 1)


@given(
    NUMBERS,
    NUMBERS,
    st.none() | st.binary(max_size=40),
    st.none()
    | st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=256),
    st.none() | st.integers(0, EXPIRES_MS_MAX),
    st.integers(0, FLAGS_MAX),
)
def test_every_record_is_read(
    timestamp: int,
    site: int,
    value: bytes | None,
    content_type: str | None,
    expires_ms: int | None,
    flags: int,
) -> None:
    # a tombstone has no value that could expire
    expires_ms = expires_ms if value is not None else None
    record = make_record(Version(timestamp, site), value, content_type, expires_ms, flags)
    known = {"t": content_type, "x": expires_ms, "f": flags or None}
    fields = {name: field for name, field in known.items() if field is not None}
    assert read_record(record) == Read((timestamp, site), fields, value)


def test_a_record_is_these_bytes() -> None:
    record = make_record(Version(1, 2), b"v", "text/plain", 1_700_000_000_000, 7)
    assert record == bytes.fromhex(
        "16 0000000000000001 0000000000000002"
        "001c 83 a174 aa746578742f706c61696e a178 cf0000018bcfe56800 a166 07 76"
    )
    fields = {"t": "text/plain", "x": 1_700_000_000_000, "f": 7}
    assert read_record(record) == Read((1, 2), fields, b"v")


def facts_of(names: str) -> dict[bytes, bytes]:
    """What the first of these nodes has on its disk after some writes, deletes and a restart."""
    network, first = Network(), names.split()[0]
    network.disks[first] = Disk()
    network.cluster(names)
    for number in range(3):
        for name in names.split():
            network.put(name, f"{name}{number}", b"v")
    network.run(1.0)
    network.delete(first, f"{first}0")
    network.run(60.0)
    network.add(first, 0)
    network.run(60.0)
    return network.disks[first].facts


def read_fact(key: bytes, value: bytes) -> Any:
    if key == b"replica/self":
        lan_generation, wan_generation, settled, rebuilding, cluster_id, *later = unpack(value)
        exchanged_ms, expired_ms, name, lives = later
        assert exchanged_ms > lan_generation
        assert expired_ms == 0, "nothing has a time to live here"
        assert (name, len(lives)) == ("a", 8), "its one life that has written"
        return {
            "generations": (lan_generation, wan_generation),
            "settled": settled,
            "rebuilding": rebuilding,
            "cluster": f"{cluster_id[1]:08x}",
        }
    if key.startswith(b"peer/"):
        host, port, forget_s = unpack(value)
        assert forget_s == Config().forget_after_s
        return {"peer": key.decode().split("/")[2], "host": host, "port": port}
    assert key in (b"replica/clock", b"replica/content") or key.startswith(
        (b"context/row/", b"context/dot/", b"context/gap/")
    )
    return [number for (number,) in iter_unpack(">Q", value)]


def test_every_fact_is_read() -> None:
    facts = facts_of("a b c")
    read = {key: read_fact(key, value) for key, value in facts.items()}
    assert read[b"replica/self"]["settled"] is True
    assert {fact["peer"] for key, fact in read.items() if key.startswith(b"peer/lan/")} == {
        "b",
        "c",
    }
    (clock,) = read[b"replica/clock"]
    rows = [row for key, (row,) in ((key, fact) for key, fact in read.items() if b"/row/" in key)]
    assert rows
    assert max(rows) <= clock


@given(records)
def test_a_value_in_quarantine_is_read(record: bytes) -> None:
    number, kept = Quarantine(None).add(Quarantined("key", record, "b"))
    *told, wall_ms = unpack(kept)
    assert told == ["key", record, "b"]
    assert wall_ms == int.from_bytes(number) // 1_000_000


@given(st.lists(st.tuples(st.sampled_from("abc"), records), max_size=4))
def test_the_records_of_an_export_are_read(entries: list[tuple[str, bytes]]) -> None:
    lines = [json.loads(line) for line in Writer().lines(entries).splitlines()]
    assert [(line["key"], b64decode(line["record"])) for line in lines] == entries
    for line in lines:
        read = read_record(b64decode(line["record"]))
        assert line["version"] == "{:016x}-{:016x}".format(*read.version)
        assert line.get("deleted", False) == (read.value is None)
