"""When an exchange starts, with whom, how many at a time, and when it stops trying."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest

from kvgossip.config import Address, Config
from kvgossip.protocol.anti_entropy.slots import EXCHANGES_MAX
from kvgossip.protocol.effect import Effect
from kvgossip.protocol.model.member import Member, MemberState, SyncState
from kvgossip.protocol.replica import Replica
from kvgossip.protocol.wire.exchange_messages import (
    Compare,
    Decoded,
    Differ,
    Entries,
    Leaves,
    Merged,
    Push,
    Sketch,
    Symbols,
    Want,
)
from kvgossip.protocol.wire.message import Ack, Message
from kvgossip.protocol.wire.unit import encode
from tests.protocol.net import (
    LAN,
    STRANGER,
    Network,
    about,
    address_of,
    at,
    logs,
    make_replica,
    member,
    record,
    sends,
    told,
)

OPENINGS = (Sketch, Compare)
NEVER_S = 3600.0


def replica_with(*peers: str, **config: Any) -> Replica:
    replica = make_replica("a", **{"push_pull_interval_s": NEVER_S, **config})
    for place, name in enumerate(peers, 1):
        replica.pools.lan.membership.merge(member(name, place), at())
    replica.tick(at())
    return replica


def opened(effects: Iterable[Effect]) -> list[tuple[Address, Any]]:
    """The first messages of exchanges."""
    return [
        (to, message)
        for to, message in told(LAN, effects)
        if isinstance(message, OPENINGS) and message.request == 1
    ]


def see_root(replica: Replica, name: str, root: int, seconds: float) -> list[tuple[Address, Any]]:
    """An ack that carries this root; the exchanges that it starts."""
    return opened(
        replica.receive(
            LAN.frame([encode(Ack(1, name, root, 0, SyncState.SETTLED))]), STRANGER, at(seconds)
        )
    )


def reply(replica: Replica, answer: Message, seconds: float = 0.0) -> list[Effect]:
    data = LAN.frame([encode(about(replica, answer))])
    return replica.receive(data, address_of(1), at(seconds), reliable=True)


def equal(asked: Sketch | Compare, wanted: bytes = b"") -> Decoded | Differ:
    """The answer that nothing differs, but for the fingerprints or buckets that are `wanted`."""
    if isinstance(asked, Sketch):
        return Decoded(
            asked.exchange, asked.request, 4, (), b"", wanted, asked.members, SyncState.SETTLED
        )
    return Differ(asked.exchange, asked.request, 4, wanted, asked.members, SyncState.SETTLED)


# -- when an exchange starts ---------------------------------------------------------------------


def test_equal_roots_start_nothing() -> None:
    replica = replica_with("b")
    for seconds in range(100):
        assert see_root(replica, "b", replica.store.digest.root, float(seconds)) == []


def test_roots_that_differ_in_a_quiet_node_start_an_exchange_at_once() -> None:
    replica = replica_with("b")
    assert [to for to, _ in see_root(replica, "b", 5, 2.0)] == [address_of(1)]


def test_roots_that_differ_while_rumors_are_under_way_get_time_to_settle() -> None:
    replica = replica_with("b")
    for step in range(8):
        replica.put(f"k{step}", b"v", at(2 + step * 0.5))
        started = see_root(replica, "b", 5, 2 + step * 0.5)
        assert bool(started) == (step * 0.5 >= 2.0), step
        if started:
            break


def test_roots_that_became_equal_meanwhile_start_the_time_again() -> None:
    replica = replica_with("b")
    replica.put("k", b"v", at(2.0))
    assert see_root(replica, "b", 5, 2.0) == []
    assert see_root(replica, "b", replica.store.digest.root, 3.0) == []
    replica.put("k", b"w", at(3.9))
    assert see_root(replica, "b", 5, 4.1) == []
    assert see_root(replica, "b", 5, 5.8) == []
    assert see_root(replica, "b", 5, 5.95)


def test_a_root_of_somebody_who_is_no_member_starts_nothing() -> None:
    replica = replica_with("b")
    assert see_root(replica, "stranger", 5, 10.0) == []
    replica.pools.lan.membership.merge(member("b", 1, MemberState.DEAD), at(10.0))
    assert see_root(replica, "b", 5, 10.0) == []


def test_a_finished_exchange_with_a_peer_rests_before_the_next() -> None:
    replica = replica_with("b")
    ((_, first),) = see_root(replica, "b", 5, 2.0)
    reply(replica, equal(first), 2.1)
    assert replica.statistics()["exchanges_completed"] == 1
    assert see_root(replica, "b", 6, 4.0) == []
    assert see_root(replica, "b", 6, 4.2)


def test_the_push_pull_floor_exchanges_with_a_random_peer_also_where_all_is_equal() -> None:
    replica = make_replica("a", push_pull_interval_s=30.0)
    replica.pools.lan.membership.merge(member("b", 1), at())
    times = []
    for seconds in range(1, 400):
        for _, first in opened(replica.tick(at(float(seconds)))):
            times.append(seconds)
            reply(replica, equal(first), seconds)
        replica.pools.lan.membership.merge(member("b", 1, incarnation=seconds), at(float(seconds)))
    assert times[0] <= 31
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert all(22 <= pause <= 39 for pause in pauses), pauses


def test_who_came_back_is_exchanged_with_at_once() -> None:
    replica = replica_with("b")
    replica.pools.lan.membership.merge(member("b", 1, MemberState.DEAD), at())
    replica._drain(at())
    effects = replica.receive(LAN.frame([encode(member("b", 1, generation=2))]), STRANGER, at(9.0))
    assert [to for to, _ in opened(effects)] == [address_of(1)]


def test_without_anti_entropy_nothing_is_asked_and_nothing_answered() -> None:
    replica = replica_with("b", anti_entropy=False, push_pull_interval_s=1.0)
    replica.put("k", b"v", at())
    assert see_root(replica, "b", 5, 50.0) == []
    assert opened(replica.tick(at(100.0))) == []
    assert sends(reply(replica, Compare(1, 1, 4, 0, b"", bytes(8), 0))) == []


# -- how many, and how they end ------------------------------------------------------------------


def test_two_exchanges_are_under_way_at_most_and_the_others_wait_for_their_turn() -> None:
    replica = replica_with("b", "c", "d", "e")
    started = [first for name in "bcdeb" for first in see_root(replica, name, 5, 2.0)]
    assert [to for to, _ in started] == [address_of(1), address_of(2)]
    assert len(replica.pools.lan.exchanges._slots.running) == EXCHANGES_MAX
    effects = reply(replica, equal(started[0][1]), 2.1)
    assert [to for to, _ in opened(effects)] == [address_of(3)]
    effects = replica.unreachable(address_of(2), at(2.2))
    assert [to for to, _ in opened(effects)] == [address_of(4)]


def test_an_exchange_without_progress_is_cut_and_one_with_progress_is_not() -> None:
    replica = replica_with("b", exchange_timeout_s=10.0)
    ((_, first),) = see_root(replica, "b", 5, 2.0)
    symbols_or_buckets = (
        Symbols(first.exchange, 1, 4, b"", 0, SyncState.SETTLED)
        if isinstance(first, Sketch)
        else equal(first, bytes(4))
    )
    effects = reply(replica, symbols_or_buckets, 11.0) + replica.tick(at(11.0))
    assert any(isinstance(message, (Compare, Leaves)) for _, message in told(LAN, effects))
    replica.tick(at(20.9))
    assert replica.statistics()["exchanges_cut"] == 0
    replica.tick(at(21.0))
    assert replica.statistics()["exchanges_cut"] == 1
    assert see_root(replica, "b", 5, 21.5)


def test_an_answer_to_no_exchange_is_counted_and_nothing_else() -> None:
    replica = replica_with("b")
    for answer in (
        Differ(1, 1, 4, b"", 0, SyncState.SETTLED),
        Entries(1, 1, 1, (), b""),
        Merged(1, 1),
        Symbols(1, 1, 4, b"", 0, SyncState.SETTLED),
    ):
        assert reply(replica, answer) == []
    assert replica.statistics()["units_dropped.unasked_answer"] == 4


@pytest.mark.parametrize(("site", "cut"), [(0, 0), (2, 0), (77, 1)])
def test_an_exchange_that_another_one_answers_at_the_peers_address_is_cut(
    site: int, cut: int
) -> None:
    replica = replica_with("b")
    assert replica.members()[1].site == 2
    ((_, first),) = see_root(replica, "b", 5, 2.0)
    answer = (
        Symbols(first.exchange, 1, 4, b"", 0, SyncState.SETTLED, site)
        if isinstance(first, Sketch)
        else Differ(first.exchange, 1, 4, b"", 0, SyncState.SETTLED, site)
    )
    reply(replica, answer)
    assert replica.statistics()["exchanges_cut"] == cut
    assert replica.statistics().get("units_dropped.another_life", 0) == cut


def test_an_answer_that_makes_no_sense_cuts_the_exchange_and_is_counted() -> None:
    replica = replica_with("b")
    ((_, first),) = see_root(replica, "b", 5, 2.0)
    reply(replica, equal(first, b"\x00"))
    assert replica.statistics()["exchanges_cut"] == 1
    assert replica.statistics()["units_dropped.bad_message"] == 1


@pytest.mark.parametrize(
    "asked",
    [
        Compare(1, 1, 4, 1, b"\x00", b"", 0),
        Leaves(1, 1, 4, b"\x00", b"", b""),
        Want(1, 1, b"\x00"),
        Sketch(1, 1, 4, b"", b"\x00", 0),
    ],
)
def test_a_question_that_makes_no_sense_is_counted_and_not_answered(asked: Message) -> None:
    replica = replica_with("b")
    assert not [
        message
        for _, message in told(LAN, reply(replica, asked))
        if not isinstance(message, Member)
    ]
    assert replica.statistics()["units_dropped.bad_message"] == 1


@pytest.mark.parametrize(
    "asked",
    [Compare(1, 1, 4, 0, b"", bytes(8), 0), Want(1, 1, b""), Push(1, 1, (("k", record(b"v")),))],
)
def test_a_question_by_datagram_is_not_answered(asked: Message) -> None:
    replica = replica_with("b")
    assert replica.receive(LAN.frame([encode(asked)]), STRANGER, at()) == []
    assert replica.statistics()["units_dropped.unexpected_question"] == 1


def test_member_tables_that_differ_are_told_by_both_sides_once_an_exchange() -> None:
    net = Network()
    net.cluster("a b")
    net.run(2.0)
    tables = []
    for place, name in enumerate("ab", 20):
        net.replicas[name].pools.lan.membership.merge(member(f"of-{name}", place), net.now(name))
        while net.replicas[name].pools.lan.membership.dissemination.has_news:
            list(net.replicas[name].pools.lan.membership.dissemination.take_news(10_000))
    net.watch = lambda frm, to, sent: tables.append(frm) if LAN.open(sent.data,
    reliable=sent.reliable).messages[:1] == [
        net.replicas[frm].member
    ] and sent.reliable else None  # fmt: skip
    net.replicas["a"].pools.lan.exchanges.start("b", net.now("a"))
    net.perform("a", net.replicas["a"]._drain(at()))
    net.run(0.1)
    assert sorted(tables) == ["a", "b"]
    assert {known.name for known in net.replicas["a"].members()} == {"a", "b", "of-a", "of-b"}


# -- repair in a network -------------------------------------------------------------------------


def test_a_difference_that_no_rumor_carried_is_repaired_soon_after_it_was_seen() -> None:
    net = Network()
    net.cluster("a b c")
    net.run(5.0)
    net.passes = lambda frm, to, reliable: reliable or to != "c"
    net.put("a", "k", b"v")
    net.run(0.5)
    net.passes = lambda frm, to, reliable: True
    assert net.until(lambda: net.replicas["c"].store.value("k") == b"v") < 5.0


def test_rumors_off_still_converges() -> None:
    net = Network()
    net.cluster("a b c d", rumor_k=0)
    for number, name in enumerate("abcd"):
        net.put(name, f"k{number}", b"v" * 2000)
        net.put(name, "same", name.encode())
    assert net.until(net.converged) < 15.0


def test_lesson_05_in_a_cluster_in_sync_nothing_is_repaired_but_the_floor() -> None:
    net = Network()
    net.cluster("a b c")
    for number in range(50):
        net.put("abc"[number % 3], f"k{number % 20}", b"%d" % number)
    net.run(10.0)
    before = sum(replica.statistics()["exchanges_started"] for replica in net.replicas.values())
    net.run(300.0)
    started = (
        sum(replica.statistics()["exchanges_started"] for replica in net.replicas.values()) - before
    )
    assert started <= 3 * 300 / (0.75 * Config().push_pull_interval_s)
    assert logs(effect for name in "abc" for effect in net.effects[name]) == []


@pytest.mark.parametrize("others", ["empty", "filled"])
def test_lesson_05_what_a_peer_refuses_for_ever_is_not_sent_for_ever_and_is_reported(
    others: str,
) -> None:
    net = Network()
    net.cluster("a b")
    if others == "filled":
        net.put("a", "common", b"v")
    net.run(3.0)
    net.partition("a", "b")
    net.skew_ms["b"] = 86_400_000
    for number in range(20):
        net.put("b", f"k{number}", b"v")
    net.skew_ms["b"] = 0
    net.heal()
    net.run(100.0)
    before = sum(replica.statistics()["exchanges_started"] for replica in net.replicas.values())
    net.run(300.0)
    assert (
        sum(replica.statistics()["exchanges_started"] for replica in net.replicas.values()) - before
        <= 2 * 300 / 20
    )
    assert any(
        "exchanges have brought nothing" in text
        for name in "ab"
        for text in logs(net.effects[name])
    )
    # as soon as there is something that can be repaired, it is
    net.put("a", "later", b"v")
    net.until(lambda: net.replicas["b"].store.value("later") == b"v", seconds=5.0)


def test_lesson_06_the_floor_of_a_cluster_in_sync_costs_next_to_nothing() -> None:
    net = Network()
    net.cluster("a b")
    for number in range(200):
        net.put("a", f"k{number}", b"v" * 1000)
    net.until(net.converged)
    net.run(10.0)
    sizes: list[int] = []
    net.watch = lambda frm, to, sent: sizes.append(len(sent.data))
    net.run(60.0)
    assert sum(sizes) < 30_000
