"""The simulator where deletes are under trial: seeds must pass, and each planted mistake must be
caught by the oracle.

Where chance is too rare, a schedule is written by hand: who is cut off, who exchanges with whom,
who crashes and comes back.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest

from kvgossip.protocol.anti_entropy.initiator import Exchange
from kvgossip.protocol.anti_entropy.scheduler import ExchangeScheduler
from kvgossip.protocol.disk_condition import DiskCondition
from kvgossip.protocol.effect import Effect, Quarantined, Send
from kvgossip.protocol.model.entry import is_dead, timestamp_in
from kvgossip.protocol.model.hlc import milliseconds_of
from kvgossip.protocol.model.member import Member
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.model.peer import PoolKind
from kvgossip.protocol.replica import Replica
from kvgossip.protocol.tombstones.causal_context import CausalContext
from kvgossip.protocol.tombstones.collection import Ripe, TombstoneCollection
from kvgossip.protocol.tombstones.own_writes import OwnWrites
from kvgossip.protocol.tombstones.tombstones import Tombstones
from kvgossip.protocol.wire.exchange_messages import Want
from kvgossip.sim.checks.absence import AbsenceCheck
from kvgossip.sim.checks.agreement import disagreement
from kvgossip.sim.checks.oracle import Oracle
from kvgossip.sim.checks.violation import BrokenLawError
from kvgossip.sim.cluster import Cluster
from kvgossip.sim.deletion import QUICK, deletion_options
from kvgossip.sim.faults import Crash, Intensity, Restart
from kvgossip.sim.host import Life
from kvgossip.sim.scenario import Joining, Options, scenario
from kvgossip.sim.simulation import Simulation, simulate
from kvgossip.sim.tracing import Event
from kvgossip.sim.workload import Write
from tests.protocol.net import record

SEEDS = 12
CHUNK = 3
# 280, 295, 5183: what had expired was collected while a slower clock still served it, so a write
# was lost, or they disagreed in the end. 11088, 11217, 11578: when all is done, a probe is lost on
# the way between datacenters, and makes a suspect that has still to refute. 11250: a host vanishes
# for good, and with its disk writes that it alone had. 14304: a host was renamed, and those who had
# known it asked at its address for ever, each time with an exchange. 18988: all was collected
# before two nodes had asked again at their join addresses, which had long been down. 49: nobody runs
# when clusters are to be merged. 10155: a node starts with a clock that is behind, and what has
# expired in truth goes to its quarantine. 20556, 20582, 21097: so it does where peers have shown
# that this clock is behind, but not yet the one that has collected it. 20571, 21605: a clock is set
# right, and before the node looks what has expired, it drops that in silence.
BROKE_A_LAW_ONCE = (
    *(49, 90, 178, 280, 295, 5183, 10155, 11088, 11217, 11250, 11578, 14304, 18988),
    *(20556, 20571, 20582, 21097, 21605),
)
Plant = Callable[[pytest.MonkeyPatch], None]


def honest(seed: int) -> Options:
    """The options of this seed's run, but for liars: as it was before there were any."""
    options = deletion_options(seed)
    assert options.intensity is not None
    return replace(
        options, intensity=replace(options.intensity, stranger_rate=0.0, hostile_rate=0.0)
    )


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_seeds_keep_every_law_and_end_without_certificates_and_quiet(first: int) -> None:
    for seed in range(first, first + CHUNK):
        report = simulate(seed, deletion_options(seed))
        assert report.passed, (
            f"{report.violation}; repeat it with: kvgossip sim deletes --seed {seed} --trace 200"
        )


@pytest.mark.parametrize("seed", range(6))
def test_seeds_keep_every_law_with_batches(seed: int) -> None:
    options = deletion_options(seed)
    # a batch has more than one key
    mix = replace(options.mix, hot_keys=max(options.mix.hot_keys, 3))
    report = simulate(seed, replace(options, mix=mix, batch_share=0.7))
    assert report.passed, report.violation
    assert report.batches > 0


