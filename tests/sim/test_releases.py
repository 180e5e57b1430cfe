"""Releases in the simulator: under crashes, cuts, loss and repair every process shows the old
release or the new one whole, and in the end the one that it is to have."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import pytest

from kvgossip.cache.resolution import Resolved, resolve
from kvgossip.cache.source import Record
from kvgossip.protocol.effect import Effect
from kvgossip.protocol.model.change import Changed
from kvgossip.releases.answers import (
    Survey,
)
from kvgossip.releases.document import (
    document_of,
)
from kvgossip.releases.names import (
    pointer_key,
)
from kvgossip.releases.place import Place
from kvgossip.releases.pointer import (
    read_pointer,
)
from kvgossip.releases.step import Author, Steps
from kvgossip.releases.target import Target, member, share
from kvgossip.sim.checks.violation import require
from kvgossip.sim.faults import Intensity
from kvgossip.sim.host import Life
from kvgossip.sim.scenario import Options, Scenario, scenario
from kvgossip.sim.simulation import Simulation
from kvgossip.sim.tracing import Event
from kvgossip.sim.workload import Mix, Write

PREFIX = "shop/"
RELEASES = 25
HARSH = Intensity(
    loss=0.1,
    duplicate=0.05,
    crash_rate=0.03,
    wipe_share=0.1,
    partition_rate=0.05,
    cut_rate=0.2,
    pause_rate=0.02,
)


class Shops(Simulation):
    """A run in which every node has a process with a cache, and somebody makes releases meanwhile.
    A process that starts anew knows nothing of what it showed before."""

    def __init__(self, plan: Scenario) -> None:
        super().__init__(plan)
        self.shown: dict[Life, Resolved] = {}
        #: how often a process showed a release, was without its document, or was repaired
        self.counts: Counter[str] = Counter()
        self._rng = plan.stream("releases")
        self.cluster.driver.observer = self._look

    def _disturb(self) -> None:
        super()._disturb()
        for number in range(1, RELEASES + 1):
            at_s = self._rng.random() * self.scenario.duration_s
            self._timeline.after(at_s, self._release, number)

    def place(self, life: Life) -> Place:
        config = life.replica.config
        return Place(config.name, config.zone)

    def records(self, life: Life) -> dict[str, Record]:
        entries = life.replica.store.scan_entries(PREFIX, "", 1000)
        return {each.key: Record(each.key, each.value, str(each.version)) for each in entries}

    def _look(self, life: Life, effects: Sequence[Effect]) -> None:
        news = any(type(each) is Changed and each.key.startswith(PREFIX) for each in effects)
        if news or life not in self.shown:
            last = self.shown.get(life)
            found = resolve(self.records(life), PREFIX, *self.place(life), last)
            values = {json.loads(each.value or b"")[0] for each in found.values.values()}
            if found.release:
                require(values == {int(found.release[1:])}, "a mixture is shown", found.release)
                require(found.values.keys() == {"a", "b", "c"}, "a part is shown", found.release)
            else:
                require(not values, "loose keys are shown", values)
            self.shown[life] = found
            self.counts["pending" if found.pending else "shown"] += 1
            self.counts["at a start"] += bool(last is None and found.release)

    def _release(self, number: int) -> None:
        takers = [each for each in self.cluster.running() if each.active and not each.leaving]
        if not takers:
            return
        life = self._rng.choice(takers)
        places = [self.place(each) for each in self.cluster.running()]
        to: Target | None = self._rng.choice([None, None, share(0.3), member(places[0].name)])
        # some travel in a datagram, others have to be fetched
        value = [number, "x" * self._rng.choice([0, 20, 3000])]
        document = document_of(PREFIX, f"r{number}", dict.fromkeys("abc", value), by="", at_ms=0)
        records = self.records(life)

        def read(key: str) -> bytes | None:
            return records[key].value if key in records else None

        step = Steps(PREFIX, read, Survey((), (), tuple(places)), Author("", 0)).release(
            document, to
        )
        for each in (step.document, step.pointer):
            assert each is not None
            write = Write(each.key, each.value, 0.0)
            accept = self.cluster.clients.accept
            self.cluster.driver.turn(life, Event.PUT, each.key.encode(), accept, life, write)


@pytest.mark.parametrize("seed", range(8))
def test_a_process_shows_the_old_release_or_the_new_one_whole_whatever_goes_wrong(
    seed: int,
) -> None:
    options = Options(
        nodes=(5, 8),
        intensity=HARSH,
        durable=seed % 2 == 0,
        mix=Mix(writes=30),
        datacenters=(1, 1),
        # every other run without rumors: what comes, comes by repair, key by key
        parameters={"rumor_k": 0} if seed % 4 > 1 else {},
    )
    run = Shops(scenario(seed, options))
    report = run.run()
    assert report.passed, report.violation
    running = run.cluster.running()
    records = run.records(running[0])
    pointer = read_pointer(records[pointer_key(PREFIX)].value or b"")
    for life in running:
        assert run.shown[life].release == pointer.wanted(run.place(life))
        assert not run.shown[life].pending
    assert run.counts["shown"] > 2 * RELEASES


def test_a_mixture_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def torn(run: Shops, life: Life) -> dict[str, Record]:
        """As if values were keys of their own, of which some are older."""
        found = whole(run, life)
        documents = sorted(key for key in found if "@release" in key)
        for older, newer in pairwise(documents):
            mixed = json.loads(found[newer].value or b"")
            mixed["values"]["a"] = json.loads(found[older].value or b"")["values"]["a"]
            found[newer] = Record(newer, json.dumps(mixed).encode(), found[newer].version)
        return found

    whole = Shops.records
    monkeypatch.setattr(Shops, "records", torn)
    report = Shops(scenario(1, Options(nodes=(5, 5), intensity=HARSH, datacenters=(1, 1)))).run()
    assert report.violation is not None
    assert "a mixture is shown" in str(report.violation)
