"""The wire: any bytes give messages or RemoteError, and what once was said in bytes is said in the
same bytes for ever."""

from __future__ import annotations

import importlib
import math
import pkgutil
import tracemalloc
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kvgossip.protocol
from kvgossip import zstd
from kvgossip.config import Config
from kvgossip.errors import RemoteError
from kvgossip.protocol.model.lag import FarClock
from kvgossip.protocol.model.member import FORGET_S_MAX, Member, MemberState, SyncState
from kvgossip.protocol.model.story import Step, Watch
from kvgossip.protocol.wire.clock_messages import AskClocks, ClocksHere
from kvgossip.protocol.wire.exchange_messages import (
    Compare,
    Conclude,
    Concluded,
    Decoded,
    Differ,
    Entries,
    Leaves,
    Merged,
    OtherPositions,
    Push,
    Sketch,
    Symbols,
    Want,
)
from kvgossip.protocol.wire.frame import (
    COMPRESS_BYTES_MIN,
    FLAG_COMPRESSED,
    FLAG_REFUSED,
    HEADER_BYTES,
    INFLATION_MAX,
    UNITS_AT,
    Framing,
    clear_frame,
    frame_bytes_max,
)
from kvgossip.protocol.wire.member_record import RECORD_BYTES_MAX
from kvgossip.protocol.wire.message import (
    Ack,
    Bodies,
    Bundle,
    Busy,
    Condition,
    Confirm,
    Enquire,
    Examine,
    Feedback,
    Fetch,
    Gossip,
    Holding,
    Join,
    JoinReply,
    KeyringAction,
    KeyringOrder,
    KeyringReport,
    Measure,
    Measured,
    Message,
    Nack,
    Notice,
    Ping,
    PingRequest,
    Precision,
    Prune,
    Pull,
    Refused,
    Rumor,
    Sight,
    Sights,
)
from kvgossip.protocol.wire.overview_messages import AskOverview, Overview
from kvgossip.protocol.wire.release_messages import AppliedBy, AppliedHere, AskApplied
from kvgossip.protocol.wire.story_messages import AskStory, StoryHere
from kvgossip.protocol.wire.unit import (
    _DECODERS,
    BAD_MEMBER,
    UNIT_BYTES,
    Opened,
    encode,
)
from tests.protocol.net import LAN, refused
from tests.protocol.strategies import KINDS, messages, of_kind

REASONS = {
    "bad_magic",
    "bad_checksum",
    "unknown_format",
    "other_cluster",
    "other_pool",
    "bad_compression",
    "sealed",
}
FAULTS = {"truncated", "unknown_kind", "bad_message", BAD_MEMBER}
HEADER = LAN.frame([])[:HEADER_BYTES]
PACKED_HEADER = HEADER[:3] + bytes((FLAG_COMPRESSED,)) + HEADER[4:]


def unit(kind: int, body: bytes) -> bytes:
    return bytes((kind,)) + len(body).to_bytes(4, "big") + body


def opened(*units: bytes) -> tuple[list[Message | Member], list[str]]:
    return open_link(LAN.frame(units))


def open_link(data: bytes) -> Opened:
    return LAN.open(data, reliable=True)


def reason_of(data: bytes, framing: Framing = LAN) -> str:
    with pytest.raises(RemoteError) as caught:
        framing.open(data, reliable=True)
    return caught.value.reason


# -- fuzzing -------------------------------------------------------------------------------------


def open_any(data: bytes) -> None:
    """Any bytes give messages or RemoteError, over a link or as a datagram."""
    for reliable in (True, False):
        open_any_over(data, reliable)


def open_any_over(data: bytes, reliable: bool) -> None:
    reason = refused(lambda: LAN.open(data, reliable=reliable))
    assert reason in {"", *REASONS}
    if not reason:
        found = LAN.open(data, reliable=reliable)
        assert all(isinstance(message, (Message, Member)) for message in found.messages)
        assert set(found.faults) <= FAULTS


