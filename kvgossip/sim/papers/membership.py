"""Membership: the promises of SWIM and Lifeguard, measured on the replicas that ship: detection,
false positives, messages.

A run: the members know each other from the start; after a few periods of warming up come the
*measured periods*; then, if it is wanted, one machine fails silently and for good, and the run
lasts until all others know. Loss and pauses last from the first measured period on.

The measures, and their names in the papers
- `first_probe_periods` (SWIM, section 3.2): the number of the protocol period, counted from the
  crash, in which a member first picks the crashed one as its target. In each period each member
  picks one of n - 1, so with uniform choice it is geometric with p = 1 - (1 - 1/(n-1))^(n-1), which
  tends to 1 - 1/e: a mean of e/(e-1) = 1.582 periods, and of 1.52 for n = 8. Round robin, which
  SWIM itself recommends (section 4.3), makes it a little shorter. Periods of different members are
  not in step; one of them starts in each window of one period's length. A member that probes nobody
  else in its place picks the crashed one whether it lives or not, so every member is asked about in
  every run, as if it had crashed at the start of the measured periods: many samples of one
  distribution. `crash_probe_periods` is the same of the one that does crash. Standard errors are
  over runs.
- `first_suspect_s`, `first_dead_s`, `all_dead_s`: seconds from the crash until one member suspects
  it, until one declares it dead, until all others hold it dead; the same in periods.
- `sent` and `received`: a member and period, over the measured periods. SWIM's 2.0 are messages of
  the failure detector: Ping, Ack, PingRequest, Nack. News of members rides on them; Member alone
  counts the packets of gossip that carry nothing else.
- Pauses of the kind `network` are the anomalies of Lifeguard's section 5: everything that the
  member sends or should receive waits until the pause is over, while its timers go on; so it
  concludes that others are dead. `process` stops the timers too, as SIGSTOP or a suspended machine
  does. Such a member reads all that has waited before it concludes anything, and does no harm in
  either protocol.
- False positives (Lifeguard, section 5): a member hears or concludes that another is dead, which is
  *healthy*: it has neither crashed nor any pauses. `fp` counts these events at all members,
  `fp_healthy` (the paper's FP-) those at healthy members. A member that pauses is dead for all that
  others can know, so that it is declared so is no false positive; `paused_dead` counts it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from kvgossip.config import Address, Config, config_from
from kvgossip.protocol.effect import Effect, MemberChanged, Send
from kvgossip.protocol.model.member import Member, MemberState
from kvgossip.protocol.model.peer import PoolKind
from kvgossip.protocol.wire.frame import FLAG_COMPRESSED, UNITS_AT
from kvgossip.protocol.wire.message import Message, Ping
from kvgossip.protocol.wire.unit import MEMBER_KIND
from kvgossip.sim.checks.violation import require
from kvgossip.sim.cluster import Cluster
from kvgossip.sim.delivery import BACKLOG_MAX
from kvgossip.sim.faults import Die, Intensity, Pause, Resume
from kvgossip.sim.host import Life
from kvgossip.sim.scenario import Joining, Scenario
from kvgossip.sim.workload import Mix

FIRST_DETECTION_PERIODS = math.e / (math.e - 1)
PLAIN_SWIM: dict[str, Any] = {
    "awareness_max": 0,
    "suspicion_max_multiplier": 1.0,
    "probe_nacks": False,
    "buddy": False,
}
"""The additions of Lifeguard, switched off."""
DETECTOR = ("Ping", "Ack", "PingRequest", "Nack")
WARM_UP_PERIODS = 3
NEWS_ROOM = 2**30
CHECK_S = 0.05
PATIENCE_PERIODS = 1000
_NAMES = {MEMBER_KIND: "Member"} | {kind.kind: kind.__name__ for kind in Message.__subclasses__()}


class PauseKind(StrEnum):
    NETWORK = "network"
    """Packets wait, timers go on."""
    PROCESS = "process"
    """Everything waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MembershipPlan:
    """One run."""

    nodes: int
    seed: int = 1
    #: How many are measured.
    periods: int = 10
    crash: bool = True
    lifeguard: bool = True
    #: Share of the datagrams that is lost.
    loss: float = 0.0
    #: Share of the members that pause again and again.
    pause_fraction: float = 0.0
    #: How long they pause in the mean, and run in between, virtual seconds; both exponential.
    pause_s: float = 8.0
    run_s: float = 2.0
    pause_kind: PauseKind = PauseKind.NETWORK
    #: They override those of Config.
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def config(self) -> Config:
        """Raises ConfigError for parameters out of their bounds."""
        small = {"cluster": "simulated", "digest_levels": 1}  # there is no data
        return config_from(small | ({} if self.lifeguard else PLAIN_SWIM) | dict(self.parameters))

    @property
    def expected_first_probe_periods(self) -> float:
        """The result of SWIM's model, uniform choice in each period, for this n."""
        others = self.nodes - 1
        return 1 / (1 - (1 - 1 / others) ** others)

    @property
    def pausing(self) -> int:
        """How many members pause."""
        return round(self.nodes * self.pause_fraction)


