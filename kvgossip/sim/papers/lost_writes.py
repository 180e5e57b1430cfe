"""Lost writes: what a partition costs of the writes that were acknowledged, under last-writer-wins
and with types, on the code that ships.

A cluster is cut into two halves for a while; before, meanwhile and after, clients write on both
sides to the same keys. Each action of a client is done five ways, on the same node at the same
moment, to a key of its own for each way:

    lww_sum   read a number, write it with one more
    lww_set       read lines, write them with a line of its own
    counter       add one
    set           add an element of its own
    siblings      read all siblings, write the lines of all with a line of its own, and with the
                  context of what was read

A client reads and writes in one step, which is the most that can be done for last-writer-wins:
within one node nothing is lost. When all nodes agree, what is there is counted on each: a write is
lost where neither the number counts it nor a line or an element shows it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import partial
from typing import NamedTuple

from kvgossip.config import config_from
from kvgossip.errors import KVGossipError
from kvgossip.protocol.effect import Effect
from kvgossip.protocol.model.change import Changed, Conflict
from kvgossip.protocol.model.entry import value_in
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.typed import edit as edits
from kvgossip.protocol.typed.add_wins_set import elements_of
from kvgossip.protocol.typed.body import decode
from kvgossip.protocol.typed.counter import total_of
from kvgossip.protocol.typed.edit import Edit
from kvgossip.protocol.typed.siblings import siblings_of
from kvgossip.protocol.typed.typed_record import context_of
from kvgossip.sim.checks.violation import BrokenLawError
from kvgossip.sim.faults import Intensity
from kvgossip.sim.host import Life
from kvgossip.sim.scenario import Joining, Scenario
from kvgossip.sim.simulation import Simulation
from kvgossip.sim.tracing import Event
from kvgossip.sim.workload import Mix, Write

PLAIN = ("lww_sum", "lww_set")
TYPED = ("counter", "set", "siblings")
WAYS = (*PLAIN, *TYPED)
BEFORE_S, AFTER_S = 5.0, 30.0
"""How long is written before the cut, and after it was mended."""


class PartitionPlan(NamedTuple):
    """`rate`: actions a second on each side. `keys`: so many of each way."""

    partition_s: float
    rate: float = 10.0
    nodes: int = 4
    keys: int = 10
    seed: int = 1

    @property
    def duration_s(self) -> float:
        return BEFORE_S + self.partition_s + AFTER_S


class PartitionOutcome(NamedTuple):
    """By way, the writes that were acknowledged, those that are lost, and those that are there
    though nobody had them acknowledged, or twice; the conflicts that some node has seen, each once;
    and the actions during the cut."""

    acknowledged: dict[str, int]
    lost: dict[str, int]
    surplus: dict[str, int]
    conflicts: int
    apart: int
    trace_hash: str

    @property
    def broken_promise(self) -> str:
        """What the types have lost or counted twice, in words; empty where that is nothing."""
        return "; ".join(
            f"of {self.acknowledged[way]} writes of the way {way} {count[way]} are {what}"
            for count, what in ((self.lost, "lost"), (self.surplus, "there twice"))
            for way in TYPED
            if count[way]
        )


class Action(NamedTuple):
    """Of one client: `node` by number; `line`: what nobody else writes."""

    node: int
    key: str
    line: str


def measure_partition(plan: PartitionPlan) -> PartitionOutcome:
    """Raises BrokenLawError where a law of the simulator does not hold."""
    run = _Parted(plan)
    report = run.run()
    if report.violation is not None:
        raise BrokenLawError(str(report.violation))
    return run.outcome()


class _Parted(Simulation):
    def __init__(self, plan: PartitionPlan) -> None:
        super().__init__(
            Scenario(
                seed=plan.seed,
                nodes=plan.nodes,
                config=config_from({"cluster": "simulated", "founding_s": 0.0}),
                intensity=Intensity(),
                duration_s=plan.duration_s,
                mix=Mix(writes=0),
                joining=Joining.FOUNDER,
                staged=True,
                addressless=False,
            )
        )
        self._plan = plan
        #: By way and key, the lines that were acknowledged.
        self._acknowledged: dict[str, dict[str, list[str]]] = {way: {} for way in WAYS}
        self._conflicts: dict[tuple[str, bytes], None] = {}
        self._apart = 0
        self.cluster.driver.observer = self._observe

    def _disturb(self) -> None:
        super()._disturb()
        left = range(self._plan.nodes // 2)
        right = range(len(left), self._plan.nodes)
        if self._plan.partition_s:
            ways = [way for a in left for b in right for way in ((a, b), (b, a))]
            network, timeline = self.cluster.network, self.cluster.timeline
            timeline.after(BEFORE_S, network.cut, ways)
            timeline.after(BEFORE_S + self._plan.partition_s, network.mend, ways)
        for side in (left, right):
            self._plan_actions(side)

    def _plan_actions(self, side: range) -> None:
        """Those of one side come at random, independently of each other."""
        rng, at_s, number = self.scenario.stream(f"actions {side.start}"), 0.0, 0
        while (at_s := at_s + rng.expovariate(self._plan.rate)) < self._plan.duration_s:
            number += 1
            key = str(rng.randrange(self._plan.keys))
            action = Action(rng.choice(side), key, f"{side.start}-{number}")
            self.cluster.timeline.after(at_s, self._act, action)
            self._apart += BEFORE_S <= at_s < BEFORE_S + self._plan.partition_s

    def _observe(self, life: Life, effects: Iterable[Effect]) -> None:
        for effect in effects:
            if type(effect) is Conflict:
                self._conflicts[effect.key, effect.lost_record] = None

    # -- the actions ------------------------------------------------------------------------------

    def _act(self, action: Action) -> None:
        life = self.cluster.hosts[action.node].life
        if life is None:
            raise BrokenLawError(f"node {action.node} has ended, and nothing had ended it")
        for way in WAYS:
            key = f"{way}/{action.key}"
            write = partial(self._put if way in PLAIN else self._edit, way)
            self.cluster.driver.turn(life, Event.PUT, key.encode(), write, life, key, action)

    def _put(self, way: str, life: Life, key: str, action: Action, now: Now) -> list[Effect]:
        record = life.replica.store.record(key)
        if way == "lww_sum":
            value = str(_number_in(way, record) + 1)
        else:
            value = " ".join((*_lines_in(way, record), action.line))
        effects = self.cluster.clients.accept(life, Write(key, value.encode(), 0.0), now)
        return self._note(way, action, effects)

    def _edit(self, way: str, life: Life, key: str, action: Action, now: Now) -> list[Effect]:
        edit = _edit_of(way, life.replica.store.record(key), action.line)
        try:
            effects = life.replica.edit(key, edit, now).effects
        except KVGossipError:
            return []
        for effect in effects:
            if type(effect) is Changed:
                self.cluster.edits.wrote(effect, int(way == "counter"), edit.context)
        return self._note(way, action, effects)

    def _note(self, way: str, action: Action, effects: list[Effect]) -> list[Effect]:
        if any(type(effect) is Changed for effect in effects):
            self._acknowledged[way].setdefault(action.key, []).append(action.line)
        return effects

    # -- the end ----------------------------------------------------------------------------------

    def outcome(self) -> PartitionOutcome:
        """What some node lacks is lost, though others have it."""
        lost, surplus, acknowledged = Counter[str](), Counter[str](), Counter[str]()
        for way, by_key in self._acknowledged.items():
            for key, lines in by_key.items():
                acknowledged[way] += len(lines)
                missing, more = zip(
                    *(
                        _compared(way, life.replica.store.record(f"{way}/{key}"), lines)
                        for life in self.cluster.running()
                    ),
                    strict=True,
                )
                lost[way] += max(missing)
                surplus[way] += max(more)
        return PartitionOutcome(
            acknowledged={way: acknowledged[way] for way in WAYS},
            lost={way: lost[way] for way in WAYS},
            surplus={way: surplus[way] for way in WAYS},
            conflicts=len(self._conflicts),
            apart=self._apart,
            trace_hash=self.report.trace_hash,
        )


def _compared(way: str, record: bytes | None, lines: list[str]) -> tuple[int, int]:
    """How many of these lines the record lacks, and how much it has beside them."""
    if way in ("lww_sum", "counter"):
        more = _number_in(way, record) - len(lines)
        return max(0, -more), max(0, more)
    there, written = dict.fromkeys(_lines_in(way, record)), dict.fromkeys(lines)
    return len(written.keys() - there.keys()), len(there.keys() - written.keys())


def _number_in(way: str, record: bytes | None) -> int:
    if record is None:
        return 0
    return int(value_in(record) or 0) if way == "lww_sum" else total_of(decode(record).live)


def _lines_in(way: str, record: bytes | None) -> Iterable[str]:
    if record is None:
        return ()
    if way == "lww_set":
        return (value_in(record) or b"").decode().split()
    typed = decode(record)
    if way == "set":
        return elements_of(typed)
    return (line for each in siblings_of(typed) for line in each.value.decode().split())


def _edit_of(way: str, record: bytes | None, line: str) -> Edit:
    """What a client does that has read this record on the node."""
    if way == "counter":
        return edits.add(1)
    if way == "set":
        return edits.add_elements([line])
    lines = dict.fromkeys((*_lines_in(way, record), line))
    context = None if record is None else context_of(decode(record))
    return edits.put_sibling(" ".join(lines).encode(), context=context)
