"""Trees of different seeds are never compared: not those of two clusters of one name, nor those of
a node that has just come into its cluster, or whose cluster becomes a part of another one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from kvgossip.protocol.anti_entropy.answers import LOOKS_A_STEP
from kvgossip.protocol.effect import Effect
from kvgossip.protocol.model.cluster_id import ClusterId
from kvgossip.protocol.model.member import SyncState
from kvgossip.protocol.replica import Replica
from kvgossip.protocol.store import reseeding
from kvgossip.protocol.store import store as store_module
from kvgossip.protocol.wire.batching import pack
from kvgossip.protocol.wire.exchange_messages import (
    Compare,
    Conclude,
    Differ,
    Leaves,
    OtherPositions,
    Push,
    Sketch,
    Want,
)
from kvgossip.protocol.wire.message import Join, JoinPurpose, Message
from kvgossip.protocol.wire.unit import encode
from tests.protocol.net import (
    LAN,
    Disk,
    Network,
    about,
    address_of,
    at,
    make_replica,
    member,
    record,
    told,
)

GREATEST = 2**32 - 1
LATER = ClusterId(1, GREATEST, seed=5)


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few keys take many steps."""
    monkeypatch.setattr(reseeding, "STEP_KEYS", 3)
    monkeypatch.setattr(store_module, "STEP_KEYS", 3)


def replica_with_b(**config: Any) -> Replica:
    """One that is settled, knows a member, and places its keys by an id of its own."""
    replica = make_replica("a", **config)
    replica.receive(LAN.frame([encode(member("b", 1))]), address_of(1), at())
    assert replica.store.digest.seed == replica.cluster_id.value.seed
    return replica


def hear(replica: Replica, message: Message, seconds: float = 0.0) -> list[Effect]:
    data = LAN.frame([encode(message)], reliable=True)
    return replica.receive(data, address_of(1), at(seconds), reliable=True)


def said(effects: Iterable[Effect], *kinds: type[Message]) -> list[Any]:
    return [message for _, message in told(LAN, effects) if isinstance(message, kinds)]


def begun(replica: Replica) -> Any:
    """The first question of an exchange with b."""
    replica.pools.lan.exchanges.start("b", at())
    (first,) = said(replica._drain(at()), Compare, Sketch)
    return first


def positions(replica: Replica) -> list[int]:
    return [replica.store.digest.hash_of(key) for key in "abc"]


# -- two clusters --------------------------------------------------------------------------------


def test_two_clusters_of_one_name_have_different_positions_and_each_has_the_same() -> None:
    net, other = Network(), Network()
    net.cluster("a b")
    other.cluster("x y")
    one, two = (positions(net.replicas[name]) for name in "ab")
    far, away = (positions(other.replicas[name]) for name in "xy")
    assert one == two
    assert far == away
    assert not set(one) & set(far)


def test_who_has_minted_nothing_places_keys_by_the_name() -> None:
    one, other, third = make_replica("a"), make_replica("b"), make_replica("c", cluster="other")
    assert positions(one) == positions(other) != positions(third)
    one.put("k", b"v", at())
    assert positions(one) != positions(other)


def test_a_seed_follows_from_nothing_that_is_shown() -> None:
    one = make_replica("a")
    assert one.cluster_id.value.seed not in (one.site, one.cluster_id.value.number)
    assert one.site % 2**32 == one.cluster_id.value.number


def test_a_merge_keeps_the_seed_of_the_cluster_that_was_asked() -> None:
    net = Network()
    net.cluster("a b")
    net.add("x", 5, founding_s=0.0)
    net.put("x", "of x", b"1")
    net.put("a", "of a", b"2")
    kept = net.replicas["a"].store.digest.seed
    assert net.replicas["x"].store.digest.seed != kept
    net.join("x", str(address_of(0)), merge=True)
    net.until(net.converged)
    assert {replica.store.digest.seed for replica in net.replicas.values()} == {kept}
    for replica in net.replicas.values():
        assert len(replica.store) == 2
        replica.store._check()


# -- an exchange ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "asked",
    [
        Sketch(1, 1, 4, bytes(64), bytes(12), 0, "b"),
        Compare(1, 1, 4, 0, b"", bytes(8), 0, "b"),
        Leaves(1, 2, 1, pack("I", [0]), pack("I", [0]), b""),
        Want(1, 2, bytes(8)),
        Push(1, 2, (("k", record(b"v")),)),
        Conclude(1, 3, 1, b"", b""),
    ],
)
def test_no_question_about_other_positions_is_answered_but_by_saying_so(asked: Message) -> None:
    replica = replica_with_b()
    assert said(hear(replica, asked), Message) == [OtherPositions(1)]
    assert len(replica.store) == 0
    comparable = about(replica, asked)
    assert OtherPositions(comparable.exchange) not in said(hear(replica, comparable), Message)