@dataclass(frozen=True, slots=True, kw_only=True)
class MembershipOutcome:
    """The figures of one run; see the head of this module. Times are None without a crash, counts
    are a member and period."""

    first_probe_periods: float
    crash_probe_periods: int | None
    first_suspect_s: float | None
    first_dead_s: float | None
    all_dead_s: float | None
    sent: float
    received: float
    messages: float
    bytes: float
    kinds: dict[str, float]
    fp: int
    fp_healthy: int
    paused_dead: int
    trace_hash: str


def measure_membership(plan: MembershipPlan) -> MembershipOutcome:
    """Raises BrokenLawError for what a replica must never do, ConfigError for parameters out of
    their bounds."""
    return _Run(plan).run()


class _Watched(Cluster):
    """A cluster that counts messages, and can hold back the packets of a host."""

    def __init__(self, scenario: Scenario) -> None:
        super().__init__(scenario)
        #: True if messages are counted now: by the name of the first unit of their packet.
        self.counting = False
        self.sent: Counter[str] = Counter()
        self.received: Counter[str] = Counter()
        self.bytes_sent = 0
        #: From when on pings and changes of members are noted.
        self.since_s = math.inf
        #: The times at which members were pinged, and their names.
        self.pings: list[tuple[float, str]] = []
        #: The time and the host at which a member changed, and the state that it had there before.
        self.changes: list[tuple[float, str, Member, MemberState | None]] = []
        #: The packets that wait at each blocked host.
        self._blocked: dict[int, list[tuple[Callable[..., None], tuple[Any, ...]]]] = {}
        self.driver.observer = self._note_changes

    def _kind(self, data: bytes) -> str:
        """The name of the first unit; only frames of links are compressed."""
        if data[3] & FLAG_COMPRESSED:
            return type(self.framing.open(data, reliable=True).messages[0]).__name__
        return _NAMES[data[UNITS_AT]]

    def send(self, life: Life, effect: Send) -> None:
        kind = self._kind(effect.data)
        if self.counting:
            self.sent[kind] += 1
            self.bytes_sent += len(effect.data)
        if kind == "Ping" and not effect.reliable and self.timeline.time_s >= self.since_s:
            ping = self.framing.open(effect.data, reliable=False).messages[0]
            assert isinstance(ping, Ping)
            self.pings.append((self.timeline.time_s, ping.target))
        self._pass(life, super().send, life, effect)

    def datagram(self, life: Life, data: bytes, source: Address, pool: PoolKind) -> None:
        self._count_received(data)
        if len(self._blocked.get(life.host.number, ())) < BACKLOG_MAX:
            self._pass(life, super().datagram, life, data, source, pool)

    def frame(self, life: Life, data: bytes, source: Address, pool: PoolKind) -> None:
        self._count_received(data)
        self._pass(life, super().frame, life, data, source, pool)

    def _pass(self, life: Life, transmit: Callable[..., None], *arguments: Any) -> None:
        """Now, or when the host is not blocked any more."""
        waiting = self._blocked.get(life.host.number)
        if waiting is None:
            transmit(*arguments)
        else:
            waiting.append((transmit, arguments))

    def block(self, number: int) -> None:
        """From now on what this host sends and should receive waits."""
        self._blocked[number] = []

    def unblock(self, number: int) -> None:
        """The packets that have waited go and come, each way in its order."""
        for transmit, arguments in self._blocked.pop(number):
            transmit(*arguments)

    def _count_received(self, data: bytes) -> None:
        if self.counting:
            self.received[self._kind(data)] += 1

    def _note_changes(self, life: Life, effects: Sequence[Effect]) -> None:
        if self.timeline.time_s < self.since_s:
            return
        for effect in effects:
            if isinstance(effect, MemberChanged) and effect.new is not None:
                old = effect.old.state if effect.old is not None else None
                self.changes.append((self.timeline.time_s, life.host.name, effect.new, old))


