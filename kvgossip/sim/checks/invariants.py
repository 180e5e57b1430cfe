"""What must hold. Safety at every step of every replica, liveness once the faults have stopped.

Safety, checked by a `Witness` that sees every effect of one life and asks the replica after every
input
 1. The HLC never goes back, and no entry that a replica holds is ahead of it.
 2. A node's own incarnation and generation never go back, its name and site never change.
 3. What a replica believes of a member only grows in rank; its effects tell every change
    (`MemberChanged.old` is what it said before).
 4. A replica's entry never goes to an older version; its effects tell every change (`Changed.old`
    is what it said before).
 5. A deleted key is not served after its tombstone was learned, unless by a newer version: `get`,
    `value`, `scan` and `record` agree. Nor is one that has expired, nor one whose record was
    dropped; what is dropped is what was held (`Dropped`), and only what is live goes to the
    quarantine.
 6. Nothing appears that nobody wrote; no version is given twice (`Ledger`).
 7. Who is said to hold a version that is waited for has held it, or a newer one of the key; a wait
    that is met has as many holders as it needs, and every wait ends in time (`Promises`).
 8. Who is told of a batch as one shows all of it or nothing (`Batches`).
 9. The root changes with the content only; index, count and digest rebuilt from the content are the
    same (`audit`).

Liveness, checked by `disagreement`
10. All digest roots are equal, and all stores entry by entry; every accepted write of a node that
    never crashed is in them.
11. Every running node holds every running node of its pool alive, in its present life at its
    present address, and nobody else.
12. Every running node is settled.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kvgossip.config import Address, Config
from kvgossip.protocol.effect import Dropped, Effect, Expired, MemberChanged, Quarantined
from kvgossip.protocol.model.change import Changed
from kvgossip.protocol.model.entry import (
    HEAD_BYTES,
    Entry,
    entry_of,
    is_dead,
    may_expire,
    timestamp_in,
    value_in,
    version_of,
)
from kvgossip.protocol.model.member import Member, MemberState, rank
from kvgossip.protocol.model.peer import PoolKind
from kvgossip.protocol.pools.pool import Pool
from kvgossip.protocol.replica import Replica

SCAN_LIMIT = 100
SAMPLE_TURNS = 8
"""Beside what an input has changed, every so many inputs one other key is asked for: an entry may
not change in silence either."""


class BrokenLawError(Exception):
    """A check failed; the text says which, with what was seen. The cluster adds seed, time and
    node."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A check that failed, in one run: `time_s` is virtual, `node` a name or empty for the cluster
    as a whole."""

    seed: int
    time_s: float
    node: str
    text: str

    def __str__(self) -> str:
        return (
            f"seed {self.seed}, {self.time_s:.6f} s{f', {self.node}' if self.node else ''}: "
            f"{self.text}"
        )


def require(holds: bool, text: str, *seen: object) -> None:
    """Raises BrokenLawError with what was seen, unless it holds."""
    if not holds:
        raise BrokenLawError(
            f"{text}: {' / '.join(_brief(thing) for thing in seen)}" if seen else text
        )


def _brief(thing: object) -> str:
    if isinstance(thing, bytes):
        body = "deleted" if is_dead(thing) else f"{len(thing)} B {(value_in(thing) or b'')[:24]!r}"
        return f"{version_of(thing)} {body}"
    return str(thing)[:300]


def _version(record: bytes) -> bytes:
    """Timestamp and site as they compare."""
    return record[1:HEAD_BYTES]


class Ledger:
    """Every write that a replica accepted, as its record. `writer` names one life of one node.

    And which version of which key a node of some name has ever held.
    """

    def __init__(self) -> None:
        self._held: dict[tuple[str, str], bytes] = {}
        self._written: dict[bytes, tuple[str, bytes]] = {}
        self._newest: dict[str, dict[str, bytes]] = {}

    def __len__(self) -> int:
        return len(self._written)

    def write(self, key: str, record: bytes, writer: str) -> None:
        require(_version(record) not in self._written, "a version was given twice", key, record)
        self._written[_version(record)] = (key, record)
        self._newest.setdefault(writer, {})[key] = record

    def check(self, key: str, record: bytes) -> None:
        if self._written.get(_version(record)) != (key, record):
            require(
                False,
                "an entry that nobody wrote",
                key,
                record,
                self._written.get(_version(record)),
            )

    def hold(self, name: str, key: str, record: bytes) -> None:
        """A node of this name has this now, in one of its lives."""
        self._held[name, key] = max(self._held.get((name, key), b""), _version(record))

    def has_held(self, name: str, key: str, record: bytes) -> bool:
        """Whether one of its lives had this version of the key, or a newer one."""
        return self._held.get((name, key), b"") >= _version(record)

    def newest_of(self, writer: str) -> Mapping[str, bytes]:
        """The last record under each key that this life wrote."""
        return self._newest.get(writer, {})

    def keys_written(self) -> list[str]:
        """All keys that were ever written, in the order of their first write."""
        return list(dict.fromkeys(key for key, _ in self._written.values()))


class Witness:
    """Sees one life of a replica from outside; `records` and `members`, and the `gateways` of the
    WAN pool, are what its effects have told so far; `expired` the keys whose records are there, but
    are served no more.
    """

    __slots__ = (
        "_hlc",
        "_ledger",
        "_me",
        "_root",
        "_turns",
        "_watched",
        "expired",
        "gateways",
        "members",
        "records",
        "replica",
    )

    def __init__(self, replica: Replica, ledger: Ledger) -> None:
        self.replica, self._ledger = replica, ledger
        self.records: dict[str, bytes] = {}
        self.expired: dict[str, None] = {}
        self.members: dict[str, Member] = {member.name: member for member in replica.members()}
        self.gateways: dict[str, Member] = {member.name: member for member in _gateways(replica)}
        self._watched: list[str] = []
        self._turns = 0
        self._hlc, self._root = replica.hlc.latest, replica.store.digest.root
        self._me = [pool.membership.me for pool in replica.pools]

    def loaded(self, records: Mapping[str, bytes]) -> None:
        """What an earlier life has left on the disk; the replica has taken it."""
        self.records = dict(records)
        self._root = self.replica.store.digest.root
        self._watched = list(records)

    def observe(self, effects: Sequence[Effect]) -> bool:
        """To be called after every input. Returns whether anything changed that peers should agree
        on. Raises BrokenLawError."""
        keys: list[str] = []
        members = False
        for effect in effects:
            if type(effect) is Changed:
                self._changed(effect.key, effect)
                keys.append(effect.key)
            elif isinstance(effect, (Dropped, Expired, Quarantined)):
                self._went(effect)
                keys.append(effect.key)
            elif type(effect) is MemberChanged:
                self._member_changed(effect)
                members = True
        self._own_state(bool(keys))
        for key in dict.fromkeys(keys):
            self._agrees(key)
        self._turns += 1
        if self._watched and not self._turns % SAMPLE_TURNS:
            self._agrees(self._watched[self._turns // SAMPLE_TURNS % len(self._watched)])
        return members or bool(keys)

    def _changed(self, key: str, effect: Changed) -> None:
        old, new = self.records.get(key), effect.new_record
        if effect.old_record != old:
            require(False, "Changed.old is not what this replica held", key, effect.old_record, old)
        if old is not None and (_version(new) < _version(old) or new == old):
            require(False, "an entry went to an older version, or did not change", key, old, new)
        require(timestamp_in(new) <= self.replica.hlc.latest, "an entry is ahead of the HLC", key)
        self._ledger.check(key, new)
        self._ledger.hold(self.replica.config.name, key, new)
        if old is None:
            self._watched.append(key)
        self.records[key] = new
        self.expired.pop(key, None)

    def _went(self, effect: Dropped | Expired | Quarantined) -> None:
        key, held = effect.key, self.records.get(effect.key)
        if held != effect.record:
            require(
                False,
                f"{type(effect).__name__} tells of what this replica did not hold",
                key,
                effect.record,
                held,
            )
        if isinstance(effect, Dropped):
            del self.records[key]
            self.expired.pop(key, None)
            return
        require(
            not is_dead(effect.record) and key not in self.expired,
            f"{type(effect).__name__} of what was not live",
            key,
            held,
        )
        if isinstance(effect, Expired):
            require(may_expire(effect.record), "an entry expired that never does", key, held)
            self.expired[key] = None

    def _member_changed(self, effect: MemberChanged) -> None:
        old, new = effect.old, effect.new
        told = new or old
        require(told is not None, "MemberChanged tells of nobody")
        assert told is not None
        table = self.members if effect.pool is PoolKind.LAN else self.gateways
        require(
            table.get(told.name) == old,
            "MemberChanged.old is not what this replica believed",
            old,
            table.get(told.name),
        )
        if new is None:
            del table[told.name]
            return
        require(
            old is None or (rank(new) > rank(old) and old.name == new.name),
            "a member went back in rank",
            old,
            new,
        )
        table[new.name] = new

    def _own_state(self, changed: bool) -> None:
        replica = self.replica
        latest = replica.hlc.latest
        if latest != self._hlc:
            require(latest > self._hlc, "the HLC went back", self._hlc, latest)
            self._hlc = latest
        for place, pool in enumerate(replica.pools):
            before, me = self._me[place], pool.membership.me
            if me is not before:
                self._me[place] = me
                require(
                    rank(me) >= rank(before),
                    "the own incarnation or generation went back",
                    before,
                    me,
                )
                require(
                    me.name == before.name and me.site == before.site,
                    "the own name or site changed",
                    before,
                    me,
                )
        root = replica.store.digest.root
        if root != self._root:
            require(changed, "the root changed without a Changed")
            self._root = root

    def _agrees(self, key: str) -> None:
        """Every question about the key has the one answer that the effects have told."""
        replica, told = self.replica, self.records.get(key)
        found, value = replica.store.get(key), replica.store.value(key)
        if told is None or is_dead(told) or key in self.expired:
            if found is not None or value is not None:
                require(False, "a deleted key is served", key, told, found)
            told = None if key in self.expired else told
        elif found != entry_of(key, told) or found.value != value:
            require(
                False, "get() or value() does not tell what was learned", key, told, found, value
            )
        if replica.store.visible(key) != told:
            require(
                False, "record() is not what was learned", key, told, replica.store.visible(key)
            )

    def audit(self) -> None:
        """The whole content against all that was told, and the inner laws of the store. Costs a
        pass over everything."""
        for key in self._watched:
            self._agrees(key)
        told = [entry_of(key, record) for key, record in sorted(self.live().items())]
        require(self._scan() == told, "scan() does not list what was learned")
        store = self.replica.store
        require(
            len(store) == len(self.records),
            "the store holds what was never told",
            len(store),
            len(self.records),
        )
        try:
            store._check()
        except AssertionError as error:
            raise BrokenLawError(f"the store's own law: {error}") from error
        believed = {member.name: member for member in self.replica.members()}
        require(
            believed == self.members,
            "members() is not what was told",
            sorted(believed.items()),
            sorted(self.members.items()),
        )
        believed = {member.name: member for member in _gateways(self.replica)}
        require(
            believed == self.gateways,
            "members() is not what was told",
            sorted(believed.items()),
            sorted(self.gateways.items()),
        )

    def live(self) -> dict[str, bytes]:
        """What is served."""
        return {
            key: record
            for key, record in self.records.items()
            if not is_dead(record) and key not in self.expired
        }

    def _scan(self) -> list[Entry]:
        found: list[Entry] = []
        while page := self.replica.store.scan_entries(
            after=found[-1].key if found else "", limit=SCAN_LIMIT
        ):
            found.extend(page)
        return found


def _gateways(replica: Replica) -> list[Member]:
    return replica.members(PoolKind.WAN) if replica.pools.wan is not None else []


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
            return (
                f"roots differ: {first.config.name} {first.store.digest.root:016x}, "
                f"{witness.replica.config.name} "
                f"{witness.replica.store.digest.root:016x}"
            )
        if settling and not witness.replica.settled:
            return f"{witness.replica.config.name} is not settled"
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
        if witness.records != first.records:
            keys = sorted(first.records.keys() | witness.records.keys())
            key = next(key for key in keys if first.records.get(key) != witness.records.get(key))
            here, there = _brief(first.records.get(key)), _brief(witness.records.get(key))
            return (
                f"equal roots but different entries of {key!r}: {first.replica.config.name} "
                f"{here}, "
                f"{witness.replica.config.name} {there}"
            )
    return None


def agreement_periods_max(config: Config, nodes: int) -> int:
    """Protocol periods after the last fault within which all must agree: the slowest ways one after
    the other, each with its reason.

    - Finding each other again: a node whose join address was down asks again after a pause of at
      most 30 times `join_retry_s`. (Dead members are retried each period, so those who knew each
      other need no more than a few.)
    - Finding out who is gone: a probe of a node that doubts itself is stretched up to `1 +
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
