"""Rides in the simulator: the laws hold with them, and they alone bring an update where gossip is
cut."""

from __future__ import annotations

from typing import Any

import pytest

from kvgossip.protocol.model.member import Member, MemberState
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.pools.piggyback import Piggyback
from kvgossip.protocol.wire.message import Bundle, Message
from kvgossip.sim.faults import Intensity
from kvgossip.sim.scenario import Options, scenario
from kvgossip.sim.simulation import Simulation, simulate
from kvgossip.sim.workload import Mix, Write

CUT_S, SECOND_S, DEAD_S, PATIENCE_S = 10.0, 12.0, 60.0, 5.0
BOTH_WAYS = ((0, 1), (1, 0))


@pytest.mark.parametrize("seed", range(4))
def test_swarms_whose_applications_carry_news_keep_every_law(seed: int) -> None:
    report = simulate(seed, Options(sealed=True, ride_rate=5.0, batch_share=0.5))
    assert report.passed, report.violation
    assert report.rides > 100
    assert report.news_by_ride > 0


def test_without_seals_nothing_rides() -> None:
    report = simulate(1, Options(nodes=(3, 3), duration_s=5.0, sealed=False, ride_rate=5.0))
    assert report.passed, report.violation
    assert report.rides == 0


def test_one_seed_gives_one_trace_with_rides_too() -> None:
    options = Options(nodes=(4, 4), duration_s=5.0, sealed=True, ride_rate=5.0)
    first, again = simulate(7, options), simulate(7, options, trace_length=2000)
    assert first.trace_hash == again.trace_hash
    assert any(" absorb " in line and "Rumor(" in line for line in again.trace)


@pytest.mark.parametrize("seed", range(5))
def test_an_update_reaches_the_other_node_by_rides_alone_where_gossip_is_cut(seed: int) -> None:
    options = Options(
        nodes=(2, 2),
        intensity=Intensity(),
        duration_s=DEAD_S + 2 * PATIENCE_S,
        mix=Mix(writes=0),
        sealed=True,
        ride_rate=5.0,
    )
    run = Simulation(scenario(seed, options))
    cluster = run.cluster
    found: list[tuple[bytes | None, ...]] = []
    states: list[MemberState] = []

    def look(key: str) -> None:
        found.append(tuple(life.replica.store.value(key) for life in cluster.running()))
        states.extend(
            member.state
            for life in cluster.running()
            for member in life.replica.members()
            if member.name != life.host.name
        )

    def write(key: str) -> None:
        cluster.clients.write([Write(key, b"v", 0.0)])
        cluster.timeline.after(PATIENCE_S, look, key)

    cluster.timeline.at(CUT_S, cluster.network.cut, BOTH_WAYS)
    for at_s, key in ((CUT_S + 0.5, "first"), (SECOND_S, "second"), (DEAD_S, "third")):
        cluster.timeline.at(at_s, write, key)
    report = run.run()
    assert report.passed, report.violation
    assert found == [(b"v", b"v")] * 3
    assert report.news_by_datagram == report.news_by_frame == 0
    assert report.news_by_ride == 3
    # a ride is no sign of life: each has declared the other one dead
    assert states[-2:] == [MemberState.DEAD] * 2


def test_a_batch_of_which_a_ride_shows_a_part_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    merge = Piggyback._merge

    def in_part(piggyback: Piggyback, message: Message | Member, now: Now) -> None:
        if isinstance(message, Bundle):
            message = Bundle(message.entries[:1])
        merge(piggyback, message, now)

    monkeypatch.setattr(Piggyback, "_merge", in_part)
    found: list[Any] = [
        report.violation.text
        for report in (simulate(seed, _WITH_BATCHES) for seed in range(5))
        if report.violation is not None
    ]
    assert any("a part of it is shown" in text for text in found), found


_WITH_BATCHES = Options(
    nodes=(3, 3),
    intensity=Intensity(loss=0.9),
    duration_s=10.0,
    mix=Mix(large_share=0.0),
    sealed=True,
    ride_rate=20.0,
    batch_share=1.0,
)
