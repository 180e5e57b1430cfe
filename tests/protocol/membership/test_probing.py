"""Probing: one member a period, helpers and TCP where it does not answer, relays for the others."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from kvgossip.config import Address
from kvgossip.protocol.membership.probing import RELAYS_MAX
from kvgossip.protocol.model.member import Member, MemberState, SyncState
from kvgossip.protocol.wire.message import Ack, Nack, Ping, PingRequest
from tests.protocol.membership.side import Sent, Side, record_of
from tests.protocol.net import address_of, at, member
from tests.protocol.strategies import members

ALIVE, SUSPECT, DEAD, LEFT = MemberState
OTHERS = ("b", "c", "d", "e")


def test_every_member_is_probed_within_two_rounds_of_periods() -> None:
    names = [f"n{number}" for number in range(9)]
    side, probed = Side(*names), []
    for _ in range(17):
        ping = side.probe()
        probed.append(ping.target)
        side.ack(ping)
    assert set(probed) == set(names)


def test_a_probe_that_is_acked_in_time_raises_no_suspicion() -> None:
    side = Side("b")
    for _ in range(5):
        side.ack(side.probe())
        assert side.state("b") is ALIVE
    assert side.membership.awareness.score == 0


@pytest.mark.parametrize(("life", "proven"), [(0, True), (2, True), (3, False)])
def test_an_ack_of_another_life_than_that_of_the_record_proves_no_address(
    life: int, proven: bool
) -> None:
    side = Side("b")
    side.ack(side.probe(), life=life)
    assert side.membership.table.proofs.has(address_of(1)) is proven
    assert side.state("b") is ALIVE


@pytest.mark.parametrize("forgery", ["another name", "another sequence"])
def test_an_ack_from_another_name_or_to_another_sequence_is_no_ack(forgery: str) -> None:
    side = Side("b")
    ping = side.probe()
    if forgery == "another name":
        side.ack(ping, "c")
    else:
        ack = Ack(ping.sequence + 1, "b", 0, 0, SyncState.SETTLED)
        side.membership.probing.on_ack(ack, side.arrival)
    side.to_deadline()
    side.to_deadline()
    assert side.state("b") is SUSPECT
    assert record_of(side, "b").accuser == "me"


def test_a_late_ack_is_asked_for_by_others_and_over_tcp_at_the_same_time() -> None:
    side = Side("b", "c", "d", "e", "f")
    ping = side.probe()
    start_s = side.now.monotonic_s
    asked = side.to_deadline()
    assert side.now.monotonic_s == start_s + 0.5
    target = record_of(side, ping.target)
    requests = [sent for sent in asked if isinstance(sent.message, PingRequest)]
    assert len(requests) == 3
    helpers = {sent.to for sent in requests}
    assert len(helpers) == 3
    assert target.address not in helpers
    (asked_for,) = {sent.message for sent in requests if isinstance(sent.message, PingRequest)}
    assert asked_for == PingRequest(asked_for.sequence, "me", target.name, target.host, target.port)
    assert asked_for.sequence != ping.sequence
    assert [sent for sent in asked if sent not in requests] == [Sent(ping, target.address, True)]


@pytest.mark.parametrize("members", [2, 3])
def test_as_many_helpers_are_asked_as_there_are(members: int) -> None:
    side = Side(*"bcd"[: members - 1])
    side.probe()
    assert sum(isinstance(sent.message, PingRequest) for sent in side.to_deadline()) == members - 2


def test_an_ack_through_a_helper_or_over_tcp_saves_the_target() -> None:
    side = Side("b", "c")
    ping = side.probe()
    side.to_deadline()
    side.ack(ping)
    side.to_deadline()
    assert side.state(ping.target) is ALIVE


def test_a_target_that_refuted_meanwhile_is_not_suspected() -> None:
    side = Side("b")
    side.probe()
    side.merge(member("b", 1, incarnation=1))
    side.to_deadline()
    side.to_deadline()
    assert record_of(side, "b") == member("b", 1, incarnation=1)


@pytest.mark.parametrize(
    ("helpers", "nacks", "score"),
    [("", 0, 1), ("cde", 3, 0), ("cde", 1, 2), ("cde", 0, 3), ("cde", 9, 0)],
)
def test_missing_nacks_make_a_node_doubt_itself(helpers: str, nacks: int, score: int) -> None:
    side = Side("b", *helpers)
    ping = side.probe()
    asked = [
        sent.message.sequence
        for sent in side.to_deadline()
        if isinstance(sent.message, PingRequest)
    ]
    for _ in range(nacks):
        side.membership.probing.on_nack(Nack(asked[0]), side.arrival)
    side.to_deadline()
    assert side.state(ping.target) is SUSPECT
    assert side.membership.awareness.score == score


def test_without_nacks_none_is_asked_for_and_none_is_missed() -> None:
    side = Side("b", "c", "d", "e", probe_nacks=False)
    side.probe()
    requests = [
        sent.message for sent in side.to_deadline() if isinstance(sent.message, PingRequest)
    ]
    assert [request.nack for request in requests] == [False] * 3
    side.to_deadline()
    assert side.membership.awareness.score == 1


def test_doubt_stretches_the_times_of_probes_and_acks_take_it_back() -> None:
    side = Side("b")
    side.membership.awareness.add(2)
    ping = side.probe()
    start_s = side.now.monotonic_s
    assert side.membership.deadline() == start_s + 3 * 0.5
    side.ack(ping)
    assert side.membership.awareness.score == 1
    assert side.membership.deadline() == start_s + 3 * 1.0


def test_the_member_of_a_broken_link_is_probed_at_once_and_suspected_by_a_probe_only() -> None:
    side = Side(*OTHERS)
    ping = side.probe()
    side.ack(ping)
    doubted = next(name for name in OTHERS if name != ping.target)
    side.membership.probing.doubt(record_of(side, doubted).address, side.now)
    assert side.membership.deadline() == side.now.monotonic_s
    began_s = side.now.monotonic_s
    assert side.probe().target == doubted
    assert side.now.monotonic_s == began_s
    assert side.state(doubted) is ALIVE
    side.to_deadline()
    side.to_deadline()
    assert side.state(doubted) is SUSPECT


def test_a_broken_link_waits_for_the_probe_under_way_and_then_takes_every_other_turn() -> None:
    side = Side(*OTHERS)
    ping = side.probe()
    doubted = next(name for name in OTHERS if name != ping.target)
    address, deadline_s = record_of(side, doubted).address, side.membership.deadline()
    side.membership.probing.doubt(address, side.now)
    assert side.membership.deadline() == deadline_s
    side.ack(ping)
    came = []
    for _ in range(8):
        came.append(side.probe())
        side.ack(came[-1])
        side.membership.probing.doubt(address, side.now)
    assert [ping.target for ping in came[::2]] == [doubted] * 4
    # a period that begins early lets the next one last its whole time
    assert side.now.monotonic_s - at().monotonic_s > 3.0


def test_a_link_with_a_stranger_or_with_the_target_of_the_probe_changes_nothing() -> None:
    side = Side("b", "c")
    ping = side.probe()
    deadline_s = side.membership.deadline()
    for address in (Address("10.9.9.9", 7481), record_of(side, ping.target).address):
        side.membership.probing.doubt(address, side.now)
    assert side.membership.deadline() == deadline_s
    side.ack(ping)
    assert side.probe().target != ping.target


def test_a_node_that_slept_gives_its_target_a_chance_before_it_suspects_it() -> None:
    side = Side("b", "c", "d", "e")
    ping = side.probe()
    side.tick(60.0)
    assert side.state(ping.target) is ALIVE
    side.ack(ping)
    side.to_deadline()
    assert side.state(ping.target) is ALIVE


def test_a_tick_does_what_is_due_and_never_twice() -> None:
    side = Side("b", "c")
    side.tick(1.0)
    assert side.tick(1.0) == []
    deadline = side.membership.deadline()
    assert side.tick(deadline - at().monotonic_s - 0.001) == []
    assert side.membership.deadline() == deadline


@given(st.lists(members, max_size=5), st.lists(st.floats(0.001, 40.0), min_size=1, max_size=12))
def test_after_two_ticks_the_next_deadline_lies_ahead(
    heard: list[Member], pauses: list[float]
) -> None:
    side, now_s = Side("b", "c", "d", "e", "f", forget_after_s=60.0), 0.0
    side.prove("b")
    for each in heard:
        side.merge(each)
    side.ask(PingRequest(9, "b", "c", "10.0.0.3", 7481), address_of(1))
    for pause_s in pauses:
        now_s += pause_s
        side.tick(now_s)
        side.tick(now_s)
        assert side.membership.deadline() > side.now.monotonic_s


def test_each_period_one_dead_member_is_pinged_and_never_one_that_left() -> None:
    side = Side("b", "c", "d")
    side.merge(member("b", 1, DEAD))
    side.merge(member("c", 2, LEFT))
    pinged = []
    for _ in range(8):
        pings = [sent.message for sent in side.to_deadline() if isinstance(sent.message, Ping)]
        pinged += [ping.target for ping in pings]
        side.ack(pings[0])
    assert pinged == ["d", "b"] * 8


def test_who_came_back_is_probed_again() -> None:
    side = Side("b")
    side.merge(member("b", 1, DEAD))
    side.tick(2.0)
    side.merge(member("b", 1, generation=2))
    assert side.state("b") is ALIVE
    assert side.membership.table.dead() == []
    assert side.probe().target == "b"


# -- relays ---------------------------------------------------------------------------------------


def test_a_relay_pings_under_its_own_number_and_passes_the_ack_on_under_the_askers() -> None:
    side = Side("b", "c")
    side.prove("b")
    (sent,) = side.ask(PingRequest(500, "b", "c", "10.0.0.3", 7481), address_of(1))
    assert isinstance(sent.message, Ping)
    assert (sent.message.target, sent.to, sent.reliable) == ("c", Address("10.0.0.3", 7481), False)
    assert sent.message.sequence != 500
    # what the target says of the relay is not for the asker
    of_relay: dict[str, Any] = {"held": 5, "seen_host": "10.0.0.7", "gone_in": 3}
    ack = Ack(sent.message.sequence, "c", 0, 0, SyncState.SETTLED, **of_relay)
    side.membership.probing.on_ack(ack, side.arrival)
    assert side.sent[-1] == Sent(Ack(500, "c", 0, 0, SyncState.SETTLED), address_of(1), False)
    side.ack(sent.message)
    assert len([entry for entry in side.sent if isinstance(entry.message, Ack)]) == 1


def test_a_relay_says_nack_in_time_for_the_asker_and_forgets_after_the_period() -> None:
    side = Side("b", "c")
    side.prove("b")
    side.tick(1.0)
    side.ask(PingRequest(500, "b", "c", "10.0.0.3", 7481), address_of(1))
    nacks = []
    for step in range(1, 30):
        nacks += [
            (step, sent) for sent in side.tick(1.0 + step / 20) if isinstance(sent.message, Nack)
        ]
    assert nacks == [(8, Sent(Nack(500), address_of(1), False))]


def test_a_relay_says_no_nack_to_who_wants_none() -> None:
    side = Side("b", "c")
    side.prove("b")
    side.tick(1.0)
    side.ask(PingRequest(500, "b", "c", "10.0.0.3", 7481, nack=False), address_of(1))
    assert not any(
        isinstance(sent.message, Nack)
        for step in range(1, 30)
        for sent in side.tick(1.0 + step / 20)
    )


def test_a_late_ack_is_still_passed_on_after_the_nack() -> None:
    side = Side("b", "c")
    side.prove("b")
    (sent,) = side.ask(PingRequest(500, "b", "c", "10.0.0.3", 7481), address_of(1))
    side.tick(0.45)
    assert isinstance(sent.message, Ping)
    side.ack(sent.message)
    assert side.sent[-1].message == Ack(500, "c", 0, 0, SyncState.SETTLED)


def test_relays_are_bounded() -> None:
    side = Side("b", "c")
    side.prove("b")
    for number in range(RELAYS_MAX + 50):
        side.ask(PingRequest(number, "b", "c", "10.0.0.3", 7481), address_of(1))
    assert sum(isinstance(sent.message, Ping) for sent in side.sent) == RELAYS_MAX
    side.tick(5.0)
    assert side.ask(PingRequest(1, "b", "c", "10.0.0.3", 7481), address_of(1))


def test_nobody_is_pinged_for_a_stranger_and_no_stranger_for_a_member() -> None:
    """Or a request would make this node send more than it has to whom it names."""
    side = Side("b", "c")
    request = PingRequest(500, "b", "c", "10.0.0.3", 7481)
    assert side.ask(request, address_of(1)) == []
    side.prove("b")
    for elsewhere in (replace(request, host="192.0.2.9"), replace(request, port=53)):
        assert side.ask(elsewhere, address_of(1)) == [Sent(Nack(500), address_of(1), False)]
    assert side.ask(replace(request, target="d"), address_of(1)) == [
        Sent(Nack(500), address_of(1), False)
    ]
    assert side.ask(request, address_of(7)) == []
    assert [sent.to for sent in side.ask(request, address_of(1))] == [address_of(2)]