def test_who_hears_that_positions_differ_ends_the_exchange_and_asks_for_the_cluster_id() -> None:
    replica = replica_with_b()
    first = begun(replica)
    assert hear(replica, OtherPositions(7)) == [], "nobody has begun that"
    effects = hear(replica, OtherPositions(first.exchange))
    (join,) = said(effects, Join)
    assert join.purpose is JoinPurpose.LEARN
    assert replica.statistics()["exchanges_cut"] == 1
    assert replica.statistics()["exchanges_too_slow"] == 0
    assert hear(replica, OtherPositions(first.exchange)) == []


@pytest.mark.parametrize("answered", [False, True])
def test_an_exchange_that_a_new_seed_overtakes_ends_and_begins_anew(answered: bool) -> None:
    replica = replica_with_b()
    replica.put("k", b"v", at())
    first = begun(replica)
    replica.cluster_id.take(LATER)
    assert replica.store.digest.seed == LATER.seed
    assert replica.deadline() == 0.0
    differs = Differ(first.exchange, 1, 2, pack("I", [0]), 0, SyncState.SETTLED, site=2)
    effects = hear(replica, differs, 0.1) if answered else replica.tick(at(0.1))
    (again,) = said(effects, Compare, Sketch)
    assert replica.store.digest.has_numbered(again.exchange)
    assert not replica.store.digest.has_numbered(first.exchange)
    assert replica.statistics()["exchanges_cut"] == 1
    hear(replica, differs, 0.2)
    assert replica.statistics()["units_dropped.unasked_answer"] == 1


def test_an_answer_that_a_new_seed_overtakes_is_not_made_to_its_end() -> None:
    replica = replica_with_b(digest_levels=4)
    for number in range(200):
        replica.put(f"k{number}", b"v", at())
    unknown = range(1, 65_537)
    asked = about(
        replica,
        Leaves(7, 2, 4, pack("I", range(65_536)), pack("I", [1] * 65_536), pack("Q", unknown)),
    )
    assert len(unknown) > LOOKS_A_STEP
    assert said(hear(replica, asked), Message) == []
    replica.cluster_id.take(LATER)
    while not (answers := said(replica.tick(at(1.0)), Message)):
        assert replica.deadline() == 0.0
    assert OtherPositions(asked.exchange) in answers


# -- many keys -----------------------------------------------------------------------------------


def test_lesson_05_a_merge_of_clusters_with_many_keys_ends_in_equal_digests(
    small_steps: None,
) -> None:
    net = Network()
    net.cluster("a b")
    net.add("x", 5)
    net.add("y", 6, join=(str(address_of(5)),))
    net.until(lambda: net.sees("x", "y") and net.sees("y", "x"))
    for name in "ax":
        for number in range(60):
            net.put(name, f"{name}{number}", b"v")
    net.run(5.0)
    net.join("x", str(address_of(0)), merge=True)
    net.until(lambda: net.converged() and len(net.replicas["a"].store) == 120)
    assert len({replica.store.digest.seed for replica in net.replicas.values()}) == 1
    for replica in net.replicas.values():
        assert not replica.store.reseeding
        replica.store._check()


def test_a_life_that_ends_amid_a_reseed_loses_nothing_and_the_next_one_does_it(
    small_steps: None,
) -> None:
    net = Network()
    net.disks = {"a": Disk()}
    first = net.add("a")
    for number in range(60):
        net.put("a", f"k{number}", b"v")
    before = first.store.digest.seed
    first.cluster_id.take(LATER)
    net.perform("a", first._drain(at()))
    assert first.store.reseeding
    assert first.store.digest.seed == before
    net.crash("a")
    back = net.add("a", 0, start=False)
    assert (back.store.digest.seed, len(back.store)) == (before, 60)
    assert not back.settling.rebuilding, "the root on the disk is that of the seed on the disk"
    net.perform("a", back.tick(net.now("a")))
    net.until(lambda: back.store.digest.seed == LATER.seed)
    net.run(1.0)
    net.crash("a")
    again = net.add("a", 0)
    assert (again.store.digest.seed, len(again.store)) == (LATER.seed, 60)
    assert not again.settling.rebuilding
    again.store._check()
