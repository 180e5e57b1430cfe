"""ClockGuard: a node that is ahead of its peers knows it, says it, and takes no writes; nobody else
is disturbed."""

from __future__ import annotations

from functools import partial

import pytest

from kvgossip.config import Address
from kvgossip.errors import ClockAheadError
from kvgossip.protocol.clock_guard import PEERS_MAX, WHILE_S, ClockGuard
from kvgossip.protocol.effect import Send
from kvgossip.protocol.model.hlc import HybridLogicalClock, timestamp_of
from kvgossip.protocol.model.member import SyncState
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.outbox import Outbox
from kvgossip.protocol.wire.message import Ack, Ping
from kvgossip.protocol.wire.unit import encode
from kvgossip.sim.faults import Intensity
from kvgossip.sim.scenario import Options
from kvgossip.sim.simulation import simulate
from tests.protocol.net import LAN, WALL_MS, Network, address_of, at, logs, member
from tests.protocol.rumors.test_mongering import replica_with


def guard(hlc: HybridLogicalClock | None = None, outbox: Outbox | None = None) -> ClockGuard:
    return ClockGuard(10.0, hlc or HybridLogicalClock(10_000), outbox or Outbox())


def clocks_that_show(*offsets_s: float, now: Now | None = None) -> ClockGuard:
    clocks = guard()
    for number, offset_s in enumerate(offsets_s):
        asked = now or at()
        clocks.saw(f"n{number}", WALL_MS + round(offset_s * 1000), asked.monotonic_s, asked)
    return clocks


@pytest.mark.parametrize(
    ("offsets_s", "ahead_s"),
    [
        ((0.0,), 0.0),
        ((-4.2,), 4.2),
        ((7.0,), -7.0),
        ((0.0, -3600.0), 0.0),
        ((0.0, 0.0, -3600.0), 0.0),
        ((-30.0, -31.0, 3600.0), 30.0),
    ],
)
def test_the_median_of_the_peers_says_how_far_ahead_a_clock_is(
    offsets_s: tuple[float, ...], ahead_s: float
) -> None:
    assert clocks_that_show(*offsets_s).ahead_s(at()) == pytest.approx(ahead_s)
    # and still does so later, also when the own clock was set in the meantime
    assert clocks_that_show(*offsets_s).ahead_s(at(60.0)) == pytest.approx(ahead_s)
    later = at(60.0)
    assert clocks_that_show(*offsets_s).ahead_s(
        Now(later.monotonic_s, later.wall_ms + 5000)
    ) == pytest.approx(ahead_s + 5.0)


def test_who_has_heard_of_nobody_knows_nothing_and_of_two_nodes_nobody_can_tell_who_is_wrong() -> (
    None
):
    assert guard().ahead_s(at()) is None
    assert not guard().is_ahead(at())
    assert not clocks_that_show(-3600.0).is_ahead(at())
    assert clocks_that_show(-3600.0, -3600.0).is_ahead(at())
    assert not clocks_that_show(-10.0, -10.0).is_ahead(at())