@pytest.mark.parametrize("seed", BROKE_A_LAW_ONCE)
def test_seeds_that_once_broke_a_law_keep_them_all(seed: int) -> None:
    report = simulate(seed, honest(seed))
    assert report.passed, report.violation


# 20834: a stranger's record, which is dropped again, has superseded a value. 11245: a node writes a
# key whose value it has lost to the quarantine, on a false word: these two are in conflict
@pytest.mark.parametrize("seed", [10003, 10069, 10246, 11245, 20834])
def test_so_do_those_with_liars(seed: int) -> None:
    report = simulate(seed, deletion_options(seed))
    assert report.passed, report.violation
    assert report.faults["lie"] > 0


# -- disks with holes ----------------------------------------------------------------------------

HOLES = (117, 331, 186, 308, 326)
"""Seeds whose disks lose what others would be made to lose, too, were the context kept."""


@pytest.mark.parametrize("seed", HOLES)
def test_a_disk_that_has_silently_lost_entries_takes_none_out_of_others(seed: int) -> None:
    report = simulate(seed, honest(seed))
    assert report.passed, report.violation


@pytest.mark.parametrize("seed", HOLES[:3])
def test_a_life_that_keeps_the_context_of_a_disk_with_a_hole_is_caught(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DiskCondition, "loaded", lambda disk: disk._store.loaded())
    report = simulate(seed, honest(seed))
    assert "an acknowledged write is lost" in str(report.violation)


# -- schedules -----------------------------------------------------------------------------------


class Stage:
    """A cluster of hosts with disks, all joined. From then on exchanges start by hand alone; rumors
    and probes go on."""

    def __init__(
        self,
        patch: pytest.MonkeyPatch,
        nodes: int,
        *,
        datacenters: int = 1,
        forget_after_s: float = 8.0,
    ) -> None:
        wan = tuple((name, value) for name, value in QUICK.items() if name != "digest_levels")
        parameters = {
            **QUICK,
            "forget_after_s": forget_after_s,
            "push_pull_interval_s": 3600.0,
            "wan_parameters": wan,
        }
        options = Options(
            nodes=(nodes, nodes),
            intensity=Intensity(),
            durable=True,
            parameters=parameters,
            datacenters=(datacenters, datacenters),
        )
        plan = replace(
            scenario(1, options),
            joining=Joining.FOUNDER,
            addressless=False,
            gateways=1,
        )
        self.cluster = Cluster(plan)
        for host in self.cluster.hosts:
            self.cluster.lives.start(host)
        self.until(lambda: disagreement([life.witness for life in self.cluster.running()]) is None)
        self.cluster.faults.quiet = False
        self._start = ExchangeScheduler.start
        patch.setattr(ExchangeScheduler, "start", lambda *arguments, **named: None)

    def life(self, node: int) -> Life:
        life = self.cluster.hosts[node].life
        assert life is not None
        return life

    def advance(self, seconds: float) -> None:
        timeline = self.cluster.timeline
        timeline.stopped = False
        timeline.at(timeline.time_s + seconds, lambda: setattr(timeline, "stopped", True))
        timeline.run()

    def until(self, condition: Callable[[], bool], seconds: float = 60.0) -> None:
        end_s = self.cluster.timeline.time_s + seconds
        while not condition():
            assert self.cluster.timeline.time_s < end_s, "it did not happen"
            self.advance(0.2)

    def write(self, node: int, value: bytes | None, key: str = "k") -> None:
        write = Write(key, value, 0.0)
        life = self.life(node)
        self.cluster.driver.turn(
            life, Event.PUT, key.encode(), self.cluster.clients.accept, life, write
        )

    def exchange(self, node: int, peer: int, pool: PoolKind = PoolKind.LAN) -> None:
        """Until it is complete."""
        exchanges = self.life(node).replica.in_pool(pool).exchanges
        completed = exchanges.completed
        self.begin(node, peer, pool)
        self.until(lambda: exchanges.completed > completed, 5.0)

    def begin(self, node: int, peer: int, pool: PoolKind = PoolKind.LAN) -> None:
        life, name = self.life(node), self.cluster.hosts[peer].name

        def start(now: Now) -> list[Effect]:
            self._start(life.replica.in_pool(pool).exchanges, name, now, differs=True)
            return life.replica.tick(now)

        self.cluster.driver.turn(life, Event.TICK, b"", start)

    def cut(self, *pairs: tuple[int, int]) -> None:
        self.cluster.network.cut([way for a, b in pairs for way in ((a, b), (b, a))])

    def mend(self) -> None:
        self.cluster.network.mend_all()

    def crash(self, node: int) -> None:
        self.cluster.faults.strike(Crash(node))

    def back(self, node: int) -> None:
        self.cluster.faults.strike(Restart(node, moved=False, renamed=False))

    def knows(self, node: int, other: int) -> bool:
        return (
            self.cluster.hosts[other].name in self.life(node).replica.pools.lan.membership.members
        )

    def holds(self, node: int, key: str = "k") -> bool:
        return key in self.life(node).witness.records

    def collected(self, *nodes: int) -> bool:
        return not any(len(self.life(node).replica.tombstones.collecting) for node in nodes)

    def check(self, node: int) -> None:
        """What must hold at the end, where all agree with this one."""
        witness = self.life(node).witness
        self.cluster.oracle.check(witness.records, witness.live(), self.cluster.wall_ms)


