"""A disk that has lost data: its content does not give the digest root that was committed with it."""

from __future__ import annotations

from kvgossip.protocol.doctor.diagnosis import diagnose
from kvgossip.protocol.effect import Effect
from kvgossip.protocol.model.entry import version_of
from tests.protocol.doctor.test_examination import examined
from tests.protocol.net import Network, address_of, logs
from tests.protocol.test_restart import durable


def holed(names: str, *keys: str) -> Network:
    """A settled cluster in which all hold these keys, and one more; then the disk of the first one
    has lost them, but not its saved state."""
    net = durable(names)
    first = names.split()[0]
    for key in (*keys, "kept"):
        net.put(first, key, b"1")
    net.run(5.0)
    assert net.converged()
    net.crash(first)
    for key in keys:
        del net.disks[first].records[key]
    return net


def test_a_disk_that_has_lost_data_takes_it_from_its_peers_and_takes_none_out_of_theirs() -> None:
    net = holed("a b c", "x", "y")
    back = net.add("a", 0, join=(str(address_of(1)),))
    assert not back.settled
    assert any(
        "the disk has lost data: it gives 1 entries" in text for text in logs(effects_of(net))
    )
    net.until(lambda: back.settled)
    net.run(60.0)
    assert net.converged()
    for replica in net.replicas.values():
        assert [replica.store.value(key) for key in ("x", "y", "kept")] == [b"1"] * 3
    # the next life finds all
    net.crash("a")
    assert not net.add("a", 0).settling.rebuilding


def test_so_does_a_life_after_one_that_ended_before_its_first_input() -> None:
    net = holed("a b", "x")
    lost = version_of(net.replicas["b"].store["x"])
    # of this life its first commit is on the disk, and nothing else
    assert net.add("a", 0, start=False).settling.rebuilding
    net.crash("a")
    back = net.add("a", 0, join=(str(address_of(1)),))
    assert not back.tombstones.context.covers(lost)
    net.until(lambda: back.settled)
    assert net.converged()
    assert [replica.store.value("x") for replica in net.replicas.values()] == [b"1"] * 2


def effects_of(net: Network, name: str = "a") -> list[Effect]:
    return net.effects[name]


def test_a_disk_that_has_all_its_data_is_taken_at_its_word() -> None:
    net = holed("a b c")
    before = len(effects_of(net))
    assert not net.add("a", 0).settling.rebuilding
    assert not any("lost data" in text for text in logs(effects_of(net)[before:]))


def test_lesson_18_a_node_alone_whose_disk_has_lost_data_answers_no_reads_until_its_operator_says_so() -> (
    None
):
    net = holed("a", "x")
    back = net.add("a", 0)
    net.run(120.0)
    assert not back.settled
    # so is the life after it, whose content is what was committed
    net.crash("a")
    back = net.add("a", 0)
    assert not back.settled
    net.perform("a", back.settle(net.now("a")))
    assert back.settled
    net.crash("a")
    assert net.add("a", 0).settled


def test_two_nodes_whose_disks_have_lost_data_do_not_settle_each_other() -> None:
    net = holed("a b", "x")
    net.crash("b")
    del net.disks["b"].records["x"]
    for place, name in enumerate("ab"):
        net.add(name, place, join=(str(address_of(1 - place)),))
    net.run(120.0)
    assert net.sees("a", "b")
    assert not any(replica.settled for replica in net.replicas.values())


def test_a_delete_that_a_disk_has_lost_is_taken_from_peers_and_the_value_does_not_come_back() -> (
    None
):
    net = durable("a b c")
    net.put("a", "x", b"1")
    net.run(5.0)
    net.crash("c")
    net.delete("a", "x")
    net.run(2.0)
    net.crash("a")
    del net.disks["a"].records["x"]
    net.add("a", 0, join=(str(address_of(1)),))
    net.add("c", 2)
    net.run(60.0)
    assert net.converged()
    assert all(replica.store.value("x") is None for replica in net.replicas.values())


def test_the_doctor_names_a_node_whose_disk_has_lost_data_until_it_has_it_back() -> None:
    net = holed("a b", "x")
    back = net.add("a", 0)
    found = {finding.code: finding for finding in diagnose(examined(net, "a"))}
    assert found["disk"].members == ("a",)
    assert "has lost data" in found["disk"].text
    net.until(lambda: back.settled)
    assert not diagnose(examined(net, "b"))