def test_only_the_newest_peers_count() -> None:
    clocks = clocks_that_show(*[-3600.0] * 100)
    for number in range(PEERS_MAX // 2 + 1):
        clocks.saw(f"n{number}", WALL_MS, at().monotonic_s, at())
    assert clocks.ahead_s(at()) == 0.0


def test_lesson_25_a_node_whose_clock_is_ahead_of_its_peers_refuses_writes_and_says_so_until_it_is_set_right() -> (
    None
):
    net = Network()
    net.cluster("a b c")
    net.run(5.0)
    net.put("c", "k", b"in time")
    net.skew_ms["c"] = 3_600_000
    with pytest.raises(ClockAheadError, match=r"3600\.\d s ahead") as caught:
        net.put("c", "k", b"ahead")
    assert "another node" in caught.value.hint
    with pytest.raises(ClockAheadError):
        net.delete("c", "k")
    net.run(150.0)
    assert sum("ahead of its peers' median" in text for text in logs(net.effects["c"])) == 3
    # the others are not ahead of anybody
    for name in "ab":
        net.put(name, f"of-{name}", b"v")
        assert not any("median" in text for text in logs(net.effects[name]))
    net.skew_ms["c"] = 0
    net.put("c", "k", b"in time again")
    net.until(net.converged)
    assert net.replicas["a"].store.value("k") == b"in time again"


def test_what_was_long_on_its_way_or_waited_here_makes_nobody_ahead() -> None:
    clocks = guard()
    for peer in "bc":
        # asked at 0, and read 40 s later, whenever it was answered in the meantime
        clocks.saw(peer, at().wall_ms, at().monotonic_s, at(40.0))
    assert clocks.ahead_s(at(40.0)) == pytest.approx(0.0)
    replica = replica_with("b", "c")
    for place, peer in enumerate("bc", 1):
        late = Ping(
            place,
            peer,
            replica.config.name,
            replica.store.digest.root,
            at().wall_ms,
            SyncState.SETTLED,
        )
        replica.receive(LAN.frame([encode(late)]), address_of(place), at(40.0))
    assert replica.clock_guard.ahead_s(at(40.0)) is None
    assert replica.put("k", b"v", at(40.0)).effects


@pytest.mark.parametrize("seed", [2, 3, 5, 9])
def test_a_node_that_stood_still_and_then_reads_what_came_meanwhile_does_not_think_that_its_clock_is_ahead(
    seed: int,
) -> None:
    pauses = Options(nodes=(5, 5), intensity=Intensity(pause_rate=0.1), duration_s=20.0)
    report = simulate(seed, pauses)
    assert report.passed, report.violation
    assert report.faults["resume"] > 0
    assert "warning" not in report.logs


# -- crowds ----------------------------------------------------------------------------------------

HOUR_S = 3600.0


def hear(clocks: ClockGuard, names: str, offset_s: float, seconds: float) -> None:
    """All of these answer then, and show clocks that are so far off."""
    now = at(seconds)
    for name in names.split():
        wall_ms = now.wall_ms + round(offset_s * 1000)
        clocks.saw(name, wall_ms, now.monotonic_s, now)


CROWD = " ".join(f"g{number}" for number in range(12))


def overruled(clocks: ClockGuard, seconds: float) -> list[str]:
    """What a crowd has made of a node."""
    now = at(seconds)
    future = timestamp_of(now.wall_ms + 1_800_000)
    found = {
        "ahead": clocks.is_ahead(now),
        "behind": clocks.is_behind(now),
        "takes the future": clocks.takes(future, now),
        "hides nothing": clocks.expiry_ms(now) < now.wall_ms,
    }
    return [what for what, is_so in found.items() if is_so]


@pytest.mark.parametrize("offset_s", [-HOUR_S, HOUR_S])
@pytest.mark.parametrize(
    ("honest", "came_s", "now_s"),
    [
        ("b c", 5.0, 10.0),
        ("b", 5.0, 10.0),
        ("b c", 5.0, WHILE_S),
        ("b c", 100_000.0, 100_001.0),
        ("b c", 100_000.0, 100_000.0 + 2 * WHILE_S),
        ("b c", 100_000.0, 190_000.0),
        ("b", 100_000.0, 190_000.0),
    ],
)
def test_a_crowd_of_newcomers_does_not_overrule_a_clock_that_honest_peers_show_too(
    offset_s: float, honest: str, came_s: float, now_s: float
) -> None:
    clocks = guard()
    hear(clocks, honest, 0.0, 0.0)
    hear(clocks, CROWD, offset_s, came_s)
    for _ in range(3):
        hear(clocks, honest, 0.0, now_s)
        hear(clocks, CROWD, offset_s, now_s)
        assert overruled(clocks, now_s) == []


@pytest.mark.parametrize("offset_s", [-HOUR_S, HOUR_S])
def test_nor_does_a_crowd_that_a_newcomer_has_met_before_the_honest_peers(offset_s: float) -> None:
    clocks = guard()
    hear(clocks, CROWD, offset_s, 0.0)
    hear(clocks, "b", 0.0, 1.0)
    for seconds in (2.0, 3.0, WHILE_S - 2):
        hear(clocks, CROWD, offset_s, seconds)
        assert overruled(clocks, seconds) == []


@pytest.mark.parametrize("seconds", [1.0, 2 * WHILE_S])
def test_peers_that_all_show_another_clock_are_believed_however_long_they_are_known(
    seconds: float,
) -> None:
    for offset_s, what in ((-HOUR_S, ["ahead", "hides nothing"]), (HOUR_S, ["behind"])):
        clocks = guard()
        hear(clocks, "b c d", offset_s, 0.0)
        hear(clocks, "b c d", offset_s, seconds)
        assert overruled(clocks, seconds)[: len(what)] == what


def test_one_peer_that_is_wrong_in_the_same_way_confirms_nothing_once_others_have_lasted() -> None:
    clocks = guard()
    for seconds in (0.0, 2 * WHILE_S):
        hear(clocks, "b c", -HOUR_S, seconds)
        hear(clocks, "d", 0.0, seconds)
        assert clocks.is_ahead(at(seconds)) == (seconds > 0)


def test_who_begins_a_new_life_has_to_answer_for_a_while_again() -> None:
    clocks = guard()
    hear(clocks, "b c d", -HOUR_S, 0.0)
    for name in "bc":
        clocks.forget(name)
    hear(clocks, "b c d", -HOUR_S, WHILE_S)
    hear(clocks, "e", 0.0, WHILE_S)
    assert not clocks.is_ahead(at(WHILE_S)), "one alone has lasted, and e confirms this clock"


def test_a_crowd_that_joins_makes_no_node_refuse_writes() -> None:
    net = Network()
    net.cluster("a b c")
    net.run(5.0)
    places = {Address(f"192.0.2.{number + 1}", 9): f"g{number}" for number in range(12)}

    def answer(frm: str, to: str, sent: Send) -> None:
        for unit in LAN.open(sent.data, reliable=sent.reliable).messages:
            if isinstance(unit, Ping) and unit.target == places.get(sent.to):
                wall_ms = net.now(frm).wall_ms - 3_600_000
                ack = Ack(unit.sequence, unit.target, 0, wall_ms, SyncState.FRESH)
                effects = net.replicas[frm].receive(LAN.frame([encode(ack)]), sent.to, net.now(frm))
                net._after(0.0, partial(net.perform, frm, effects))

    net.watch = answer
    for address, name in places.items():
        ghost = member(name, host=address.host, port=address.port, site=hash_of(name))
        net.perform(
            "a", net.replicas["a"].receive(LAN.frame([encode(ghost)]), address, net.now("a"))
        )
    net.run(40.0)
    for name in "abc":
        clocks = net.replicas[name].clock_guard
        assert sum(peer.startswith("g") for peer in clocks._peers) == 12
        net.put(name, f"of-{name}", b"v")


def hash_of(name: str) -> int:
    return int(name[1:]) + 100