class _Run:
    def __init__(self, plan: MembershipPlan) -> None:
        self._plan, self._config = plan, plan.config
        scenario = Scenario(
            seed=plan.seed, nodes=plan.nodes, config=self._config,
            intensity=Intensity(loss=plan.loss), duration_s=0.0,
            mix=Mix(writes=0), joining=Joining.INTRODUCED, staged=True, addressless=False,
        )  # fmt: skip
        self._cluster = _Watched(scenario)
        self._timeline, self._rng = self._cluster.timeline, scenario.stream("membership")
        members = self._rng.sample(range(plan.nodes), plan.nodes)
        self._pausing, self._victim = members[: plan.pausing], self._cluster.hosts[members[-1]]
        self._healthy = [self._cluster.hosts[number].name for number in members[plan.pausing :]]
        self._period_s = self._config.probe_interval_s
        self._start_s = (1 + WARM_UP_PERIODS) * self._period_s
        self._crash_s = self._start_s + plan.periods * self._period_s
        self._all_dead_s: float | None = None

    def run(self) -> MembershipOutcome:
        for host in self._cluster.hosts:
            self._timeline.at(self._rng.random() * self._period_s, self._cluster.lives.start, host)
        self._timeline.at(self._period_s, self._introduce)
        self._timeline.at(self._start_s, self._begin)
        self._timeline.at(self._crash_s, self._end_periods)
        self._timeline.run()
        return self._outcome()

    def _introduce(self) -> None:
        """Everybody knows everybody, and all of that news has been passed on."""
        self._cluster.introduce()
        for life in self._cluster.running():
            news = life.replica.pools.lan.membership.dissemination
            while news.has_news:
                list(news.take_news(NEWS_ROOM))

    def _begin(self) -> None:
        self._cluster.faults.disturb()
        self._cluster.since_s, self._cluster.counting = self._start_s, True
        for number in self._pausing:
            self._run_on(number)

    def _run_on(self, number: int) -> None:
        self._timeline.after(self._rng.expovariate(1 / self._plan.run_s), self._pause, number)

    def _pause(self, number: int) -> None:
        if self._plan.pause_kind is PauseKind.NETWORK:
            self._cluster.block(number)
        else:
            self._cluster.faults.strike(Pause(number))
        self._timeline.after(self._rng.expovariate(1 / self._plan.pause_s), self._resume, number)

    def _resume(self, number: int) -> None:
        if self._plan.pause_kind is PauseKind.NETWORK:
            self._cluster.unblock(number)
        else:
            self._cluster.faults.strike(Resume(number))
        self._run_on(number)

    def _end_periods(self) -> None:
        self._cluster.counting = False
        if self._plan.crash:
            self._cluster.faults.strike(Die(self._victim.number))
            self._await_all_dead()
        else:
            self._timeline.stopped = True

    def _await_all_dead(self) -> None:
        """All that do not pause: the others know it when they are there."""
        known = {
            host
            for time_s, host, member, _ in self._deaths()
            if member.name == self._victim.name and time_s >= self._crash_s
        }
        waited_s = self._timeline.time_s - self._crash_s
        if all(name in known for name in self._healthy if name != self._victim.name):
            self._all_dead_s = waited_s
            self._timeline.stopped = True
        else:
            require(
                waited_s < PATIENCE_PERIODS * self._period_s,
                "a crash was not found out",
                self._victim.name,
                len(known),
            )
            self._timeline.after(CHECK_S, self._await_all_dead)

    # -- the measurements -------------------------------------------------------------------------

    def _deaths(self) -> list[tuple[float, str, Member, MemberState | None]]:
        """The times at which a member came to hold another dead that it did not hold dead
        before."""
        return [
            change
            for change in self._cluster.changes
            if change[2].state is MemberState.DEAD
            and change[3] is not MemberState.DEAD
            and change[1] != change[2].name
        ]

    def _outcome(self) -> MembershipOutcome:
        cluster, plan = self._cluster, self._plan
        shares = plan.nodes * plan.periods
        kinds = {kind: cluster.sent[kind] / shares for kind in sorted(cluster.sent)}
        return MembershipOutcome(
            first_probe_periods=sum(
                self._first_probe(host.name, self._start_s) for host in cluster.hosts
            )
            / plan.nodes,
            crash_probe_periods=self._first_probe(self._victim.name, self._crash_s)
            if plan.crash
            else None,
            first_suspect_s=self._first_s(MemberState.SUSPECT),
            first_dead_s=self._first_s(MemberState.DEAD),
            all_dead_s=self._all_dead_s,
            sent=sum(cluster.sent[kind] for kind in DETECTOR) / shares,
            received=sum(cluster.received[kind] for kind in DETECTOR) / shares,
            messages=sum(cluster.sent.values()) / shares,
            bytes=cluster.bytes_sent / shares,
            kinds=kinds,
            **self._false_positives(),
            trace_hash=cluster.trace.digest(),
        )

    def _first_probe(self, target: str, since_s: float) -> int:
        """The number of the period, from then on, in which it is first pinged; the next one after
        the run if it never was."""
        times_s = (
            time_s for time_s, name in self._cluster.pings if name == target and time_s >= since_s
        )
        return 1 + int((next(times_s, self._timeline.time_s) - since_s) / self._period_s)

    def _first_s(self, state: MemberState) -> float | None:
        """From the crash until one member holds the crashed one for that."""
        times_s = (
            time_s
            for time_s, _, member, _ in self._cluster.changes
            if member.name == self._victim.name
            and member.state is state
            and time_s >= self._crash_s
        )
        return (
            next((time_s - self._crash_s for time_s in times_s), None) if self._plan.crash else None
        )

    def _false_positives(self) -> dict[str, int]:
        paused = [self._cluster.hosts[number].name for number in self._pausing]
        wrong = [
            at
            for time_s, at, member, _ in self._deaths()
            if member.name in self._healthy and not self._crashed(member, time_s)
        ]
        return {
            "fp": len(wrong),
            "fp_healthy": sum(at in self._healthy for at in wrong),
            "paused_dead": sum(member.name in paused for _, _, member, _ in self._deaths()),
        }

    def _crashed(self, member: Member, time_s: float) -> bool:
        return self._plan.crash and member.name == self._victim.name and time_s >= self._crash_s
