"""Entries that expire: hidden everywhere at one time, seen by watchers, collected as certificates
are (protocol.md section 6)."""

from __future__ import annotations

import pytest

from kvgossip.errors import LocalError
from kvgossip.protocol.effect import Expired, Quarantined
from kvgossip.protocol.model.entry import TTL_S_MAX, check_record, entry_of, expires_in, make_record
from kvgossip.protocol.tombstones.expiry import SPARE, ExpiryQueue
from tests.protocol.anti_entropy.test_exchange import store_of
from tests.protocol.net import (
    WALL_MS,
    Disk,
    Network,
    at,
    changed,
    make_replica,
    record,
    refused,
    version,
)


def put(net: Network, name: str, key: str, ttl_s: float) -> None:
    net.perform(name, net.replicas[name].put(key, b"v", net.now(name), ttl_s=ttl_s).effects)


def served(net: Network, key: str) -> list[bytes | None]:
    return [replica.store.value(key) for replica in net.replicas.values()]


def test_a_record_says_when_it_expires_and_without_an_expiry_has_the_bytes_of_before() -> None:
    held = make_record(version(), b"v", "text/plain", WALL_MS)
    check_record(held)
    entry = entry_of("k", held)
    assert (entry.value, entry.content_type, entry.expires_ms) == (b"v", "text/plain", WALL_MS)
    assert expires_in(record(b"v")) is None
    assert make_record(version(), b"v")[0] == 0x10


@pytest.mark.parametrize("bad", ["no meta", "no time", "text", "too late", "dead"])
def test_an_expiry_that_makes_no_sense_is_a_bad_record(bad: str) -> None:
    good = make_record(version(), b"", None, 5)
    bad_bytes = {
        "no meta": bytes([0x14]) + good[1:17],
        "no time": bytes([0x16]) + make_record(version(), b"", "t")[1:],
        "text": good[:19] + b"\x81\xa1x\xa1y",
        "too late": make_record(version(), b"", None, 2**48),
        "dead": bytes([0x17]) + good[1:],
    }[bad]
    assert refused(lambda: check_record(bad_bytes)) == "bad_record"


@pytest.mark.parametrize("ttl_s", [0.0, -1.0, float("nan"), float("inf"), TTL_S_MAX + 1.0])
def test_a_time_to_live_that_makes_no_sense_is_refused(ttl_s: float) -> None:
    replica = make_replica()
    with pytest.raises(LocalError, match="cannot expire"):
        replica.put("k", b"v", at(), ttl_s=ttl_s)
    assert len(replica.store) == 0


def test_an_entry_expires_on_every_node_at_the_same_time_and_watchers_see_it_go() -> None:
    net = Network()
    net.cluster("a b c")
    put(net, "a", "k", ttl_s=10.0)
    net.run(9.99)
    assert served(net, "k") == [b"v"] * 3
    roots = [replica.store.digest.root for replica in net.replicas.values()]
    net.run(0.02)
    for name, replica in net.replicas.items():
        assert replica.store.get("k") is None
        assert replica.store.visible("k") is None
        assert replica.store.scan_entries() == []
        (gone,) = [effect for effect in net.effects[name] if isinstance(effect, Expired)]
        assert (
            gone.change.key,
            gone.change.old and gone.change.old.value,
            gone.change.new.value,
        ) == ("k", b"v", None)
    assert [replica.store.digest.root for replica in net.replicas.values()] == roots, (
        "the digest does not change"
    )


def test_lesson_02_expired_entries_are_collected_and_leave_equal_digests() -> None:
    net = Network()
    net.cluster("a b c")
    for number in range(10):
        put(net, "a", f"k{number}", ttl_s=2.0)
    net.until(lambda: all(len(replica.store) == 0 for replica in net.replicas.values()), 120)
    assert net.converged()
    assert not any(
        isinstance(effect, Quarantined) for effects in net.effects.values() for effect in effects
    )
    for replica in net.replicas.values():
        replica.store._check()


def test_a_delete_finds_nothing_where_an_entry_has_expired_and_a_put_begins_anew() -> None:
    replica = make_replica()
    replica.put("k", b"v", at(), ttl_s=1.0)
    replica.tick(at(1.0))
    assert replica.delete("k", at(1.0)).effects == []
    replica.put("k", b"w", at(2.0))
    assert replica.store.value("k") == b"w"
    replica.store._check()


def test_an_entry_that_is_overwritten_expires_when_the_newer_one_says_or_never() -> None:
    replica = make_replica()
    replica.put("k", b"v", at(), ttl_s=1.0)
    replica.put("k", b"w", at(), ttl_s=5.0)
    replica.put("l", b"v", at(), ttl_s=1.0)
    replica.put("l", b"w", at())
    assert not [effect for effect in replica.tick(at(2.0)) if isinstance(effect, Expired)]
    assert [effect.key for effect in replica.tick(at(5.0)) if isinstance(effect, Expired)] == ["k"]
    assert replica.store.value("l") == b"w"


def test_what_arrives_after_its_time_is_never_served() -> None:
    net = Network()
    net.cluster("a b")
    net.partition("a", "b")
    put(net, "a", "k", ttl_s=5.0)
    net.run(40)
    net.heal()
    net.until(lambda: bool(changed(net.effects["b"])) or not len(net.replicas["a"].store), 240)
    assert served(net, "k") == [None, None]


def test_what_expired_while_a_node_was_down_is_not_served_by_its_next_life() -> None:
    net = Network()
    net.disks = {"a": Disk()}
    net.add("a")
    put(net, "a", "k", ttl_s=5.0)
    put(net, "a", "later", ttl_s=500.0)
    net.crash("a")
    net.run(10)
    back = net.add("a", 0)
    assert [entry.key for entry in back.store.scan_entries()] == ["later"]
    net.run(500)
    assert back.store.scan_entries() == []


def test_the_deadline_follows_the_next_expiry() -> None:
    replica = make_replica()
    replica.put("k", b"v", at(), ttl_s=3.0)
    replica.tick(at())
    assert (replica.deadline() or 0) <= at(3.0).monotonic_s + 0.002


def test_the_heap_of_expiries_does_not_grow_with_overwrites() -> None:
    store = store_of({})
    expiring = ExpiryQueue(store)
    for number in range(20 * SPARE):
        store.merge("k", make_record(version(number), b"v", None, WALL_MS + number))
        expiring.add("k", WALL_MS + number)
    assert len(expiring._heap) <= SPARE + 2
    found: list[str] = []
    while expiring.next_ms <= WALL_MS + 20 * SPARE:
        found += expiring.due(WALL_MS + 20 * SPARE)
    assert found == ["k"]
