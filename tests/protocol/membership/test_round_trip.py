"""How long a member is waited for, and by which ways it answers: a far one is not asked for all the
time, and blocked UDP is said."""

from __future__ import annotations

import math
from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvgossip.config import Config
from kvgossip.protocol.effect import Log, Send
from kvgossip.protocol.membership.round_trip import BLOCKED_AFTER, RoundTrip, RoundTrips
from kvgossip.protocol.model.member import MemberState, SyncState
from kvgossip.protocol.wire.message import Ack, PingRequest
from tests.protocol.membership.side import Side
from tests.protocol.net import LAN, Network, address_of, logs, member

CONFIG = Config(name="me", probe_timeout_s=0.5, probe_interval_s=1.0)
B = member("b", 1)


def measured(*round_trips_s: float) -> RoundTrips:
    trips = RoundTrips(CONFIG)
    for round_trip_s in round_trips_s:
        trips.measured(B, round_trip_s)
    return trips


# -- the timeout ---------------------------------------------------------------------------------


def test_before_anything_is_measured_the_configured_timeout_holds() -> None:
    assert measured().timeout_s("b") == 0.5


@pytest.mark.parametrize(
    ("round_trips_s", "timeout_s"),
    [
        ((0.001,), 0.25),  # never below half of what is configured
        ((0.2,), 0.6),  # the first: three times itself
        ((0.2,) * 4, 0.36875),
        ((0.2,) * 50, 0.25),
        ((0.6,) * 2, 1.0),  # never above the interval
        ((0.6,) * 50, 0.6),
        ((0.3, 0.3, 0.4), 0.75),
    ],
)
def test_a_member_is_waited_for_as_tcp_does_within_bounds(
    round_trips_s: tuple[float, ...], timeout_s: float
) -> None:
    assert measured(*round_trips_s).timeout_s("b") == pytest.approx(timeout_s, abs=1e-6)


@given(st.lists(st.floats(0, 10), max_size=50))
def test_the_timeout_stays_within_half_of_the_configured_one_and_the_interval(
    round_trips_s: list[float],
) -> None:
    assert 0.25 <= measured(*round_trips_s).timeout_s("b") <= 1.0


@given(st.floats(0.001, 0.9), st.floats(0, 0.05), st.integers(0, 1000))
def test_a_steady_member_answers_within_its_timeout(
    round_trip_s: float, jitter_s: float, seed: int
) -> None:
    rng = Random(seed)
    trips = measured(*(round_trip_s + jitter_s * rng.random() for _ in range(60)))
    assert trips.timeout_s("b") >= min(round_trip_s + jitter_s / 2, 1.0)


def test_each_member_has_its_own_and_who_moves_or_is_forgotten_is_met_anew() -> None:
    trips = measured(*(0.6,) * 50)
    assert trips.timeout_s("c") == 0.5
    trips.measured(member("b", 7), 0.001)
    assert trips.timeout_s("b") == 0.25
    trips.forget("b")
    assert (trips.timeout_s("b"), trips.of("b")) == (0.5, None)


def test_doubt_multiplies_the_adapted_timeout_too() -> None:
    side = Side("b")
    for _ in range(30):
        ping, start_s = side.probe(), side.now.monotonic_s
        side.now = side.now._replace(monotonic_s=start_s + 0.4)
        side.ack(ping)
    side.membership.awareness.add(1)
    side.probe()
    assert side.membership.deadline() - side.now.monotonic_s == pytest.approx(2 * 0.4, abs=0.02)


def test_the_helpers_have_the_rest_of_the_interval_also_after_a_longer_wait() -> None:
    side = Side("b", "c", "d")
    side.membership.round_trips.measured(B, 0.9)
    while side.probe().target != "b":
        pass
    start_s = side.now.monotonic_s
    asked = side.to_deadline()
    assert [type(sent.message) for sent in asked if isinstance(sent.message, PingRequest)]
    assert side.now.monotonic_s == start_s + 1.0
    # as long as they have of an interval when the timeout is the configured one
    assert side.membership.deadline() == start_s + 1.0 + 0.5
    assert side.state("b") is MemberState.ALIVE


def test_what_is_kept_is_bounded_by_the_members_that_are_known() -> None:
    side = Side("b", "c", forget_after_s=5.0)
    for _ in range(4):
        side.ack(side.probe())
    side.merge(member("c", 2, MemberState.DEAD))
    while side.state("c") is not None:
        side.to_deadline()
    side.to_deadline()
    assert side.membership.round_trips.of("c") is None
    assert side.membership.coordinates.of("c") is None


# -- on a network --------------------------------------------------------------------------------


def indirect_probes(net: Network, seconds: float) -> Counter[str]:
    """Who asked others to probe for it, and how often, within this time."""
    asked: Counter[str] = Counter()

    def watch(frm: str, to: str, sent: Send) -> None:
        asked[frm] += any(
            isinstance(message, PingRequest)
            for message in LAN.open(sent.data, reliable=sent.reliable).messages
        )

    net.watch = watch
    net.run(seconds)
    net.watch = None
    return asked


def test_a_slow_link_costs_indirect_probes_for_a_short_time_only() -> None:
    net = Network()
    net.cluster("a b c d", probe_interval_s=1.0, probe_timeout_s=0.5)
    net.way_s = lambda frm, to: 0.3 if "d" in (frm, to) else 0.001
    first, then = indirect_probes(net, 60.0), indirect_probes(net, 60.0)
    assert first.total() > 0
    # about eighty probes crossed the slow link, each slower than the configured timeout
    assert then.total() == 0
    assert net.sees("a", "b", "c", "d")
    known = net.replicas["a"].pools.lan.membership.round_trips.of("d")
    assert known is not None
    assert known.mean_s == pytest.approx(0.6, abs=0.01)
    assert known.direct > 20
    assert known.lost == 0