def only_a_dot_covers_the_delete(patch: pytest.MonkeyPatch) -> Stage:
    """n1 knows the delete by rumor alone, and never heard of the value, which comes back with n2
    when all have forgotten that."""
    stage = Stage(patch, 3)
    stage.cut((1, 0), (1, 2))
    stage.write(2, b"v")
    stage.until(lambda: stage.holds(0))
    stage.advance(3.0)
    stage.crash(2)
    stage.mend()
    stage.until(
        lambda: (
            not stage.knows(0, 2)
            and not stage.knows(1, 2)
            and stage.knows(0, 1)
            and stage.knows(1, 0)
        ),
        120,
    )
    stage.write(0, None)
    stage.until(lambda: stage.holds(1))
    stage.advance(30.0)
    stage.cut((0, 1), (0, 2))
    stage.back(2)
    stage.advance(2.0)
    stage.exchange(2, 1)
    return stage


def a_node_returns_to_one_that_restarted(patch: pytest.MonkeyPatch) -> Stage:
    """All have collected the delete but n2, which was forgotten; n1 restarts from its disk; n2
    comes back to it with the value."""
    stage = Stage(patch, 3)
    stage.write(2, b"v")
    stage.until(lambda: stage.holds(0) and stage.holds(1))
    stage.exchange(0, 2)
    stage.exchange(1, 2)
    stage.advance(1.0)
    stage.crash(2)
    stage.write(0, None)
    stage.exchange(1, 0)
    stage.until(lambda: not stage.knows(0, 2) and not stage.knows(1, 2), 120)
    stage.until(lambda: stage.collected(0, 1))
    stage.advance(1.0)
    stage.crash(1)
    stage.back(1)
    stage.advance(1.0)
    stage.cut((0, 1), (0, 2))
    stage.back(2)
    stage.advance(2.0)
    stage.exchange(2, 1)
    return stage


