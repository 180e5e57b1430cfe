"""Simulation: the phases of one run, from the first start to the verdict.

join      the nodes start; a staged run waits until all hold all alive, and most have answered
faults    writes, and everything that the schedule of faults says
quiet     no more faults but the permanent: hosts that are down start, cuts are mended, and all
          must agree within `agreement_periods_max`, and a while later where there is hearsay
rest      for a while longer the data may not change: a cluster that agrees stays so
collect   where the dead are forgotten soon: all tombstones must go, and then it must be quiet
"""

from __future__ import annotations

import math

from kvgossip.config import Config, wan_config
from kvgossip.protocol.membership.join_targets import PAUSE_FACTOR_MAX
from kvgossip.protocol.model.entry import may_expire, version_of
from kvgossip.protocol.tombstones.set_back import PAUSE_S
from kvgossip.protocol.typed.body import is_prunable
from kvgossip.sim.checks.agreement import agreeing_s, contents_differ, disagreement, hearing_s
from kvgossip.sim.checks.edits import contents
from kvgossip.sim.checks.invariants import Witness
from kvgossip.sim.checks.violation import BrokenLawError, Violation, require
from kvgossip.sim.cluster import Cluster
from kvgossip.sim.editing import wishes
from kvgossip.sim.faults import GLITCH_MS_MAX
from kvgossip.sim.merges import PATIENCE_S
from kvgossip.sim.report import Report
from kvgossip.sim.scenario import Options, Scenario, scenario
from kvgossip.sim.schedule import schedule
from kvgossip.sim.tracing import Event
from kvgossip.sim.workload import writes

START_SPREAD_S = 1.0
CHECK_S = 0.1
REST_S = 3.0
QUIET_INTERVALS = 3
EXPIRED_S = 45.0
"""Expired entries are looked at every thirty seconds, by clocks that may differ."""
UNREPAIRED_S = 20.0
"""Without anti-entropy nothing promises agreement; a run waits so long for the last rumors to
cool."""


def simulate(seed: int, options: Options, trace_length: int = 0) -> Report:
    """One seed, from beginning to end. `trace_length`: how many of the last events the report
    shows. Raises ConfigError."""
    return Simulation(scenario(seed, options), trace_length).run()


