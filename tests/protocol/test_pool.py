"""The door of a pool: who is outside is dropped, counted by reason, and told so at most once a
minute."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvgossip.config import Address
from kvgossip.protocol.effect import Effect, Log, MemberChanged, Send
from kvgossip.protocol.membership.coordinate import ORIGIN
from kvgossip.protocol.model.member import Member, MemberState, SyncState, life_of
from kvgossip.protocol.replica import Replica
from kvgossip.protocol.wire.frame import (
    FLAG_COMPRESSED,
    HEADER_BYTES,
    UNITS_AT,
    Framing,
    clear_frame,
)
from kvgossip.protocol.wire.message import Ack, Nack, Ping, PingRequest, Refused, Rumor
from kvgossip.protocol.wire.unit import encode, encode_briefly
from kvgossip.zstd import ZstdCompressor
from tests.protocol.net import (
    LAN,
    STRANGER,
    WALL_MS,
    address_of,
    at,
    logs,
    make_replica,
    member,
    prove,
    sends,
    told,
)

PING = encode(Ping(1, "b", "a", 0, 0, SyncState.SETTLED))
MANY = [PING] * 20
"""More bytes than a refusal has."""
OTHER_CLUSTER = Framing("other", "lan:dc1", 2**20)
OTHER_POOL = Framing("default", "lan:dc2", 2**20)
WAN = Framing("default", "wan", 2**20)


def other_format(data: bytes) -> bytes:
    return clear_frame(data[:2] + b"\x09" + data[3:HEADER_BYTES], data[UNITS_AT:])


FOREIGN = {
    "other_cluster": OTHER_CLUSTER.frame(MANY),
    "other_pool": OTHER_POOL.frame(MANY),
    "other_pool of another kind": WAN.frame(MANY),
    "unknown_format": other_format(LAN.frame(MANY)),
    "unknown_format of release 0.1.0": b"kv\x01" + LAN.frame([])[3:HEADER_BYTES] + b"".join(MANY),
}
WORDS = {
    "other_cluster": "another cluster",
    "other_pool": "--gateway",
    "unknown_format": "cannot share a cluster",
}


def statistic(replica: Replica, name: str) -> float:
    return replica.statistics().get(name, 0)


def peers(replica: Replica) -> list[str]:
    return [known.name for known in replica.members()]


# -- frames from outside -------------------------------------------------------------------------


@pytest.mark.parametrize(("case", "data"), FOREIGN.items(), ids=FOREIGN)
@pytest.mark.parametrize("reliable", [False, True])
def test_lesson_15_a_foreign_frame_is_counted_logged_and_answered_with_the_reason_in_words(
    case: str, data: bytes, reliable: bool
) -> None:
    replica, reason = make_replica("a"), case.split()[0]
    effects = replica.receive(data, STRANGER, at(), reliable=reliable)
    assert statistic(replica, f"frames_dropped.{reason}") == 1
    (log, answer) = effects
    assert isinstance(log, Log)
    assert log.level == "WARNING"
    assert WORDS[reason] in log.text
    assert "this node is 'a' of cluster 'default', pool 'lan:dc1'" in log.text
    assert isinstance(answer, Send)
    # F09: back the way it came, or it never arrives
    assert (answer.to, answer.reliable) == (STRANGER, reliable)
    (refused,) = OTHER_CLUSTER.open(answer.data, reliable=False).messages
    assert isinstance(refused, Refused)
    assert (refused.cluster, refused.pool) == ("default", "lan:dc1")
    assert WORDS[reason] in refused.text
    assert peers(replica) == ["a"]


def test_a_source_is_answered_at_most_once_a_minute_for_each_reason_and_counted_every_time() -> (
    None
):
    replica = make_replica("a")

    def knock(data: bytes, seconds: float, source: Address = STRANGER) -> int:
        return len(replica.receive(data, source, at(seconds)))

    assert [
        knock(FOREIGN["other_cluster"], seconds) for seconds in (0, 1, 59.9, 60, 61, 119, 120.1)
    ] == [2, 0, 0, 2, 0, 0, 2]
    # another port of the same host is the same source
    assert knock(FOREIGN["other_cluster"], 121, STRANGER._replace(port=10)) == 0
    assert knock(FOREIGN["other_pool"], 121) == 2
    assert knock(FOREIGN["other_cluster"], 121, Address("192.0.2.10", 9)) == 2
    assert statistic(replica, "frames_dropped.other_cluster") == 9


@given(st.binary(max_size=64).filter(lambda data: data[:2] != b"kv"))
def test_bytes_of_another_kind_are_only_counted_or_this_node_were_a_reflector(data: bytes) -> None:
    replica = make_replica("a")
    for reliable in (False, True):
        assert replica.receive(data, STRANGER, at(), reliable=reliable) == []
    assert statistic(replica, "frames_dropped.bad_magic") == 2


# F01
@pytest.mark.parametrize(
    "tail", [b"", b"no zstd", ZstdCompressor().compress(bytes(2**22), ZstdCompressor.FLUSH_FRAME)]
)
@pytest.mark.parametrize("reliable", [False, True])
def test_a_frame_that_cannot_be_unpacked_is_only_counted(tail: bytes, reliable: bool) -> None:
    replica, head = make_replica("a"), LAN.frame([])
    data = clear_frame(head[:3] + bytes((FLAG_COMPRESSED,)) + head[4:HEADER_BYTES], tail)
    assert replica.receive(data, STRANGER, at(), reliable=reliable) == []
    assert statistic(replica, "frames_dropped.bad_compression") == 1


# F12
@pytest.mark.parametrize(
    "refusal",
    [
        LAN.refusal("no"),
        OTHER_CLUSTER.refusal("no"),
        OTHER_POOL.refusal("no"),
        other_format(LAN.refusal("no")),
    ],
)
def test_a_refusal_is_never_answered(refusal: bytes) -> None:
    replica = make_replica("a")
    for reliable in (False, True):
        assert sends(replica.receive(refusal, STRANGER, at(), reliable=reliable)) == []


def test_two_nodes_of_different_clusters_do_not_answer_each_other_for_ever() -> None:
    one, other = make_replica("a"), make_replica("b", 1, cluster="other")
    data, frames, ends = LAN.frame(MANY), 0, [other, one]
    while data:
        frames += 1
        answers = sends(ends[frames % 2 - 1].receive(data, STRANGER, at()))
        data = answers[0].data if answers else b""
    assert frames == 2


def test_a_refusal_is_logged_once_a_minute_with_what_the_other_side_says_it_is() -> None:
    replica = make_replica("a")
    refusal = OTHER_CLUSTER.refusal("it belongs to another cluster")
    (text,) = logs(replica.receive(refusal, STRANGER, at()))
    assert text.startswith(
        "refused by the node at 192.0.2.9:9 (cluster 'other', pool 'lan:dc1'), which says: "
        '"it belongs to another cluster"'
    )
    assert logs(replica.receive(refusal, STRANGER, at(59.0))) == []
    assert logs(replica.receive(refusal, STRANGER, at(61.0))) == [text]


# F27
def test_the_text_of_a_refusal_cannot_write_lines_of_its_own_into_the_log() -> None:
    replica = make_replica("a")
    assert (
        logs(replica.receive(OTHER_CLUSTER.refusal("no\nERROR all is lost\x1b[2J"), STRANGER, at()))
        == []
    )
    assert replica.statistics()["units_dropped.bad_message"] == 1


# -- frames of our own ---------------------------------------------------------------------------


def test_a_ping_is_answered_the_way_it_came_with_root_clock_and_settledness() -> None:
    replica = make_replica("a")
    replica.put("k", b"v", at())
    ping = encode(Ping(1, "b", "a", 2**63, at().wall_ms, SyncState.SETTLED))
    for reliable in (False, True):
        effects = replica.receive(LAN.frame([ping]), STRANGER, at(), reliable=reliable)
        (packet,) = sends(effects)
        assert (packet.to, packet.reliable) == (STRANGER, reliable)
        assert LAN.open(packet.data, reliable=reliable).messages[0] == Ack(
            1,
            "a",
            replica.store.digest.root,
            at().wall_ms,
            SyncState.SETTLED,
            life_of(replica.site) if reliable else 0,
            # a stranger's datagram has no longer answer than it has bytes
            coordinate=ORIGIN.packed() if reliable else b"",
            stranger=True,
        )


def test_a_ping_for_another_name_is_not_answered() -> None:
    replica = make_replica("a")
    assert (
        replica.receive(
            LAN.frame([encode(Ping(1, "b", "z", 0, 0, SyncState.SETTLED))]), STRANGER, at()
        )
        == []
    )
    assert statistic(replica, "pings_for_another_name") == 1


@pytest.mark.parametrize("state", list(MemberState))
def test_who_pings_from_elsewhere_and_is_gone_hears_in_which_generation_within_the_bytes_of_its_ping(
    state: MemberState,
) -> None:
    replica = make_replica("a")
    replica.receive(LAN.frame([encode(member("b", 1, generation=WALL_MS))]), STRANGER, at())
    replica.receive(LAN.frame([encode(member("b", 1, state, generation=WALL_MS))]), STRANGER, at())
    ping = encode_briefly(Ping(1, "b", "a", 2**63, WALL_MS, SyncState.SETTLED, 7, 0, 2**63))
    frame = LAN.frame([ping])
    packet = sends(replica.receive(frame, STRANGER, at()))[0]
    (ack,) = LAN.open(packet.data, reliable=packet.reliable).messages
    assert isinstance(ack, Ack)
    assert ack.gone_in == (0 if state <= MemberState.SUSPECT else WALL_MS)
    assert len(packet.data) <= len(frame)


# F16
def test_a_clock_before_1970_says_zero() -> None:
    replica = make_replica("a")
    effects = replica.receive(LAN.frame([PING]), STRANGER, at()._replace(wall_ms=-5))
    assert [message for _, message in told(LAN, effects) if isinstance(message, Ack)] == [
        Ack(1, "a", 0, 0, SyncState.SETTLED, stranger=True)
    ]


# F03
@pytest.mark.parametrize("unit", [PING, encode(PingRequest(1, "b", "c", "10.0.0.3", 7481))])
def test_of_many_questions_in_one_frame_one_is_answered(unit: bytes) -> None:
    replica = make_replica("a")
    replica.receive(LAN.frame([encode(member("b", 1)), encode(member("c", 2))]), STRANGER, at())
    source = prove(replica, "b")
    assert len(sends(replica.receive(LAN.frame([unit] * 1000), source, at()))) == 1
    dropped = ("unexpected_question", "too_much")
    assert sum(statistic(replica, f"units_dropped.{reason}") for reason in dropped) == 999


def test_units_that_cannot_be_read_are_counted_by_reason_and_the_others_handled() -> None:
    replica = make_replica("a")
    bad = b"\x04\x00\x00\x00\x01\xc0"
    effects = replica.receive(
        LAN.frame([bad, b"\xf0\x00\x00\x00\x00", encode(member("b", 1)), b"\x04\x00"]),
        STRANGER,
        at(),
    )
    assert peers(replica) == ["a", "b"]
    assert [effect for effect in effects if isinstance(effect, MemberChanged)] == [
        MemberChanged(None, member("b", 1))
    ]
    counted = {
        name: value
        for name, value in replica.statistics().items()
        if name.startswith("units_dropped")
    }
    assert counted == {
        "units_dropped.bad_message": 1,
        "units_dropped.unknown_kind": 1,
        "units_dropped.truncated": 1,
    }


def test_membership_news_rides_on_every_packet_to_a_member_that_has_room() -> None:
    replica = make_replica("a")
    replica.receive(LAN.frame([encode(member("b", 1))]), STRANGER, at())
    (packet,) = sends(replica.receive(LAN.frame([PING]), prove(replica, "b"), at()))
    assert {
        message.name
        for message in LAN.open(packet.data, reliable=False).messages
        if isinstance(message, Member)
    } == {"a", "b"}


@pytest.mark.parametrize("state", [MemberState.SUSPECT, MemberState.DEAD])
def test_who_is_not_alive_hears_that_first(state: MemberState) -> None:
    replica = make_replica("a")
    replica.receive(
        LAN.frame([encode(member("b", 1)), encode(member("c", 2)), encode(member("b", 1, state))]),
        STRANGER,
        at(),
    )
    (packet,) = sends(replica.receive(LAN.frame([PING]), prove(replica, "b"), at()))
    assert LAN.open(packet.data, reliable=False).messages[1] == member("b", 1, state)


@given(st.integers(1, 40), st.sampled_from([1232, 1400]))
def test_no_datagram_is_longer_than_its_limit_however_many_members_there_are(
    count: int, datagram_bytes_max: int
) -> None:
    replica = make_replica("a" * 128, datagram_bytes_max=datagram_bytes_max)
    longest: dict[str, Any] = {
        "http": "h" * 300,
        "accuser": "x" * 128,
        "zone": "z" * 128,
        "coordinates": (1.5,) * 8,
    }
    for place in range(count):
        replica.pools.lan.membership.merge(
            member(f"{place:0128}", place, MemberState.SUSPECT, **longest), at()
        )
    effects: list[Effect] = []
    for seconds in (0.1, 1.1, 2.2, 3.3):
        effects += replica.tick(at(seconds))
        ping = Ping(1, f"{0:0128}", "a" * 128, 0, 0, SyncState.SETTLED)
        effects += replica.receive(LAN.frame([encode(ping)]), address_of(0), at(seconds))
    assert all(
        len(packet.data) <= datagram_bytes_max for packet in sends(effects) if not packet.reliable
    )


def test_the_frames_of_a_pool_are_counted() -> None:
    replica = make_replica("a")
    (packet,) = sends(replica.receive(LAN.frame([PING]), STRANGER, at(), reliable=True))
    assert (statistic(replica, "frames_received"), statistic(replica, "bytes_received")) == (
        1,
        LAN.overhead_bytes + len(PING),
    )
    assert (statistic(replica, "frames_sent"), statistic(replica, "bytes_sent")) == (
        1,
        len(packet.data),
    )


# F24
def test_another_live_node_of_our_name_is_reported_at_most_once_a_minute() -> None:
    replica = make_replica("a")

    def rival(generation: int, seconds: float) -> list[str]:
        other = member(
            "a", 9, generation=replica.member.generation + generation, site=replica.site ^ 1
        )
        return logs(replica.receive(LAN.frame([encode(other)]), STRANGER, at(seconds)))

    (text,) = rival(1, 0.0)
    assert "10.0.0.10:7481" in text
    assert "10.0.0.1:7481" in text
    assert rival(1, 10.0) == []
    assert len(rival(1, 61.0)) == 1
    assert replica.statistics()["name_conflicts"] == 3


def test_a_nack_a_rumor_or_an_ack_that_nobody_asked_for_changes_nothing() -> None:
    replica = make_replica("a")
    before = replica.statistics()
    for message in (Nack(5), Ack(5, "b", 3, 3, SyncState.SETTLED), Rumor("k", b"\x10" + bytes(16))):
        assert replica.receive(LAN.frame([encode(message)]), STRANGER, at()) == []
    after = replica.statistics()
    assert {name for name in after if after[name] != before.get(name, 0)} == {
        "frames_received",
        "bytes_received",
    }


@pytest.mark.parametrize("buddy", [True, False])
def test_a_suspect_hears_first_that_it_is_one_however_old_that_news_is(buddy: bool) -> None:
    replica = make_replica("a", buddy=buddy)
    suspect = member("b", 1, state=MemberState.SUSPECT, accuser="c")
    replica.receive(LAN.frame([encode(suspect)]), STRANGER, at())
    while replica.pools.lan.membership.dissemination.has_news:
        list(replica.pools.lan.membership.dissemination.take_news(2**20))
    answers = told(LAN, replica.receive(LAN.frame([PING]), prove(replica, "b"), at()))
    assert [message for _, message in answers if isinstance(message, Member)] == [suspect] * buddy