def a_life_writes_below_what_an_earlier_one_passed_on(patch: pytest.MonkeyPatch) -> Stage:
    """n0's clock is ahead. n1 hears that, writes, tells n2 in an exchange, and comes back from an
    earlier copy of its disk: the next life's clock is behind again."""
    stage = Stage(patch, 3)
    stage.cluster.hosts[0].clock.offset_ms += 8_000
    host, oracle = stage.cluster.hosts[1], stage.cluster.oracle
    disk, mark = deepcopy(host.disk), oracle.mark(1)
    stage.cut((0, 2))
    stage.write(0, b"ahead", "other")
    stage.until(lambda: stage.holds(1, "other"))
    stage.write(1, b"ahead", "mine")
    stage.exchange(1, 2)
    stage.cut((0, 1), (1, 2))
    stage.crash(1)
    host.disk = disk
    oracle.set_back(1, mark)
    oracle._set_back = False  # as a new life, so nothing is excused
    stage.back(1)
    stage.advance(0.5)
    stage.write(1, b"v")
    stage.mend()
    stage.cut((0, 1), (0, 2))
    stage.exchange(2, 1)
    stage.advance(1.0)
    stage.check(1)
    return stage


def a_plain_node_behind_a_gateway_is_late(patch: pytest.MonkeyPatch) -> Stage:
    """dc0: the gateway n0 and n2; dc1: the gateway n1 and n3. n3 is cut off from its gateway while
    n2's value is deleted."""
    stage = Stage(patch, 4, datacenters=2, forget_after_s=3600.0)
    stage.write(2, b"v")
    stage.until(lambda: all(stage.holds(node) for node in range(4)))
    stage.advance(3.0)
    stage.cut((1, 3))
    stage.write(2, None)
    stage.advance(2.0)
    for _ in range(3):
        stage.exchange(2, 0)
        stage.exchange(0, 1, PoolKind.WAN)
        stage.exchange(1, 0, PoolKind.WAN)
        stage.exchange(0, 2)
        stage.advance(10.0)
    stage.mend()
    stage.until(lambda: stage.life(1).replica.pools.lan.membership.reachable != [], 120)
    stage.exchange(1, 3)
    stage.advance(1.0)
    return stage


def an_exchange_is_cut_before_its_entries_came(patch: pytest.MonkeyPatch) -> Stage:
    """n0 has more than one message holds. n1 asks for it, and is cut off when n0's context has come
    but not yet all of its entries."""
    stage = Stage(patch, 2, forget_after_s=3600.0)
    stage.cut((0, 1))
    for number in range(4):
        stage.write(0, b"v" * 100_000, f"k{number}")
    stage.advance(60.0)
    stage.mend()
    stage.until(lambda: stage.life(0).replica.pools.lan.membership.reachable != [])
    asked = [0]

    def cut(sent: Send) -> None:
        asked[0] += any(
            isinstance(message, Want)
            for message in stage.cluster.framing.open(sent.data, reliable=sent.reliable).messages
        )
        if asked[0] == 1 and not stage.cluster.network.is_cut(0, 1):
            stage.cut((0, 1))

    stage.cluster.tap = cut
    exchanges = stage.life(1).replica.pools.lan.exchanges
    stage.begin(1, 0)
    stage.until(lambda: exchanges.cut > 0, 10.0)
    stage.cluster.tap = None
    assert asked == [1]
    stage.mend()
    stage.until(lambda: stage.life(0).replica.pools.lan.membership.reachable != [])
    stage.exchange(1, 0)
    stage.check(1)
    return stage


