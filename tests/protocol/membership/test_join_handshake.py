"""The handshake by which a node enters a pool, in a network that encodes everything."""

from __future__ import annotations

from typing import Any

import pytest

from kvgossip.config import Address, Config
from kvgossip.protocol.effect import Joined, JoinRefused, Log, Send
from kvgossip.protocol.model.member import MemberState, SyncState
from kvgossip.protocol.wire.frame import Framing, frame_bytes_max
from kvgossip.protocol.wire.message import Ack, Join, JoinReply, Ping, Refused
from kvgossip.protocol.wire.unit import encode
from tests.protocol.net import (
    LAN,
    PORT,
    STRANGER,
    WALL_MS,
    Network,
    address_of,
    at,
    make_replica,
    member,
    prove,
    sends,
    told,
)

SEED = str(address_of(0))
LINK = Address("10.0.0.9", 50_001)


def joined(net: Network, name: str) -> list[tuple[str, str]]:
    return [
        (str(effect.source), effect.name)
        for effect in net.effects[name]
        if isinstance(effect, Joined)
    ]


def refusals(net: Network, name: str) -> list[str]:
    return [effect.text for effect in net.effects[name] if isinstance(effect, JoinRefused)]


def join_frame(name: str = "b", site: int = 2, **fields: Any) -> bytes:
    return LAN.frame([encode(Join(name, site)), encode(member(name, 1, site=site, **fields))])


# -- coming in -----------------------------------------------------------------------------------


def test_a_newcomer_and_its_host_know_each_other_after_one_round_trip() -> None:
    net = Network()
    net.add("a")
    net.add("b", join=(SEED,))
    assert net.until(lambda: net.sees("a", "b") and net.sees("b", "a")) < 0.003
    assert joined(net, "b") == [(SEED, "a")]


def test_a_newcomer_learns_of_everybody_and_everybody_of_it() -> None:
    net = Network()
    net.cluster("a b c d e")
    net.add("f", join=(str(address_of(3)),))
    net.until(
        lambda: all(net.sees(name, *"abcdef".replace(name, "")) for name in "abcdef"), seconds=2.0
    )


def test_an_operators_join_of_two_clusters_makes_one() -> None:
    net = Network()
    net.cluster("a b")
    net.add("c", 5)
    net.add("d", 6, join=(str(address_of(5)),))
    net.run(1.0)
    net.put("a", "from a", b"1")
    net.put("d", "from d", b"2")
    net.join("b", str(address_of(6)), merge=True)
    net.until(
        lambda: all(net.sees(name, *"abcd".replace(name, "")) for name in "abcd"), seconds=3.0
    )
    # a, its member all along, answers once more when it is told of the merge
    assert joined(net, "b") == [(SEED, "a"), (str(address_of(6)), "d"), (SEED, "a")]
    net.until(net.converged, seconds=10.0)
    assert net.replicas["c"].store.value("from a") == b"1"


def test_lesson_30_a_newcomer_without_an_address_takes_the_one_from_which_its_host_saw_it() -> None:
    host = make_replica("a")
    effects = host.receive(join_frame(host=""), LINK, at(), reliable=True)
    known = host.pools.lan.membership.members["b"]
    assert known.address == Address(LINK.host, PORT)
    reply = next(message for _, message in told(LAN, effects) if isinstance(message, JoinReply))
    assert reply.observed_host == LINK.host
    newcomer = make_replica("b", 1)
    newcomer.pools.lan.membership.table.put_own(member("b", 1, host=""))
    newcomer.pools.lan.joining.join([address_of(0)])
    newcomer._drain(at())
    (answer,) = (effect for effect in sends(effects) if effect.to == LINK)
    newcomer.receive(answer.data, address_of(0), at(), reliable=True, here=LINK.host)
    assert newcomer.member.address == Address(LINK.host, PORT)


def test_a_node_that_joins_itself_stays_alone() -> None:
    net = Network()
    net.add("a", join=(SEED,))
    net.run(5.0)
    assert net.sees("a")
    assert refusals(net, "a") == [f"{SEED} is this node itself: name another member"]


