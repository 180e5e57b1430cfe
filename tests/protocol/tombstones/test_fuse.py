"""One member's word takes out so many live values, and no more."""

from __future__ import annotations

from copy import deepcopy

import pytest

from kvgossip.protocol.effect import Quarantined
from kvgossip.protocol.model.change import Changed
from kvgossip.protocol.replica import Replica
from kvgossip.protocol.tombstones import fuse as module
from kvgossip.protocol.tombstones.fuse import LIMIT, MEMORY_VALUES_MAX, RETURNED_MS
from tests.protocol.net import Disk, Network, address_of, logs

KEYS = 3 * LIMIT


def holding(names: str, keys: int = KEYS, *, durable: bool = True) -> tuple[Network, Replica]:
    net = Network()
    net.disks = {name: Disk() for name in names.split()} if durable else {}
    net.cluster(names)
    for number in range(keys):
        net.put("a", f"k{number}", b"v")
    net.until(net.converged)
    net.run(RETURNED_MS / 1000 + 5)
    return net, net.replicas["a"]


def says(net: Network, peer: str, count: int = KEYS) -> int:
    """This member says of so many values that it has collected them: how many a drops."""
    a = net.replicas["a"]
    prints = a.store.digest.fingerprints(sorted(a.store.records())[:count])
    return a.tombstones.drops.in_exchange(prints, peer, 0, net.now("a"))


def lines(net: Network, level: str) -> list[str]:
    a = net.replicas["a"]
    return [line for line in logs(a.outbox.drain()) if level in line]


def test_up_to_the_limit_one_word_is_enough_and_beyond_it_a_second_member_must_say_the_same() -> (
    None
):
    net, a = holding("a b c")
    assert says(net, "b", 60) == 60
    assert says(net, "b") == LIMIT - 60
    assert (says(net, "b"), len(a.store)) == (0, KEYS - LIMIT)
    assert a.statistics()["drops_waiting"] == KEYS - LIMIT
    assert not a.readiness.reasons(net.now("a"))
    assert says(net, "c") == KEYS - LIMIT
    assert (len(a.store), a.statistics()["drops_waiting"]) == (0, 0)
    warnings = logs(a.outbox.drain())
    assert len([line for line in warnings if "a second member" in line]) == 1
    assert len([line for line in warnings if "went to the quarantine" in line]) == 3


def test_the_limit_is_of_a_minute_and_grows_with_the_store(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "LIMIT_SHARE", 0.5)
    net, _ = holding("a b c")
    assert says(net, "b") == KEYS // 2
    assert says(net, "b") == 0
    net.run(module.WINDOW_S)
    monkeypatch.setattr(module, "LIMIT_SHARE", 0.01)
    assert says(net, "b", KEYS) == LIMIT


def test_where_no_second_member_is_reachable_a_node_with_a_disk_goes_on_with_one_error() -> None:
    net, a = holding("a b")
    assert says(net, "b") == KEYS
    assert len(a.store) == 0
    text = [line for line in logs(a.outbox.drain()) if "no other member can be asked" in line]
    assert len(text) == 1


def test_one_without_a_disk_stops_until_an_operator_confirms() -> None:
    net, a = holding("a b", durable=False)
    assert says(net, "b") == LIMIT
    assert says(net, "b") == 0
    (reason,) = a.readiness.reasons(net.now("a"))
    assert reason.code == "drops_stopped"
    assert "'b'" in reason.text
    assert a.tombstones.drops.fuse.confirm() == KEYS - LIMIT
    assert says(net, "b") == KEYS - LIMIT
    assert not a.readiness.reasons(net.now("a"))


def test_a_node_without_a_disk_drops_no_more_than_its_quarantine_holds() -> None:
    net, a = holding("a b c", MEMORY_VALUES_MAX + 200, durable=False)
    count = MEMORY_VALUES_MAX + 200
    assert says(net, "b", count) == LIMIT
    assert says(net, "c", count) == MEMORY_VALUES_MAX - LIMIT
    assert len(a.store) == 200
    assert a.readiness.reasons(net.now("a"))


def test_two_members_that_have_both_come_back_do_not_vouch_for_each_other() -> None:
    net, a = holding("a b c d")
    for name, place in (("b", 1), ("c", 2)):
        net.crash(name)
        net.add(name, place, join=("10.0.0.1:7481",))
    net.until(lambda: net.sees("a", "b", "c", "d") and net.converged())
    net.run(5)
    assert says(net, "b") == LIMIT
    assert says(net, "c") == LIMIT, "its own word counts as another one's would"
    assert len(a.store) == KEYS - 2 * LIMIT
    assert says(net, "d") == KEYS - 2 * LIMIT


def test_lesson_01_a_node_that_is_back_after_everything_was_deleted_needs_nobody() -> None:
    net, _ = holding("a b c")
    net.crash("c")
    net.run(60)
    for number in range(KEYS):
        net.delete("b", f"k{number}")
    for name in "ab":
        net.perform(name, net.replicas[name].force_leave("c", net.now(name)))
    net.until(
        lambda: not any(len(each.tombstones.collecting) for each in net.replicas.values()), 600
    )
    c = net.add("c", 2, join=("10.0.0.1:7481",))
    assert len(c.store) == KEYS
    net.until(lambda: len(c.store) == 0 and net.converged(), 240)
    quarantined = [effect for effect in net.effects["c"] if isinstance(effect, Quarantined)]
    assert len(quarantined) == KEYS
    assert not [effect for name in "ab" for effect in net.effects[name] if effect in quarantined]


def test_lesson_01_nodes_that_come_back_on_old_copies_one_after_the_other_show_others_nothing() -> (
    None
):
    names = "a b c"
    net, _ = holding(names, 20)
    copies = {name: deepcopy(net.disks[name]) for name in names.split()}
    for number in range(20):
        net.delete("b", f"k{number}")
    net.until(
        lambda: not any(len(each.tombstones.collecting) for each in net.replicas.values()), 600
    )
    for place, name in enumerate(names.split()):
        before = {other: len(effects) for other, effects in net.effects.items()}
        net.crash(name)
        net.disks[name] = copies[name]
        everybody = [str(address_of(number)) for number in range(3)]
        back = net.add(name, place, join=everybody)
        net.run(12.0)
        assert len(back.store) == 0
        shown = [
            (other, effect.key)
            for other, effects in net.effects.items()
            for effect in effects[before[other] :]
            if other != name and isinstance(effect, Changed)
        ]
        assert shown == []