@settings(max_examples=300)
@given(
    st.binary(max_size=80)
    | st.binary(max_size=80).map(lambda tail: clear_frame(HEADER, tail))
    | st.binary(max_size=80).map(lambda tail: clear_frame(PACKED_HEADER, tail))
)
def test_any_bytes_give_messages_or_remote_error(data: bytes) -> None:
    open_any(data)


ATOMS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=4)
    | st.binary(max_size=9)
)
BODIES = st.recursive(
    ATOMS,
    lambda inner: (
        st.lists(inner, max_size=10) | st.dictionaries(st.text(max_size=2), inner, max_size=2)
    ),
)


@settings(max_examples=300)
@given(st.integers(0, 60), BODIES)
def test_any_well_formed_body_under_any_kind_gives_messages_or_faults(kind: int, body: Any) -> None:
    open_any(LAN.frame([unit(kind, msgspec.msgpack.encode(body))]))


@settings(max_examples=300)
@given(
    st.lists(messages, max_size=3),
    st.booleans(),
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=4),
    st.integers(0, 300),
)
def test_any_damage_to_a_frame_gives_messages_or_remote_error(
    sent: list[Message | Member], compressed: bool, damage: list[tuple[int, int]], cut: int
) -> None:
    body = b"".join(map(encode, sent))
    data = bytearray(
        PACKED_HEADER + zstd.ZstdCompressor().compress(body, zstd.ZstdCompressor.FLUSH_FRAME)
        if compressed
        else HEADER + body
    )
    for place, byte in damage:
        data[place % len(data)] = byte
    damaged = bytes(data[: len(data) - cut] if cut % 2 else data)
    open_any(clear_frame(damaged[:HEADER_BYTES], damaged[HEADER_BYTES:]))


# -- round trips ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [*KINDS, Member], ids=lambda kind: kind.__name__)
def test_every_kind_of_message_comes_out_as_it_went_in(kind: type[Message] | type[Member]) -> None:
    @settings(max_examples=25)
    @given(of_kind(kind))
    def round_trip(message: Message | Member) -> None:
        assert opened(encode(message)) == ([message], [])

    round_trip()


@given(st.lists(messages, max_size=6), st.booleans())
def test_the_messages_of_a_frame_come_out_in_their_order(
    sent: list[Message | Member], compress: bool
) -> None:
    assert open_link(LAN.frame(map(encode, sent), reliable=compress)) == (sent, [])


def test_every_message_of_the_package_can_be_decoded() -> None:
    for module in pkgutil.walk_packages(kvgossip.protocol.__path__, "kvgossip.protocol."):
        importlib.import_module(module.name)
    assert {kind.kind: kind for kind in Message.__subclasses__()} == {
        number: decoder.type for number, decoder in _DECODERS.items()
    }


def test_no_two_kinds_have_the_same_number() -> None:
    numbers = [kind.kind for kind in KINDS]
    assert len({*numbers, 5}) == len(numbers) + 1
    assert all(1 <= number <= 255 for number in numbers)


# -- golden bytes: a change here is a change of the wire format ----------------------------------

