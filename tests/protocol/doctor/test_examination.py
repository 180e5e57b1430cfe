"""Examinations: what members see of each other is found out, whatever is blocked between them, and
no question makes a cluster melt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from kvgossip.errors import LocalError
from kvgossip.protocol.doctor.diagnosis import clock_offsets_ms, diagnose
from kvgossip.protocol.doctor.examination import EXAMINATIONS_MAX, OBSERVED_MAX, OBSERVERS_MAX
from kvgossip.protocol.doctor.finding import Finding
from kvgossip.protocol.effect import DoctorReport, Examined, Send
from kvgossip.protocol.model.member import MemberState, SyncState
from kvgossip.protocol.model.peer import PoolKind
from kvgossip.protocol.wire.message import Ack, Condition, Examine, Ping, Sights
from kvgossip.protocol.wire.unit import encode
from tests.protocol.net import (
    LAN,
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


def examined(net: Network, by: str = "a", pool: PoolKind = PoolKind.LAN) -> DoctorReport:
    before = len(net.effects[by])
    net.perform(by, net.replicas[by].examine(net.now(by), pool))

    def reports() -> list[DoctorReport]:
        return [
            effect.report
            for effect in net.effects[by][before:]
            if isinstance(effect, Examined) and effect.pool is pool
        ]

    net.until(lambda: bool(reports()), 30.0)
    (report,) = reports()
    return report


def findings(net: Network, by: str = "a") -> list[str]:
    return [finding.text for finding in diagnose(examined(net, by))]


def block(
    udp: Callable[[str, str], bool] = lambda frm, to: False,
    tcp: Callable[[str, str], bool] = lambda frm, to: False,
) -> Any:
    return lambda frm, to, reliable: not (tcp if reliable else udp)(frm, to)


def between(*names: str) -> Callable[[str, str], bool]:
    return lambda frm, to: {frm, to} == set(names)


# -- what is found out ---------------------------------------------------------------------------


def test_in_a_healthy_cluster_everybody_sees_everybody_at_once_and_nothing_is_wrong() -> None:
    net = Network()
    net.cluster("a b c d")
    report = examined(net)
    assert diagnose(report) == []
    assert {observer: sorted(seen) for observer, seen in report.sights.items()} == {
        name: [other for other in "abcd" if other != name] for name in "abcd"
    }
    seen = [sight for sights in report.sights.values() for sight in sights.values()]
    assert {(sight.udp_us, sight.tcp_us, sight.state, sight.offset_ms) for sight in seen} == {
        (2000, 2000, 0, 0)
    }
    assert report.took_s < 0.1
    assert sorted(report.conditions) == ["a", "b", "c", "d"]


def test_a_node_alone_is_healthy() -> None:
    net = Network()
    net.cluster("a")
    report = examined(net)
    assert (report.members, diagnose(report)) == ({}, [])


def test_lesson_13_blocked_udp_between_two_members_is_said_in_words() -> None:
    net = Network()
    net.cluster("a b c d")
    net.passes = block(udp=between("b", "c"))
    report = examined(net)
    assert diagnose(report) == [
        Finding(
            "udp_blocked",
            "lan",
            ("b", "c"),
            "UDP is blocked between b and c, TCP works",
            "kvgossip rtt b c",
        )
    ]
    assert report.sights["b"]["c"].udp_us == -1
    assert report.sights["b"]["c"].tcp_us == 2000


def test_lesson_13_blocked_udp_of_one_member_with_all_others_is_one_finding() -> None:
    net = Network()
    net.cluster("a b c d")
    net.passes = block(udp=lambda frm, to: "c" in (frm, to))
    assert findings(net) == [
        "UDP is blocked between c and all others (a, b, d), TCP works: open its UDP port in both "
        "directions"
    ]
    assert findings(net, "c") == [
        "UDP is blocked between c and all others (a, b, d), TCP works: open its UDP port in both "
        "directions"
    ]


@pytest.mark.parametrize("by", ["a", "b", "c"])
def test_lesson_13_which_direction_is_blocked_is_told_by_what_the_other_one_hears(by: str) -> None:
    net = Network()
    net.cluster("a b c")
    net.passes = block(udp=lambda frm, to: (frm, to) == ("b", "c"))
    assert findings(net, by) == ["UDP from b to c is blocked, from c to b it passes, TCP works"]


def test_blocked_tcp_with_working_udp_is_said_with_what_it_costs() -> None:
    net = Network()
    net.cluster("a b c")
    net.passes = block(tcp=lambda frm, to: (frm, to) == ("b", "c"))
    assert (
        "c answers no TCP from b, UDP works: it is blocked, or c is too busy; exchanges, joins and "
        "large entries cannot pass" in findings(net)
    )


def test_two_that_do_not_reach_each_other_are_told_apart_from_one_that_nobody_reaches() -> None:
    net = Network()
    net.cluster("a b c")
    net.passes = block(udp=between("b", "c"), tcp=between("b", "c"))
    assert findings(net) == [
        "b and c do not reach each other, neither by UDP nor by TCP, while others reach both"
    ]
    net.heal()
    net.passes = block()
    net.crash("c")
    assert [text.split(" at ")[0] for text in findings(net)] == ["nobody reaches c"]


def test_a_dead_member_is_told_with_what_to_do() -> None:
    net = Network()
    net.cluster("a b c")
    net.crash("c")
    net.until(lambda: net.state("a", "c") is MemberState.DEAD)
    net.run(61.0)
    assert findings(net) == [
        "c at 10.0.0.3:7481 is dead: if it will not come back, `kvgossip force-leave c`"
    ]


def test_lesson_30_an_address_that_nobody_reaches_though_its_packets_arrive_is_wrong() -> None:
    net = Network()
    net.cluster("a b c")
    # nothing gets to the address that c tells, as where it tells that of a container
    net.passes = lambda frm, to, reliable: to != "c"
    net.run(1.5)
    (text,) = findings(net)
    assert text.startswith(
        "nobody reaches c at 10.0.0.3:7481, the address that it tells, though its packets arrive "
        "at "
    )
    assert "--advertise" in text


def test_lesson_30_an_address_at_which_somebody_else_answers_is_told() -> None:
    net = Network()
    net.cluster("a b")
    # d tells the address of b
    net.perform(
        "a",
        net.replicas["a"].receive(
            LAN.frame([encode(member("d", 1, port=9, generation=5))]), STRANGER, net.now("a")
        ),
    )
    net._at[address_of(1)._replace(port=9)] = "b"
    texts = findings(net)
    assert texts[0] == (
        "at the address that d tells, 10.0.0.2:9, b answers: give d its own with --advertise "
        "HOST:PORT"
    )


@pytest.mark.parametrize(("skew_s", "way"), [(4.2, "ahead"), (-4.2, "behind")])
@pytest.mark.parametrize("by", ["a", "c"])
def test_a_clock_that_differs_from_the_others_is_told_with_how_much_whoever_is_asked(
    skew_s: float, way: str, by: str
) -> None:
    net = Network()
    net.cluster("a b c")
    net.skew_ms["c"] = round(1000 * skew_s)
    assert findings(net, by) == [
        f"the clock of c is 4.2 s {way} of the others' median: set it right, by NTP for example"
    ]


def test_of_two_clocks_nobody_knows_which_is_wrong() -> None:
    net = Network()
    net.cluster("a b")
    net.skew_ms["b"] = 3000
    assert findings(net) == [
        "the clock of b is 3.0 s ahead of that of a: which is wrong, a third would tell"
    ]


def test_a_slow_link_is_no_wrong_clock() -> None:
    net = Network()
    net.cluster("a b c")
    net.way_s = lambda frm, to: 0.4 if "c" in (frm, to) else 0.001
    report = examined(net)
    assert diagnose(report) == []
    assert all(abs(offset_ms) <= 1 for offset_ms in clock_offsets_ms(report).values())
    assert report.sights["a"]["c"].udp_us == 800_000


def test_who_has_not_settled_is_told() -> None:
    net = Network()
    net.cluster("a b")
    net.replicas["b"].settling.settled = False
    assert findings(net)[0] == (
        "b has not settled: it answers no reads until it has caught up, or after `kvgossip settle`"
    )


def test_a_name_that_is_used_twice_is_told_by_its_owner() -> None:
    net = Network()
    net.cluster("a b c")
    rival = member("c", 8, generation=WALL_MS + 10**6, site=99)
    net.perform("c", net.replicas["c"].receive(LAN.frame([encode(rival)]), STRANGER, net.now("c")))
    net.run(2.0)
    text = (
        "the name c is used twice, by another live node at 10.0.0.9:7481 too: give one of them "
        "another --name"
    )
    assert text in findings(net)
    net.run(301.0)
    assert text not in findings(net)


def test_a_partition_that_a_member_suspects_is_told() -> None:
    net = Network()
    net.cluster("a b c d e")
    net.partition("a b", "c d e")
    net.until(lambda: net.replicas["b"].pools.lan.partition.since_s is not None)
    assert "b suspects a partition: it lost 3 members at once" in findings(net)


def test_who_knows_less_than_the_others_is_told() -> None:
    net = Network()
    net.cluster("a b c")
    net.replicas["b"].pools.lan.membership.forget("c")
    assert "b does not know c: its table of members differs from that of a" in findings(net)


def test_keys_that_differ_are_told() -> None:
    old, new = "11" * 32, "22" * 32
    net = Network()
    net.cluster("a b c", keyring=(new, old))
    net.replicas["c"].keyring.use(net.replicas["c"].keyring.ids[1])  # type: ignore[union-attr]
    (text,) = findings(net)
    ids = net.replicas["a"].keyring.ids  # type: ignore[union-attr]
    assert text == (
        f"c uses an older key, {ids[1]}, while most others seal with {ids[0]}: `kvgossip "
        f"keyring use {ids[0]}`"
    )


def test_tokens_that_differ_are_told_and_so_is_who_asks_for_none_where_others_do() -> None:
    net = Network()
    net.cluster("a b c d e")
    assert findings(net) == []
    for name, tokens in {"a": "none", "b": "11", "c": "11", "d": "22"}.items():
        net.replicas[name].shell_report.tokens = tokens
    assert findings(net) == [
        "a asks for no tokens, and others do: start it with their --tokens FILE",
        "d has other tokens (22) than most others (11): give all nodes the same tokens file",
    ]
    # which of two is right, the one that is asked knows best
    for name, tokens in {"a": "11", "b": "11", "c": "22"}.items():
        net.replicas[name].shell_report.tokens = tokens
    for asked, wrong in (("a", "22"), ("c", "11")):
        told = findings(net, asked)
        assert len(told) == 2
        assert all(f"has other tokens ({wrong})" in text for text in told)
    for name in "abcd":
        net.replicas[name].shell_report.tokens = "none"
    assert findings(net) == []


def test_a_datacenter_without_a_gateway_is_told_also_by_a_plain_member() -> None:
    net = Network()
    net.add("g", gateway=True)
    net.add("h", gateway=True, datacenter="dc2", join_wan=("10.0.0.1:7483",))
    net.add("a", join=("10.0.0.1:7481",))
    net.until(lambda: net.sees("a", "g") and net.state("g", "h", PoolKind.WAN) is MemberState.ALIVE)
    assert findings(net) == []
    net.crash("h")
    net.until(lambda: net.state("g", "h", PoolKind.WAN) is MemberState.DEAD, 600.0)
    text = (
        "no gateway of the datacenter dc2 is alive, 1 are gone: its data and the others' do "
        "not meet"
    )
    assert text in findings(net)
    assert text in [finding.text for finding in diagnose(examined(net, "g", PoolKind.WAN))]


def test_who_does_not_tell_what_it_sees_is_told_as_such() -> None:
    net = Network()
    net.cluster("a b c")
    net.replicas["c"].pools.lan.dispatch._handlers[Examine] = lambda message, arrival: None
    assert findings(net) == [
        "c did not tell what it sees of the others: it runs an older release, or is overloaded"
    ]


# -- what it costs -------------------------------------------------------------------------------


def test_a_thousand_members_do_not_melt() -> None:
    replica = make_replica("a")
    now = at()
    for number in range(1000):
        known = member(f"n{number}", host=f"10.1.{number >> 8}.{number & 255}")
        replica.receive(LAN.frame([encode(known)]), STRANGER, now)
        prove(replica, known.name)
    effects = [*replica.examine(now)]
    for step in range(1, 200):
        effects += replica.tick(now._replace(monotonic_s=now.monotonic_s + 0.05 * step))
    sent = Counter(type(message) for _, message in told(LAN, effects))
    asked = [message for _, message in told(LAN, effects) if isinstance(message, Examine)]
    assert len(asked) == OBSERVED_MAX
    assert {len(message.subjects) for message in asked} == {OBSERVERS_MAX}
    assert sent[Ping] < 6 * OBSERVED_MAX + 40
    (report,) = [effect.report for effect in effects if isinstance(effect, Examined)]
    assert (len(report.members), report.known) == (OBSERVED_MAX, 1000)


def test_a_node_examines_for_a_few_members_at_once_and_answers_the_rest_that_it_is_busy() -> None:
    net = Network()
    net.cluster("a b")
    replica, seen = net.replicas["a"], []
    for number in range(EXAMINATIONS_MAX + 2):
        known = member(f"n{number}", 20 + number, port=1)
        replica.receive(LAN.frame([encode(known)]), STRANGER, net.now("a"))
        for sequence in (1, 2):
            asked = Examine(sequence, f"n{number}", ("b", "nobody", "n1", "a"))
            effects = replica.receive(
                LAN.frame([encode(asked)]), address_of(20 + number), net.now("a"), reliable=True
            )
            seen += [
                message
                for _, message in told(LAN, effects)
                if isinstance(message, (Condition, Sights))
            ]
    busy = [message for message in seen if isinstance(message, Sights)]
    # the second question of each, and all of those that came too late
    assert len(busy) == EXAMINATIONS_MAX + 2 * 2
    assert all(message.busy and not message.seen for message in busy)
    assert sum(isinstance(message, Condition) for message in seen) == 2 * (EXAMINATIONS_MAX + 2)


def test_strangers_are_told_how_we_are_and_make_nobody_look_at_anything() -> None:
    replica = make_replica("a")
    asked = Examine(7, "stranger", ("b",))
    effects = replica.receive(LAN.frame([encode(asked)]), STRANGER, at(), reliable=True)
    assert [type(message) for _, message in told(LAN, effects)] == [Condition]
    # and not by a datagram at all: a small one must not ask for much
    assert sends(replica.receive(LAN.frame([encode(asked)]), STRANGER, at())) == []
    assert replica.statistics()["units_dropped.unexpected_question"] == 1


def test_wishes_that_meet_share_one_examination_and_too_many_are_refused() -> None:
    net = Network()
    net.cluster("a b c")
    net.passes = block(udp=between("a", "b"))
    replica = net.replicas["a"]
    for _ in range(3):
        net.perform("a", replica.examine(net.now("a")))
    net.run(10.0)
    assert sum(isinstance(effect, Examined) for effect in net.effects["a"]) == 1

    net = Network()
    replica = net.cluster("a b c d e")[0]
    pairs = [("b", "c"), ("c", "d"), ("d", "e"), ("e", "b")]
    for pair in [*pairs, pairs[0]]:
        net.perform("a", replica.examine(net.now("a"), PoolKind.LAN, *pair))
    with pytest.raises(LocalError, match="busy"):
        replica.examine(net.now("a"), one="c", other="e")
    with pytest.raises(LocalError, match="no member is named"):
        replica.examine(net.now("a"), one="b", other="nobody")
    net.run(0.5)
    reports = {
        effect.asked: effect.report for effect in net.effects["a"] if isinstance(effect, Examined)
    }
    assert sorted(reports) == pairs
    assert all(report.sights[one][other].udp_us == 2000 for (one, other), report in reports.items())


def test_answers_to_what_was_not_asked_are_nothing() -> None:
    replica = make_replica("a")
    settled = SyncState.SETTLED
    for message in (
        Sights(5, "b", ()),
        Condition(5, "b", 1, settled, (1, 1)),
        Ack(5, "b", 0, 0, settled),
    ):
        assert replica.receive(LAN.frame([encode(message)]), STRANGER, at(), reliable=True) == []


def test_an_examination_changes_nothing_that_is_believed_and_leaves_nothing_behind() -> None:
    net = Network()
    net.cluster("a b c")
    net.crash("c")
    net.perform("a", net.replicas["a"].examine(net.now("a")))
    net.run(0.1)
    assert net.state("a", "c") is net.state("b", "c") is MemberState.ALIVE
    net.run(10.0)
    assert all(
        not replica.pools.lan.doctor._open and not replica.pools.lan.doctor._examinations
        for replica in net.replicas.values()
    )
    assert all(replica.pools.lan.doctor.deadline() is None for replica in net.replicas.values())


def test_a_link_that_a_firewall_forgot_is_not_called_blocked_since_a_fresh_one_answers() -> None:
    net = Network()
    net.cluster("a b")
    fresh: dict[str, bool] = {}

    def watch(frm: str, to: str, sent: Send) -> None:
        # from the first frame on a new link on, TCP passes again
        fresh[frm] = fresh.get(frm, False) or sent.fresh

    net.watch = watch
    net.passes = lambda frm, to, reliable: not reliable or any(fresh.values())
    net._unreachable = lambda name, address, pool=None: None  # type: ignore
    assert findings(net) == []
    assert fresh["a"], "it has asked again"


def test_a_member_that_answers_over_tcp_is_not_asked_again_over_a_fresh_link() -> None:
    net = Network()
    net.cluster("a b")
    seen: list[bool] = []
    net.watch = lambda frm, to, sent: seen.append(sent.fresh)
    assert findings(net) == []
    assert not any(seen)
