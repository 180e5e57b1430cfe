"""Two clusters never merge by themselves, whatever address was given away; and nobody is locked out
of his own."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kvgossip.protocol.effect import JoinRefused, Send
from kvgossip.protocol.membership.own_cluster_id import OwnClusterId
from kvgossip.protocol.model.cluster_id import (
    EPOCH_MAX,
    NUMBER_BITS,
    NUMBERS_MAX,
    UNKNOWN,
    ClusterId,
    minted,
    taken_over,
    united,
)
from kvgossip.protocol.outbox import Outbox
from kvgossip.protocol.saved_state import SavedLife, SavedState
from kvgossip.protocol.wire.frame import cluster_number
from kvgossip.protocol.wire.message import Join, JoinPurpose
from kvgossip.protocol.wire.unit import encode
from tests.protocol.net import (
    LAN,
    STRANGER,
    WALL_MS,
    Disk,
    Network,
    address_of,
    logs,
    make_replica,
    member,
)

SEED = str(address_of(0))


def ids(net: Network, names: str) -> list[str]:
    """The cluster ids of these nodes, once each."""
    return list(dict.fromkeys(str(net.replicas[name].cluster_id.value) for name in names.split()))


def is_one(net: Network, names: str) -> bool:
    """Everybody sees everybody, under one id, with the same data."""
    each = names.split()
    return (
        all(net.sees(name, *(other for other in each if other != name)) for name in each)
        and len(ids(net, names)) == 1
        and net.converged()
    )


def two_clusters() -> Network:
    """a and b, x and y: of one name, and nobody has told them of each other."""
    net = Network()
    net.disks = {name: Disk() for name in "abxy"}
    net.cluster("a b")
    net.add("x", 5)
    net.add("y", 6, join=(str(address_of(5)),))
    net.until(lambda: net.sees("x", "y") and net.sees("y", "x"))
    net.put("a", "of a", b"1")
    net.put("x", "of x", b"2")
    net.run(5.0)
    return net


def test_who_settles_without_having_met_a_cluster_mints_its_id_and_the_others_take_it_over() -> (
    None
):
    net = Network()
    net.add("a")
    assert not net.replicas["a"].cluster_id.value.minted, "nobody knows of it, and it has nothing"
    net.cluster("b c d")
    (number,) = ids(net, "b c d")
    assert number != str(net.replicas["a"].cluster_id.value)
    net.put("a", "k", b"v")
    assert net.replicas["a"].cluster_id.value.minted


def test_nodes_that_settle_each_other_at_one_moment_are_one_cluster() -> None:
    seeds = tuple(str(address_of(place)) for place in range(5))
    net = Network()
    for name in "abcde":
        net.add(name, join=seeds)
    net.until(lambda: all(replica.settled for replica in net.replicas.values()))
    net.run(5.0)
    assert is_one(net, "a b c d e")


def test_lesson_15_a_dead_members_address_that_another_cluster_got_merges_nothing() -> None:
    net = two_clusters()
    net.crash("b")
    net.crash("y")
    net.add("y", 1, join=(str(address_of(5)),))
    net.run(60.0)
    assert net.sees("a")
    assert net.sees("x", "y")
    assert net.sees("y", "x")
    refusals = [text for text in logs(net.effects["a"]) if "never merge by themselves" in text]
    mine, theirs = (str(net.replicas[name].cluster_id.value) for name in "ay")
    assert refusals
    assert all(
        f"{mine}, and this node to the one with {theirs}" in text
        and f"`kvgossip join {address_of(1)} --merge`" in text
        for text in refusals
    )
    # nor does a restart, which looks for the members that the disk knows
    net.crash("a")
    net.add("a", 0)
    net.run(60.0)
    assert net.sees("a")
    assert net.sees("x", "y")
    assert net.sees("y", "x")
    assert net.replicas["y"].store.value("of a") is None


def test_lesson_15_a_join_of_another_cluster_is_refused_with_both_ids_and_changes_nothing() -> None:
    net = two_clusters()
    before = ids(net, "a b x y")
    net.join("b", str(address_of(6)))
    net.run(10.0)
    (refusal,) = [effect for effect in net.effects["b"] if isinstance(effect, JoinRefused)]
    assert all(number in refusal.text for number in before)
    assert f"`kvgossip join {address_of(6)} --merge`" in refusal.text
    assert ids(net, "a b x y") == before
    assert net.sees("a", "b")
    assert net.sees("x", "y")


def knock(net: Network, name: str, theirs: ClusterId, purpose: JoinPurpose) -> None:
    """A stranger asks this node by a link to be taken in, and says that it is of that cluster."""
    me = member("stranger", 20, generation=WALL_MS)
    join = Join(me.name, me.site, cluster_id=theirs, purpose=purpose)
    data = LAN.frame([encode(join), encode(me)], reliable=True, joining=True)
    done = net.replicas[name].receive(data, STRANGER, net.now(name), reliable=True)
    net.perform(name, [each for each in done if not isinstance(each, Send) or each.to != STRANGER])


def invented(ours: ClusterId) -> list[ClusterId]:
    """More numbers than an id may hold, told of in two steps."""
    last = 2**NUMBER_BITS - 1
    numbers = tuple(range(last - NUMBERS_MAX, last))
    return [ClusterId(5, last, (ours.number,)), ClusterId(6, last, numbers)]


def last_epoch(ours: ClusterId) -> list[ClusterId]:
    return [ClusterId(EPOCH_MAX, ours.number ^ 1)]


@pytest.mark.parametrize(
    ("told", "purpose"), [(invented, JoinPurpose.ENTER), (last_epoch, JoinPurpose.MERGE)]
)
def test_no_id_that_a_stranger_says_parts_nodes_that_have_met_or_keeps_out_a_newcomer(
    told: Callable[[ClusterId], list[ClusterId]], purpose: JoinPurpose
) -> None:
    """It was seen to: a node that had forgotten its own number was refused by all others for good,
    and one of an epoch that nobody can read took nobody in, and did not start again."""
    net = Network()
    net.disks = {name: Disk() for name in "ab"}
    net.cluster("a b")
    for theirs in told(net.replicas["a"].cluster_id.value):
        knock(net, "a", theirs, purpose)
    net.run(30.0)
    for place, name in enumerate("ab"):
        net.crash(name)
        net.add(name, place)
    net.add("c", join=(SEED,))
    net.put("c", "k", b"v")
    net.until(lambda: len(ids(net, "a b c")) == 1 and net.converged(), seconds=30.0)
    assert all(replica.settled for replica in net.replicas.values())


def test_an_operators_merge_takes_over_the_others_id_for_all_nodes_of_the_asked_side() -> None:
    net = two_clusters()
    _, theirs = ids(net, "a b x y")
    net.join("b", str(address_of(6)), merge=True)
    net.until(lambda: is_one(net, "a b x y"), seconds=20.0)
    assert ids(net, "a b x y") == [theirs]
    assert not [text for text in logs(net.effects["a"]) if "never merge" in text]


@pytest.mark.parametrize("name", ["a", "y"])
def test_lesson_15_a_node_that_was_down_during_a_merge_learns_of_it_and_comes_back(
    name: str,
) -> None:
    net = two_clusters()
    places = {"a": 0, "y": 6}
    net.crash(name)
    net.run(60.0)
    net.join("b", str(address_of(5)), merge=True)
    rest = " ".join("abxy".replace(name, ""))
    net.until(lambda: is_one(net, rest), seconds=30.0)
    net.run(30.0)
    # the one that is back asks nobody but those whom its disk knows
    net.add(name, places[name])
    net.until(lambda: is_one(net, "a b x y"), seconds=60.0)


@pytest.mark.parametrize("name", ["a", "y"])
def test_a_node_that_was_cut_off_during_a_merge_learns_of_it_and_comes_back(name: str) -> None:
    net = two_clusters()
    rest = " ".join("abxy".replace(name, ""))
    net.partition(name, rest)
    net.run(60.0)
    net.join("b", str(address_of(5)), merge=True)
    net.until(lambda: all(net.sees(each, *rest.replace(each, "").split()) for each in rest.split()))
    net.run(30.0)
    net.heal()
    net.until(lambda: is_one(net, "a b x y"), seconds=60.0)


def test_lesson_15_a_first_start_that_was_cut_in_two_is_healed_by_a_merge() -> None:
    net = Network()
    every = "a b c d"
    net.partition("a b", "c d")
    for place, name in enumerate(every.split()):
        other = address_of(place ^ 1)
        net.add(name, join=(str(other),))
    net.until(lambda: all(replica.settled for replica in net.replicas.values()))
    net.put("a", "left", b"1")
    net.put("d", "right", b"2")
    net.heal()
    net.join("b", str(address_of(2)))
    net.run(30.0)
    assert len(ids(net, every)) == 2
    net.join("b", str(address_of(2)), merge=True)
    net.until(lambda: is_one(net, every), seconds=20.0)
    assert net.replicas["c"].store.value("left") == b"1"


def test_two_merges_of_opposite_ways_at_one_moment_end_in_one_cluster() -> None:
    net = two_clusters()
    net.join("b", str(address_of(6)), merge=True)
    net.join("x", str(address_of(0)), merge=True)
    net.until(lambda: is_one(net, "a b x y"), seconds=30.0)


def test_a_node_without_an_id_belongs_to_those_who_call_it_by_its_name() -> None:
    net = Network()
    net.cluster("a b c")
    net.crash("a")
    # the founder has lost everything, and joins nobody
    net.add("a", 0)
    net.until(lambda: is_one(net, "a b c"), seconds=20.0)


def test_a_restart_is_of_the_cluster_that_its_disk_names_and_a_lost_disk_of_none() -> None:
    net = two_clusters()
    number = net.replicas["b"].cluster_id.value
    net.crash("b")
    assert net.add("b", 1, start=False).cluster_id.value == number
    net.disks["b"] = Disk()
    assert not net.add("b", 1, start=False).cluster_id.value.minted


def test_the_frames_of_a_join_carry_no_id_and_all_others_that_of_the_cluster() -> None:
    net = Network()
    numbers: dict[bool, set[int]] = {False: set(), True: set()}
    net.watch = lambda frm, to, sent: numbers[sent.reliable].add(cluster_number(sent.data))
    net.cluster("a b")
    net.run(5.0)
    assert numbers[False] == {net.replicas["a"].cluster_id.value.number}
    assert 0 in numbers[True]


# -- the value ------------------------------------------------------------------------------------


def own(
    value: ClusterId = UNKNOWN, *, settled: bool = False, reseeded: list[int] | None = None
) -> OwnClusterId:
    return OwnClusterId(
        value,
        site=7,
        seed=70,
        reseed=reseeded.append if reseeded is not None else lambda seed: None,
        settled=lambda: settled,
        alone=lambda: False,
        tell=lambda: None,
        own_facts=list,
        outbox=Outbox(),
    )


def test_the_union_of_two_ids_does_not_depend_on_the_order() -> None:
    one, two, three = ClusterId(1, 5), ClusterId(2, 9, (5,)), ClusterId(2, 3, (9,))
    assert united(one, two) == united(two, one) == ClusterId(2, 9, (5,))
    assert united(united(one, two), three) == united(one, united(two, three))
    assert united(one, one) == one


def test_a_merge_keeps_the_number_of_the_one_that_was_asked_and_beats_both() -> None:
    merged = taken_over(ClusterId(1, 3), ClusterId(4, 8, (6,)))
    assert merged == ClusterId(5, 3, (6, 8))
    assert united(ClusterId(4, 8, (6,)), merged) == merged == united(ClusterId(1, 3), merged)


def test_a_candidate_gives_way_to_an_id_that_was_minted_and_two_minted_ones_to_nobody() -> None:
    newcomer = own()
    newcomer.take(ClusterId(1, 5))
    assert newcomer.value == ClusterId(1, 5, (), (7,))
    assert newcomer.admits(ClusterId(0, 9))
    assert not newcomer.admits(ClusterId(1, 9))
    host = own(settled=True)
    host.take(ClusterId(0, 9))
    minted_here = ClusterId(1, 7, seed=70)
    assert host.value == minted_here, "it is settled, so it mints before anybody comes in"


def test_candidates_that_have_met_stay_one_cluster_whoever_settles_first() -> None:
    one, two = own(), own(ClusterId(0, 9))
    one.take(two.value)
    two.take(ClusterId(0, 7))
    assert one.value == two.value == ClusterId(0, 9, (), (7,))
    # one settles at once; the other one comes into a cluster first, and knows it all the same
    first, other = minted(one.value), own(two.value)
    other.take(ClusterId(1, 5))
    assert other.value == ClusterId(1, 5, (), (7, 9))
    assert other.admits(first)
    other.take(first)
    assert other.value == ClusterId(1, 9, (5,), (7,))


def test_candidates_that_have_met_and_go_into_two_clusters_do_not_make_one_of_them() -> None:
    one, other = own(), own()
    for each in (one, other):
        each.take(ClusterId(0, 9))
    one.take(ClusterId(1, 5))
    other.take(ClusterId(1, 6))
    assert not one.admits(other.value)
    assert not other.admits(one.value)


def test_an_id_is_kept_once_it_is_minted() -> None:
    assert own().kept == UNKNOWN
    replica = make_replica("a", saved=None)
    assert not SavedState({}).own_facts(SavedLife(cluster_id=own().kept))
    replica.cluster_id.take(ClusterId(1, 5))
    disk = Disk()
    disk.commit(replica.outbox.drain())
    kept = SavedState(disk.facts).own.cluster_id
    assert kept == replica.cluster_id.value
    assert kept.number == 5
