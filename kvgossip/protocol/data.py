"""Data: the one copy of the data of a replica, and the mechanisms that decide what comes into it,
what leaves it, and what may be said of it. All of them are of the replica, and none is of a pool.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from random import Random

from xxhash import xxh3_64_intdigest

from kvgossip.config import Config
from kvgossip.protocol.acks.tracker import AckTracker
from kvgossip.protocol.anti_entropy.inspections import Inspections
from kvgossip.protocol.anti_entropy.left_out import LeftOut
from kvgossip.protocol.anti_entropy.survey import Surveys
from kvgossip.protocol.clock_guard import ClockGuard
from kvgossip.protocol.disk_condition import DiskCondition
from kvgossip.protocol.membership.own_cluster_id import OwnClusterId
from kvgossip.protocol.merging import Merging
from kvgossip.protocol.model.change import Persist
from kvgossip.protocol.model.cluster_id import SEED_BITS
from kvgossip.protocol.model.hlc import HybridLogicalClock, milliseconds_of
from kvgossip.protocol.model.lag import Lag
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.model.story import STORY, Story
from kvgossip.protocol.outbox import Outbox
from kvgossip.protocol.pools.pool_set import PoolSet
from kvgossip.protocol.readiness import Readiness
from kvgossip.protocol.saved_state import SavedLife, SavedState
from kvgossip.protocol.settling import Settling
from kvgossip.protocol.store.digest import DigestTree
from kvgossip.protocol.store.store import Store
from kvgossip.protocol.tombstones.causal_context import CausalContext
from kvgossip.protocol.tombstones.set_back import BeginLife, SetBack
from kvgossip.protocol.tombstones.tombstones import Tombstones


class Data:
    """`saved`, `rebuilding`, `found`: see Replica; `begin_life`: see set_back.py."""

    def __init__(
        self,
        config: Config,
        site: int,
        pools: PoolSet,
        *,
        saved: Mapping[bytes, bytes] | None,
        rebuilding: bool,
        found: bool,
        begin_life: BeginLife,
        outbox: Outbox,
        counters: Counter[str],
        rng: Random,
        now: Now,
    ) -> None:
        self._pools, self.saved = pools, SavedState(saved or {})
        self.hlc = _clock(config, self.saved)
        self.store = _store(config, self.saved)
        self.readiness = Readiness()
        self.clock_guard = ClockGuard(config.clock_drift_max_s, self.hlc, outbox)
        self.lag = Lag(config.datacenter, self.clock_guard, counters, pools.ask_clocks)
        self.story = Story(self.saved.facts.get(STORY), now)
        self.surveys = Surveys(outbox, rng)
        self.inspections = Inspections(config, self.store, outbox, rng)
        self.acks = AckTracker(outbox, rng, pools.enquire, pools.state_of)
        self.set_back = SetBack(begin_life, rng, outbox, counters)
        self.tombstones = Tombstones(
            config,
            site,
            self.store,
            self.hlc,
            pools,
            self.clock_guard,
            outbox,
            counters,
            self.set_back,
            durable=saved is not None,
        )
        context = self._restore(rebuilding)
        self.left_out = LeftOut(config, self.store, context, outbox)
        self._open_settling(config, site, pools, rebuilding, found, outbox, rng, now)
        place = self.cluster_id.place
        self.disk = DiskCondition(self.saved, self.store, context, self.settling, outbox, place)
        for guard in (self.settling, self.set_back, self.tombstones.drops.fuse, self.clock_guard):
            self.readiness.add(guard.not_ready)
        self.merging = Merging(
            self.clock_guard,
            self.store,
            self.tombstones,
            self.acks,
            self.settling,
            self.lag,
            self.story,
            pools.all,
            outbox,
            counters,
            now,
        )

    def _restore(self, rebuilding: bool) -> CausalContext:
        """What an earlier life knew of what had gone."""
        self.tombstones.drops.expired_ms = self.saved.own.expired_ms
        self.tombstones.collecting.former.restore(self.saved.own)
        context = self.tombstones.context
        (context.drop if rebuilding else context.restore)(self.saved.facts)
        return context

    def _open_settling(
        self,
        config: Config,
        site: int,
        pools: PoolSet,
        rebuilding: bool,
        found: bool,
        outbox: Outbox,
        rng: Random,
        now: Now,
    ) -> None:
        self.settling = settling = Settling(
            config,
            now,
            was_settled=self.saved.own.settled,
            rebuilding=rebuilding or self.saved.own.rebuilding,
            found=found,
            kept_ms=milliseconds_of(self.saved.clock),
            exchanged_ms=self.saved.own.exchanged_ms,
            pools=pools.all,
            own_facts=self.own_facts,
            # from now on the members that are known count for writes that wait
            on_settled=lambda: self.acks.judge_anew(pools.groups_of),
            outbox=outbox,
        )
        self.cluster_id = OwnClusterId(
            self.saved.own.cluster_id,
            site,
            rng.getrandbits(SEED_BITS),
            reseed=self.store.reseed,
            settled=lambda: settling.settled,
            alone=lambda: not self.store and pools.is_alone(),
            tell=pools.tell_cluster_id,
            own_facts=self.own_facts,
            outbox=outbox,
        )

    def own_facts(self) -> list[Persist]:
        """The fact about this life, if it has changed."""
        settling, wan = self.settling, self._pools.wan
        former, context = self.tombstones.collecting.former, self.tombstones.context
        life = SavedLife(
            self._pools.lan.membership.me.generation,
            0 if wan is None else wan.membership.me.generation,
            settling.settled or settling.has_data,
            settling.rebuilding and not settling.settled,
            cluster_id=self.cluster_id.kept,
            exchanged_ms=settling.exchanged_ms,
            expired_ms=self.tombstones.drops.expired_ms,
            name=former.name,
            lives=former.kept(context.site, has_written=context.writes > 0),
        )
        return self.saved.own_facts(life)


def _clock(config: Config, saved: SavedState) -> HybridLogicalClock:
    """One that goes on from where it was in an earlier life."""
    hlc = HybridLogicalClock(int(config.clock_drift_max_s * 1000))
    hlc.latest = saved.clock
    hlc.shown_ms = milliseconds_of(saved.clock)
    return hlc


def _store(config: Config, saved: SavedState) -> Store:
    """One that places keys as the earlier life did with whose root it will be compared; without
    one, by the cluster's name, until an id is minted (model/cluster_id.py)."""
    by_name = xxh3_64_intdigest(config.cluster.encode())
    return Store(DigestTree(config.digest_levels, by_name if saved.seed is None else saved.seed))
