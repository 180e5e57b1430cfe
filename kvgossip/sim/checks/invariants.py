"""The invariants. Safety at every step of every replica, liveness once the faults have stopped.

Safety, checked by a `Witness` that sees every effect of one life and asks the replica after every
input
 1. The HLC never goes back, and no entry that a replica holds is ahead of it.
 2. A node's own incarnation and generation never go back, its name and site never change, but for
    the new life of a machine that was set back.
 3. A replica's belief of a member only grows in rank; its effects show every change
    (`MemberChanged.old` is what it believed before).
 4. A replica's entry never goes to an older version; its effects show every change (`Changed.old`
    is what it held before).
 5. A deleted key is not served after its tombstone was learned, unless by a newer version: `get`,
    `value`, `scan` and `record` agree. Nor is one that has expired, nor one whose record was
    dropped; a record that is dropped was held (`Dropped`), and only a live one goes to the
    quarantine.
 6. Nothing appears that nobody wrote; no version is given twice (`Ledger`).
 7. A member that is said to hold an awaited version has held it, or a newer one of the key; a write
    concern that is met has as many holders as it needs, and every wait ends in time (`Promises`).
 8. A node that receives a batch as one shows all of it or nothing (`Batches`).
 9. The root changes with the content only, or with the seed, and that with a minted cluster id;
    index, count and digest rebuilt from the content are the same (`audit`).
10. A value that was deleted or superseded is never served again where that is known, and no
    acknowledged write is lost (`Oracle`).
    An entry expires, and is dropped for that, only when its time has come by the clock of its host;
    one that was hidden by a clock that was wrong is served again; and one that has not expired goes
    to the quarantine only where it was superseded.
11. A packet keeps its limit, its pool and its seal (`PacketCheck`).
12. A cluster id, once minted, stays of the same cluster: it keeps a number that it had.

Liveness, checked by `disagreement`
13. All digest roots and seeds are equal, and all stores entry by entry; every accepted write of a
    node that never crashed is in them.
14. Every running node holds every running node of its pool alive, in its present life at its
    present address, and nobody else.
15. Every running node is settled, and of one cluster.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kvgossip.protocol.effect import (
    Dropped,
    Effect,
    Expired,
    MemberChanged,
    Quarantined,
    Revived,
    Rewritten,
)
from kvgossip.protocol.membership.signed_records import is_signed_now
from kvgossip.protocol.model.change import Changed
from kvgossip.protocol.model.entry import (
    Entry,
    entry_of,
    expires_in,
    is_dead,
    is_typed,
    may_expire,
    timestamp_in,
)
from kvgossip.protocol.model.member import Member, rank
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.model.peer import PoolKind
from kvgossip.protocol.replica import Replica
from kvgossip.protocol.typed.body import decode
from kvgossip.sim.checks.edits import shown
from kvgossip.sim.checks.ledger import Ledger, version_bytes
from kvgossip.sim.checks.violation import BrokenLawError, require

SCAN_LIMIT = 100
SAMPLE_TURNS = 8
"""Beside what an input has changed, every so many inputs one other key is asked for: an entry may
not change in silence either."""


class Witness:
    """Sees one life of a replica from outside, through its effects and its answers."""

    __slots__ = (
        "_cluster_id",
        "_hlc",
        "_ledger",
        "_me",
        "_root",
        "_seed",
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
        #: Every record that the effects so far leave in the store, by key.
        self.records: dict[str, bytes] = {}
        #: Keys whose records are there, but are served no more.
        self.expired: dict[str, None] = {}
        #: The members of its LAN pool as the replica believes them, by its effects so far.
        self.members: dict[str, Member] = {member.name: member for member in replica.members()}
        #: The same of the WAN pool; empty where the node is no gateway.
        self.gateways: dict[str, Member] = {member.name: member for member in _gateways(replica)}
        #: Every key that was ever there, from which the samples are taken.
        self._watched: list[str] = []
        self._turns = 0
        #: The newest timestamp, the digest root and its seed after the last input.
        self._hlc, digest = replica.hlc.latest, replica.store.digest
        self._root, self._seed = digest.root, digest.seed
        #: The node itself, as each of its pools has it, after the last input.
        self._me = [pool.membership.me for pool in replica.pools]
        #: The cluster id after the last input.
        self._cluster_id = replica.cluster_id.value

    def copy(self) -> Witness:
        """Another one that has seen the same, so far."""
        other = Witness(self.replica, self._ledger)
        other.records, other.expired = dict(self.records), dict(self.expired)
        other.members, other.gateways = dict(self.members), dict(self.gateways)
        other._watched, other._turns = list(self._watched), self._turns
        other._hlc, other._root, other._seed = self._hlc, self._root, self._seed
        other._me, other._cluster_id = list(self._me), self._cluster_id
        return other

    def loaded(self, records: Mapping[str, bytes]) -> None:
        """To be called when the replica has loaded what an earlier life has left on the disk."""
        self.records = dict(records)
        for key, record in records.items():
            # perhaps under another name than before
            self._ledger.hold(self.replica.config.name, key, record)
        self._root = self.replica.store.digest.root
        self._watched = list(records)

    def observe(self, effects: Sequence[Effect], now: Now) -> bool:
        """To be called after every input, with the clocks of its host.
        Returns whether anything changed that peers should agree on. Raises BrokenLawError."""
        keys: list[str] = []
        quarantined: dict[str, None] = {}
        members = False
        for effect in effects:
            if type(effect) is Changed:
                self._changed(effect.key, effect)
                keys.append(effect.key)
            elif isinstance(effect, (Dropped, Expired, Quarantined)):
                if isinstance(effect, Quarantined):
                    quarantined[effect.key] = None
                self._went(effect, now, kept=effect.key in quarantined)
                keys.append(effect.key)
            elif isinstance(effect, Rewritten):
                self._rewritten(effect, kept=effect.key in quarantined)
                keys.append(effect.key)
            elif isinstance(effect, Revived):
                self._revived(effect)
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
        if old is not None and (version_bytes(new) < version_bytes(old) or new == old):
            require(False, "an entry went to an older version, or did not change", key, old, new)
        require(timestamp_in(new) <= self.replica.hlc.latest, "an entry is ahead of the HLC", key)
        if not is_typed(new):
            self._ledger.check(key, new)
        self._ledger.hold(self.replica.config.name, key, new)
        if old is None:
            self._watched.append(key)
        self.records[key] = new
        self.expired.pop(key, None)

    def _rewritten(self, effect: Rewritten, *, kept: bool) -> None:
        """`kept`: what has gone is in the quarantine."""
        held = self.records.get(effect.key, b"\0")
        same = kept or shown(held) == shown(effect.record)
        text = "Rewritten is not what this replica held, or not other bytes"
        require(same and held != effect.record, text, effect.key, effect.record, held)
        self.records[effect.key] = effect.record

    def _went(self, effect: Dropped | Expired | Quarantined, now: Now, *, kept: bool) -> None:
        """`kept`: it is in the quarantine."""
        key, held = effect.key, self.records.get(effect.key)
        if held != effect.record and not _is_part(effect, held):
            text = f"{type(effect).__name__} names a record that this replica did not hold"
            require(False, text, key, effect.record, held)
        if isinstance(effect, Dropped):
            require(
                key not in self.expired or _has_expired(effect.record, now.wall_ms),
                "an entry was dropped for an expiry that has not come by the own clock",
                key,
                held,
            )
            require(
                kept or is_dead(effect.record) or key in self.expired,
                "a live value was dropped, and is not in the quarantine",
                key,
                held,
            )
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
            require(
                _has_expired(effect.record, now.wall_ms),
                "an entry expired before its time by the own clock",
                key,
                held,
            )
            self.expired[key] = None
        elif isinstance(effect, Quarantined) and may_expire(effect.record):
            require(
                self._ledger.is_doubtful or self._ledger.is_superseded(key, effect.record),
                "a live value was taken out for its expiry",
                key,
                held,
            )

    def _revived(self, effect: Revived) -> None:
        key, held = effect.key, self.records.get(effect.key)
        require(
            held == effect.record and key in self.expired,
            "Revived names what had not expired here",
            key,
            effect.record,
            held,
        )
        del self.expired[key]

    def check_hidden(self, latest_ms: int) -> None:
        """To be called when clocks have been right for a while: nothing may be hidden whose time
        has not come by then."""
        for key in self.expired:
            require(
                _has_expired(self.records[key], latest_ms),
                "a live value is hidden for an expiry that has not come",
                key,
                self.records[key],
            )

    def _member_changed(self, effect: MemberChanged) -> None:
        old, new = effect.old, effect.new
        member = new or old
        require(member is not None, "MemberChanged names no member")
        assert member is not None
        table = self.members if effect.pool is PoolKind.LAN else self.gateways
        require(
            table.get(member.name) == old,
            "MemberChanged.old is not what this replica believed",
            old,
            table.get(member.name),
        )
        if new is None:
            del table[member.name]
            return
        require(
            old is None or rank(new) > rank(old) or is_signed_now(new, old),
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
        cluster_id, known = replica.cluster_id.value, self._cluster_id
        if cluster_id is not known:
            self._cluster_id = cluster_id
            require(
                not known.minted or (cluster_id.minted and cluster_id.meets(known)),
                "a node came into another cluster by itself",
                known,
                cluster_id,
            )
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
                renewed = replica.counters["set_backs"] > 0 and me.generation > before.generation
                require(
                    me.name == before.name and (me.site == before.site or renewed),
                    "the own name or site changed",
                    before,
                    me,
                )
        digest = replica.store.digest
        if digest.root != self._root:
            reseeded = digest.seed != self._seed
            require(changed or reseeded, "the root changed without a Changed")
            self._root = digest.root
        if digest.seed != self._seed:
            placed = replica.cluster_id.value.minted
            require(placed, "positions follow from a seed that nobody has minted")
            self._seed = digest.seed

    def _agrees(self, key: str) -> None:
        """Every question about the key has the one answer that follows from the effects."""
        replica, record = self.replica, self.records.get(key)
        found, value = replica.store.get(key), replica.store.value(key)
        if record is None or is_dead(record) or key in self.expired:
            if found is not None or value is not None:
                require(False, "a deleted key is served", key, record, found)
            record = None if key in self.expired else record
        elif found != entry_of(key, record) or found.value != value:
            require(False, "get() or value() is not what was learned", key, record, found, value)
        if replica.store.visible(key) != record:
            require(
                False, "record() is not what was learned", key, record, replica.store.visible(key)
            )

    def audit(self) -> None:
        """The whole content against all effects so far, and the inner laws of the store. It costs a
        pass over everything."""
        for key in self._watched:
            self._agrees(key)
        entries = [entry_of(key, record) for key, record in sorted(self.live().items())]
        require(self._scan() == entries, "scan() does not list what was learned")
        store = self.replica.store
        require(
            len(store) == len(self.records),
            "the store holds what no effect has shown",
            len(store),
            len(self.records),
        )
        try:
            store._check()
        except AssertionError as error:
            raise BrokenLawError(f"the store's own law: {error}") from error
        self._audit_members(self.replica.members(), self.members)
        self._audit_members(_gateways(self.replica), self.gateways)

    def _audit_members(self, answer: Sequence[Member], shown: Mapping[str, Member]) -> None:
        believed = {member.name: member for member in answer}
        require(
            believed == shown,
            "members() is not what the effects have shown",
            sorted(believed.items()),
            sorted(shown.items()),
        )

    def live(self) -> dict[str, bytes]:
        """Every record that is served, by key."""
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


def _has_expired(record: bytes, wall_ms: int) -> bool:
    return (expires_in(record) or 0) <= wall_ms


def _gateways(replica: Replica) -> list[Member]:
    return replica.members(PoolKind.WAN) if replica.pools.wan is not None else []


def _is_part(effect: Effect, held: bytes | None) -> bool:
    """True if values went to the quarantine that are among those of the record held."""
    if not isinstance(effect, Quarantined) or held is None or not is_typed(held):
        return False
    values = decode(held).values
    return all(value in values for value in decode(effect.record).values)
