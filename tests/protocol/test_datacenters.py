"""Several datacenters: a LAN pool in each, gateways in the WAN pool, one store behind both
(protocol.md section 9)."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from kvgossip.config import Address
from kvgossip.errors import ConfigError
from kvgossip.protocol.effect import JoinRefused, Send
from kvgossip.protocol.merging import REKINDLED_MAX
from kvgossip.protocol.model.member import Member, MemberState
from kvgossip.protocol.model.peer import PoolKind
from kvgossip.protocol.replica import Replica
from kvgossip.protocol.wire.frame import Framing
from tests.protocol.net import (
    WAN_PORT,
    Network,
    address_of,
    at,
    logs,
    make_replica,
    wan_address_of,
)

LAN, WAN = PoolKind
ALIVE, SUSPECT, DEAD, LEFT = MemberState
QUICK = (
    ("probe_interval_s", 1.0),
    ("probe_timeout_s", 0.5),
    ("push_pull_interval_s", 30.0),
    ("rumor_settling_s", 2.0),
)
POOLS = {name: Framing("default", name, 2**22) for name in ("lan:dc1", "lan:dc2", "wan")}
GATEWAYS = (str(wan_address_of(0)),)


def two_datacenters(
    one: str = "a b c", other: str = "d e f", gateways: str = "a d", **config: Any
) -> Network:
    """The first of each datacenter is joined by the others; all gateways join that of the first
    datacenter. All have settled."""
    net = Network()
    places = {name: place for place, name in enumerate(f"{one} {other}".split())}
    for name, place in places.items():
        first = (one if name in one.split() else other).split()[0]
        add(
            net,
            name,
            place,
            "dc1" if name in one.split() else "dc2",
            gateways,
            places[first],
            **config,
        )
    net.until(
        lambda: (
            all(replica.settled for replica in net.replicas.values())
            and together(net, one, other, gateways)
        )
    )
    return net


def add(
    net: Network, name: str, place: int, datacenter: str, gateways: str, first: int, **config: Any
) -> Replica:
    how: dict[str, Any] = {"datacenter": datacenter, "wan_parameters": QUICK, **config}
    if place != first:
        how["join"] = (str(address_of(first)),)
    if name in gateways.split():
        how |= {"gateway": True, "join_wan": GATEWAYS if place else ()}
    return net.add(name, place, **how)


def together(net: Network, *pools: str) -> bool:
    """Whether the members of each pool hold exactly each other alive; the last pool is that of the
    gateways."""
    kinds = [LAN] * (len(pools) - 1) + [WAN]
    return all(
        alive(net, name, kind) == pool.split()
        for pool, kind in zip(pools, kinds, strict=True)
        for name in pool.split()
    )


def alive(net: Network, name: str, pool: PoolKind = LAN) -> list[str]:
    return [member.name for member in net.replicas[name].members(pool) if member.state is ALIVE]


def everywhere(net: Network, key: str, value: bytes | None) -> bool:
    return all(replica.store.value(key) == value for replica in net.replicas.values())


def counted(net: Network) -> Counter[tuple[str, str, PoolKind, str]]:
    """From now on: how many units of each kind are sent, by sender, receiver and pool."""
    counts: Counter[tuple[str, str, PoolKind, str]] = Counter()

    def watch(frm: str, to: str, sent: Send) -> None:
        for framing in POOLS.values():
            if sent.data[12:16] == framing.frame([])[12:16]:
                for told in framing.open(sent.data, reliable=sent.reliable).messages:
                    counts[frm, to, sent.pool, type(told).__name__] += 1

    net.watch = watch
    return counts


# -- data ----------------------------------------------------------------------------------------


def test_a_write_of_any_node_is_everywhere_at_once_and_crosses_between_gateways_only() -> None:
    net = two_datacenters()
    net.run(10.0)
    counts = counted(net)
    net.put("b", "k", b"v")
    assert net.until(lambda: everywhere(net, "k", b"v")) < 0.05
    net.delete("f", "k")
    assert net.until(lambda: everywhere(net, "k", None)) < 0.05
    net.run(30.0)
    net.until(net.converged, seconds=20.0)
    crossed = {(frm, to, pool) for frm, to, pool, _ in counts if (frm in "abc") != (to in "abc")}
    assert crossed == {("a", "d", WAN), ("d", "a", WAN)}
    assert {(frm, to) for frm, to, pool, _ in counts if pool is WAN} == {("a", "d"), ("d", "a")}


def test_an_entry_is_told_a_bounded_number_of_times_and_then_there_is_silence() -> None:
    net = two_datacenters("a b c d", "e f g h", "a b e f")
    net.run(20.0)
    counts = counted(net)
    net.put("d", "k", b"v")
    net.run(20.0)
    rumors = sum(count for (_, _, _, kind), count in counts.items() if kind == "Rumor")
    assert everywhere(net, "k", b"v")
    assert rumors < 8 * 8
    counts.clear()
    net.run(60.0)
    assert not [key for key in counts if key[3] in ("Rumor", "Notice", "Entries", "Push")]


def test_an_entry_too_large_for_a_datagram_crosses_too() -> None:
    net = two_datacenters()
    net.put("c", "large", b"x" * 100_000)
    assert net.until(lambda: everywhere(net, "large", b"x" * 100_000)) < 1.0


def test_a_few_entries_that_an_exchange_brings_are_rumors_in_the_other_pool() -> None:
    net = two_datacenters("a b c d e f g h i", "j k", "a j")
    net.run(10.0)
    net.partition("a", "j")
    net.put("j", "k", b"v")
    net.run(20.0)
    assert net.state("j", "a", WAN) is not ALIVE
    counts = counted(net)
    net.heal()
    net.until(lambda: net.replicas["a"].store.value("k") == b"v")
    assert (
        sum(
            count
            for (frm, to, _, kind), count in counts.items()
            if (frm, to, kind) == ("j", "a", "Rumor")
        )
        == 0
    ), "an exchange did"
    assert net.until(lambda: everywhere(net, "k", b"v")) < 0.5


def test_what_a_healed_cut_brings_in_bulk_is_not_told_as_rumors() -> None:
    net = two_datacenters("a b c d", "e f", "a e")
    net.partition("a", "e")
    for number in range(20 * REKINDLED_MAX):
        net.put("f", f"{number:05}", b"v")
    net.run(60.0)
    counts = counted(net)
    net.heal()
    net.until(net.converged, seconds=60.0)
    told = Counter(
        to
        for (frm, to, pool, kind), count in counts.items()
        if kind == "Rumor"
        for _ in range(count)
    )
    assert 0 < told["b"] < 10 * REKINDLED_MAX


def test_who_catches_up_kindles_no_rumor_of_what_everybody_else_has() -> None:
    net = two_datacenters("a b", "c d", "a c")
    for number in range(100):
        net.put("b", f"{number}", b"v")
    net.run(10.0)
    counts = counted(net)
    net.crash("c")
    add(net, "c", 2, "dc2", "c", 3)
    net.until(lambda: net.replicas["c"].settled and net.converged())
    net.run(5.0)
    assert not [key for key in counts if key[3] == "Rumor"]


# -- gateways ------------------------------------------------------------------------------------


def test_two_gateways_of_one_datacenter_send_each_other_neither_rumors_nor_entries_over_the_wan_pool() -> (
    None
):
    net = two_datacenters("a b c", "d e f", "a b d e")
    counts = counted(net)
    for number in range(50):
        net.put("abcdef"[number % 6], f"{number}", b"v")
        net.run(0.5)
    net.run(60.0)
    assert net.converged()
    inside = {
        kind for frm, to, pool, kind in counts if pool is WAN and (frm in "abc") == (to in "abc")
    }
    assert inside <= {"Ping", "Ack", "PingRequest", "Nack", "Member"}, (
        "they are reached in the LAN pool"
    )


def test_gateways_of_one_datacenter_that_lost_each_other_in_the_lan_pool_are_repaired_over_the_wan_pool() -> (
    None
):
    net = Network()
    net.add("a", 0, gateway=True, wan_parameters=QUICK)
    net.add("b", 1, gateway=True, join_wan=GATEWAYS, wan_parameters=QUICK)
    net.put("a", "k", b"v")
    assert net.until(lambda: net.replicas["b"].settled) < 1.0
    assert (alive(net, "b"), alive(net, "b", WAN)) == (["b"], ["a", "b"])
    net.put("a", "k", b"w")
    assert net.until(lambda: everywhere(net, "k", b"w")) < 1.0


def test_each_pool_keeps_its_own_time() -> None:
    net = two_datacenters(wan_parameters=())
    net.run(30.0)
    counts = counted(net)
    net.run(60.0)
    pings = Counter(
        pool for frm, _, pool, kind in counts.elements() if (frm, kind) == ("a", "Ping")
    )
    assert 58 <= pings[LAN] <= 62
    assert 11 <= pings[WAN] <= 13


def test_when_a_gateway_fails_another_one_carries_on() -> None:
    net = two_datacenters("a b c", "d e f", "a b d e")
    net.crash("a")
    net.put("c", "at once", b"v")
    assert net.until(lambda: everywhere(net, "at once", b"v")) < 5.0
    net.until(lambda: together(net, "b c", "d e f", "b d e"))


def test_a_datacenter_without_its_last_gateway_goes_on_alone_and_catches_up_when_one_returns() -> (
    None
):
    net = two_datacenters()
    net.crash("d")
    net.until(lambda: alive(net, "e") == ["e", "f"] and alive(net, "a", WAN) == ["a"])
    net.put("e", "there", b"1")
    net.put("b", "here", b"2")
    net.run(5.0)
    assert (net.replicas["f"].store.value("there"), net.replicas["f"].store.value("here")) == (
        b"1",
        None,
    )
    assert (net.replicas["c"].store.value("there"), net.replicas["c"].store.value("here")) == (
        None,
        b"2",
    )
    add(net, "d", 3, "dc2", "d", 4)
    assert (
        net.until(
            lambda: (
                everywhere(net, "there", b"1") and everywhere(net, "here", b"2") and net.converged()
            )
        )
        < 10.0
    )


def test_lesson_09_a_cut_between_datacenters_heals_although_all_gateways_declared_each_other_dead() -> (
    None
):
    net = two_datacenters("a b c", "d e f", "a b d e")
    net.partition("a b c", "d e f")
    net.until(
        lambda: all(
            net.state(left, right, WAN) is net.state(right, left, WAN) is DEAD
            for left in "ab"
            for right in "de"
        ),
        300.0,
    )
    net.put("c", "k", b"left")
    net.put("f", "k", b"right")
    net.run(200.0)
    net.heal()
    assert (
        net.until(
            lambda: everywhere(net, "k", b"right") and together(net, "a b c", "d e f", "a b d e")
        )
        < 20.0
    )


def test_a_node_of_another_datacenter_with_the_name_of_a_neighbour_hears_what_that_one_has_told() -> (
    None
):
    net = Network()
    net.add("a", 0, gateway=True, wan_parameters=QUICK)
    net.add("b", 1, join=(str(address_of(0)),))
    abroad = make_replica(
        "b", 2, seed=9, datacenter="dc2", gateway=True, join_wan=GATEWAYS, wan_parameters=QUICK
    )
    net.replicas["b2"], net.effects["b2"], net._at[address_of(2)] = abroad, [], "b2"
    net.perform("b2", abroad.tick(net.now("b2")))
    net.until(lambda: alive(net, "a", WAN) == ["a", "b"] and abroad.settled and net.sees("a", "b"))
    net.run(10.0)
    net.put("b", "k", b"v")
    assert net.until(lambda: abroad.store.value("k") == b"v") < 0.05


def test_lesson_14_a_gateway_that_lost_all_others_finds_them_where_dns_has_them_now() -> None:
    net = Network()
    net.names["gateways.example"] = [wan_address_of(0)]
    net.add("a", 0, gateway=True, wan_parameters=QUICK)
    b = net.add(
        "b",
        1,
        datacenter="dc2",
        gateway=True,
        join_wan=("gateways.example:7483",),
        wan_parameters=QUICK,
    )
    net.until(lambda: b.settled)
    net.crash("a")
    net.run(200.0)
    assert alive(net, "b", WAN) == ["b"]
    net.names["gateways.example"] = [wan_address_of(9)]
    net.add("a", 9, gateway=True, wan_parameters=QUICK)
    assert net.until(lambda: alive(net, "b", WAN) == ["a", "b"] == alive(net, "a", WAN)) < 31.0


def test_who_leaves_leaves_both_pools() -> None:
    net = two_datacenters("a b c", "d e f", "a b d")
    net.put("b", "last words", b"v")
    net.leave("b")
    net.run(1.0)
    assert (net.state("a", "b"), net.state("d", "b", WAN)) == (LEFT, LEFT)
    assert all(net.replicas[name].store.value("last words") == b"v" for name in "acdef")


def test_lesson_30_a_gateway_that_does_not_know_its_addresses_learns_each_in_its_own_pool() -> None:
    net = two_datacenters("a b", "c d", "a c")
    blind = Address("", 7481)
    net.crash("c")
    net.add(
        "c",
        2,
        start=False,
        datacenter="dc2",
        gateway=True,
        join=(str(address_of(3)),),
        join_wan=GATEWAYS,
    )
    for pool in net.replicas["c"].pools:
        pool.membership.set_self(
            pool.membership.me.__class__(**{**_fields(pool.membership.me), "host": blind.host})
        )
    net.perform("c", net.replicas["c"].tick(net.now("c")))
    net.until(lambda: net.replicas["c"].settled)
    assert [pool.membership.me.address for pool in net.replicas["c"].pools] == [
        address_of(2),
        wan_address_of(2),
    ]


def _fields(member: Member) -> dict[str, Any]:
    return {name: getattr(member, name) for name in member.__struct_fields__}


# -- settling ------------------------------------------------------------------------------------


def test_lesson_16_a_new_datacenter_answers_no_read_before_its_gateway_has_the_data_of_the_others() -> (
    None
):
    net = Network()
    add(net, "a", 0, "dc1", "a", 0)
    net.put("a", "k", b"v")
    net.partition("a", "b c")
    for name, place in (("b", 1), ("c", 2)):
        net.add(
            name,
            place,
            datacenter="dc2",
            join=(str(address_of(1)),),
            gateway=name == "b",
            join_wan=GATEWAYS if name == "b" else (),
        )
    net.run(60.0)
    assert net.sees("b", "c")
    assert not any(net.replicas[name].settled for name in "bc"), (
        "they have found each other, and know that somebody knows more"
    )
    net.heal()
    net.until(lambda: all(net.replicas[name].settled for name in "bc"))
    assert everywhere(net, "k", b"v")


def test_a_gateway_that_founds_a_datacenter_settles_by_an_exchange_with_another_one() -> None:
    net = Network()
    add(net, "a", 0, "dc1", "a", 0)
    net.put("a", "k", b"v")
    b = add(net, "b", 1, "dc2", "b", 1)
    assert not b.settled
    net.until(lambda: b.settled)
    assert b.store.value("k") == b"v"


def test_gateways_of_a_fresh_cluster_that_name_each_other_settle_together() -> None:
    net = Network()
    everyone = tuple(str(wan_address_of(place)) for place in range(3))
    for place, name in enumerate("abc"):
        net.add(
            name,
            place,
            datacenter=f"dc{place}",
            gateway=True,
            join_wan=everyone,
            wan_parameters=QUICK,
        )
    net.until(lambda: all(replica.settled for replica in net.replicas.values()))


def test_a_gateway_that_comes_back_settles_in_its_datacenter_also_while_the_others_are_cut_off() -> (
    None
):
    net = two_datacenters()
    net.put("e", "k", b"v")
    net.partition("a b c", "d e f")
    net.crash("d")
    add(net, "d", 3, "dc2", "d", 4)
    net.until(lambda: net.replicas["d"].settled)
    assert net.replicas["d"].store.value("k") == b"v"


# -- who is refused ------------------------------------------------------------------------------

ACCIDENTS = {
    "LAN to LAN": (
        "c",
        LAN,
        address_of(0),
        "it belongs to the LAN pool of another datacenter; nodes of one LAN pool have the same",
    ),
    "WAN to gateway's LAN": (
        "b",
        WAN,
        address_of(0),
        "this is the LAN address of a gateway; join its WAN address, 10.0.0.1:7483",
    ),
    "LAN to own WAN": (
        "d",
        LAN,
        wan_address_of(0),
        "it belongs to the LAN pool of 'dc1', and this is the WAN address of a gateway there",
    ),
    "LAN to other WAN": (
        "c",
        LAN,
        wan_address_of(0),
        "and this is the WAN address of a gateway of 'dc1'",
    ),
    "WAN to no gateway": (
        "b",
        WAN,
        address_of(3),
        "it belongs to the WAN pool, and this node is no gateway; join the --wan address",
    ),
    "WAN to other LAN": (
        "a",
        WAN,
        address_of(2),
        "it belongs to the WAN pool, and this node is no gateway",
    ),
}


@pytest.mark.parametrize(("who", "pool", "to", "words"), ACCIDENTS.values(), ids=ACCIDENTS)
def test_lesson_15_a_join_of_the_wrong_pool_is_refused_every_time_with_what_to_change(
    who: str, pool: PoolKind, to: Address, words: str
) -> None:
    net = Network()
    for place, (name, datacenter, gateway) in enumerate(
        (("a", "dc1", True), ("b", "dc2", True), ("c", "dc2", False), ("d", "dc1", False))
    ):
        net.add(name, place, datacenter=datacenter, gateway=gateway)
    before = {name: len(effects) for name, effects in net.effects.items()}
    for _ in range(3):
        net.join(who, str(to), pool=pool)
        net.run(1.0)
    refusals = [
        effect for effect in net.effects[who][before[who] :] if isinstance(effect, JoinRefused)
    ]
    assert [refusal.pool for refusal in refusals] == [pool] * 3, (
        "also the second and third time within a minute"
    )
    own = (
        f"this node is {who!r} of cluster 'default', pool {net.replicas[who].in_pool(pool).name!r}"
    )
    assert all(words in refusal.text and own in refusal.text for refusal in refusals)
    other = next(
        net.replicas[name]
        for name, place in zip("abcd", range(4), strict=True)
        if address_of(place).host == to.host
    )
    there = other.in_pool(WAN if to.port == WAN_PORT else LAN)
    assert there.statistics()["frames_dropped.other_pool"] == 3
    assert net.replicas[who].in_pool(pool).statistics()["refusals_heard"] == 3
    assert all(alive(net, name) == [name] for name in "abcd")


def test_a_node_that_is_no_gateway_cannot_join_the_wan_pool() -> None:
    replica = make_replica("a")
    with pytest.raises(ConfigError) as caught:
        replica.join(["10.0.0.1:7483"], at(), WAN)
    assert "--gateway" in caught.value.hint


def test_a_frame_is_judged_by_the_pool_at_whose_address_it_came() -> None:
    replica = make_replica("a", gateway=True)
    assert replica.pools.wan is not None
    replica.receive(POOLS["lan:dc1"].frame([]), address_of(9), at(), WAN)
    replica.receive(POOLS["lan:dc1"].frame([]), address_of(9), at(), LAN)
    assert replica.pools.wan.counters["frames_dropped.other_pool"] == 1
    assert replica.pools.lan.counters["frames_dropped.other_pool"] == 0
    assert replica.statistics()["frames_received"] == 2


# -- the cluster id ------------------------------------------------------------------------------


def test_all_datacenters_are_of_one_cluster_id() -> None:
    net = two_datacenters()
    numbers = [replica.cluster_id.value.number for replica in net.replicas.values()]
    assert numbers == [numbers[0]] * 6


def test_datacenters_that_were_founded_apart_meet_by_an_operators_word_alone() -> None:
    net = Network()
    for place, name in enumerate("abcd"):
        datacenter = "dc1" if name in "ab" else "dc2"
        how: dict[str, Any] = {"datacenter": datacenter, "wan_parameters": QUICK}
        if name in "bd":
            how["join"] = (str(address_of(place - 1)),)
        net.add(name, place, gateway=name in "ac", **how)
    net.until(lambda: alive(net, "a") == ["a", "b"] and alive(net, "c") == ["c", "d"])
    net.put("b", "here", b"1")
    net.put("d", "there", b"2")
    net.join("c", str(wan_address_of(0)), pool=WAN)
    net.run(20.0)
    assert alive(net, "c", WAN) == ["c"]
    assert any("`kvgossip join --wan" in text for text in logs(net.effects["c"]))
    net.join("c", str(wan_address_of(0)), pool=WAN, merge=True)
    net.until(lambda: everywhere(net, "here", b"1") and everywhere(net, "there", b"2"))
    net.until(lambda: together(net, "a b", "c d", "a c"))
    numbers = [net.replicas[name].cluster_id.value.number for name in "abcd"]
    assert numbers == [numbers[0]] * 4