GOLDEN: list[tuple[Message | Member, str]] = [
    (
        Ping(1, "a", "b", 2**63, 1_700_000_000_000, SyncState.SETTLED),
        "01 0000001e 9a01a161a162cf8000000000000000cf0000018bcfe5680002000000c400",
    ),
    (
        Ack(1, "b", 0, 0, SyncState.WAITING, 0, 0, b"\x01\x02"),
        "02 00000011 9c01a1620000000000c4020102c200a000",
    ),
    (
        PingRequest(2, "a", "b", "10.0.0.2", 7481),
        "03 00000013 9602a161a162a831302e302e302e32cd1d39c3",
    ),
    (Nack(2), "04 00000002 9102"),
    (
        Member(
            "b",
            "10.0.0.2",
            7481,
            MemberState.SUSPECT,
            1,
            2,
            3,
            "dc1",
            "h:1",
            "a",
            "z",
            (1.5,),
            frame_bytes_max=256,
            forget_s=60,
        ),
        (
            "05 00000033 dc0011a162a831302e302e302e32cd1d3901010203a3646331a3683a31a161 a17a "
            "91cb3ff8000000000000c400c2 cd0100 3c a0"
        ),
    ),
    (
        Join("b", 3, "10.0.0.1", b"\x01", b"\x02"),
        "06 0000001b 98a16203a831302e302e302e31c40101c4010295000090900000a0",
    ),
    (
        JoinReply("a", 1, "10.0.0.2", SyncState.FRESH),
        "07 00000014 95a16101a831302e302e302e3201950000909000",
    ),
    (Refused("default", "lan:dc1", "no"), "08 00000014 93a764656661756c74a76c616e3a646331a26e6f"),
    (Gossip(7, "a", True, True), "09 00000006 9407a161c3c3"),
    (Rumor("k", b"\x10"), "0a 00000006 92a16bc40110"),
    (Notice("k", 1, 2, 70_000), "0b 0000000a 94a16b0102ce00011170"),
    (Feedback(7, b"\x05", b"", 9, 3), "0c 00000009 9507c40105c4000903"),
    (Fetch(("k", "l")), "0d 00000006 9192a16ba16c"),
    (Bodies((("k", b"\x10"),)), "0e 00000008 919192a16bc40110"),
    (
        Compare(9, 1, 4, 0, b"", b"\x00\x00\x00\x00\x00\x00\x00\x01", 5, "a"),
        "0f 00000016 9909010400c400c408000000000000000105a161c400",
    ),
    (
        Differ(9, 1, 4, b"\x00\x00\x00\x00", 5, SyncState.SETTLED),
        "10 0000000f 98090104c40400000000050200c400",
    ),
    (
        Leaves(9, 2, 4, b"\x00\x00\x00\x07", b"\x00\x00\x00\x00", b""),
        "11 00000012 96090204c40400000007c40400000000c400",
    ),
    (Entries(9, 2, 1, (("k", b"\x10"),), b""), "12 0000000e 960902019192a16bc40110c40090"),
    (Push(9, 3, (("k", b"\x10"),)), "13 0000000b 9409039192a16bc4011090"),
    (Merged(9, 3, 2), "14 0000000a 9709030200c40000c400"),
    (Sketch(9, 1, 4, b"\x01", b"\x02", 5, "a"), "15 0000000f 98090104c40101c4010205a161c400"),
    (
        Decoded(9, 1, 4, (("k", b"\x10"),), b"\x01", b"\x02", 5, SyncState.SETTLED),
        "16 00000017 9b0901049192a16bc40110c40101c40102050200c40090",
    ),
    (Symbols(9, 1, 4, b"\x02", 5, SyncState.WAITING), "17 0000000c 98090104c40102050000c400"),
    (Want(9, 4, b"\x01"), "18 00000006 930904c40101"),
    (Pull("a"), "19 00000003 91a161"),
    (Busy(7), "1a 00000002 9107"),
    (Bundle((("k", b"\x10"), ("l", b"\x11"))), "54 0000000e 919292a16bc4011092a16cc40111"),
    (Enquire(5, "k", 1, 2, 70_000, "a"), "50 0000000d 9605a16b0102ce00011170 a161"),
    (Confirm(5, "b", 3), "51 00000005 9305a16203"),
    (Measure(5, "a", 9, b"\x01", b"\x02"), "52 0000000b 9505a16109c40101c40102"),
    (Measured(5, "b", 9, 3, Precision.ESTIMATE), "53 00000007 9505a162090301"),
    (AskApplied(5, "a", "shop/"), "55 0000000a 9305a161a573686f702f"),
    (
        AppliedHere(5, "b", (AppliedBy("r", 2, (("k", "no"),)),)),
        "56 00000010 9305a1629193a172029192a16ba26e6f",
    ),
    (AskOverview(5, "a", True), "57 00000005 9305a161c3"),
    (
        Overview(
            5,
            "b",
            "1",
            SyncState.SETTLED,
            2,
            3,
            (("c", "t"),),
            "o",
            ("k",),
            "t",
            ("x",),
            4,
            ("a",),
            6,
            ("s",),
            ("d",),
            ("l",),
            (("p", "1"),),
            ("e",),
            7,
            8,
            9,
        ),
        "58 00000035 dc001605a162a1310202039192a163a174a16f91a16ba17491a1780491a1610691a17391a16491a16c9192a170a13191a165070809",
    ),
    (
        AskStory(5, "a", "k", Watch("p", 0.5, 9)),
        "59 00000013 9405a161a16b93a170cb3fe000000000000009",
    ),
    (
        StoryHere(
            5,
            "b",
            Watch("p", 0.5, 9),
            True,
            1,
            2,
            bytes(16),
            True,
            True,
            (Step(3, "rumor", bytes(16), True, "a", "lan"),),
        ),
        "5a 0000004a 9a05a16293a170cb3fe000000000000009c30102c41000000000000000000000000000000000c3c3919603a572756d6f72c41000000000000000000000000000000000c3a161a36c616e",
    ),
    (AskClocks("a"), "5b 00000003 91a161"),
    (
        ClocksHere("a", (FarClock("e", "dc2", 3, -0.5, 1.5),)),
        "5c 0000001e 92a1619195a165a364633203cbbfe0000000000000cb3ff8000000000000",
    ),
    (Conclude(9, 5, 3, b"\x01", b"\x02", 7), "1e 0000000d 97090503c40101c4010207c400"),
    (Concluded(9, 5, 3, 1), "1f 00000005 9409050301"),
    (OtherPositions(9), "20 00000002 9109"),
    (
        Prune("b", 1, 3),
        "32 00000005 93a1620103",
    ),
    (KeyringOrder(1, 2, 1, KeyringAction.USE, b"abcd"), "3c 0000000b 9501020102c40461626364"),
    (
        KeyringReport(
            1, (Holding("n", "dc1", b"abcdefgh", True, ""), Holding("m", "dc2", b"", False, "why"))
        ),
        "3d 00000024 92019295a16ea3646331c4086162636465666768c3a095a16da3646332c400c2a3776879",
    ),
    (Examine(3, "a", ("b", "c")), "46 00000009 9303a16192a162a163"),
    (
        Condition(
            3,
            "b",
            9,
            SyncState.SETTLED,
            (1, 1),
            ("6b657931",),
            True,
            2,
            "h:1",
            (("dc2", 1, 0),),
            (("late", "why"),),
            clock="slow",
        ),
        "47 00000039 dc001203a162090292010191a83662363537393331c302a3683a319193a364633201009192a46c617465a37768790090a4736c6f77a000a090",
    ),
    (
        Sights(3, "b", (Sight("c", 1, 200, -1, True, -4),)),
        "48 0000000f 9403a1629196a16301ccc8ffc3fcc2",
    ),
]


