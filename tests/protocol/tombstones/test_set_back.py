"""A machine that is set back to an earlier memory of the same life takes nothing from the others
(protocol.md section 6)."""

from __future__ import annotations

from copy import deepcopy

import pytest

from kvgossip.protocol.effect import Quarantined
from kvgossip.protocol.outbox import Outbox
from kvgossip.protocol.replica import Replica
from kvgossip.protocol.tombstones.own_writes import OWN_MAX, OwnWrites
from kvgossip.protocol.tombstones.set_back import PAUSE_S
from tests.protocol.net import Disk, Network, logs, make_replica

KEYS = 30


def memory_of(net: Network, name: str) -> Replica:
    """A snapshot of the machine, between two exchanges: a generator has no copy."""
    net.until(lambda: not net.replicas[name].pools.lan.exchanges._slots.running)
    return copy_of(net.replicas[name])


def copy_of(replica: Replica) -> Replica:
    """With an outbox of its own, which has bound its list, and is empty between two inputs."""
    return deepcopy(replica, {id(replica.outbox): Outbox()})


def set_back(net: Network, name: str, memory: Replica) -> None:
    """It goes on from there: not even its process knows."""
    net._floor.pop(name)
    net.replicas[name] = memory
    net.perform(name, memory.tick(net.now(name)))


def quarantined(net: Network) -> list[tuple[str, str]]:
    return [
        (name, effect.key)
        for name, effects in net.effects.items()
        for effect in effects
        if isinstance(effect, Quarantined)
    ]


def site_at(net: Network, name: str, of: str) -> int:
    """The life of a member, as this node knows it."""
    return net.replicas[name].pools.lan.membership.members[of].site


def reverted(writes_again: int = 0, **config: object) -> tuple[Network, int]:
    """a, b and c hold KEYS keys that a wrote, and a is set back to before that; it writes so many
    times again before anybody offers it what it lost."""
    net = Network()
    net.disks = {"b": Disk()}
    net.cluster("a b c", **config)
    net.put("a", "before", b"v")
    net.run(5)
    memory, site = memory_of(net, "a"), net.replicas["a"].site
    for number in range(KEYS):
        net.put("a", f"k{number}", b"v")
    net.run(5)
    set_back(net, "a", memory)
    for number in range(writes_again):
        net.put("a", f"again{number}", b"w")
    return net, site


@pytest.mark.parametrize("writes_again", [0, 1, 5])
def test_lesson_01_what_a_machine_lost_that_was_set_back_comes_back_to_it(
    writes_again: int,
) -> None:
    net, site = reverted(writes_again)
    count = 1 + KEYS + writes_again
    net.until(
        lambda: net.converged() and all(len(each.store) == count for each in net.replicas.values())
    )
    assert not quarantined(net)
    a = net.replicas["a"]
    assert a.site != site
    net.until(lambda: all(site_at(net, name, "a") == a.site for name in "bc"), 5)
    assert [line for line in logs(net.effects["a"]) if "was set back" in line]
    net.put("a", "after", b"v")
    net.delete("a", "k0")
    net.until(lambda: net.converged() and len(a.store) == count, 240)
    assert not quarantined(net)
    assert not any(len(each.tombstones.collecting) for each in net.replicas.values())


def test_a_set_back_while_others_are_away_is_found_by_the_first_exchange() -> None:
    net, _ = reverted()
    net.partition("a", "b c")
    for number in range(10):
        net.put("a", f"alone{number}", b"w")
    net.run(60)
    net.heal()
    net.until(
        lambda: (
            net.converged()
            and all(len(each.store) == 1 + KEYS + 10 for each in net.replicas.values())
        )
    )
    assert not quarantined(net)


def test_nothing_is_taken_from_the_exchange_that_shows_a_set_back() -> None:
    net, _ = reverted()
    a, before = net.replicas["a"], net.replicas["a"].site
    net.until(lambda: a.site != before)
    lan = a.pools.lan.exchanges
    assert len(a.store) == 1
    assert lan.cut >= 1
    assert lan._slots.running, "it starts again"


def test_a_second_new_life_within_a_minute_does_not_begin_and_the_node_says_who_asks_for_it() -> (
    None
):
    net, _ = reverted()
    a, memory = net.replicas["a"], memory_of(net, "a")
    net.until(net.converged)
    assert not a.readiness.reasons(net.now("a"))
    site = a.site
    memory = memory_of(net, "a")
    net.put("a", "more", b"v")
    net.run(3)
    set_back(net, "a", memory)
    net.run(PAUSE_S / 4)
    assert memory.site == site
    (reason,) = memory.readiness.reasons(net.now("a"))
    assert reason.code == "set_back"
    assert "'b'" in reason.text or "'c'" in reason.text
    net.until(net.converged, 2 * PAUSE_S)
    assert memory.site != site
    assert not memory.readiness.reasons(net.now("a"))
    assert not quarantined(net)


def test_a_batch_of_an_own_version_that_is_not_known_begins_a_new_life() -> None:
    a, now = make_replica("a"), Network().now("a")
    later = copy_of(a)
    record = later.put("k", b"v", now).record
    assert record is not None
    site = a.site
    a.restore([("k", record)], now)
    assert a.site != site
    assert a.store.value("k") == b"v", "what a backup has is taken all the same"


def test_all_own_writes_are_counted_and_the_newest_are_known() -> None:
    writes = OwnWrites()
    for timestamp in range(1, 2 * OWN_MAX + 2):
        writes.add(timestamp)
    assert len(writes) == 2 * OWN_MAX + 1
    assert 1 in writes, "what is older counts as written"
    assert 2 * OWN_MAX + 2 not in writes


def test_a_planted_mistake_the_own_site_is_covered_up_to_now_takes_live_values_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(OwnWrites, "__contains__", lambda *arguments: True)
    net, _ = reverted(1)
    net.run(60)
    assert quarantined(net)