class Simulation:
    """`run` may be called once; afterwards `cluster` shows how it ended."""

    def __init__(self, plan: Scenario, trace_length: int = 0) -> None:
        self.scenario = plan
        self.cluster = Cluster(plan, trace_length)
        self.report = Report(
            seed=plan.seed,
            nodes=plan.nodes,
            datacenters=plan.layout.datacenters,
            sealed=bool(plan.config.keyring),
        )
        self.report.agreement_limit_s = agreeing_s(plan.config, plan.nodes) + _catching_up_s(plan)
        if plan.intensity.set_back_rate or plan.intensity.lies:
            self.report.agreement_limit_s += PAUSE_S
        if plan.layout.datacenters > 1:
            # one pool after the other: an entry that a gateway learns late is late in its
            # datacenter
            self.report.agreement_limit_s += agreeing_s(
                wan_config(plan.config), plan.nodes
            ) + agreeing_s(plan.config, plan.nodes)
        self._timeline = self.cluster.timeline
        self._quiet_s = self._hearing_s = 0.0

    def run(self) -> Report:
        """Never raises for what a replica does: a broken law is in the report."""
        rng = self.scenario.stream("starts")
        for host in self.cluster.hosts:
            self._timeline.at(rng.random() * START_SPREAD_S, self.cluster.lives.start, host)
        if not self.scenario.config.anti_entropy:
            self._timeline.at(START_SPREAD_S, self.cluster.introduce)
        self.cluster.riding.begin()
        self._timeline.at(START_SPREAD_S + PATIENCE_S, self._merge_clusters)
        self._timeline.at(START_SPREAD_S if self.scenario.staged else 0.0, self._await_joined)
        try:
            self._timeline.run()
        except BrokenLawError as broken:
            self.report.violation = Violation(
                self.scenario.seed, self._timeline.time_s, self.cluster.driver.speaker, str(broken)
            )
        self._finish()
        return self.report

    def _witnesses(self) -> list[Witness]:
        return [life.witness for life in self.cluster.running()]

    def _disagreement(self, *, views: bool = True) -> str | None:
        witnesses = self._witnesses()
        if self._data_only:
            return disagreement(witnesses, settling=False, views=False)
        return disagreement(witnesses, settling=self.scenario.config.anti_entropy, views=views)

    @property
    def _data_only(self) -> bool:
        """True if agreement is on data alone, once all have joined: that is asked of every run."""
        return self.scenario.data_only and self._quiet_s > 0

    def _await_joined(self) -> None:
        why = self._disagreement() or self._crowd() if self.scenario.staged else None
        if why is None:
            self._disturb()
        elif self._timeline.time_s > START_SPREAD_S + self.report.agreement_limit_s:
            self._fail(f"the nodes have not joined: {why}")
        else:
            self._timeline.after(CHECK_S, self._await_joined)

    def _crowd(self) -> str | None:
        """A node to which most others have not answered yet: it tells those few alone."""
        for life in self.cluster.running():
            for pool in life.replica.pools:
                if pool.membership.table.proofs.is_crowded:
                    return f"to {life.replica.config.name} most others have not answered"
        return None

    def _disturb(self) -> None:
        plan = self.scenario
        self.cluster.faults.disturb()
        for at_s, together in writes(plan.mix, plan.duration_s, plan.stream("workload")):
            self._timeline.after(at_s, self.cluster.clients.write, together)
        for at_s, wish in wishes(plan.edits, plan.duration_s, plan.stream("edits")):
            self._timeline.after(at_s, self.cluster.editing.edit, wish)
        for at_s, fault in schedule(
            plan.intensity, plan.nodes, plan.duration_s, plan.stream("faults"), plan.layout
        ):
            self._timeline.after(at_s, self.cluster.faults.strike, fault)
        self._timeline.after(plan.duration_s, self._quieten)

    def _quieten(self) -> None:
        self._quiet_s = self._timeline.time_s
        self.cluster.faults.calm()
        self._audit()
        self._timeline.after(PATIENCE_S, self._merge_clusters)
        self._await_agreement()

    def _merge_clusters(self) -> None:
        """Nodes that were cut apart at their first start have founded clusters of their own."""
        if self.cluster.running() and self._disagreement(views=False) is not None:
            self.cluster.merges.merge_clusters()
            self._timeline.after(PATIENCE_S, self._merge_clusters)

    def _audit(self) -> None:
        for life in self.cluster.running():
            self.cluster.driver.judged(life, life.witness.audit)

    def _await_agreement(self) -> None:
        why = self._disagreement()
        waited_s = self._timeline.time_s - self._quiet_s
        self._hearing_s = max(self._hearing_s, hearing_s(self._witnesses()))
        if why is None:
            agreed_s = (
                self.cluster.driver.news_s if self._data_only else self.cluster.driver.changed_s
            )
            self.report.agreement_time_s = agreed_s - self._quiet_s
            live = contents(self.cluster.running()[0].witness.live())
            # a value that expires goes earlier where a clock is ahead
            self._timeline.after(
                REST_S,
                self._rested,
                {key: record for key, record in live.items() if not may_expire(record)},
            )
        elif not self.scenario.config.anti_entropy and waited_s > UNREPAIRED_S:
            self._timeline.stopped = True
        elif waited_s > self.report.agreement_limit_s + self._hearing_s:
            self._fail(f"no agreement {waited_s:.0f} s after the faults stopped: {why}")
        else:
            self._timeline.after(CHECK_S, self._await_agreement)

    def _rested(self, data: dict[str, bytes]) -> None:
        witnesses = self._witnesses()
        self.cluster.driver.speaker = ""
        for witness in witnesses:
            live = {
                key: record
                for key, record in contents(witness.live()).items()
                if not may_expire(record)
            }
            require(
                live == data,
                f"all agreed, and {REST_S} s later the data has changed",
                witness.replica.config.name,
            )
        if self._disagreement() is not None:
            # A probe that was under way when the faults stopped may still make a suspect of
            # somebody, who refutes; and tombstones go from one node before they do from another:
            # wait for that.
            self._await_agreement()
            return
        why = contents_differ(witnesses)
        require(why is None, "roots are equal, and the data is not", why)
        self._audit()
        self._check_hidden()
        self._check_waits_ended()
        self._check_oracle()
        if self.scenario.collects:
            self._await_collected()
        else:
            self._passed()

    def _passed(self) -> None:
        self.report.converged = True
        self._timeline.stopped = True

    def _check_oracle(self) -> None:
        """Of all that was acknowledged nothing is lost, and of all that was deleted nothing
        lives."""
        witness = self.cluster.running()[0].witness
        self.cluster.oracle.check(witness.records, witness.live(), self.cluster.wall_ms)
        if self.scenario.durable and self.scenario.intensity.keeps_writes:
            self.cluster.edits.check(witness.records)

    def _await_collected(self) -> None:
        waiting = sum(len(life.replica.tombstones.collecting) for life in self.cluster.running())
        mortal = any(
            may_expire(record) or is_prunable(record)
            for life in self.cluster.running()
            for record in life.witness.records.values()
        )
        if not waiting and not mortal and not self._may_join() and self._disagreement() is None:
            self.report.collect_time_s = self._timeline.time_s - self._quiet_s
            started = self._exchanges()
            self._timeline.after(
                QUIET_INTERVALS * self.scenario.config.push_pull_interval_s, self._quiet, started
            )
        elif self._timeline.time_s - self._quiet_s > self.report.agreement_limit_s + _collecting_s(
            self.scenario
        ):
            late = {
                life.host.name: life.replica.tombstones.late() for life in self.cluster.running()
            }
            left = f"{waiting} tombstones, or what expires or is to be pruned, are left, for {late}"
            self._fail(left)
        else:
            self._timeline.after(CHECK_S, self._await_collected)

    def _may_join(self) -> bool:
        """True if some node has yet to ask at a join address again, which was down for so long that
        the pauses have grown: the answer will bring an exchange, once.
        """
        if (
            self._timeline.time_s
            > self._quiet_s + PAUSE_FACTOR_MAX * self.scenario.config.join_retry_s
        ):
            return False
        return not all(
            pool.join_targets.all_answered()
            for life in self.cluster.running()
            for pool in life.replica.pools
        )

    def _exchanges(self) -> int:
        return sum(
            pool.exchanges.started for life in self.cluster.running() for pool in life.replica.pools
        )

    def _quiet(self, started: int) -> None:
        """Nothing is left to do, so nobody exchanges but at the floor, which is spread by a
        quarter."""
        more = self._exchanges() - started
        config, running = self.scenario.config, self.cluster.running()
        window_s = QUIET_INTERVALS * config.push_pull_interval_s
        floor = sum(
            _floor(window_s, config)
            + (_floor(window_s, wan_config(config)) if life.replica.pools.wan else 0)
            for life in running
        )
        self.cluster.driver.speaker = ""
        require(
            more <= floor,
            "the cluster is not quiet after its tombstones were collected: exchanges",
            more,
            floor,
        )
        why = self._disagreement(views=False)
        require(why is None, "all was collected, and then they disagree", why)
        self._audit()
        self._check_oracle()
        self._await_refuted(self._timeline.time_s + self.report.agreement_limit_s)

    def _await_refuted(self, until_s: float) -> None:
        """If the way between datacenters loses packets, there may be a suspect at any time: it
        has until then to refute."""
        why = self._disagreement()
        if why is None:
            self._passed()
            return
        may_wait = self.scenario.far.loss > 0 and self._timeline.time_s < until_s
        self.cluster.driver.speaker = ""
        require(may_wait, "all was collected, and then they disagree", why)
        self._timeline.after(CHECK_S, self._await_refuted, until_s)

    def _check_hidden(self) -> None:
        drift_ms = int(self.scenario.config.clock_drift_max_s * 1000)
        for life in self.cluster.running():
            now = life.host.clock.now(self._timeline.time_s)
            self.cluster.driver.judged(life, life.witness.check_hidden, now.wall_ms + drift_ms)

    def _check_waits_ended(self) -> None:
        for life in self.cluster.running():
            self.cluster.promises.check_ended(
                life.replica, life.host.clock.now(self._timeline.time_s)
            )

    def _fail(self, text: str) -> None:
        self.cluster.driver.speaker = ""
        raise BrokenLawError(text)

    # -- the report -------------------------------------------------------------------------------

    def _finish(self) -> None:
        report, cluster = self.report, self.cluster
        for life in cluster.running():
            cluster.lives.count(life)
        report.gossips, report.exchanges = cluster.lives.gossips, cluster.lives.exchanges
        report.trace_hash, report.events = cluster.trace.digest(), cluster.trace.events
        report.virtual_time_s = self._timeline.time_s
        self._report_traffic()
        driver = cluster.driver
        report.collected, report.quarantined = driver.dropped, driver.quarantined
        report.edits = cluster.edits.count
        report.writes, report.deletes = cluster.clients.puts, cluster.clients.deletes
        report.news_by_datagram = driver.news[Event.DATAGRAM]
        report.news_by_frame = driver.news[Event.FRAME]
        report.rides, report.news_by_ride = cluster.riding.rides, driver.news[Event.ABSORB]
        report.batches = cluster.batches.count
        report.waits_met, report.waits_unmet = cluster.promises.met, cluster.promises.unmet
        report.merges = cluster.merges.merges
        report.starts = sum(host.lives for host in cluster.hosts)
        report.faults = dict(sorted(cluster.faults.counts.items()))
        report.logs = dict(sorted(driver.logs.items()))
        shares = self.residues()
        report.keys, report.residue = len(shares), sum(shares) / max(1, len(shares))
        report.trace = cluster.trace.lines(cluster.framings)

    def _report_traffic(self) -> None:
        report, delivery, network = self.report, self.cluster.delivery, self.cluster.network
        report.messages, report.bytes = delivery.datagrams + delivery.frames, delivery.bytes
        report.datagrams, report.frames, report.unreachable = (
            delivery.datagrams,
            delivery.frames,
            delivery.unreachable,
        )
        report.lost, report.duplicated = network.lost, network.duplicated

    def residues(self) -> list[float]:
        """For each key: the share of the running nodes that lack the newest version that any of
        them has."""
        witnesses = self._witnesses()
        held = (
            [witness.records.get(key) for witness in witnesses]
            for key in self.cluster.ledger.keys_written()
        )
        return [_lacking(records) for records in held if any(records)]