@pytest.mark.parametrize(
    ("message", "golden"),
    GOLDEN,
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_a_message_is_these_bytes_for_ever(message: Message | Member, golden: str) -> None:
    assert encode(message) == bytes.fromhex(golden)
    assert opened(bytes.fromhex(golden)) == ([message], [])


@pytest.mark.parametrize(
    ("message", "before"),
    [
        (Merged(9, 3, 2), "14 00000008 9609030200c40000"),
        (Conclude(9, 5, 3, b"\x01", b"\x02", 7), "1e 0000000b 96090503c40101c4010207"),
    ],
)
def test_what_a_release_before_sends_means_the_same(message: Message, before: str) -> None:
    """Neither knew of parts of typed records."""
    assert opened(bytes.fromhex(before)) == ([message], [])


def test_every_kind_has_its_golden_bytes() -> None:
    assert {type(message) for message, _ in GOLDEN} == {*KINDS, Member}


def test_a_frame_starts_with_these_bytes_for_ever() -> None:
    assert LAN.frame([b"units"]) == (
        bytes.fromhex("6b76 02 00 1965ca04 00000000 74b40740 0bb4ba5ffe71a647") + b"units"
    )
    # of format 1, without a checksum: so nodes of every release read it
    assert LAN.refusal("no") == bytes.fromhex("6b76 01 01 1965ca04 00000000 74b40740") + encode(
        Refused("default", "lan:dc1", "no")
    )


# -- other versions of this protocol -------------------------------------------------------------


def test_an_author_of_an_older_release_does_not_claim_to_tell_every_member() -> None:
    assert opened(bytes.fromhex("09 00000005 9307a161c3")) == (
        [Gossip(7, "a", True, whole=False)],
        [],
    )


@pytest.mark.parametrize(
    "message",
    [message for message, _ in GOLDEN if isinstance(message, Message)],
    ids=lambda value: type(value).__name__,
)
def test_trailing_fields_of_a_message_that_are_unknown_are_ignored(message: Message) -> None:
    kind = encode(message)[0]
    body = msgspec.msgpack.encode([*msgspec.structs.astuple(message), {"new": 1}, "field"])
    assert opened(unit(kind, body)) == ([message], [])


NEWER = [{"new": 1}, "field", [1, [2]], None]
"""What a newer release may have added to the record of a member."""


@pytest.mark.parametrize("count", range(len(NEWER) + 1))
def test_unknown_trailing_fields_of_a_member_are_kept_and_passed_on(count: int) -> None:
    known = Member("b", "10.0.0.2", 7481, MemberState.ALIVE, 1, 2, 3, "dc1", types=1)
    newer = unit(5, msgspec.msgpack.encode([*msgspec.structs.astuple(known)[:-1], *NEWER[:count]]))
    ((heard,), faults) = opened(newer)
    assert isinstance(heard, Member)
    assert faults == []
    assert heard == msgspec.structs.replace(known, later=heard.later)
    assert [msgspec.msgpack.decode(field) for field in heard.later] == NEWER[:count]
    assert encode(heard) == newer
    # also where this node says something else of the member
    suspect = msgspec.structs.replace(heard, state=MemberState.SUSPECT, accuser="c")
    assert opened(encode(suspect)) == ([suspect], [])


def test_a_member_whose_record_would_fit_into_no_datagram_is_a_bad_member() -> None:
    known = Member("b", "10.0.0.2", 7481, MemberState.ALIVE, 1, 2, 3, "dc1")

    def with_later(length: int) -> bytes:
        later = (msgspec.msgpack.encode(bytes(length)),)
        return encode(msgspec.structs.replace(known, later=later))

    most = RECORD_BYTES_MAX + UNIT_BYTES - len(with_later(300)) + 300
    assert opened(with_later(most))[1] == []
    assert opened(with_later(most + 1)) == ([], [BAD_MEMBER])


def test_trailing_fields_that_are_missing_take_their_defaults() -> None:
    old = msgspec.msgpack.encode(["b", "10.0.0.2", 7481, 0, 1, 2, 3, "dc1"])
    assert opened(unit(5, old)) == (
        [Member("b", "10.0.0.2", 7481, MemberState.ALIVE, 1, 2, 3, "dc1")],
        [],
    )
    assert opened(bytes.fromhex("02 00000007 9501a162000000")) == (
        [Ack(1, "b", 0, 0, SyncState.WAITING)],
        [],
    )


@pytest.mark.parametrize(
    "message", [message for message, _ in GOLDEN if "sync_state" in type(message).__struct_fields__]
)
def test_a_standing_of_a_newer_release_is_worth_least_and_the_message_is_read(
    message: Message,
) -> None:
    known = msgspec.structs.asdict(message)
    body = msgspec.msgpack.encode(
        [99 if field == "sync_state" else value for field, value in known.items()]
    )
    assert opened(unit(message.kind, body)) == (
        [msgspec.structs.replace(message, sync_state=SyncState.WAITING)],
        [],
    )


def test_a_member_in_a_state_of_a_newer_release_is_passed_over_by_itself() -> None:
    newer = msgspec.msgpack.encode(["b", "10.0.0.2", 7481, 9, 1, 2, 3, "dc1"])
    assert opened(encode(Nack(1)), unit(5, newer), encode(Nack(2))) == (
        [Nack(1), Nack(2)],
        [BAD_MEMBER],
    )


@given(
    st.integers(0, 255).filter(lambda kind: kind not in {5, *(known.kind for known in KINDS)}),
    st.binary(max_size=20),
)
def test_a_unit_of_an_unknown_kind_is_passed_over(kind: int, body: bytes) -> None:
    assert opened(encode(Nack(1)), unit(kind, body), encode(Nack(2))) == (
        [Nack(1), Nack(2)],
        ["unknown_kind"],
    )


# -- bad units -----------------------------------------------------------------------------------

BAD_BODIES = {
    "empty": b"",
    "no array": b"\x01",
    "too few fields": b"\x90",
    "a field of another kind": b"\x91\xa1x",
    "a negative number": b"\x91\xff",
    "trailing bytes": b"\x91\x01\x01",
    "an array of four billion items": b"\xdd\xff\xff\xff\xff\x01",
    "nested too deeply": b"\x91" * 5000,
}


@pytest.mark.parametrize("body", BAD_BODIES.values(), ids=BAD_BODIES)
def test_a_bad_unit_costs_itself_and_not_its_neighbours(body: bytes) -> None:
    assert opened(encode(Nack(1)), unit(Nack.kind, body), encode(Nack(2))) == (
        [Nack(1), Nack(2)],
        ["bad_message"],
    )


@pytest.mark.parametrize("name", ["", "x" * 129])
def test_a_name_that_is_empty_or_too_long_is_a_bad_message(name: str) -> None:
    assert opened(encode(Pull(name))) == ([], ["bad_message"])


def test_text_that_is_no_utf_8_is_a_bad_message() -> None:
    assert opened(unit(Pull.kind, b"\x91\xa1\xff")) == ([], ["bad_message"])


@pytest.mark.parametrize("member", [
    Member("é" * 128, "h", 1, MemberState.ALIVE, 1, 0, 1, "dc1"),
    Member("b", "é" * 253, 1, MemberState.ALIVE, 1, 0, 1, "dc1"),
    Member("b", "h", 1, MemberState.ALIVE, 1, 0, 1, "dc1", "é" * 300),
    Member("b", "h", 1, MemberState.SUSPECT, 1, 0, 1, "dc1", "", "é" * 128),
    Member("b\nERROR all is lost", "h", 1, MemberState.ALIVE, 1, 0, 1, "dc1"),
], ids=["name", "host", "http", "accuser", "line break"])  # fmt: skip
def test_a_member_whose_fields_no_config_allows_is_a_bad_member(member: Member) -> None:
    assert opened(encode(member)) == ([], [BAD_MEMBER])


def test_the_longest_member_that_a_config_allows_fits_into_the_smallest_datagram() -> None:
    member = Member(
        "n" * 128,
        "h" * 253,
        65535,
        MemberState.SUSPECT,
        2**53,
        2**32 - 1,
        2**64 - 1,
        "d" * 128,
        "h" * 253 + ":65535",
        "a" * 128,
        "z" * 64,
        (math.pi,) * 8,
        bytes(16),
        gateway=True,
        frame_bytes_max=2**32 - 1,
        forget_s=FORGET_S_MAX,
    )
    assert len(encode(member)) <= RECORD_BYTES_MAX + UNIT_BYTES <= 1232 - LAN.overhead_bytes


def test_a_generation_or_incarnation_that_cannot_be_raised_is_a_bad_member() -> None:
    most = 2**64 - 1
    assert opened(encode(Member("b", "h", 1, MemberState.ALIVE, most, 0, 1, "dc1"))) == (
        [],
        [BAD_MEMBER],
    )
    assert opened(encode(Member("b", "h", 1, MemberState.ALIVE, 1, most, 1, "dc1"))) == (
        [],
        [BAD_MEMBER],
    )


@given(st.integers(1, 40))
def test_a_frame_that_is_cut_off_gives_its_whole_units(cut: int) -> None:
    units = [encode(Nack(number)) for number in range(6)]
    found, faults = opened(b"".join(units)[:-cut])
    whole = (6 * 7 - cut) // 7
    assert found == [Nack(number) for number in range(whole)]
    assert faults == (["truncated"] if cut % 7 else [])


def test_a_unit_longer_than_its_frame_is_truncated() -> None:
    assert opened(encode(Nack(1)), bytes((4, 255, 255, 255, 255)) + b"\x91\x01") == (
        [Nack(1)],
        ["truncated"],
    )


def test_no_bit_of_a_clear_frame_can_be_changed() -> None:
    data = LAN.frame([encode(Nack(1)), encode(Rumor("k", b"\x10"))])
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        if changed[3] & FLAG_REFUSED:
            # that a frame says no is in clear, and no checksum: then what it says is noise
            assert open_link(bytes(changed)).messages == []
        else:
            assert reason_of(bytes(changed)) in {
                "bad_magic", "sealed", "bad_checksum"
            }  # fmt: skip


def test_bytes_that_changed_their_places_on_the_way_are_told_by_the_checksum() -> None:
    data = LAN.frame([encode(Rumor("k", b"\x10" + bytes(16) + b"ab" * 20))])
    swapped = data[:-4] + data[-2:] + data[-4:-2]
    assert swapped == data
    swapped = data[:-3] + data[-2:] + data[-3:-2]
    assert reason_of(swapped) == "bad_checksum"
    short = data[:-1]
    assert reason_of(short) == "bad_checksum"


# -- the header ----------------------------------------------------------------------------------


@given(
    st.binary(max_size=15)
    | st.binary(min_size=16, max_size=30).filter(lambda data: data[:2] != b"kv")
)
def test_bytes_of_another_kind_or_too_short_for_a_header_have_bad_magic(data: bytes) -> None:
    assert reason_of(data) == "bad_magic"
    assert reason_of((b"kv" + data)[:15]) == "bad_magic"


def test_lesson_15_a_frame_of_another_cluster_pool_or_format_is_known_by_its_header_alone() -> None:
    undecodable = [b"\xff" * 50]
    assert reason_of(Framing("other", "lan:dc1", 1000).frame(undecodable)) == "other_cluster"
    assert reason_of(Framing("default", "lan:dc2", 1000).frame(undecodable)) == "other_pool"
    assert reason_of(Framing("default", "wan", 1000).frame(undecodable)) == "other_pool"
    assert reason_of(Framing("other", "wan", 1000).frame(undecodable)) == "other_cluster"
    assert reason_of(b"kv\x01" + LAN.frame(undecodable)[3:]) == "unknown_format"
    # what is compressed is not even unpacked
    assert (
        reason_of(Framing("other", "lan:dc1", 1000).frame([bytes(5000)], reliable=True))
        == "other_cluster"
    )


def test_a_cluster_and_a_pool_of_the_same_name_have_different_fingerprints() -> None:
    head = Framing("x", "x", 1000).frame([])
    assert head[8:12] != head[12:16]


def test_a_refusal_is_read_by_nodes_of_every_cluster_and_pool() -> None:
    refusal = Refused("other", "wan", "why")
    assert open_link(Framing("other", "wan", 1000).refusal("why")) == ([refusal], [])


def test_of_a_refusal_nothing_but_refused_is_believed() -> None:
    data = (
        Framing("other", "wan", 1000).refusal("why")
        + encode(Nack(1))
        + encode(Member("b", "h", 1, MemberState.ALIVE, 1, 0, 1, "dc1"))
    )
    assert open_link(data).messages == [Refused("other", "wan", "why")]
    assert data[3] & FLAG_REFUSED


def test_the_text_of_a_refusal_is_cut_to_what_a_refusal_may_hold() -> None:
    (refusal,) = open_link(LAN.refusal("x" * 2000)).messages
    assert refusal == Refused("default", "lan:dc1", "x" * 512)


# -- compression ---------------------------------------------------------------------------------


def test_a_long_frame_is_compressed_when_asked_and_when_that_pays() -> None:
    long = encode(Rumor("k", bytes(5000)))
    assert len(LAN.frame([long], reliable=True)) < len(long) // INFLATION_MAX + 100
    assert open_link(LAN.frame([long], reliable=True)).messages == [Rumor("k", bytes(5000))]
    assert LAN.frame([long]) == clear_frame(HEADER, long)
    short = encode(Rumor("k", bytes(COMPRESS_BYTES_MIN - 20)))
    assert LAN.frame([short], reliable=True) == clear_frame(HEADER, short)
    noise = encode(Rumor("k", b"".join(number.to_bytes(8, "big") for number in _noise(200))))
    assert LAN.frame([noise], reliable=True) == clear_frame(HEADER, noise)


def _noise(count: int) -> list[int]:
    state, found = 1, []
    for _ in range(count):
        state = state * 0x9E3779B97F4A7C15 % 2**64 ^ state >> 7
        found.append(state)
    return found


def packed(body: bytes, options: dict[int, int] | None = None) -> bytes:
    compressor = zstd.ZstdCompressor(options=options)
    return clear_frame(PACKED_HEADER, compressor.compress(body, zstd.ZstdCompressor.FLUSH_FRAME))


def test_a_compressed_frame_that_would_unpack_to_too_much_is_refused_by_its_declared_size() -> None:
    most = frame_bytes_max(Config())
    assert reason_of(packed(bytes(most + 1))) == "bad_compression"
    large = encode(Rumor("k", bytes(most - 100)))
    large = encode(Rumor("k", bytes(2 * most - 100 - len(large))))
    assert len(large) == most
    assert len(open_link(packed(large)).messages) == 1


def test_a_compressed_frame_that_does_not_declare_its_size_is_refused() -> None:
    assert (
        reason_of(packed(b"x" * 1000, {zstd.CompressionParameter.content_size_flag: 0}))
        == "bad_compression"
    )


def test_a_compressed_frame_that_holds_more_than_it_declares_is_refused_and_costs_no_memory() -> (
    None
):
    frame = bytearray(packed(bytes(2**26), {zstd.CompressionParameter.window_log: 17}))
    size_at = UNITS_AT + 6  # behind zstd's magic number, its descriptor and the size of its window
    assert int.from_bytes(frame[size_at : size_at + 4], "little") == 2**26
    frame[size_at : size_at + 4] = (600_000).to_bytes(4, "little")
    tracemalloc.start()
    try:
        assert reason_of(clear_frame(PACKED_HEADER, bytes(frame[UNITS_AT:]))) == "bad_compression"
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "tail",
    [
        b"",
        b"\x28",
        b"no zstd at all",
        b"\x28\xb5\x2f\xfd" + b"\xff" * 20,
        b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd",
    ],
)
def test_a_compressed_frame_that_cannot_be_unpacked_is_refused(tail: bytes) -> None:
    assert reason_of(clear_frame(PACKED_HEADER, tail)) == "bad_compression"


def test_a_datagram_is_never_compressed() -> None:
    with pytest.raises(RemoteError) as caught:
        LAN.open(packed(encode(Nack(1)) * 100), reliable=False)
    assert caught.value.reason == "bad_compression"


def test_a_compressed_frame_that_is_cut_off_is_refused() -> None:
    body = packed(bytes(range(256)) * 20)[UNITS_AT:]
    assert {reason_of(clear_frame(PACKED_HEADER, body[:cut])) for cut in range(len(body))} == {
        "bad_compression"
    }


def test_a_frame_has_room_for_a_full_message_and_one_entry_of_the_largest_size() -> None:
    config = Config(message_bytes_max=2**17, value_bytes_max=100)
    assert frame_bytes_max(config) >= 2**17 + 100 + 1024 * 4
