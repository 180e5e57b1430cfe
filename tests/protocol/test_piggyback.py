"""Piggyback: what rides, how often, and that it proves nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kvgossip.config import Address
from kvgossip.errors import LocalError
from kvgossip.protocol.acks.write_concern import parse_write_concern
from kvgossip.protocol.effect import AckReceived, Send, WriteConcernEnded
from kvgossip.protocol.model.cluster_id import ClusterId
from kvgossip.protocol.model.member import MemberState, SyncState
from kvgossip.protocol.model.write import Writing
from kvgossip.protocol.pools.piggyback import BYTES_MAX
from kvgossip.protocol.replica import Replica
from kvgossip.protocol.rumors.rides import BATCH_BYTES_MAX, RIDES_MAX
from kvgossip.protocol.saved_state import SavedLife, SavedState
from kvgossip.protocol.wire.frame import Framing, clear_frame
from kvgossip.protocol.wire.message import Gossip, Nack, Ping, Rumor
from kvgossip.protocol.wire.unit import encode
from tests.protocol.net import Network, address_of, at, changed, make_replica, member, record, sends
from tests.protocol.rumors.test_mongering import replica_with

KEYRING = ("5a" * 32,)
SEALED: dict[str, Any] = {"keyring": KEYRING}
# both are of one cluster
OF_ONE: dict[str, Any] = {
    "saved": {
        fact.key: fact.value
        for fact in SavedState({}).own_facts(SavedLife(cluster_id=ClusterId(1, 1)))
    }
}
ROOM = 1000
ALIVE, SUSPECT, DEAD, LEFT = MemberState


def pair(**config: Any) -> tuple[Replica, Replica]:
    """A replica `a` that knows b and c, and a replica `b` that knows a and c."""
    b = make_replica("b", 1, seed=1, **SEALED, **OF_ONE, **config)
    for place, name in ((0, "a"), (2, "c")):
        b.pools.lan.membership.merge(member(name, place), at())
    return replica_with("b", "c", **SEALED, **OF_ONE, **config), b


def counted(replica: Replica, name: str) -> int:
    return replica.pools.lan.counters[name]


def dropped(replica: Replica) -> dict[str, int]:
    prefix = "piggybacks_dropped."
    return {
        name.removeprefix(prefix): count
        for name, count in replica.pools.lan.counters.items()
        if name.startswith(prefix)
    }


def state(replica: Replica) -> object:
    """All that a frame of gossip could change."""
    table = replica.pools.lan.membership.table
    return (
        replica.store.digest.root,
        replica.hlc.latest,
        replica.members(),
        len(replica.pools.lan.mongering.rumors),
        [table.proofs.has(address_of(place)) for place in range(3)],
        replica.deadline(),
    )


def ride(framing: Framing, *units: Any) -> bytes:
    return framing.frame([encode(unit) for unit in units], rides=True)


def framing_of(replica: Replica) -> Framing:
    return replica.pools.lan.gate.framing


# -- out -------------------------------------------------------------------------------------------


@given(st.integers(-10, 4000), st.lists(st.integers(0, 400), max_size=20))
def test_a_ride_is_no_longer_than_its_room_and_all_of_it_arrives(
    room: int, sizes: list[int]
) -> None:
    a, b = pair()
    a.piggyback(ROOM, at())
    for number, size in enumerate(sizes):
        a.put(f"k{number}", bytes(size), at())
    data = a.piggyback(room, at())
    assert len(data) <= max(room, 0)
    before = counted(b, "piggybacks_absorbed")
    effects = b.absorb(data, at())
    assert counted(b, "piggybacks_absorbed") == before + bool(data)
    if room == 4000:
        assert {change.key for change in changed(effects)} == {f"k{n}" for n in range(len(sizes))}


def test_what_is_hot_at_the_first_ride_and_what_comes_later_rides_least_ridden_first() -> None:
    a, b = pair()
    a.put("early", b"1", at())
    a.batch([Writing("batch/1", b"1"), Writing("batch/2", b"2")], at())
    early = [change.key for change in changed(b.absorb(a.piggyback(ROOM, at()), at()))]
    assert early == ["early", "batch/1", "batch/2"]
    a.put("late", b"2", at())
    room = len(a.piggyback(ROOM, at())) - 1
    a.put("last", b"3", at())
    assert "last" in {change.key for change in changed(b.absorb(a.piggyback(room, at()), at()))}


def test_news_rides_a_bounded_number_of_times_and_then_there_is_nothing() -> None:
    a, _ = pair()
    a.put("k", b"v", at())
    rides = 0
    while a.piggyback(ROOM, at()):
        rides += 1
        assert rides < 100
    # multiplier 4, three members: 4 * ceil(log2(3 + 1))
    assert rides == 8
    assert counted(a, "piggybacks_made") == 8


def test_who_knows_nobody_has_nobody_to_tell() -> None:
    alone = make_replica("a", **SEALED)
    alone.put("k", b"v", at())
    assert alone.piggyback(ROOM, at()) == b""


def test_a_ride_is_no_contact_of_a_rumor_and_no_sending_of_membership_news() -> None:
    a, _ = pair()
    a.put("k", b"v", at())
    a.tick(at())
    a.pools.lan.membership.merge(member("d", 3), at())
    (rumor,) = a.pools.lan.mongering.rumors.hot()
    before = (rumor.contacts, rumor.unnecessary, rumor.sends, set(rumor.holders))
    queue = list(a.pools.lan.membership.dissemination._queue)
    pending = dict(a.pools.lan.mongering.rumors._pending)
    for _ in range(5):
        assert a.piggyback(ROOM, at())
    assert (rumor.contacts, rumor.unnecessary, rumor.sends, set(rumor.holders)) == before
    assert list(a.pools.lan.membership.dissemination._queue) == queue
    assert a.pools.lan.mongering.rumors._pending == pending


def test_what_was_superseded_rides_no_more_and_a_tombstone_does() -> None:
    a, b = pair()
    a.piggyback(ROOM, at())
    a.put("k", b"1", at())
    a.put("k", b"2", at(1))
    b.absorb(a.piggyback(ROOM, at(1)), at(1))
    assert b.store.value("k") == b"2"
    a.delete("k", at(2))
    effects = b.absorb(a.piggyback(ROOM, at(2)), at(2))
    assert [change.new.deleted for change in changed(effects)] == [True]
    a.store.remove("k")
    assert a.piggyback(ROOM, at(3)) == b""


def test_a_batch_rides_whole_while_any_of_it_is_true_and_no_part_of_it_by_itself() -> None:
    a, b = pair()
    a.piggyback(ROOM, at())
    a.put("k1", b"old", at())
    a.batch([Writing("k1", b"1"), Writing("k2", b"2"), Writing("k3", b"3")], at(1))
    a.put("k2", b"newer", at(2))
    small = len(ride(framing_of(a), Gossip(0, "a"), Rumor("k2", a.store["k2"]))) + 10
    # the batch is next, and has missed a ride; then comes what fits alone
    effects = b.absorb(a.piggyback(small, at(2)), at(2))
    assert [(change.key, change.new.value) for change in changed(effects)] == [("k2", b"newer")]
    effects = b.absorb(a.piggyback(ROOM, at(2)), at(2))
    assert [change.key for change in changed(effects)] == ["k1", "k3"]
    assert {key: b.store.value(key) for key in ("k1", "k2", "k3")} == {
        "k1": b"1",
        "k2": b"newer",
        "k3": b"3",
    }


def test_what_waits_for_a_ride_is_bounded_and_what_never_fits_does_not_hold_up_the_rest() -> None:
    a, b = pair(value_bytes_max=200_000)
    a.piggyback(ROOM, at())
    for number in range(RIDES_MAX + 10):
        a.put(f"k{number:05}", b"v", at())
    assert len(a._piggyback._rides) == RIDES_MAX
    a.batch([Writing("b1", bytes(BATCH_BYTES_MAX)), Writing("b2", b"")], at())
    assert len(a._piggyback._rides) == RIDES_MAX
    fresh = make_replica("a", **SEALED, **OF_ONE)
    fresh.pools.lan.membership.merge(member("b", 1), at())
    while fresh.pools.lan.membership.dissemination.has_news:
        list(fresh.pools.lan.membership.dissemination.take_news(100_000))
    fresh.piggyback(ROOM, at())
    fresh.put("large", bytes(100_000), at())
    fresh.put("small", b"v", at())
    keys = {
        change.key
        for _ in range(3)
        for change in changed(b.absorb(fresh.piggyback(ROOM, at()), at()))
    }
    assert keys == {"small"}
    while fresh.piggyback(ROOM, at()):
        pass
    for _ in range(100):
        fresh.piggyback(ROOM, at())
    assert len(fresh._piggyback._rides) == 0


# -- in --------------------------------------------------------------------------------------------


def test_what_is_absorbed_is_merged_answered_by_nothing_and_a_rumor_from_then_on() -> None:
    a, b = pair()
    a.put("k", b"v", at())
    effects = b.absorb(a.piggyback(ROOM, at()), at())
    assert [change.key for change in changed(effects)] == ["k"]
    assert sends(effects) == []
    assert sends(b.tick(at())) == []
    assert [rumor.key for rumor in b.pools.lan.mongering.rumors.hot()] == ["k"]
    # and it rides on, from here
    assert b.piggyback(ROOM, at())


def test_what_is_absorbed_twice_is_known_the_second_time() -> None:
    a, b = pair()
    a.put("k", b"v", at())
    a.pools.lan.membership.merge(member("d", 3), at())
    data = a.piggyback(ROOM, at())
    b.absorb(data, at())
    before = state(b)
    assert b.absorb(data, at(1)) == []
    assert state(b) == before
    assert dropped(b) == {"replayed": 1}
    later = make_replica("b", 1, seed=2, **SEALED, **OF_ONE)
    later.absorb(data, at())
    assert later.store.value("k") == b"v", "another life of the receiver has not seen it"


@given(st.binary(max_size=300))
@example(b"kv")
def test_any_bytes_change_nothing_and_raise_nothing(data: bytes) -> None:
    _, b = pair()
    before = state(b)
    assert b.absorb(data, at()) == []
    assert state(b) == before
    assert sum(dropped(b).values()) == bool(data)


@given(st.data())
def test_a_ride_of_which_any_byte_was_changed_or_cut_off_changes_nothing(
    data: st.DataObject,
) -> None:
    a, b = pair()
    a.put("k", b"v", at())
    good = a.piggyback(ROOM, at())
    place = data.draw(st.integers(0, len(good) - 1))
    bad = bytearray(good)
    bad[place] ^= data.draw(st.integers(1, 255))
    before = state(b)
    for each in (bytes(bad), good[:place], good + b"x"):
        assert b.absorb(each, at()) == []
    assert state(b) == before
    assert counted(b, "piggybacks_absorbed") == 0
    assert [change.key for change in changed(b.absorb(good, at()))] == ["k"]


def test_whatever_was_recorded_of_gossip_proves_nothing_and_a_ride_is_nothing_to_a_port() -> None:
    network = Network()
    recorded: list[Send] = []
    network.watch = lambda frm, to, sent: recorded.append(sent)
    a, _, c = network.cluster("a b c", **SEALED)
    network.put("a", "k", b"v")
    network.run(3)
    assert {sent.reliable for sent in recorded} == {False, True}
    now, before = network.now("c"), state(c)
    for sent in recorded:
        assert c.absorb(sent.data, now) == []
    assert state(c) == before
    assert dropped(c) == {"bad_seal": len(recorded)}
    a.put("l", b"v", now)
    data = a.piggyback(ROOM, now)
    for reliable in (False, True):
        effects = c.receive(data, address_of(0), now, reliable=reliable)
        assert (changed(effects), sends(effects)) == ([], [])
    assert counted(c, "frames_dropped.bad_seal") == 2
    assert [change.key for change in changed(c.absorb(data, now))] == ["l"]


def founded_elsewhere() -> Replica:
    replica = make_replica("a", **SEALED)
    replica.put("k", b"v", at())  # who is alone and empty has founded nothing
    return replica


@pytest.mark.parametrize(
    ("reason", "data"),
    [
        ("bad_magic", lambda a: b"x" * 100),
        ("unsealed", lambda a: clear_frame(framing_of(make_replica("a"))._heads[0], b"")),
        ("other_cluster", lambda a: data_of(make_replica("a", cluster="other", **SEALED))),
        ("other_pool", lambda a: data_of(make_replica("a", datacenter="dc2", **SEALED))),
        ("unknown_key", lambda a: data_of(make_replica("a", keyring=("6b" * 32,)))),
        ("other_cluster_id", lambda a: data_of(founded_elsewhere())),
        ("too_long", lambda a: bytes(BYTES_MAX + 1)),
        ("nameless", lambda a: ride(framing_of(a), Rumor("k", record(b"v")))),
        ("nameless", lambda a: ride(framing_of(a))),
    ],
)
def test_what_does_not_belong_here_is_dropped_and_counted_by_reason(
    reason: str, data: Callable[[Replica], bytes]
) -> None:
    a, b = pair()
    before = state(b)
    assert b.absorb(data(a), at()) == []
    assert state(b) == before
    assert dropped(b) == {reason: 1}


def data_of(replica: Replica) -> bytes:
    return ride(framing_of(replica), Gossip(0, "a"), Rumor("k", record(b"v")))


@pytest.mark.parametrize(("target", "name"), [("a", "a"), (address_of(0).host, "a"), ("z", "z")])
def test_a_ride_of_who_is_blocked_is_dropped(target: str, name: str) -> None:
    a, b = pair()
    b.block(target, at())
    data = ride(framing_of(a), Gossip(0, name), Rumor("k", record(b"v")))
    assert changed(b.absorb(data, at())) == []
    assert dropped(b) == {"blocked": 1}


def test_who_is_leaving_absorbs_nothing() -> None:
    a, b = pair()
    b.leave(at())
    a.put("k", b"v", at())
    assert changed(b.absorb(a.piggyback(ROOM, at()), at())) == []
    assert dropped(b) == {"leaving": 1}


def test_messages_that_do_not_ride_are_passed_over_and_their_neighbours_are_not() -> None:
    a, b = pair()
    ping = Ping(1, "a", "b", 0, at().wall_ms, SyncState.SETTLED)
    head, rumor = Gossip(0, "a"), Rumor("k", record(b"v"))
    data = ride(framing_of(a), head, ping, Nack(1), rumor, head)
    effects = b.absorb(data, at())
    assert [change.key for change in changed(effects)] == ["k"]
    assert sends(effects) == []
    assert counted(b, "units_dropped.not_a_ride") == 3


def test_without_a_keyring_nothing_rides() -> None:
    replica = make_replica("a")
    with pytest.raises(LocalError, match="sealed"):
        replica.piggyback(ROOM, at())
    with pytest.raises(LocalError, match="sealed"):
        replica.absorb(b"", at())


# -- it proves nothing ----------------------------------------------------------------------------


def test_a_ride_is_no_ack_of_a_write_that_waits() -> None:
    a, b = pair()
    a.put("k", b"v", at())
    a.settle(at())
    a.wait(7, "k", parse_write_concern("2"), 5.0, at())
    b.absorb(a.piggyback(ROOM, at()), at())
    assert b.store.value("k") == b"v"
    b.piggyback(ROOM, at())
    effects = a.absorb(ride(framing_of(b), Gossip(0, "b"), Rumor("k", a.store["k"])), at())
    assert not any(isinstance(effect, (AckReceived, WriteConcernEnded)) for effect in effects)
    effects = a.tick(at(6))
    (ended,) = (effect for effect in effects if isinstance(effect, WriteConcernEnded))
    assert not ended.met


def test_a_ride_is_no_sign_of_life() -> None:
    a, b = pair()
    table = a.pools.lan.membership.table
    heard = dict(table._sharing_s)
    a.pools.lan.membership.merge(member("b", 1, SUSPECT, accuser="c"), at())
    deadline = a.pools.lan.membership._suspicions.deadline()
    b.put("k", b"v", at())
    a.absorb(b.piggyback(ROOM, at()), at())
    assert a.store.value("k") == b"v"
    assert table.members["b"].state is SUSPECT
    assert a.pools.lan.membership._suspicions.deadline() == deadline
    assert dict(table._sharing_s) == heard


@pytest.mark.parametrize("known", [SUSPECT, DEAD, LEFT])
def test_a_ride_acquits_nobody(known: MemberState) -> None:
    a, b = pair()
    a.pools.lan.membership.merge(member("c", 2, known), at())
    better = member("c", 2, ALIVE, generation=5, incarnation=9)
    a.absorb(ride(framing_of(b), Gossip(0, "b"), better), at())
    assert a.pools.lan.membership.members["c"].state is known
    assert counted(a, "units_dropped.acquittal") == 1


def test_a_ride_names_members_and_accuses_them_as_any_hearsay() -> None:
    a, b = pair()
    news = (member("d", 3), member("c", 2, SUSPECT, accuser="b"))
    a.absorb(ride(framing_of(b), Gossip(0, "b"), *news), at())
    members = a.pools.lan.membership.members
    assert (members["d"].state, members["c"].state) == (ALIVE, SUSPECT)
    assert not a.pools.lan.membership.table.proofs.has(Address(address_of(3).host, 7481))


def test_who_hears_by_a_ride_that_it_is_suspected_refutes() -> None:
    a, b = pair()
    me = a.member
    accused = member("a", 0, SUSPECT, generation=me.generation, incarnation=3, site=me.site)
    a.absorb(ride(framing_of(b), Gossip(0, "b"), accused), at())
    assert (a.member.state, a.member.incarnation) == (ALIVE, 4)