def test_an_address_where_nobody_listens_is_reported_and_tried_again() -> None:
    net = Network()
    net.add("b", 1, join=(SEED,))
    net.run(0.5)
    text = (
        f"no answer from {SEED}: is a node running there, is this its gossip port (that of HTTP is "
        "another), and does a firewall let TCP and UDP through?"
    )
    assert refusals(net, "b") == [text]
    net.add("a", 0)
    net.until(lambda: net.sees("b", "a"), seconds=3.0)


def test_a_reply_that_was_not_asked_for_is_passed_over() -> None:
    replica = make_replica("a")
    data = LAN.frame(
        [encode(JoinReply("b", 2, "10.0.0.1", SyncState.SETTLED)), encode(member("b", 1))]
    )
    assert [
        effect
        for effect in replica.receive(data, address_of(1), at(), reliable=True)
        if not isinstance(effect, Send)
    ] == []
    assert [known.name for known in replica.members()] == ["a"]


@pytest.mark.parametrize("units", [[], ["another name"], ["another site"]])
def test_a_join_whose_first_record_is_not_the_newcomers_is_passed_over(units: list[str]) -> None:
    replica = make_replica("a")
    records = {"another name": member("c", 1, site=2), "another site": member("b", 1, site=3)}
    data = LAN.frame([encode(Join("b", 2)), *(encode(records[unit]) for unit in units)])
    assert sends(replica.receive(data, LINK, at(), reliable=True)) == []
    assert [known.name for known in replica.members()] == ["a"]


def test_a_join_by_datagram_is_not_answered() -> None:
    replica = make_replica("a")
    assert sends(replica.receive(join_frame(), STRANGER, at())) == []


def test_a_host_that_knows_as_many_names_as_it_may_refuses_and_says_why() -> None:
    net = Network()
    net.add("a", members_max=2)
    net.add("b", members_max=2)
    net.join("b", SEED)
    net.run(1.0)
    net.add("c", members_max=2)
    net.join("c", SEED)
    net.run(1.0)
    assert net.sees("a", "b")
    assert net.sees("c")
    (text,) = refusals(net, "c")
    assert "members_max" in text
    # who is known may come back
    net.crash("b")
    net.add("b", 1, members_max=2)
    net.join("b", SEED)
    net.run(1.0)
    assert net.sees("a", "b")


def test_a_member_table_of_any_length_is_sent_in_frames_that_a_link_takes() -> None:
    config = Config(value_bytes_max=1)
    host = make_replica("a", value_bytes_max=1)
    for number in range(5000):
        known = member(
            f"node-with-a-long-name-{number}",
            1,
            host=f"10.9.{number >> 8}.{number & 255}",
            generation=WALL_MS,
            site=2**63 + number,
        )
        host.pools.lan.membership.merge(known, at())
        prove(host, known.name)
    effects = host.receive(join_frame(), LINK, at(), reliable=True)
    newcomer = make_replica("b", 1, value_bytes_max=1)
    newcomer.pools.lan.joining.join([address_of(0)])
    for packet in sends(effects):
        messages = Framing("default", "lan:dc1", 2**26).open(packet.data, reliable=True).messages
        assert sum(len(encode(message)) for message in messages) <= frame_bytes_max(config)
        newcomer.receive(packet.data, address_of(0), at(), reliable=True)
    assert len(newcomer.members()) == 5002


# -- one name, one node --------------------------------------------------------------------------


def test_a_name_that_a_live_node_holds_is_refused_with_a_text_that_names_both_sides() -> None:
    net = Network()
    net.cluster("a b")
    imposter = make_replica("b", 7, now=net.now("b"), seed=9)
    net.replicas["b2"], net.effects["b2"], net._at[address_of(7)] = imposter, [], "b2"
    net.perform("b2", imposter.join([SEED], net.now("b2")))
    net.run(1.0)
    (text,) = refusals(net, "b2")
    assert (
        "the name 'b', with which 10.0.0.8:7481 wants to join, is held by the live node at "
        "10.0.0.2:7481; "
        "give one of them another --name, or stop it" in text
    )
    assert net.sees("a", "b")
    assert net.replicas["a"].pools.lan.membership.members["b"].address == address_of(1)


