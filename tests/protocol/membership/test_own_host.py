"""A node learns where it is reached, an address of each family, and gives up one that is wrong."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from kvgossip.config import Address
from kvgossip.protocol.membership.own_host import SEEN_MIN, OwnHost, at_reach
from kvgossip.protocol.model.arrival import Arrival
from kvgossip.protocol.model.member import Member, MemberState, SyncState
from kvgossip.protocol.wire.message import Ack, Join, JoinReply, Ping
from kvgossip.protocol.wire.unit import encode
from tests.protocol.net import LAN, PORT, address_of, at, logs, make_replica, member, told

FOUR, SIX = "10.0.0.9", "fd91::9"
PEERS = ("10.0.0.2", "10.0.0.3")


def learned(*hosts: str) -> tuple[OwnHost, Member]:
    """A node that was told no host, and what it makes of those that peers see."""
    own, me = OwnHost(), member("a", host="")
    for host in hosts:
        me = own.observed(me, host, "10.0.0.2", host)
    return own, me


@pytest.mark.parametrize(
    ("hosts", "known"),
    [
        ((), ("", "")),
        ((FOUR,), (FOUR, "")),
        ((FOUR, SIX), (FOUR, SIX)),
        ((SIX, FOUR), (SIX, FOUR)),
        ((FOUR, "10.0.0.10", SIX, "fd91::10"), (FOUR, SIX)),
        (("127.0.0.1", "::1"), ("127.0.0.1", "::1")),
        (("127.0.0.1", "::1", FOUR), (FOUR, "")),
        (("127.0.0.1", SIX), (SIX, "")),
        ((FOUR, "::1"), (FOUR, "")),
        ((FOUR, "fe80::1%eth0"), (FOUR, "")),
    ],
)
def test_the_first_host_of_each_family_is_taken_and_one_of_this_machine_gives_way(
    hosts: tuple[str, ...], known: tuple[str, str]
) -> None:
    _, me = learned(*hosts)
    assert (me.host, me.other_host) == known


def test_a_host_of_the_configuration_stays_whatever_peers_see() -> None:
    own, me = OwnHost(), member("a")
    own.accused()
    assert own.observed(me, SIX, PEERS[0], SIX) == me
    own.ended(FOUR)
    assert [own.seen(me, FOUR, PEERS[0]) for _ in range(2 * SEEN_MIN)] == [me] * 2 * SEEN_MIN


def test_lesson_30_a_learned_host_that_is_wrong_gives_way_to_what_peers_see() -> None:
    own, me = learned("10.0.0.1")
    own.accused()
    seen = [own.seen(me, FOUR, PEERS[number % 2]) for number in range(SEEN_MIN)]
    assert seen == [me] * (SEEN_MIN - 1) + [replace(me, host=FOUR)]


def test_one_peer_alone_moves_nobody_but_to_where_links_end() -> None:
    own, me = learned("10.0.0.1")
    own.accused()
    assert [own.seen(me, FOUR, PEERS[0]) for _ in range(9)] == [me] * 9
    own.ended(FOUR)
    assert own.seen(me, FOUR, PEERS[0]) == replace(me, host=FOUR)


@pytest.mark.parametrize(
    ("peers", "believed"),
    [
        (("10.0.0.2",), False),
        (("10.0.0.2", "10.0.0.2"), False),
        (("10.0.0.2", "10.0.0.3"), True),
        (("10.0.0.2", "fd91::2"), True),
        (("fd91::2", "fd91::3"), False),
        (("fd91::2", "fd92::2"), True),
        (("127.0.0.1", "127.0.0.2", "::1"), False),
    ],
)
def test_an_address_that_is_not_of_this_machine_takes_two_peers_on_different_machines(
    peers: tuple[str, ...], believed: bool
) -> None:
    own, me = OwnHost(), member("a", host="")
    for peer in peers:
        assert me.host == ""
        me = own.observed(me, "203.0.113.66", peer, "10.0.0.1")
    assert me.host == ("203.0.113.66" if believed else "")


def test_two_peers_that_differ_are_not_believed_and_what_one_says_last_counts() -> None:
    own, me = OwnHost(), member("a", host="")
    for peer, said in ((PEERS[0], "203.0.113.1"), (PEERS[1], "203.0.113.2")):
        assert own.observed(me, said, peer, "10.0.0.1") == me
    assert own.observed(me, "203.0.113.2", PEERS[0], "10.0.0.1").host == "203.0.113.2"


def test_the_first_stranger_does_not_set_a_nodes_own_address() -> None:
    replica = make_replica("a")
    replica.pools.lan.membership.table.put_own(member("a", host="", site=replica.site))
    stranger = member("s", 1, host="127.0.0.9", port=1)
    for asked in ("203.0.113.66", "evil.example", ""):
        join = Join("s", stranger.site, asked)
        frame = LAN.frame([encode(join), encode(stranger)], reliable=True)
        replica.receive(frame, Address("127.0.0.9", 4), at(), reliable=True, here="10.0.0.1")
        assert replica.member.host == ""
    join = Join("s", stranger.site, "10.0.0.1")
    frame = LAN.frame([encode(join), encode(stranger)], reliable=True)
    replica.receive(frame, Address("127.0.0.9", 4), at(), reliable=True, here="10.0.0.1")
    assert replica.member.host == "10.0.0.1"


def test_a_node_behind_a_router_asks_a_second_member_where_it_is() -> None:
    """Each hears of it over a link whose own end is another address."""
    outside, inside = "203.0.113.7", "10.9.9.9"
    replica = make_replica("a")
    membership = replica.pools.lan.membership
    membership.table.put_own(member("a", host="", site=replica.site))
    for place in (1, 2):
        replica.receive(
            LAN.frame([encode(member("nx"[place - 1], place))]), address_of(place), at()
        )
    asked: list[Address] = []
    for second in range(3):
        for to, unit in told(LAN, replica.tick(at(float(second)))):
            if isinstance(unit, Join):
                asked.append(to)
                name, site = "nx"[len(asked) - 1], len(asked)
                reply = JoinReply(name, site, outside, SyncState.SETTLED)
                frame = LAN.frame([encode(reply), encode(member(name, site))], reliable=True)
                replica.receive(frame, to, at(float(second)), reliable=True, here=inside)
    assert asked == [address_of(1), address_of(2)]
    assert replica.member.host == outside


def test_lesson_30_nothing_is_given_up_while_somebody_reaches_it_or_peers_differ() -> None:
    own, me = learned("10.0.0.1")

    def stays(*hosts: str) -> bool:
        return all(
            own.seen(me, host, peer) == me for _ in range(9) for host in hosts for peer in PEERS
        )

    assert stays(FOUR), "nobody has accused this node"
    own.accused()
    own.reached()
    assert stays(FOUR), "a ping has come"
    own.accused()
    assert stays(FOUR, "10.0.0.10")
    assert stays(FOUR, "")


def test_who_has_one_family_reaches_a_member_of_both_by_that_one() -> None:
    dual = member("d", host=FOUR, other_host=SIX)
    turned = replace(dual, host=SIX, other_host=FOUR)
    assert at_reach(dual, member("a", host="fd91::1"), "") == turned
    assert at_reach(turned, member("a", host="10.0.0.1"), "") == dual
    assert at_reach(dual, member("a", host="10.0.0.1", other_host="fd91::1"), "") == dual
    assert at_reach(dual, member("a", host=""), "") == dual


def test_the_address_by_which_a_member_was_joined_is_kept_also_if_it_does_not_tell_it() -> None:
    told_four = member("d", host=FOUR)
    assert at_reach(told_four, member("a", host="fd91::1"), SIX) == replace(
        told_four, host=SIX, other_host=FOUR
    )
    assert at_reach(told_four, member("a"), "10.0.0.77") == told_four, "one of the same family"
    named = member("d", host="d.example")
    assert at_reach(named, member("a", host="fd91::1"), SIX) == named, "a name may have both"
    assert at_reach(told_four, member("a", host="fe80::2%1"), "fe80::1%1") == told_four


# -- between replicas -----------------------------------------------------------------------------


def test_lesson_30_a_dual_host_tells_both_addresses_and_each_newcomer_keeps_the_one_it_joined_by() -> (
    None
):
    host = make_replica("d")
    host.pools.lan.membership.table.put_own(member("d", host="", site=77))
    for name, asked, source in (("four", FOUR, "10.0.0.2"), ("six", SIX, "fd91::2")):
        newcomer = make_replica(name, 1, join=(f"[{asked}]:{PORT}",) if ":" in asked else (asked,))
        newcomer.pools.lan.membership.table.put_own(member(name, 1, host="", site=newcomer.site))
        newcomer.pools.lan.joining.join([Address(asked, PORT)])
        (ask,) = [
            effect
            for effect in newcomer._drain(at())
            if any(isinstance(unit, Join) for _, unit in told(LAN, [effect]))
        ]
        link = Address(source, 40000)
        effects = host.receive(ask.data, link, at(), reliable=True, here=asked)  # type: ignore[union-attr]
        answers = [
            effect
            for effect in effects
            if any(isinstance(unit, JoinReply) for _, unit in told(LAN, [effect]))
        ]
        newcomer.receive(
            answers[0].data,  # type: ignore[union-attr]
            Address(asked, PORT),
            at(),
            reliable=True,
            here=source,
        )
        assert newcomer.pools.lan.membership.members["d"].address == Address(asked, PORT)
        assert newcomer.member.host == source
    assert (host.member.host, host.member.other_host) == (FOUR, SIX)


def an_ack(replica: Any, effects: Any, host: str) -> list[Any]:
    (ping,) = [unit for _, unit in told(LAN, effects) if isinstance(unit, Ping)]
    ack = Ack(ping.sequence, "b", 0, 0, SyncState.SETTLED, seen_host=host)
    return list(replica.receive(LAN.frame([encode(ack)]), address_of(1), at(9.0)))


def test_a_node_whose_address_has_changed_tells_the_new_one() -> None:
    replica = make_replica("a")
    membership = replica.pools.lan.membership
    membership.table.put_own(replace(membership.me, host=""))
    link = Arrival(address_of(1), at(), True, "10.0.0.1")
    membership.observed_at("10.0.0.1", link)
    membership.own_host.ended(FOUR)
    replica.receive(LAN.frame([encode(member("b", 1))]), address_of(1), at())
    accused = replace(replica.member, state=MemberState.SUSPECT, accuser="b")
    replica.receive(LAN.frame([encode(accused)]), address_of(1), at())
    before = replica.member
    for period in range(1, 1 + SEEN_MIN):
        assert replica.member.host == "10.0.0.1"
        pings = [
            effect
            for effect in replica.tick(at(20.0 * period))
            if any(isinstance(unit, Ping) for _, unit in told(LAN, [effect]))
        ]
        effects = an_ack(replica, pings[:1], FOUR)
    assert replica.member.host == FOUR
    (text,) = logs(effects)
    assert f"at {FOUR}:{PORT} now, and no longer at 10.0.0.1:{PORT}" in text
    assert replica.member.incarnation > before.incarnation


def test_an_ack_says_where_a_ping_came_from_only_if_it_is_news() -> None:
    replica = make_replica("a")
    replica.receive(LAN.frame([encode(member("b", 1, other_host=SIX))]), address_of(1), at())
    seen = []
    for source in (address_of(1).host, SIX, FOUR):
        # as it comes from a node that has caught up: so there is room for the host in the answer
        ping = Ping(2**31, "b", "a", 0, at().wall_ms, SyncState.SETTLED, 2, 2**40, 2**31)
        effects = replica.receive(LAN.frame([encode(ping)]), Address(source, PORT), at())
        seen += [unit.seen_host for _, unit in told(LAN, effects) if isinstance(unit, Ack)]
    assert seen == ["", "", FOUR]
