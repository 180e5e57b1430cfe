"""However much a frame claims, a node does no more than a little work for it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.hostile import chain
from kvgossip import zstd
from kvgossip.protocol.effect import Effect
from kvgossip.protocol.ingress.budget import COST_MAX, affordable
from kvgossip.protocol.model.member import Member
from kvgossip.protocol.rumors.packets import PACKET_RUMORS_MAX
from kvgossip.protocol.store.sketch import ROUNDS_MAX, SYMBOLS_MAX, Sketch
from kvgossip.protocol.wire.exchange_messages import Push
from kvgossip.protocol.wire.frame import (
    FLAG_COMPRESSED,
    INFLATED_UNITS_MAX,
    INFLATION_MAX,
    UNITS_AT,
    clear_frame,
)
from kvgossip.protocol.wire.message import (
    Bundle,
    Gossip,
    Message,
    Nack,
    Notice,
    Prune,
    Rumor,
)
from kvgossip.protocol.wire.unit import UNITS_MAX, UNREADABLE_MAX, encode
from tests.protocol.net import LAN, STRANGER, at, logs, make_replica, member, record, sends
from tests.protocol.net import refused as reason_of

UNKNOWN = b"\x63\0\0\0\0"
BAD = b"\x01\0\0\0\x01\xc0"


def packed(body: bytes) -> bytes:
    compressor = zstd.ZstdCompressor(level=19)
    head = LAN._heads[FLAG_COMPRESSED]
    return clear_frame(head, compressor.compress(body, zstd.ZstdCompressor.FLUSH_FRAME))


def plain(units: list[bytes]) -> bytes:
    return LAN.frame(units)


def fault_of(data: bytes) -> str:
    return reason_of(lambda: LAN.open(data, reliable=True))


UNITS: list[bytes] = [
    UNKNOWN,
    BAD,
    encode(Nack(1)),
    encode(Notice("a", 1, 1, 1)),
    encode(Rumor("a", record(b""))),
    encode(member("m", 1)),
]


@pytest.mark.parametrize("unit", UNITS)
def test_few_bytes_that_unpack_to_many_units_are_dropped_whole(unit: bytes) -> None:
    data = packed(unit * (1_000_000 // len(unit)))
    assert len(data) < 1000
    assert fault_of(data) in ("inflated", "unreadable")


@given(st.sampled_from(UNITS), st.integers(1, 3 * UNITS_MAX))
def test_a_frame_gives_a_bounded_number_of_units_or_none(unit: bytes, count: int) -> None:
    for data in (plain([unit] * count), LAN.frame([unit] * count, reliable=True)):
        fault = fault_of(data)
        if fault:
            assert fault in ("too_many_units", "unreadable")
            assert count > UNREADABLE_MAX
            continue
        opened = LAN.open(data, reliable=True)
        assert len(opened.messages) + len(opened.faults) == count <= UNITS_MAX


def test_a_frame_of_noise_is_dropped_and_one_with_a_word_in_it_is_not() -> None:
    assert fault_of(plain([UNKNOWN] * UNREADABLE_MAX)) == ""
    assert fault_of(plain([UNKNOWN] * (UNREADABLE_MAX + 1))) == "unreadable"
    assert fault_of(plain([encode(Nack(1)), *[UNKNOWN] * UNREADABLE_MAX])) == ""


@given(st.binary(max_size=64), st.integers(1, 60_000))
def test_what_this_node_packs_it_unpacks_however_well_it_compresses(
    value: bytes, size: int
) -> None:
    body = (value * (size // max(1, len(value)) + 1))[:size]
    told = [Rumor(f"k{place}", body) for place in range(20)]
    data = LAN.frame([encode(rumor) for rumor in told], reliable=True)
    assert LAN.open(data, reliable=True).messages == told
    assert len(data) - UNITS_AT >= 20 * len(body) // INFLATION_MAX


def test_a_large_value_of_an_older_release_is_taken_though_it_compresses_well() -> None:
    units = [encode(Rumor("k", bytes(100_000)))] * INFLATED_UNITS_MAX
    assert fault_of(packed(b"".join(units))) == ""
    assert fault_of(packed(b"".join([*units, units[0]]))) == "inflated"


def test_limits_that_were_met_are_counted_by_their_reasons_and_not_logged() -> None:
    replica = make_replica("a")
    effects: list[Effect] = []
    for data in (
        packed(encode(Nack(1)) * 50_000),
        plain([UNKNOWN] * 200),
        plain([encode(Nack(1))] * 5000),
        plain([encode(member(f"m{place}", place)) for place in range(1, 1000)]),
    ):
        effects += replica.receive(data, STRANGER, at(), reliable=True)
    found = replica.statistics()
    assert found["frames_dropped.inflated"] == 1
    assert found["frames_dropped.unreadable"] == 1
    assert found["frames_dropped.too_many_units"] == 1
    assert found["units_dropped.too_much"] == 999 - COST_MAX // 6
    assert logs(effects) == []


# -- what a frame may ask for ----------------------------------------------------------------------


@st.composite
def messages(draw: Any) -> list[Message | Member]:
    kinds: list[Message | Member] = [
        Nack(1),
        Rumor("a", b""),
        Prune("a", 1, 1),
        member("m", 1),
        Bundle((("k", b""),) * draw(st.integers(1, 1000))),
        Push(1, 1, (("k", b""),) * draw(st.integers(0, 600))),
    ]
    offered: list[Message | Member] = draw(st.lists(st.sampled_from(kinds), max_size=2000))
    return offered


@given(messages())
def test_what_is_taken_of_a_frame_is_its_beginning_and_costs_a_bounded_number_of_entries(
    offered: list[Message | Member],
) -> None:
    taken = affordable(offered)
    assert list(taken) == offered[: len(taken)]
    entries = sum(len(getattr(each, "entries", ())) for each in taken)
    assert entries <= COST_MAX
    assert sum(isinstance(each, Member) for each in taken) <= COST_MAX // 6
    assert affordable(taken) == taken


def test_an_honest_frame_of_the_most_rumors_is_taken_whole() -> None:
    honest: list[Message | Member] = [
        *(member(f"m{place}", place) for place in range(1, 16)),
        Gossip(1, "b"),
        *[Rumor("k", b"")] * PACKET_RUMORS_MAX,
    ]
    assert affordable(honest) == honest


def test_a_burst_of_many_writes_arrives_whole_in_frames_that_are_taken() -> None:
    replica = make_replica("a")
    replica.pools.lan.membership.merge(member("b", 1), at())
    replica.tick(at())
    for number in range(2000):
        replica.put(f"k{number}", b"v", at(1))
    frames = [
        LAN.open(sent.data, reliable=True).messages
        for sent in sends(replica.tick(at(1)))
        if sent.reliable
    ]
    assert len(frames) > 1
    assert all(affordable(frame) == frame for frame in frames)


# -- sketches ---------------------------------------------------------------------------------------


def test_made_up_symbols_make_no_more_rounds_than_an_honest_sketch_needs() -> None:
    symbols = chain(length=SYMBOLS_MAX // 2, rounds=4 * ROUNDS_MAX)
    sketch = Sketch()
    assert sum(1 for _ in sketch.peel(symbols)) <= ROUNDS_MAX
    assert sketch.decode(symbols) is None
