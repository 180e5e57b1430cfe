"""The status of a node, ready for JSON: the facts that an operator may want to know of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from kvgossip.config.exposure import open_doors
from kvgossip.protocol.membership.partition_watch import PartitionWatch
from kvgossip.protocol.model.member import MemberState
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.model.peer import PoolKind
from kvgossip.protocol.pools.pool import Pool
from kvgossip.runtime.life import Life
from kvgossip.runtime.reports.lag import lag_by_datacenter


def status_of(life: Life, now: Now) -> dict[str, Any]:
    """`statistics` are the replica's, `transport` the sockets'."""
    config, driver = life.config, life.driver
    replica, watches = driver.replica, driver.publisher.feed.watches
    statistics = replica.statistics()
    return {
        "name": config.name,
        "cluster": config.cluster,
        "cluster_id": str(replica.cluster_id.value) if replica.cluster_id.value.minted else None,
        "datacenter": config.datacenter,
        "gateway": config.gateway,
        "site": f"{replica.site:016x}",
        "gossip": str(replica.member.address),
        "http": str(config.http) if config.http else None,
        "open": open_doors(config),
        "settled": replica.settled,
        "stale_s": replica.settling.stale_s(now),
        "not_ready": [reason._asdict() for reason in replica.readiness.reasons(now)],
        "overload": life.writes.overload,
        "memory_only": life.disk is None,
        "storage": life.disk.status() if life.disk is not None else None,
        "root": f"{replica.store.digest.shown:016x}",
        "keys": statistics["keys"],
        "members": _states(replica.pools.lan),
        "certificates_wait_for": replica.tombstones.late(),
        "clock_ahead_s": replica.clock_guard.ahead_s(now),
        "hybrid_clock_ahead_s": replica.clock_guard.hybrid_ahead_s(now),
        "clock_trouble": replica.clock_guard.trouble(now) or None,
        "lag": lag_by_datacenter(replica.lag, now),
        "trends": life.trends.status(),
        "suspected_partition": _partition(replica.pools.lan.partition, now),
        "blocked": replica.blocklist.targets(),
        "quarantined": driver.quarantine.count,
        "identity": replica.identity.fingerprint.hex() if replica.identity is not None else None,
        "keyring": {"primary": replica.keyring.primary, "keys": replica.keyring.ids}
        if replica.keyring is not None
        else None,
        "last_exchange_age_s": replica.pools.last_exchange_s(now),
        "watchers": len(watches),
        "watchers_cut_off": watches.lagged,
        "statistics": statistics,
        "transport": _added_up(each.statistics() for each in life.transports.values()),
        "pools": {pool.kind.value: _pool_status(life, pool, now) for pool in replica.pools},
    }


def _pool_status(life: Life, pool: Pool, now: Now) -> dict[str, Any]:
    return {
        "name": pool.name,
        "address": str(pool.membership.me.address),
        "members": _states(pool),
        "member_events": _member_events(life.driver.member_events, pool.kind),
        "suspected_partition": _partition(pool.partition, now),
        "udp_blocked": pool.membership.round_trips.blocked(),
        "unequal": _unequal(pool, now),
        "statistics": pool.statistics(),
        "transport": life.transports[pool.kind].statistics(),
    }


def _member_events(events: Mapping[tuple[PoolKind, str], int], pool: PoolKind) -> dict[str, int]:
    """How often a member came to each state, in the eyes of this node."""
    return {state: count for (kind, state), count in events.items() if kind is pool}


def _states(pool: Pool) -> dict[str, int]:
    """How many members are in which state."""
    states = Counter(member.state for member in pool.membership.members.values())
    return {state.name.lower(): states[state] for state in MemberState}


def _partition(watch: PartitionWatch, now: Now) -> dict[str, Any] | None:
    if watch.since_s is None:
        return None
    return {"age_s": round(now.monotonic_s - watch.since_s, 3), "lost": watch.lost}


def _unequal(pool: Pool, now: Now) -> dict[str, float]:
    """How many members have shown another root than this node's, and the longest for how long."""
    spans_s = pool.exchanges.unequal(now).values()
    return {"members": len(spans_s), "longest_s": round(max(spans_s, default=0.0), 3)}


def _added_up(statistics: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for each in statistics:
        total.update(each)
    return dict(total)