SCHEDULES = (
    an_exchange_is_cut_before_its_entries_came,
    only_a_dot_covers_the_delete,
    a_node_returns_to_one_that_restarted,
    a_life_writes_below_what_an_earlier_one_passed_on,
    a_plain_node_behind_a_gateway_is_late,
)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: schedule.__name__)
def test_the_schedules_break_no_law(
    schedule: Callable[[pytest.MonkeyPatch], Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule(monkeypatch)


# -- mistakes ------------------------------------------------------------------------------------


def _rows_advance_on_a_cut_exchange(patch: pytest.MonkeyPatch) -> None:
    cut = ExchangeScheduler._cut

    def advancing(
        exchanges: ExchangeScheduler, exchange: Exchange, now: Now, *, slow: bool = False
    ) -> None:
        exchanges._tombstones.learn(exchange.context._difference.facts, exchange.peer, now)
        cut(exchanges, exchange, now, slow=slow)

    patch.setattr(ExchangeScheduler, "_cut", advancing)


def _nothing_is_refused(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Tombstones, "refuses", lambda *arguments: False)
    patch.setattr(Tombstones, "has_collected", lambda *arguments: False)


def _a_dot_is_enough_to_collect(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(TombstoneCollection, "may_drop", lambda collecting, record, wall_ms: True)


def _certificates_go_by_age(patch: pytest.MonkeyPatch) -> None:
    def next_batch(collecting: TombstoneCollection, wall_ms: int) -> Ripe:
        dead = ((key, record) for key, record in collecting._store.records() if is_dead(record))
        old = [
            key for key, record in dead if milliseconds_of(timestamp_in(record)) < wall_ms - 3000
        ]
        return Ripe(old, [], [], False)

    patch.setattr(TombstoneCollection, "next_batch", next_batch)


def _the_context_is_lost_at_a_restart(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(CausalContext, "restore", lambda *arguments: None)


def _a_site_outlives_its_life(patch: pytest.MonkeyPatch) -> None:
    """And does not look at what it has not written: else it would begin another one."""
    patch.setattr(CausalContext, "is_foreign", lambda *arguments: False)
    patch.setattr(CausalContext, "lost_in", lambda *arguments: None)
    patch.setattr(OwnWrites, "__contains__", lambda *arguments: True)
    begin = Replica.__init__

    class Same:
        def __init__(self, rng: Any, name: str) -> None:
            self._rng, self._name, self._first = rng, name, True

        def getrandbits(self, bits: int) -> int:
            if self._first and bits == 64:
                self._first = False
                return int.from_bytes(self._name.encode().rjust(8, b"s"))
            return int(self._rng.getrandbits(bits))

        def __getattr__(self, name: str) -> Any:
            return getattr(self._rng, name)

    def same(replica: Replica, config: Any, *, rng: Any, **named: Any) -> None:
        begin(replica, config, rng=Same(rng, config.name), **named)  # type: ignore[arg-type]

    patch.setattr(Replica, "__init__", same)


def _gateways_answer_for_themselves(patch: pytest.MonkeyPatch) -> None:
    def held_for(deletes: Tombstones, member: Member) -> int:
        return deletes.context.seen.get(member.site, 0)

    patch.setattr(Tombstones, "held_for", held_for)


@pytest.mark.parametrize(
    ("plant", "schedule", "text"),
    [
        (
            _rows_advance_on_a_cut_exchange,
            an_exchange_is_cut_before_its_entries_came,
            "quarantine|is lost",
        ),
        (_nothing_is_refused, a_node_returns_to_one_that_restarted, "is served again"),
        (_a_dot_is_enough_to_collect, only_a_dot_covers_the_delete, "is served again"),
        (_certificates_go_by_age, only_a_dot_covers_the_delete, "is served again"),
        (
            _the_context_is_lost_at_a_restart,
            a_node_returns_to_one_that_restarted,
            "is served again",
        ),
        (
            _a_site_outlives_its_life,
            a_life_writes_below_what_an_earlier_one_passed_on,
            "an acknowledged write is lost",
        ),
        (_gateways_answer_for_themselves, a_plain_node_behind_a_gateway_is_late, "quarantine"),
    ],
)
def test_a_planted_mistake_is_caught_by_a_schedule(
    plant: Plant,
    schedule: Callable[[pytest.MonkeyPatch], Stage],
    text: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plant(monkeypatch)
    with pytest.raises(BrokenLawError, match=text):
        schedule(monkeypatch)


def false_drops(seed: int) -> int:
    """How many live values this seed's run, with machines that are set back, takes out."""
    options = honest(seed)
    assert options.intensity is not None
    assert options.intensity.set_back_rate
    run = Simulation(scenario(seed, options))
    report = run.run()
    assert report.passed, report.violation
    assert report.faults["setback"] > 0
    return run.cluster.oracle.false_drops


@pytest.mark.parametrize("seed", [0, 2, 5])
def test_machines_that_are_set_back_take_no_live_value_out(seed: int) -> None:
    assert false_drops(seed) == 0


def test_a_planted_mistake_covering_all_of_the_own_site_takes_live_values_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(OwnWrites, "__contains__", lambda *arguments: True)
    assert false_drops(5) > 0


# -- the oracle ------------------------------------------------------------------------------------


def test_the_oracle_tells_what_was_deleted_from_what_its_deleter_had_not_seen() -> None:
    oracle = Oracle()
    seen, unseen, dead = record(b"v", 1, site=1), record(b"w", 2, site=2), record(None, 3, site=3)
    oracle.wrote(1, "k", seen)
    oracle.holds(1, "k", seen)
    oracle.holds(3, "k", seen)
    oracle.wrote(2, "k", unseen)
    oracle.wrote(3, "k", dead)
    oracle.holds(3, "k", dead)
    oracle.holds(3, "k", unseen)
    with pytest.raises(BrokenLawError, match="is served again"):
        oracle.holds(3, "k", seen)
    oracle.check({"k": unseen}, {"k": unseen}, 0)
    oracle.check({}, {}, 0)
    with pytest.raises(BrokenLawError, match="alive at the end"):
        oracle.check({"k": seen}, {"k": seen}, 0)


def test_the_oracle_forgets_what_a_crash_took() -> None:
    oracle = Oracle()
    seen, dead = record(b"v", 1, site=1), record(None, 3, site=3)
    oracle.wrote(1, "k", seen)
    oracle.holds(1, "k", seen)
    oracle.holds(2, "k", seen)
    oracle.committed(2)
    oracle.wrote(1, "k", dead)
    oracle.holds(2, "k", dead)
    oracle.crashed(2, durable=True)
    oracle.holds(2, "k", seen)
    oracle.crashed(1, durable=False)
    oracle.check({}, {}, 0)


def test_what_a_lost_disk_alone_had_is_lost_but_not_what_others_have_merged() -> None:
    oracle = Oracle()
    alone, merged = record(b"v", 1, site=1), record(b"w", 2, site=1)
    oracle.wrote(1, "k", alone)
    oracle.wrote(1, "l", merged)
    oracle.holds(2, "l", merged)
    oracle.crashed(1, durable=False)
    oracle.check({"l": merged}, {"l": merged}, 0)
    with pytest.raises(BrokenLawError, match="an acknowledged write is lost"):
        oracle.check({}, {}, 0)
    oracle.crashed(2, durable=True)
    oracle.check({}, {}, 0)


def test_what_a_forgery_has_superseded_counts_as_forged_once_a_node_has_taken_that() -> None:
    oracle = Oracle()
    old, forged, new = record(b"v", 1, site=1), record(b"w", 2, site=2), record(b"x", 3, site=1)
    check = AbsenceCheck(lambda: True, oracle.is_forged)
    oracle.wrote(1, "k", old)
    oracle.forged("k", forged)
    with pytest.raises(BrokenLawError, match="nobody was ever away"):
        check.quarantined(Quarantined("k", old, "n1"))
    oracle.holds(2, "k", forged)
    oracle.wrote(1, "k", new)
    for gone in (old, forged):
        check.quarantined(Quarantined("k", gone, "n1"))
    for key, kept in (("k", new), ("l", old)):
        with pytest.raises(BrokenLawError, match="nobody was ever away"):
            check.quarantined(Quarantined(key, kept, "n1"))


def test_the_oracle_notices_what_is_lost() -> None:
    oracle = Oracle()
    kept, late = record(b"v", 5, site=1), record(None, 4, site=2)
    oracle.wrote(1, "k", kept)
    oracle.wrote(2, "k", late)
    with pytest.raises(BrokenLawError, match="an acknowledged write is lost"):
        oracle.check({"k": late}, {}, 0)