def test_the_hosts_own_name_is_refused_at_once() -> None:
    net = Network()
    net.add("a")
    twin = make_replica("a", 7, seed=9)
    net.replicas["a2"], net.effects["a2"], net._at[address_of(7)] = twin, [], "a2"
    net.perform("a2", twin.join([SEED], net.now("a2")))
    net.run(0.01)
    (text,) = refusals(net, "a2")
    assert "held by the live node at 10.0.0.1:7481" in text


def test_lesson_10_a_container_with_a_new_address_takes_its_name_over_at_once() -> None:
    net = Network()
    net.cluster("a b c")
    net.crash("b")
    net.add("b", 7, join=(SEED,))
    assert net.until(lambda: all(net.sees(name, *"abc".replace(name, "")) for name in "abc")) < 1.0
    net.run(30.0)
    for name in "ac":
        assert net.replicas[name].pools.lan.membership.members["b"].address == address_of(7)
        assert MemberState.DEAD not in net.state_changes(name, "b")


# sim cluster --seed 681 --nodes 5-20: two gateways so were dead for their datacenters for good, and
# the roots of these differed from all others by tombstones that waited for them
@pytest.mark.parametrize("leaves", [False, True])
def test_lesson_10_a_founder_that_comes_back_elsewhere_with_a_clock_that_is_behind_is_alive_for_all(
    leaves: bool,
) -> None:
    net = Network()
    net.names["a.test"] = [address_of(0)]
    net.add("a", founding_s=2.0)
    for name in "bc":
        net.add(name, join=(f"a.test:{PORT}",))
    net.until(lambda: all(net.sees(name, *"abc") for name in "abc"))
    net.put("b", "key", b"1")
    net.run(5.0)
    if leaves:
        net.perform("a", net.replicas["a"].leave(net.now("a")))
        net.run(1.0)
    net.crash("a")
    gone = MemberState.LEFT if leaves else MemberState.DEAD
    net.until(lambda: all(net.state(name, "a") is gone for name in "bc"))
    net.skew_ms["a"] = -3_600_000
    net.names["a.test"] = [address_of(3)]
    net.add("a", 3, founding_s=2.0)
    # it asks nobody to take it in, and those who ask it do not say that it is gone
    net.until(lambda: net.sees("a", *"abc"))
    assert net.until(lambda: all(net.sees(name, *"abc") for name in "abc")) < 4.0
    net.delete("b", "key")
    net.until(lambda: all(not replica.store.digest.root for replica in net.replicas.values()))


def test_a_holder_that_is_silent_gives_its_name_away_after_one_probe_timeout() -> None:
    net = Network()
    net.cluster("a b")
    # the machine is gone: nothing comes back, not even a refused connection
    net.replicas["ghost"] = net.replicas.pop("b")
    net.effects["ghost"], net._timers["b"] = [], net._timers["b"] + 1
    net.add("b", 7, join=(SEED,))
    net._at[address_of(1)] = "ghost"
    net.passes = lambda frm, to, reliable: "ghost" not in (frm, to)
    net._unreachable = lambda name, address, pool=None: None  # type: ignore
    took_s = net.until(
        lambda: net.replicas["a"].pools.lan.membership.members["b"].address == address_of(7)
    )
    assert 0.5 <= took_s < 0.6


def test_a_restart_at_the_same_address_needs_no_probe_also_with_a_clock_that_is_behind() -> None:
    net = Network()
    net.cluster("a b")
    net.run(5.0)
    net.crash("b")
    net.skew_ms["b"] = -3_600_000
    net.add("b", 1, join=(SEED,))
    assert net.until(lambda: net.sees("a", "b") and net.sees("b", "a")) < 0.1
    known = net.replicas["a"].pools.lan.membership.members["b"]
    net.until(
        lambda: net.replicas["a"].pools.lan.membership.members["b"].site == net.replicas["b"].site,
        seconds=1.0,
    )
    assert known.generation <= net.replicas["b"].member.generation


def asked_of(messages: list[tuple[Address, Any]], kind: type) -> list[Address]:
    return [to for to, message in messages if isinstance(message, kind)]


