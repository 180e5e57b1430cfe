"""Typed records in replicas: what two of them have joins, spreads, is compared, kept and waited for
as what both come to."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from kvgossip.errors import BadContextError, OtherTypeError, TypesUnknownError
from kvgossip.protocol.acks.write_concern import Scope, WriteConcern
from kvgossip.protocol.anti_entropy.keeper import Keeper
from kvgossip.protocol.effect import Dropped, Effect, Quarantined, Rewritten, WriteConcernEnded
from kvgossip.protocol.merging import BACKUP, Outcome
from kvgossip.protocol.model.entry import make_record, make_typed_record, version_of
from kvgossip.protocol.model.ordered_set import OrderedSet
from kvgossip.protocol.model.peer import PoolKind
from kvgossip.protocol.replica import Replica
from kvgossip.protocol.typed import edit as edits
from kvgossip.protocol.typed.body import decode, encode
from kvgossip.protocol.typed.edit import Edit
from kvgossip.protocol.typed.forms import value_of
from kvgossip.protocol.typed.typed_record import TypedRecord, context_of
from tests.protocol.net import Network, at, changed, make_replica, version
from tests.protocol.typed.records import dot, pack, pair


def edit(replica: Replica, key: str, *made: Edit, seconds: float = 0.0) -> bytes:
    for each in made:
        replica.edit(key, each, at(seconds))
    return replica.store[key]


def shown(replica: Replica, key: str) -> object:
    return value_of(decode(replica.store[key]))


def offer(replica: Replica, key: str, record: bytes) -> Outcome:
    """As a peer sends it."""
    return replica.merging.merge(key, record, at(), BACKUP)


def drained(replica: Replica) -> list[Effect]:
    return replica.outbox.drain()


def counted(*cells: tuple[int, int, int], seen: dict[bytes, bytes] | None = None) -> bytes:
    """The record of a counter with these cells: timestamp in ms, site, subtotal."""
    dots = [(dot(version(ms).timestamp, site), subtotal) for ms, site, subtotal in cells]
    values = OrderedSet(sorted(each + pack(subtotal) for each, subtotal in dots))
    return encode(TypedRecord("counter", max(each for each, _ in dots), values, seen or {}))


def seen(ms: int, site: int) -> dict[bytes, bytes]:
    return pair(version(ms).timestamp, site)


def test_increments_of_two_replicas_that_did_not_hear_of_each_other_are_both_counted() -> None:
    a, b = make_replica("a"), make_replica("b")
    one, other = edit(a, "n", edits.add(3)), edit(b, "n", edits.add(4))
    assert offer(a, "n", other) is Outcome.NEWS
    assert offer(b, "n", one) is Outcome.NEWS
    assert shown(a, "n") == shown(b, "n") == 7
    assert a.store["n"] == b.store["n"]
    assert offer(a, "n", one) is Outcome.KNOWN


def test_news_is_what_both_come_to() -> None:
    a, b = make_replica("a"), make_replica("b")
    other = edit(b, "n", edits.add(4))
    mine = edit(a, "n", edits.add(3))
    drained(a)
    offer(a, "n", other)
    (change,) = changed(drained(a))
    assert (change.old_record, change.new_record) == (mine, a.store["n"])
    assert change.new_record not in (mine, other)


def test_a_join_that_changes_only_what_was_seen_is_kept_and_is_no_news() -> None:
    a = make_replica("a")
    offer(a, "n", counted((1, 5, 2)))
    drained(a)
    root = a.store.digest.root
    assert offer(a, "n", counted((1, 5, 2), seen=seen(0, 6))) is Outcome.KNOWN
    assert drained(a) == [Rewritten("n", a.store["n"])]
    assert decode(a.store["n"]).seen == seen(0, 6)
    assert a.store.digest.root == root
    a.store._check()


def test_the_fingerprint_is_the_same_whatever_was_pruned() -> None:
    a, b = make_replica("a"), make_replica("b")
    offer(a, "n", counted((1, 5, 2)))
    offer(b, "n", counted((1, 5, 2), seen=seen(0, 6)))
    seed = a.store.digest.seed
    b.store.reseed(seed)
    assert a.store.digest.root == b.store.digest.root
    assert a.store.fingerprints_in(0, 0) == b.store.fingerprints_in(0, 0)
    b.store.reseed(seed + 1)
    b.store._check()


def test_of_one_life_the_latest_subtotal_counts_also_without_its_pair() -> None:
    a = make_replica("a")
    offer(a, "n", counted((1, 5, 2), (2, 6, 10)))
    offer(a, "n", counted((3, 5, 7), (2, 6, 10)))
    assert shown(a, "n") == 17


def test_what_a_join_drops_is_covered_from_then_on() -> None:
    a = make_replica("a")
    offer(a, "n", counted((1, 5, 2), (2, 6, 1)))
    offer(a, "n", counted((3, 7, 9), seen={**seen(1, 5), **seen(2, 6)}))
    assert a.tombstones.context.covers(version(1, 5))
    assert a.tombstones.context.covers(version(2, 6))
    assert not a.tombstones.context.covers(version(3, 7))


def test_of_an_offered_record_what_was_collected_is_refused_and_the_rest_is_taken() -> None:
    a = make_replica("a")
    a.tombstones.context.add(version(1, 5))
    assert offer(a, "n", counted((1, 5, 2), (2, 6, 1))) is Outcome.NEWS
    assert shown(a, "n") == 1
    assert offer(a, "m", counted((1, 5, 2))) is Outcome.COLLECTED
    assert a.store.record("m") is None


def test_what_came_with_a_refused_value_still_supersedes() -> None:
    a = make_replica("a")
    a.tombstones.context.add(version(3, 5))
    offer(a, "n", counted((1, 6, 2)))
    offer(a, "n", counted((3, 5, 2), seen=seen(1, 6)))
    assert shown(a, "n") is None


def test_pairs_that_may_be_needed_are_kept_without_the_value_that_they_came_with() -> None:
    a = make_replica("a")
    a.tombstones.context.add(version(3, 5))
    a.tombstones.context.add(version(1, 6))  # a dot says nothing of what came with it
    record = counted((3, 5, 2), seen=seen(1, 6))
    offer(a, "n", record)
    kept = decode(a.store["n"])
    assert (kept.values, kept.seen, kept.deleted) == ({}, seen(1, 6), True)
    assert offer(a, "n", record) is Outcome.COLLECTED


def test_what_was_collected_of_a_record_goes_where_it_was_offered_from() -> None:
    network = Network()
    a, b = network.cluster("a b")
    a.tombstones.context.add(version(1, 5))
    offer(b, "n", counted((1, 5, 2), (2, 6, 1)))
    network.perform("b", b.outbox.drain())
    network.until(lambda: network.converged() and "n" in a.store.live_keys)
    assert shown(a, "n") == shown(b, "n") == 1
    (gone,) = [each for each in network.effects["b"] if isinstance(each, Quarantined)]
    assert value_of(decode(gone.record)) == 2
    assert gone.change.new_record == gone.left == b.store["n"]


def test_a_record_of_which_all_was_collected_goes_where_it_was_offered_from() -> None:
    network = Network()
    a, b = network.cluster("a b")
    a.tombstones.context.add(version(1, 5))
    offer(b, "n", counted((1, 5, 2)))
    network.perform("b", b.outbox.drain())
    network.until(lambda: b.store.record("n") is None)
    assert a.store.record("n") is None
    (gone,) = [each for each in network.effects["b"] if isinstance(each, Quarantined)]
    assert (value_of(decode(gone.record)), gone.left) == (2, None)


def test_what_a_live_record_has_seen_and_its_deletes_go_when_all_have_them() -> None:
    network = Network()
    a, b = network.cluster("a b")
    network.perform("a", a.edit("s", edits.add_elements(["x", "y"]), network.now("a")).effects)
    network.until(network.converged)
    network.perform("b", b.edit("s", edits.remove_elements(["x"]), network.now("b")).effects)
    assert decode(b.store["s"]).seen

    def is_pruned(replica: Replica) -> bool:
        record = decode(replica.store["s"])
        return not record.seen and len(record.values) == 1

    network.until(lambda: is_pruned(a) and is_pruned(b))
    assert shown(a, "s") == shown(b, "s") == frozenset({"y"})
    assert a.store.digest.root == b.store.digest.root
    assert not a.tombstones.statistics()["certificates_waiting"]


@pytest.mark.parametrize(
    "record",
    [
        encode(TypedRecord("counter", dot(9, 9), OrderedSet([dot(9, 9) + b"\xc0"]), {})),
        encode(TypedRecord("counter", dot(9, 9), OrderedSet(), {})),
        encode(TypedRecord("counter", dot(9, 9), OrderedSet([dot(10, 9) + b"\x01"]), {})),
    ],
)
def test_what_is_no_typed_record_is_refused(record: bytes) -> None:
    a = make_replica("a")
    assert offer(a, "n", record) is Outcome.REFUSED
    assert a.counters["entries_refused.bad_record"] == 1
    assert a.store.record("n") is None


def test_a_dot_of_this_life_that_it_has_not_written_begins_another() -> None:
    a = make_replica("a")
    site = a.site
    offer(a, "n", counted((1, 5, 2), seen=seen(0, site)))
    assert a.site != site
    assert shown(a, "n") == 2


def test_a_tombstone_of_a_typed_key_waits_for_what_it_has_seen() -> None:
    network = Network()
    a, b = network.cluster("a b", forget_after_s=100_000.0)
    network.perform("a", a.edit("s", edits.add_elements(["x"]), network.now("a")).effects)
    network.until(network.converged)
    network.delete("a", "s")
    network.until(lambda: a.store.record("s") is None and b.store.record("s") is None)
    assert [each.key for each in network.effects["b"] if isinstance(each, Dropped)] == ["s"]
    assert network.converged()


def test_a_typed_tombstone_whose_pair_no_row_covers_stays() -> None:
    a = make_replica("a")
    own = a.put("k", b"v", at()).record
    assert own is not None
    tombstone = TypedRecord(
        "set", own[1:17], OrderedSet([own[1:17]]), pair(version_of(own).timestamp - 1, 77)
    )
    ready = a.tombstones.collecting.may_drop
    assert not ready(encode(tombstone), at().wall_ms)
    assert ready(encode(tombstone._replace(seen={})), at().wall_ms)


def test_a_member_that_has_another_write_of_the_key_does_not_hold_this_one() -> None:
    network = Network()
    a, b = network.cluster("a b")
    network.partition("a", "b")
    network.perform("a", a.edit("n", edits.add(1), network.now("a")).effects)
    network.run(0.5)
    network.perform("b", b.edit("n", edits.add(1), network.now("b")).effects)
    assert version_of(b.store["n"]) > version_of(a.store["n"])
    all_of = WriteConcern(Scope.ANY, 2)
    network.perform("a", a.wait(1, "n", all_of, 60.0, network.now("a")))
    peer = next(iter(a.acks.waits.values())).lacking[0]
    a.acks.showed_record(peer, "n", b.store["n"])
    assert a.acks.waits, "its record is newer, and lacks the write"
    network.heal()
    network.until(lambda: any(isinstance(each, WriteConcernEnded) for each in network.effects["a"]))
    assert shown(b, "n") == 2


def test_exchanges_bring_what_both_come_to_to_both() -> None:
    network = Network()
    a, b = network.cluster("a b", rumor_k=0)
    for name, replica in (("a", a), ("b", b)):
        for number in range(3):
            effects = replica.edit(f"n{number}", edits.add(1), network.now(name)).effects
            network.perform(name, effects)
    network.until(lambda: network.converged() and shown(a, "n0") == 2)
    assert [shown(replica, f"n{number}") for replica in (a, b) for number in range(3)] == [2] * 6


def test_a_write_of_another_type_is_refused_and_changes_nothing() -> None:
    a = make_replica("a")
    record = edit(a, "n", edits.add(1))
    with pytest.raises(OtherTypeError):
        a.put("n", b"v", at())
    with pytest.raises(OtherTypeError):
        a.edit("n", edits.add_elements(["x"]), at())
    assert a.store["n"] == record
    a.put("k", b"v", at())
    with pytest.raises(OtherTypeError):
        a.edit("k", edits.add(1), at())


def test_a_deleted_key_may_become_one_of_another_type() -> None:
    a = make_replica("a")
    edit(a, "n", edits.add(1))
    a.delete("n", at())
    assert shown(a, "n") is None
    edit(a, "n", edits.add_elements(["x"]))
    assert shown(a, "n") == {"x"}
    a.delete("n", at())
    a.put("n", b"v", at())
    assert a.store.value("n") == b"v"


def test_an_edit_that_changes_nothing_is_no_write() -> None:
    a = make_replica("a")
    edit(a, "s", edits.add_elements(["x"]))
    drained(a)
    written = a.edit("s", edits.remove_elements(["y"]), at())
    assert (written.record, written.effects) == (None, [])


def test_a_context_from_the_future_is_refused() -> None:
    a = make_replica("a")
    with pytest.raises(BadContextError):
        a.edit("s", edits.put_sibling(b"v", context=seen(10**9, 5)), at())
    assert a.store.record("s") is None


def test_a_client_that_read_elsewhere_supersedes_what_it_saw_there() -> None:
    a, b = make_replica("a"), make_replica("b")
    first = edit(b, "s", edits.put_sibling(b"1"))
    edit(a, "s", edits.put_sibling(b"2", context=context_of(decode(first))))
    offer(a, "s", first)
    (sibling,) = _siblings(a)
    assert sibling == b"2"


def _siblings(replica: Replica) -> Sequence[bytes]:
    found = shown(replica, "s")
    assert isinstance(found, list)
    return [each.value for each in found]


def test_a_backup_is_written_anew_by_what_it_shows() -> None:
    a, b = make_replica("a"), make_replica("b")
    kept = edit(a, "n", edits.add(3))
    edit(b, "n", edits.add(100))
    b.restore([("n", kept)], at(), as_new=True)
    assert shown(b, "n") == 3
    two = counted((1, 5, 2), (2, 6, 2))
    b.restore([("n", two)], at(), as_new=True)
    assert shown(b, "n") == 4


def test_a_type_that_is_not_known_is_kept_by_the_greater_version() -> None:
    a = make_replica("a")
    counter = decode(counted((1, 5, 2)))._replace(type="later")
    older, newer = encode(counter), encode(counter._replace(version=dot(version(2).timestamp, 5)))
    assert offer(a, "n", newer) is Outcome.NEWS
    assert offer(a, "n", older) is Outcome.KNOWN
    assert a.store["n"] == newer


def test_a_plain_record_and_a_typed_one_meet_by_version() -> None:
    a = make_replica("a")
    typed = counted((2, 5, 2))
    assert offer(a, "n", make_record(version(1, 6), b"v")) is Outcome.NEWS
    assert offer(a, "n", typed) is Outcome.NEWS
    assert a.store["n"] == typed
    assert offer(a, "n", make_record(version(3, 6), b"w")) is Outcome.NEWS
    assert a.tombstones.context.covers(version(2, 5))
    assert offer(a, "n", typed) is Outcome.KNOWN


def test_what_an_entry_has_joined_to_the_peer_that_offered_the_other_lacks() -> None:
    a, b = make_replica("a"), make_replica("b")
    keeper = Keeper(PoolKind.LAN, a.store, a.tombstones, a.merging)
    mine, other = edit(a, "n", edits.add(3)), edit(b, "n", edits.add(4))
    before = a.store.digest.fingerprint("n", mine)
    kept = keeper.keep([("n", other)], "b", at())
    after = a.store.digest.fingerprint("n", a.store["n"])
    assert (kept.replaced, kept.joined) == ([], {before: after})
    offer(b, "n", a.store["n"])
    kept = keeper.keep([("n", edit(b, "n", edits.add(5), seconds=1.0))], "b", at(1.0))
    assert (kept.replaced, kept.joined) == ([after], {})


@pytest.mark.parametrize("type_", ["later", "counter"])
def test_fields_that_could_not_be_written_again_are_refused(type_: str) -> None:
    deep: object = []
    for _ in range(5):
        deep = [deep]
    record = make_typed_record(dot(9, 9), {"q": deep, "y": (1, type_), "s": b""}, b"", deleted=True)
    assert offer(make_replica("a"), "n", record) is Outcome.REFUSED


@pytest.mark.parametrize("record", [b"", b"\x1a", b"\x1a" + bytes(16) + b"\xff\xff"])
def test_what_a_peer_sends_has_a_fingerprint_whatever_it_is(record: bytes) -> None:
    a = make_replica("a")
    keeper = Keeper(PoolKind.LAN, a.store, a.tombstones, a.merging)
    assert len(keeper.keep([("n", record)], "b", at()).refused) == 1
    assert len(a.store.digest.fingerprints([("n", record)])) == 1


# -- members that know no types --------------------------------------------------------------------


def test_types_are_refused_while_a_member_that_can_be_reached_does_not_know_them() -> None:
    network = Network()
    a, _ = network.cluster("a b")
    membership = a.pools.lan.membership
    known = membership.table.members["b"]
    before = replace(known, types=0, incarnation=known.incarnation + 1)
    membership.merge(before, network.now("a"))
    with pytest.raises(TypesUnknownError, match="not known to b"):
        a.edit("n", edits.add(1), network.now("a"))
    assert a.store.record("n") is None
    membership.merge(replace(before, types=1, incarnation=2), network.now("a"))
    a.edit("n", edits.add(1), network.now("a"))
    assert shown(a, "n") == 1


def test_of_two_records_of_which_each_has_superseded_the_other_s_values_nothing_is_listed() -> None:
    a = make_replica("a")
    offer(a, "n", counted((3, 5, 2), seen=seen(2, 6)))
    other = decode(counted((2, 6, 1)))._replace(version=dot(version(9).timestamp, 6))
    offer(a, "n", encode(other._replace(seen=seen(3, 5))))
    assert shown(a, "n") is None
    assert "n" not in a.store.live_keys
    a.store._check()
