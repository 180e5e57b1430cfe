"""Stories in the simulator: under loss and crashes every node's hearing of a version has a cause that
is true: the input that brought it, and a peer that had it before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from kvgossip.protocol.effect import Dropped, Effect
from kvgossip.protocol.model.change import Changed
from kvgossip.protocol.model.entry import HEAD_BYTES
from kvgossip.protocol.model.story import FOR_S_MAX, Story, Watch
from kvgossip.sim.checks.violation import require
from kvgossip.sim.faults import Intensity
from kvgossip.sim.host import Life
from kvgossip.sim.scenario import Options, Scenario, scenario
from kvgossip.sim.simulation import Simulation
from kvgossip.sim.tracing import Event
from kvgossip.sim.workload import Mix

HARSH = Intensity(loss=0.25, duplicate=0.05, crash_rate=0.05, wipe_share=0.2, cut_rate=0.2)
CAUSES = {
    Event.PUT: {"write"},
    Event.DELETE: {"write"},
    Event.DATAGRAM: {"rumor"},
    Event.FRAME: {"rumor", "exchange"},
    Event.TICK: {"collected", "expired"},
}


class Stories(Simulation):
    """A run in which each node keeps the story of all keys."""

    def __init__(self, plan: Scenario) -> None:
        super().__init__(plan, trace_length=1)
        #: which hosts ever had a version of a key, and when they heard of it, virtual seconds
        self.had: dict[tuple[str, str, bytes], float] = {}
        self.causes: Counter[str] = Counter()
        self.lives: dict[Life, None] = {}
        self.cluster.driver.observer = self._look

    def _look(self, life: Life, effects: Sequence[Effect]) -> None:
        time_s, number, event, _ = self.cluster.trace._last[-1]
        assert number == life.host.number
        story = life.replica.story
        if life not in self.lives:
            # its first turn is over, in which it heard nothing yet
            story.order(Watch("", for_s=FOR_S_MAX), life.host.clock.now(time_s))
            self.lives[life] = None
            return
        for each in effects:
            if isinstance(each, (Changed, Dropped)):
                gone = isinstance(each, Dropped)
                record = each.record if isinstance(each, Dropped) else each.new_record
                self._check(life, each.key, record[1:HEAD_BYTES], event, gone=gone)

    def _check(self, life: Life, key: str, version: bytes, event: Event, *, gone: bool) -> None:
        time_s = self.cluster.timeline.time_s
        heard = {"write", "rumor", "exchange"}
        steps = [
            step
            for step in life.replica.story.of(key)
            if step.version == version and (step.what in heard) is not gone
        ]
        require(bool(steps), "the story lacks what happened", life.title, key)
        step = steps[-1]
        self.causes[step.what] += 1
        require(
            step.at_ms == life.host.clock.now(time_s).wall_ms, "it happened at another time", step
        )
        if gone:
            return
        require(step.what in CAUSES[event], "another input brought it", event, step)
        if step.what != "write" and step.peer:
            before_s = self.had.get((step.peer, key, version))
            require(before_s is not None, "the peer never had it", life.title, step)
            self.causes["named"] += 1
        self.had.setdefault((life.host.name, key, version), time_s)


def options_of(seed: int) -> Options:
    return Options(
        nodes=(4, 6),
        intensity=HARSH,
        duration_s=10.0,
        mix=Mix(writes=80),
        datacenters=(1, 1),
        batch_share=0.0,
        sealed=seed == 1,
        ride_rate=0.0,
        durable=seed == 2,
    )


@pytest.mark.parametrize("seed", range(3))
def test_every_hearing_has_a_cause_that_is_true(seed: int) -> None:
    run = Stories(scenario(seed, options_of(seed)))
    report = run.run()
    assert report.passed, report.violation
    assert run.causes["write"] > 30
    assert run.causes["rumor"] > 30
    assert run.causes["exchange"] > 5
    heard = run.causes["rumor"] + run.causes["exchange"]
    assert run.causes["named"] > heard / 2


def test_a_false_cause_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = Story.heard

    def wrongly(story: Story, *given: Any, by_exchange: bool, shows: bool) -> None:
        heard(story, *given, by_exchange=not by_exchange, shows=shows)

    monkeypatch.setattr(Story, "heard", wrongly)
    report = Stories(scenario(0, options_of(0))).run()
    assert "another input brought it" in str(report.violation)
