"""Strangers: a node is no reflector, its log is no target, and nothing that it repeats of others is
more than text."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kvgossip.config import Address
from kvgossip.protocol.effect import Effect
from kvgossip.protocol.ingress.complaints import (
    ANSWERS_PER_S,
    LINES_AT_ONCE,
    LINES_PER_S,
    SUBJECTS_MAX,
)
from kvgossip.protocol.model.member import Member, SyncState
from kvgossip.protocol.model.plain_text import plain, quoted
from kvgossip.protocol.replica import Replica
from kvgossip.protocol.wire.frame import Framing
from kvgossip.protocol.wire.message import (
    Ack,
    Enquire,
    Gossip,
    Message,
    Notice,
    Ping,
    PingRequest,
    Pull,
    Refused,
    Rumor,
)
from kvgossip.protocol.wire.unit import encode
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
    record,
    sends,
)
from tests.protocol.strategies import KINDS, members, of_kind

OTHER = Framing("other", "lan:dc1", 2**20)
VICTIM = Address("203.0.113.7", 53)


def sources(count: int) -> list[Address]:
    return [Address(f"198.51.{number >> 8}.{number & 255}", 53) for number in range(count)]


def node(**config: Any) -> Replica:
    """A node with data and news, that has met the members b and c, and had answers of both."""
    replica = make_replica("a", **config)
    replica.put("k", b"v" * 1000, at())
    news = [encode(member(name, place)) for place, name in enumerate("bcdefg", 1)]
    replica.receive(LAN.frame(news), STRANGER, at())
    for name in "bc":
        prove(replica, name)
    return replica


def bytes_to_strangers(replica: Replica, effects: list[Effect]) -> int:
    """What datagrams bring to where no member has answered."""
    table = replica.pools.lan.membership.table
    return sum(
        len(sent.data)
        for sent in sends(effects)
        # b and c have answered, also where the same datagram says then that they have moved
        if not (sent.reliable or table.proofs.has(sent.to) or sent.to in map(address_of, (1, 2)))
    )


# -- answers --------------------------------------------------------------------------------------


@given(
    st.lists(st.sampled_from(KINDS).flatmap(of_kind) | members, min_size=1, max_size=4),
    st.sampled_from([STRANGER, VICTIM, address_of(9), address_of(4)]),
)
def test_a_datagram_of_a_stranger_makes_no_more_bytes_for_strangers_than_it_has(
    units: list[Message | Member], source: Address
) -> None:
    """Whatever it says, and whoever it says that it is: address_of(4) is that of a member that has
    never answered, and so may be a victim that somebody has named."""
    replica, data = node(), LAN.frame([encode(unit) for unit in units])
    assert bytes_to_strangers(replica, replica.receive(data, source, at(0.1))) <= len(data)


SMALL_QUESTIONS: list[Message] = [
    Ping(1, "x", "a", 0, 0, SyncState.SETTLED),
    Ping(1, "b", "a", 0, 0, SyncState.SETTLED),
    Ping(1, "e", "a", 0, 0, SyncState.SETTLED),
    Enquire(1, "k", 0, 0, 0),
    Enquire(1, "new", 1, 1, 1),
    PingRequest(1, "x", "t", VICTIM.host, VICTIM.port),
    PingRequest(1, "e", "f", address_of(5).host, address_of(5).port),
    PingRequest(1, "b", "f", address_of(5).host, address_of(5).port),
    Pull("e"),
    Pull("x"),
    Gossip(1, "x"),
]


@pytest.mark.parametrize("question", SMALL_QUESTIONS, ids=repr)
@pytest.mark.parametrize("source", [VICTIM, address_of(4)])
def test_nor_do_many_small_questions_also_not_later(question: Message, source: Address) -> None:
    """The answer may come with a later input: of a relay, or of a rumor that was asked for."""
    replica, data = node(), LAN.frame([encode(question)])
    table, total = replica.pools.lan.membership.table, 0
    for number in range(40):
        total += bytes_to_strangers(replica, replica.receive(data, source, at(0.001 * number)))
    late = replica.receive(
        LAN.frame([encode(Gossip(5, "b")), encode(Rumor("new", record(b"v")))]),
        address_of(1),
        at(0.05),
    )
    total += sum(len(sent.data) for sent in sends(late) if sent.to == source)
    for step in range(1, 8):
        effects = replica.tick(at(0.05 + step / 10))
        total += sum(
            len(sent.data)
            for sent in sends(effects)
            # failure detection probes whoever is in the table, once a period
            if not sent.reliable and sent.to == source and table.reachable_at(source) is None
        )
    assert total <= 40 * len(data)


@given(st.lists(st.sampled_from(KINDS).flatmap(of_kind), min_size=1, max_size=3))
@example([Gossip(1, "x"), Notice("new", 2**60, 1, 1)])
@example([Enquire(1, "new", 1, 1, 20)])
def test_a_datagram_of_a_stranger_makes_nobody_dial_where_no_member_is(
    messages: list[Message],
) -> None:
    """Its source may be a victim, who would get the first packets of a connection."""
    replica, data = node(), LAN.frame([encode(message) for message in messages])
    effects = replica.receive(data, VICTIM, at(0.1)) + replica.tick(at(0.2))
    assert [sent for sent in sends(effects) if sent.reliable and sent.to == VICTIM] == []


def test_a_stranger_uses_up_no_news_that_is_meant_for_members() -> None:
    replica = node()
    ping = LAN.frame([encode(Ping(2**31, "stranger", "a", 2**63, WALL_MS, SyncState.SETTLED))])
    for number in range(1000):
        replica.receive(ping, STRANGER, at(0.0001 * number))
    news = replica.pools.lan.membership.dissemination
    assert all(news.is_spreading(name) for name in "bcdefg")


def test_an_honest_ping_of_a_node_that_is_not_known_is_answered_by_a_datagram() -> None:
    """It has to hear that it is a stranger, or it never tells its record."""
    replica = node()
    ping = Ping(2**31, "newcomer", "a", 0, WALL_MS, SyncState.FRESH, 2**31, 0, 2**31)
    (sent,) = sends(replica.receive(LAN.frame([encode(ping)]), STRANGER, at()))
    (ack,) = LAN.open(sent.data, reliable=False).messages
    assert isinstance(ack, Ack)
    assert (ack.stranger, ack.sequence, ack.root) == (True, 2**31, replica.store.digest.root)


def test_what_a_link_asks_is_answered_in_full() -> None:
    replica = node()
    ping = LAN.frame([encode(SMALL_QUESTIONS[0])], reliable=True)
    (sent,) = sends(replica.receive(ping, STRANGER, at(), reliable=True))
    assert len(sent.data) > len(ping)


# -- complaints -----------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [100, SUBJECTS_MAX, SUBJECTS_MAX + 500])
@pytest.mark.parametrize("long", [False, True])
def test_a_flood_of_foreign_datagrams_of_any_number_of_sources_makes_few_lines_and_few_answers(
    count: int, long: bool
) -> None:
    replica = make_replica("a")
    filling = [encode(Ping(1, "b", "a", 0, 0, SyncState.SETTLED))] * (20 if long else 0)
    data, lines, answers = OTHER.frame(filling), [], 0
    for turn in range(3):
        for number, source in enumerate(sources(count)):
            effects = replica.receive(data, source, at(20.0 * turn + 20.0 * number / count))
            lines += logs(effects)
            answers += len(sends(effects))
    assert len(lines) <= LINES_AT_ONCE + 60.0 * LINES_PER_S
    assert answers <= (60.0 * ANSWERS_PER_S + ANSWERS_PER_S if long else 0)
    dropped = replica.statistics()["frames_dropped.other_cluster"]
    assert (dropped, len(replica.pools.lan.gate._complaints)) == (
        3 * count,
        min(len(replica.pools.lan.gate._complaints), SUBJECTS_MAX),
    )


def test_the_next_line_says_how_many_were_left_out_and_a_metric_counts_them() -> None:
    replica = make_replica("a")
    lines = [logs(replica.receive(OTHER.frame([]), source, at())) for source in sources(50)]
    assert sum(map(len, lines)) == LINES_AT_ONCE
    assert replica.statistics()["complaints_unlogged"] == 50 - LINES_AT_ONCE
    (line,) = logs(replica.receive(OTHER.frame([]), STRANGER, at(10.0)))
    assert line.endswith("; 40 warnings before this one were left out")
    (line,) = logs(replica.receive(OTHER.frame([]), STRANGER._replace(host="::1"), at(20.0)))
    assert "left out" not in line


def test_refusals_that_are_heard_and_names_that_are_claimed_are_bounded_by_the_same_bucket() -> (
    None
):
    replica, lines = make_replica("a"), []
    for source in sources(2000):
        lines += logs(replica.receive(OTHER.refusal("no"), source, at()))
    for number in range(2000):
        twin = member(f"twin{number}", 0, generation=WALL_MS + 10**6, site=number + 7)
        lines += logs(replica.receive(LAN.frame([encode(twin)]), STRANGER, at()))
    assert len(lines) == LINES_AT_ONCE


def test_a_flood_of_datagrams_does_not_keep_words_from_who_wants_to_join() -> None:
    replica = make_replica("a")
    for source in sources(3000):
        replica.receive(OTHER.frame([b"\x05\x00\x00\x00\x00"] * 100), source, at())
    (answer,) = sends(replica.receive(OTHER.frame([]), STRANGER, at(), reliable=True))
    (refused,) = LAN.open(answer.data, reliable=True).messages
    assert isinstance(refused, Refused)
    assert "another cluster" in refused.text


def test_a_member_hears_why_its_datagrams_are_refused_though_that_is_longer() -> None:
    """A node that missed a rotation of keys, or was restarted with another --cluster."""
    replica = node()
    (answer,) = sends(replica.receive(OTHER.frame([]), address_of(1), at()))
    assert len(answer.data) > len(OTHER.frame([]))
    assert sends(replica.receive(OTHER.frame([]), address_of(4), at())) == []
    assert sends(replica.receive(OTHER.frame([]), VICTIM, at())) == []


# -- text of others -------------------------------------------------------------------------------


HIDDEN = "\u202e\u200b\u2028\ufeff\u2066\U000e0001\ud800"


@given(st.text())
def test_text_of_others_is_one_line_of_seen_characters(text: str) -> None:
    assert plain(text).isprintable()
    assert quoted(text).isprintable()
    assert quoted(text).count('"') in (0, 2)
    assert plain("said: é 漢 \U0001f600") == "said: é 漢 \U0001f600"
    assert plain(f"a{HIDDEN}b\n\x1b\x9b") == "ab"


def test_what_a_refusal_says_is_logged_in_quotes_and_without_what_turns_a_line() -> None:
    replica = make_replica("a")
    unseen = HIDDEN[:-1]
    refusal = Framing(f"ev{unseen}il", f"lan:{unseen}", 2**20).refusal(
        f'no". {unseen}ERROR: all is lost "'
    )
    (line,) = logs(replica.receive(refusal, STRANGER, at()))
    assert line.isprintable()
    assert (
        "refused by the node at 192.0.2.9:9 (cluster 'evil', pool 'lan:'), which says: "
        "\"no'. ERROR: all is lost '\"" in line
    )
