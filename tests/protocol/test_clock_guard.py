"""ClockGuard: a node that is ahead of its peers knows it, says it, and takes no writes; nobody else
is disturbed."""

from __future__ import annotations

import pytest

from kvgossip.errors import ClockAheadError
from kvgossip.protocol.clock_guard import PEERS_MAX, ClockGuard
from kvgossip.protocol.model.hlc import HybridLogicalClock
from kvgossip.protocol.model.member import SyncState
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.outbox import Outbox
from kvgossip.protocol.wire.frame import encode
from kvgossip.protocol.wire.message import Ping
from kvgossip.sim.faults import Intensity
from kvgossip.sim.scenario import Options
from kvgossip.sim.simulation import simulate
from tests.protocol.net import LAN, WALL_MS, Network, address_of, at, logs
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