def _floor(window_s: float, config: Config) -> int:
    """How many exchanges one node starts in so long at most, where there is nothing to repair."""
    return math.ceil(window_s / (0.75 * config.push_pull_interval_s))


def _collecting_s(plan: Scenario) -> float:
    """How long tombstones may be left: until the dead are forgotten, all values have expired, and
    all know that of all; gateways pass it on one after the other."""
    config, pools = plan.config, 1 + 2 * (plan.datacenters > 1)
    passing_on_s = (
        2 * plan.nodes * config.probe_interval_s
        + 6 * config.push_pull_interval_s
        + 15 * config.rumor_settling_s
    )
    return (
        1.5 * config.forget_after_s
        + plan.mix.ttl_s_max
        + config.clock_drift_max_s
        + EXPIRED_S
        + pools * passing_on_s
    )


def _catching_up_s(plan: Scenario) -> float:
    """How long the slowest clock refuses the timestamps of the fastest one."""
    intensity = plan.intensity
    apart_ms = 2 * intensity.clock_skew_ms + (GLITCH_MS_MAX if intensity.glitch_rate else 0.0)
    return max(0.0, apart_ms / 1000 - plan.config.clock_drift_max_s)


def _lacking(records: list[bytes | None]) -> float:
    newest = max(version_of(record) for record in records if record)
    return sum(not record or version_of(record) < newest for record in records) / len(records)
