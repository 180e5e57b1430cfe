"""A canary in the simulator, for canaries.py: members whose processes refuse what is too much, and
one that tries a bad release on a share of them, looks, and takes it back.

What it does is what `kvgossip release --abort-on-refusal` does: a survey, a step, and again a
survey until somebody refuses. Time is virtual, so a seed always finds the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from kvgossip.cache.resolution import Resolved, resolve
from kvgossip.cache.source import Record
from kvgossip.protocol.acks.applied import Report
from kvgossip.protocol.anti_entropy.survey import Topic
from kvgossip.protocol.effect import AppliedReported, Effect
from kvgossip.protocol.model.change import Changed
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.wire.release_messages import AppliedBy
from kvgossip.releases.answers import NodeApplied, Survey
from kvgossip.releases.document import Document, document_of
from kvgossip.releases.outcome import Outcome, outcome_of
from kvgossip.releases.place import Place
from kvgossip.releases.step import Author, Step, Steps
from kvgossip.releases.target import Target
from kvgossip.sim.faults import Intensity
from kvgossip.sim.host import Life
from kvgossip.sim.scenario import Options, scenario
from kvgossip.sim.simulation import Simulation
from kvgossip.sim.tracing import Event
from kvgossip.sim.workload import Write

PREFIX = "bench/"
GOOD, BAD = "good", "bad"
RATES = {GOOD: 1, BAD: 200}
RATE_MAX = 100
SURVEY_S = 1.0
"""As long as the command waits for the answers to one survey."""
PAUSE_S = 0.25
"""As long as it rests between two."""


class Trial(NamedTuple):
    """`hits`: who was to have the bad release; `shown`: who has ever shown it. `stopped_s`: until
    it was taken back; `back_s`: until all were as before; both from its making, virtual."""

    hits: tuple[str, ...]
    refused: tuple[str, ...]
    shown: tuple[str, ...]
    stopped_s: float
    back_s: float


class Shops(Simulation):
    """One run, until all are as before."""

    def __init__(self, seed: int, members: int, loss: float, to: Target) -> None:
        options = Options(
            nodes=(members, members), intensity=Intensity(loss=loss), datacenters=(1, 1)
        )
        super().__init__(replace(scenario(seed, options), staged=True))
        self._to = to
        self._resolved: dict[Life, Resolved] = {}
        self._reports: dict[Life, Report] = {}
        self._shown: dict[str, None] = {}
        self._answers: dict[str, tuple[AppliedBy, ...]] = {}
        self._ticket = 0
        self._begun_s = self._stopped_s = 0.0
        self._step: Step | None = None
        self._outcome: Outcome | None = None
        self.cluster.driver.observer = self._look

    def trial(self) -> Trial:
        """Raises AssertionError where it has not come to its end."""
        report = self.run()
        assert report.violation is None, report.violation
        assert self._step is not None
        assert self._outcome is not None, "nobody has refused it"
        return Trial(
            hits=self._step.hits,
            refused=tuple(sorted({name for name, _, _ in self._outcome.refused})),
            shown=tuple(self._shown),
            stopped_s=self._stopped_s - self._begun_s,
            back_s=self._timeline.time_s - self._begun_s,
        )

    def _disturb(self) -> None:
        """All have joined."""
        self.cluster.faults.disturb()
        for life in self.cluster.running():
            self._judge(life)
        self._ask(lambda survey: self._make(self._steps(survey).release(_document(GOOD), None)))
        self._await_all(GOOD, self._try)

    def _await_all(self, release: str, then: Callable[[], None]) -> None:
        reports = [self._reports[life] for life in self.cluster.running()]
        if all((each.release, tuple(each.refused)) == (release, ()) for each in reports):
            then()
        else:
            self._timeline.after(0.01, self._await_all, release, then)

    def _try(self) -> None:
        self._begun_s = self._timeline.time_s
        self._ask(self._begin)

    def _begin(self, survey: Survey) -> None:
        self._step = self._steps(survey).release(_document(BAD), self._to)
        self._make(self._step)
        self._ask(self._watch)

    def _watch(self, survey: Survey) -> None:
        assert self._step is not None
        outcome = outcome_of(survey, BAD, self._step.hits)
        if outcome.refused:
            self._outcome = outcome
            self._ask(self._withdraw)
        else:
            self._timeline.after(PAUSE_S, self._ask, self._watch)

    def _withdraw(self, survey: Survey) -> None:
        self._make(self._steps(survey).withdraw(BAD))
        self._stopped_s = self._timeline.time_s
        self._await_all(GOOD, self._end)

    def _end(self) -> None:
        self._timeline.stopped = True

    # -- the processes beside the members ---------------------------------------------------------

    def _look(self, life: Life, effects: Sequence[Effect]) -> None:
        for each in effects:
            if type(each) is AppliedReported and each.ticket == self._ticket:
                self._answers[each.peer.name] = tuple(each.applied)
        if any(type(each) is Changed and each.key.startswith(PREFIX) for each in effects):
            self._judge(life)

    def _judge(self, life: Life) -> None:
        """What a process with a check applies, and what it tells its member."""
        found = resolve(_records(life), PREFIX, *_place(life), self._resolved.get(life))
        rate = found.values.get("rate")
        is_good = rate is None or int(rate.value or b"0") <= RATE_MAX
        if found.release == BAD and is_good:
            self._shown[life.host.name] = None
        self._resolved[life] = found
        refused = () if is_good else (("rate", f"over {RATE_MAX}"),)
        self._reports[life] = Report(PREFIX, found.release, refused)
        life.replica.shell_report.applied.tell([self._reports[life]])

    # -- the one who tries ------------------------------------------------------------------------

    @property
    def _author(self) -> Life:
        return self.cluster.running()[0]

    def _ask(self, then: Callable[[Survey], None]) -> None:
        """A survey, and what comes after its answers."""
        life = self._author
        self._ticket += 1
        asked = [_place_of(member.name, life) for _, member in life.replica.pools.surveyed()]
        self._answers = {life.host.name: life.replica.shell_report.applied.under(PREFIX)}

        def survey(now: Now) -> list[Effect]:
            return life.replica.survey(self._ticket, now, Topic.APPLIED, PREFIX)

        self.cluster.driver.turn(life, Event.MERGE, b"survey", survey)
        self._await_answers(asked, self._timeline.time_s + SURVEY_S, then)

    def _await_answers(
        self, asked: Sequence[Place], until_s: float, then: Callable[[Survey], None]
    ) -> None:
        silent = [each.name for each in asked if each.name not in self._answers]
        if silent and self._timeline.time_s < until_s:
            self._timeline.after(0.001, self._await_answers, asked, until_s, then)
            return
        life, ticket = self._author, self._ticket
        self.cluster.driver.turn(
            life, Event.MERGE, b"survey", lambda now: life.replica.cancel(ticket, now)
        )
        answers = [
            NodeApplied(name, each.release, each.processes, each.refused)
            for name, told in sorted(self._answers.items())
            for each in told
        ]
        then(Survey(tuple(answers), tuple(sorted(silent)), tuple(sorted([_place(life), *asked]))))

    def _steps(self, survey: Survey) -> Steps:
        records = _records(self._author)

        def read(key: str) -> bytes | None:
            return records[key].value if key in records else None

        return Steps(PREFIX, read, survey, Author(self._author.host.name, 0))

    def _make(self, step: Step) -> None:
        accept, life = self.cluster.clients.accept, self._author
        for each in (step.document, step.pointer):
            if each is not None:
                write = Write(each.key, each.value, 0.0)
                self.cluster.driver.turn(life, Event.PUT, each.key.encode(), accept, life, write)


def _document(name: str) -> Document:
    return document_of(PREFIX, name, {"rate": RATES[name]}, by="", at_ms=0)


def _place(life: Life) -> Place:
    return _place_of(life.replica.config.name, life)


def _place_of(name: str, life: Life) -> Place:
    return Place(name, life.replica.config.zone)


def _records(life: Life) -> dict[str, Record]:
    entries = life.replica.store.scan_entries(PREFIX, "", 1000)
    return {each.key: Record(each.key, each.value, str(each.version)) for each in entries}