def suspected_after_s(
    seed_interval_s: float, adaptive: bool, monkeypatch: pytest.MonkeyPatch
) -> float:
    with monkeypatch.context() as patch:
        if not adaptive:
            patch.setattr(RoundTrips, "timeout_s", lambda self, name: CONFIG.probe_timeout_s)
        net = Network()
        net.cluster("a b c")
        net.run(20.0 + seed_interval_s)
        net.crash("c")
        return net.until(lambda: net.state("a", "c") is MemberState.SUSPECT)


def test_on_a_fast_lan_a_failure_is_found_no_later_than_with_a_fixed_timeout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    offsets_s = [0.1 * number for number in range(30)]
    adaptive = [suspected_after_s(offset_s, True, monkeypatch) for offset_s in offsets_s]
    fixed = [suspected_after_s(offset_s, False, monkeypatch) for offset_s in offsets_s]
    assert sum(adaptive) / len(adaptive) <= sum(fixed) / len(fixed) + 0.001
    assert max(adaptive) <= max(fixed) + 0.001


# -- by which way --------------------------------------------------------------------------------


def test_blocked_udp_is_a_row_of_probes_that_tcp_alone_answered() -> None:
    trip = RoundTrip(address_of(1))
    turns = [
        trip.concluded(direct=False, relayed=number % 2 == 0, tcp=True)
        for number in range(BLOCKED_AFTER + 2)
    ]
    assert turns == [False, False, False, True, False, False]
    assert trip.is_udp_blocked
    assert trip.concluded(direct=True, relayed=False, tcp=True)
    assert not trip.is_udp_blocked
    assert (trip.direct, trip.relayed, trip.tcp, trip.lost) == (1, 3, 7, 0)


@pytest.mark.parametrize(
    "between",
    [
        {"direct": True, "relayed": False, "tcp": False},
        {"direct": False, "relayed": False, "tcp": False},
    ],
)
def test_a_datagram_or_silence_ends_the_row(between: dict[str, bool]) -> None:
    trip = RoundTrip(address_of(1))
    for _ in range(5):
        for _ in range(BLOCKED_AFTER - 1):
            assert not trip.concluded(direct=False, relayed=False, tcp=True)
        assert not trip.concluded(**between)


def test_lesson_13_blocked_udp_with_working_tcp_shows_as_what_it_is_and_not_as_flapping() -> None:
    net = Network()
    net.cluster("a b c")
    net.effects = {name: [] for name in net.effects}
    blocked = {"a", "b"}
    net.passes = lambda frm, to, reliable: reliable or {frm, to} != blocked
    net.run(60.0)
    for one, other in (("a", "b"), ("b", "a")):
        (text,) = [text for text in logs(net.effects[one]) if "UDP" in text]
        assert f"UDP is blocked between this node and '{other}' at" in text
        assert "TCP works: open UDP port 7481" in text
        assert net.replicas[one].pools.lan.membership.round_trips.blocked() == [other]
        assert net.replicas[one].statistics()["members_without_udp"] == 1
    assert not [text for text in logs(net.effects["c"]) if "UDP" in text]
    # nobody is suspected, not even for a moment, and what is written arrives
    assert [net.state_changes(name, of) for name in "abc" for of in "abc"] == [[]] * 9
    net.put("a", "k", b"v")
    net.until(net.converged, 30.0)
    net.passes = lambda frm, to, reliable: True
    net.until(lambda: not net.replicas["a"].pools.lan.membership.round_trips.blocked())
    assert any(
        isinstance(effect, Log) and effect.level == "INFO" and "answers by UDP again" in effect.text
        for effect in net.effects["a"]
    )


def test_lesson_13_udp_blocked_in_one_direction_between_two_nodes_alone_is_reported() -> None:
    net = Network()
    net.cluster("a b")
    net.passes = lambda frm, to, reliable: reliable or frm != "a"
    net.run(60.0)
    assert net.sees("a", "b")
    assert net.sees("b", "a")
    assert [
        len([text for text in logs(net.effects[name]) if "UDP is blocked" in text]) for name in "ab"
    ] == [1, 1]


def test_a_packet_that_is_lost_now_and_then_is_no_blocked_udp() -> None:
    net, lost = Network(), Counter[str]()

    def passes(frm: str, to: str, reliable: bool) -> bool:
        lost[frm] += 1
        return reliable or lost[frm] % 11 != 0

    net.cluster("a b c")
    net.passes = passes
    net.run(300.0)
    assert [text for name in "abc" for text in logs(net.effects[name]) if "UDP" in text] == []


def test_an_ack_that_came_late_is_measured_once_and_no_hostile_one_is_a_number() -> None:
    side = Side("b")
    ping = side.probe()
    side.to_deadline()  # the timeout
    side.now = side.now._replace(monotonic_s=side.now.monotonic_s + 0.1)
    side.ack(ping)
    known = side.membership.round_trips.of("b")
    assert known is not None
    assert known.mean_s == pytest.approx(0.6)
    side.now = side.now._replace(monotonic_s=side.now.monotonic_s + 0.1)
    side.ack(ping)
    ack = Ack(ping.sequence, "b", 0, 0, SyncState.SETTLED, 0, 0, bytes(22))
    side.membership.probing.on_ack(ack, side.arrival)
    assert known.mean_s == pytest.approx(0.6)
    assert math.isfinite(side.membership.round_trips.timeout_s("b"))