def test_the_holder_is_probed_over_both_ways_and_its_ack_refuses_the_newcomer() -> None:
    host = make_replica("a")
    host.receive(LAN.frame([encode(member("b", 1))]), STRANGER, at())
    effects = host.receive(join_frame(site=9, host="10.0.0.8"), LINK, at(), reliable=True)
    pings = [(effect.to, effect.reliable) for effect in sends(effects)]
    assert pings == [(address_of(1), False), (address_of(1), True)]
    ping = next(message for _, message in told(LAN, effects) if isinstance(message, Ping))
    assert ping.target == "b"
    answer = host.receive(
        LAN.frame([encode(Ack(ping.sequence, "b", 0, 0, SyncState.SETTLED))]), address_of(1), at()
    )
    assert asked_of(told(LAN, answer), Refused) == [LINK]
    assert host.pools.lan.membership.members["b"].site == 2


@pytest.mark.parametrize("refused", [False, True])
def test_a_holder_that_does_not_answer_is_replaced_and_one_whose_tcp_is_refused_gets_the_same_time(
    refused: bool,
) -> None:
    host = make_replica("a")
    host.receive(LAN.frame([encode(member("b", 1))]), STRANGER, at())
    effects = host.receive(
        join_frame(site=9, host="10.0.0.8", generation=2), LINK, at(), reliable=True
    )
    if refused:
        effects = host.unreachable(address_of(1), at())
    assert host.pools.lan.membership.members["b"].address == address_of(1)
    effects = host.tick(at(0.5))
    assert LINK in asked_of(told(LAN, effects), JoinReply)
    assert host.pools.lan.membership.members["b"].address == Address("10.0.0.8", PORT)


def test_a_holder_that_answers_udp_keeps_its_name_though_its_tcp_is_refused() -> None:
    host = make_replica("a")
    host.receive(LAN.frame([encode(member("b", 1))]), STRANGER, at())
    effects = host.receive(join_frame(site=9, host="10.0.0.8"), LINK, at(), reliable=True)
    ping = next(message for _, message in told(LAN, effects) if isinstance(message, Ping))
    host.unreachable(address_of(1), at())
    answer = host.receive(
        LAN.frame([encode(Ack(ping.sequence, "b", 0, 0, SyncState.SETTLED))]), address_of(1), at()
    )
    assert asked_of(told(LAN, answer), Refused) == [LINK]
    host.tick(at(0.5))
    assert host.pools.lan.membership.members["b"].site == 2


def test_name_checks_are_bounded() -> None:
    host = make_replica("a")
    host.receive(LAN.frame([encode(member("b", 1))]), STRANGER, at())
    for site in range(10, 500):
        host.receive(join_frame(site=site, host="10.0.0.8"), LINK, at(), reliable=True)
    assert len(host.pools.lan.join_handshake._checks) <= 64


@pytest.mark.parametrize("config", [{"cluster": "other"}, {"datacenter": "dc2"}])
def test_lesson_15_a_join_of_another_cluster_or_pool_is_refused_in_words(
    config: dict[str, Any],
) -> None:
    net = Network()
    net.add("a")
    net.add("b", join=(SEED,), **config)
    net.run(1.0)
    assert net.sees("a")
    assert net.sees("b")
    (text,) = refusals(net, "b")
    assert "refused by the node at 10.0.0.1:7481 (cluster 'default', pool 'lan:dc1')" in text
    assert "this node is 'b' of" in text


def test_what_the_log_has_said_of_a_refusal_is_not_said_again() -> None:
    """The gate warns with both names; the driver tells of the joins that nobody told of."""
    net = Network()
    net.add("a")
    net.add("b", join=(SEED,), cluster="other")
    net.run(3.0)
    refused = [effect for effect in net.effects["b"] if isinstance(effect, JoinRefused)]
    warned = [
        effect
        for effect in net.effects["b"]
        if isinstance(effect, Log) and effect.text.startswith("refused by")
    ]
    assert refused
    assert all(effect.logged for effect in refused)
    assert [effect.level for effect in warned] == ["WARNING"]
    assert "cluster 'default'" in warned[0].text
    assert "cluster 'other'" in warned[0].text
