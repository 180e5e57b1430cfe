"""Agreement: the running replicas hold the same data and know of each other; and how long they may
take to get there."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from kvgossip.config import Address, Config
from kvgossip.protocol.model.member import Member, MemberState
from kvgossip.protocol.pools.pool import Pool
from kvgossip.protocol.replica import Replica
from kvgossip.protocol.tombstones.drops import HEARSAY_S
from kvgossip.protocol.typed.body import fingerprinted
from kvgossip.sim.checks.invariants import Witness
from kvgossip.sim.checks.violation import brief


def disagreement(
    witnesses: Sequence[Witness], *, settling: bool = True, views: bool = True
) -> str | None:
    """Why the running replicas do not agree yet, or None if they do. Cheap while the roots differ.

    `settling` False: they need not be settled, as nobody settles without exchanges. `views` False:
    nor need they hold each other alive.
    """
    first = witnesses[0].replica
    for witness in witnesses:
        if witness.replica.store.digest.root != first.store.digest.root:
            return f"roots differ: {_rooted(first)}, {_rooted(witness.replica)}"
        if witness.replica.store.digest.seed != first.store.digest.seed:
            return f"seeds differ: {_named(first)}, {_named(witness.replica)}"
        if settling and not witness.replica.settled:
            return f"{witness.replica.config.name} is not settled"
        here, there = first.cluster_id.value, witness.replica.cluster_id.value
        if len(witnesses) > 1 and not (there.minted and there.meets(here)):
            return f"cluster ids differ: {_named(first)}, {_named(witness.replica)}"
    return _views_differ(witnesses) if views else None


def _views_differ(witnesses: Sequence[Witness]) -> str | None:
    """The first pool whose members do not hold exactly each other alive."""
    pools: dict[str, list[tuple[Pool, Mapping[str, Member]]]] = {}
    for witness in witnesses:
        for pool, seen in zip(
            witness.replica.pools, (witness.members, witness.gateways), strict=False
        ):
            pools.setdefault(pool.name, []).append((pool, seen))
    return next(
        (why for views in pools.values() if (why := _pool_differs(views)) is not None), None
    )


def _pool_differs(views: Sequence[tuple[Pool, Mapping[str, Member]]]) -> str | None:
    running = {pool.membership.me.name: pool.membership.me for pool, _ in views}
    for pool, members in views:
        who = f"{pool.membership.me.name} in {pool.name}"
        for name, member in running.items():
            seen = members.get(name)
            if seen is None or seen.state is not MemberState.ALIVE or _life(seen) != _life(member):
                return f"{who} does not hold {name} alive: {seen} / {member}"
        for seen in members.values():
            if seen.reachable and seen.name not in running:
                return f"{who} holds {seen.name} {seen.state.name.lower()}, which is not running"
    return None


def _life(member: Member) -> tuple[int, int, Address]:
    return member.generation, member.site, member.address


def contents_differ(witnesses: Sequence[Witness]) -> str | None:
    """The first key whose record is not the same everywhere, or None. Equal roots promise None;
    this proves it."""
    first = witnesses[0]
    for witness in witnesses[1:]:
        if _fingerprinted(witness.records) != _fingerprinted(first.records):
            keys = sorted(first.records.keys() | witness.records.keys())
            key = next(key for key in keys if first.records.get(key) != witness.records.get(key))
            here, there = brief(first.records.get(key)), brief(witness.records.get(key))
            return (
                f"equal roots but different entries of {key!r}: "
                f"{first.replica.config.name} {here}, {witness.replica.config.name} {there}"
            )
    return None


def _fingerprinted(records: Mapping[str, bytes]) -> dict[str, bytes]:
    return {key: fingerprinted(record) for key, record in records.items()}


def agreement_periods_max(config: Config, nodes: int) -> int:
    """Protocol periods after the last fault within which all must agree: the slowest ways one after
    the other, each with its reason.

    - Finding each other again: a node whose join address was down asks again after a pause of at
      most 30 times `join_retry_s`. (Dead members are retried each period, so those who knew each
      other need no more than a few.)
    - Finding the dead members: a probe of a node that doubts itself is stretched up to `1 +
      awareness_max` times; the suspicion that follows lasts at most `suspicion_multiplier * max(1,
      log10 n) * suspicion_max_multiplier` periods.
    - Exchanges: one that was cut waits for `exchange_timeout_s`, and the next one comes at the
      push-pull floor at the latest, which is spread by a quarter; ignorance at least halves each
      time that probes show different roots for `rumor_settling_s`.
    """
    period_s, halvings = config.probe_interval_s, math.ceil(math.log2(nodes + 1))
    finding_s = 30 * config.join_retry_s
    suspecting_s = (
        config.suspicion_multiplier
        * max(1.0, math.log10(nodes))
        * config.suspicion_max_multiplier
        * period_s
    )
    probing_s = (1 + config.awareness_max) * period_s
    exchanging_s = (
        config.exchange_timeout_s
        + 1.25 * config.push_pull_interval_s
        + halvings * (config.rumor_settling_s + period_s)
    )
    return math.ceil((finding_s + probing_s + suspecting_s + exchanging_s) / period_s)


def _named(replica: Replica) -> str:
    return f"{replica.config.name} {replica.cluster_id.value}"


def _rooted(replica: Replica) -> str:
    return f"{replica.config.name} {replica.store.digest.root:016x}"


def agreeing_s(config: Config, nodes: int) -> float:
    """How long one pool may take to agree."""
    return agreement_periods_max(config, nodes) * config.probe_interval_s


def hearing_s(witnesses: Sequence[Witness]) -> float:
    """How long agreement may take beyond that while somebody holds hearsay, seconds: of what it
    took out on another's word, and of what came later from the same writers, it tells nobody before
    the word is confirmed or forgotten (tombstones/drops.py)."""
    any_hearsay = any(witness.replica.tombstones.drops.hearsay for witness in witnesses)
    return HEARSAY_S if any_hearsay else 0.0
