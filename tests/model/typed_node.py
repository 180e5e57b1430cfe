"""A node of the model of typed records: its rules, and the mistakes that can be planted in them, are
those at the head of siblings.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from tests.model.deletion import Context
from tests.model.typed_record import Cell, Dot, Record, Value, add, join, write

if TYPE_CHECKING:
    from tests.model.siblings import World

LIMIT = 4
"""Siblings of different content: 32 of a real node."""
DRIFT = 12
"""As far as right clocks are apart at most."""
EMPTY = Record()


class Read(NamedTuple):
    """What a client has read: its context, and for the checker what it saw indeed."""

    context: Mapping[int, int]
    dots: frozenset[Dot]


@dataclass
class Memory:
    """What a snapshot of a machine, or a commit to its disk, holds."""

    site: int
    store: dict[str, Record]
    context: Context
    members: set[str]
    own: set[int]
    forebears: set[int]
    hearsay: dict[Dot, bool]
    superseded: set[tuple[str, Dot]]
    expired_by: int


class Vouching:
    """What a gateway had seen when those behind it had all that it had: see collection.py."""

    def __init__(self) -> None:
        self.seen: dict[int, int] = {}
        self._pending: list[tuple[int, dict[int, int]]] = []

    def note(self, clock: int, seen: dict[int, int]) -> None:
        self._pending = [*self._pending[:2], (clock, seen)]

    def confirm(self, clock: int) -> None:
        while self._pending and self._pending[0][0] <= clock:
            _, self.seen = self._pending.pop(0)


class Node:
    def __init__(self, name: str, world: World, disk: Memory | None = None) -> None:
        self.name, self.world, self.site = name, world, world.new_site()
        self.skew = world.skews.setdefault(name, world.draw_skew())
        self.own: set[int] = set()
        self._load(disk or Memory(self.site, {}, Context(), set(), set(), set(), {}, set(), 0))
        if disk:
            self.forebears.add(disk.site)
        self.memory: Memory | None = None
        self._open()

    def _load(self, memory: Memory) -> None:
        self.store, self.context = dict(memory.store), memory.context.copy()
        self.members, self.forebears = set(memory.members), set(memory.forebears)
        #: dropped on another's word, and whether somebody has offered it since
        self.hearsay = dict(memory.hearsay)
        #: for the checker: what was here, and something that had seen it
        self.superseded = set(memory.superseded)
        #: by then all was to live that was collected here for its expiry
        self.expired_by = memory.expired_by
        self.taken: set[Dot] = set()

    def _open(self) -> None:
        self.settled = False
        #: for the checker: it was never away nor forgotten
        self.sure = False
        #: by key and item, when it came
        self.arrived: dict[tuple[str, Dot, str], int] = {}
        for key, record in self.store.items():
            self._arrive(key, EMPTY, record)
        #: a gateway's word for gateways, and for plain members
        self.vouching = {True: Vouching(), False: Vouching()}
        #: by member, up to when it holds all that had arrived here
        self.held: dict[str, int] = {}
        self.commit()

    def keep_memory(self) -> Memory:
        return Memory(
            self.site,
            dict(self.store),
            self.context.copy(),
            set(self.members),
            set(self.own),
            set(self.forebears),
            dict(self.hearsay),
            set(self.superseded),
            self.expired_by,
        )

    def commit(self) -> None:
        self.disk = self.keep_memory()
        self.disk.context = self.facts()

    def set_back(self, memory: Memory) -> None:
        """Goes on from this memory of the same life, and does not know so."""
        self._load(memory)
        self.own, self.memory = set(memory.own), None
        self._open()

    def begin_life(self, lost: int) -> None:
        """Something of the own site that this life has not written: this machine was set back."""
        old, sure = self.site, max((own for own in self.own if own < lost), default=-1)
        self.context.vector[old] = sure
        self.context.dots |= {(old, own) for own in self.own if own > lost}
        self.forebears.add(old)
        self.site, self.own = self.world.new_site(), set()
        self._open()

    # -- the context ------------------------------------------------------------------------------

    def facts(self) -> Context:
        """The context as an exchange that begins now tells it, and as it is committed."""
        facts = self.context.copy()
        facts.seen[self.site] = self.world.clock()
        if self.own:
            facts.vector[self.site] = max(self.own)
        for timestamp, site in self.hearsay:
            facts.vector[site] = min(facts.vector.get(site, -1), timestamp - 1)
            facts.dots.discard((site, timestamp))
        return facts

    def row_covers(self, dot: Dot) -> bool:
        if dot.site == self.site:
            return dot.timestamp in self.own
        return self.context.vector.get(dot.site, -1) >= dot.timestamp

    def knows_about(self, dot: Dot) -> bool:
        """All that its writer had seen has come here, or it will never come any more."""
        return self.row_covers(dot) or self.world.is_forgotten(dot)

    def covers(self, dot: Dot) -> bool:
        return self.row_covers(dot) or (dot.site, dot.timestamp) in self.context.dots

    def was_set_back(self, dots: list[Dot]) -> bool:
        """Whether one of these is of this life, and it has not written it; then another begins."""
        lost = [
            dot.timestamp for dot in dots if dot.site == self.site and dot.timestamp not in self.own
        ]
        if lost:
            self.begin_life(min(lost))
        return bool(lost)

    # -- clocks -----------------------------------------------------------------------------------

    def dead(self, value: Value | Cell | None) -> bool:
        """A delete, or expired by the clock of this node."""
        return value is None or (isinstance(value, Value) and self.has_passed(value, 0))

    def has_passed(self, value: Value, by: int) -> bool:
        return value.expires is not None and value.expires + by <= self.world.now + self.skew

    def live(self, key: str) -> set[Dot]:
        record = self.store.get(key, EMPTY)
        if self.world.planted == "expires_with_its_first":
            ends = [v.expires for v in record.values.values() if isinstance(v, Value) and v.expires]
            if ends and min(ends) <= self.world.now + self.skew:
                return set()
        return {dot for dot, value in record.values.items() if not self.dead(value)}

    # -- writes -----------------------------------------------------------------------------------

    def read(self, key: str) -> Read:
        record = self.store.get(key, EMPTY)
        return Read(record.context, frozenset(record.values))

    def write(self, key: str, value: Value | None, read: Read) -> None:
        self.was_set_back(Record({}, read.context).pairs)
        record, dot = self.store.get(key, EMPTY), Dot(self.world.clock(), self.site)
        written = write(record, dot, value, read.context, LIMIT)
        if written is None:
            self.world.totals["refused_writes"] += 1
            return
        same = {each for each, other in record.values.items() if value and other == value}
        self.world.writes[key][dot] = (value, read.dots | same)
        self._wrote(key, dot, written)

    def add(self, key: str, orphans: list[Dot] | None = None) -> None:
        """Add to a counter: that with the number n adds 4**n, so that a count says which it has.
        Or take over the cells of former lives."""
        record, dot = self.store.get(key, EMPTY), Dot(self.world.clock(), self.site)
        amount = 0 if orphans else 4 ** len(self.world.increments)
        if amount:
            self.world.increments.append(dot)
        added = add(record, dot, amount, orphans or [])
        if self.world.planted == "adopts_twice":
            added = Record({**record.values, dot: added.values[dot]}, record.seen)
        own = {each for each in record.values if each.site == dot.site and record.values[each]}
        self.world.writes[key][dot] = (added.values[dot], frozenset(own.union(orphans or [])))
        self._wrote(key, dot, added)

    def _wrote(self, key: str, dot: Dot, record: Record) -> None:
        self.own.add(dot.timestamp)
        self.keep(key, record)
        self.commit()

    # -- merging ----------------------------------------------------------------------------------

    def take(self, key: str, offered: Record) -> list[Dot] | None:
        """Merge; the dots that are refused, since they were here and have gone. None: this machine
        was set back, and nothing is taken."""
        if self.was_set_back([*offered.values, *offered.pairs]):
            return None
        mine = self.store.get(key, EMPTY)
        unknown = [dot for dot in offered.values if dot not in mine.values]
        known = [dot for dot in unknown if dot not in join(mine, offered).values]
        refused = [dot for dot in unknown if dot not in known and self.refuses(dot)]
        if refused and self.world.planted == "refuses_whole_records":
            return [*offered.values]
        if self.world.planted == "ignores_covered_pairs":
            new = [p for p in offered.pairs if p.site in mine.seen or not self.row_covers(p)]
            offered = Record(offered.values, {site: timestamp for timestamp, site in new})
        self.keep(key, self._shortened(join(mine, offered.without(refused))))
        for dot in unknown:
            if dot not in self.store[key].values and dot not in self.hearsay:
                self._gone(key, dot)
        return [dot for dot in refused if not self.hearsay.get(dot)]

    def _shortened(self, record: Record) -> Record:
        """Two mistakes: neither is a function under which records still join."""
        values, seen = dict(record.values), dict(record.seen)
        if self.world.planted == "collapses_in_the_join":
            newest = {
                value: dot for dot, value in sorted(values.items()) if isinstance(value, Value)
            }
            values = {dot: value for dot, value in values.items() if newest.get(value, dot) == dot}  # type: ignore[arg-type]
        if self.world.planted == "deletes_become_pairs" and any(values.values()):
            for dot in [dot for dot, value in values.items() if value is None]:
                seen[dot.site] = max(seen.get(dot.site, -1), dot.timestamp)
                del values[dot]
        return Record(values, seen)

    def refuses(self, dot: Dot) -> bool:
        if dot in self.hearsay:
            offered, self.hearsay[dot] = self.hearsay[dot], True
            if offered:
                del self.hearsay[dot]
                self.taken.add(dot)
            return not offered
        return self.world.planted != "never_refuses" and self.covers(dot)

    def keep(self, key: str, record: Record) -> None:
        old = self.store.get(key, EMPTY)
        self.store[key] = record
        self._arrive(key, old, record)
        for dot in old.values:
            if dot not in record.values:
                self._gone(key, dot)
                self.superseded.add((key, dot))
                if not self.dead(old.values[dot]):
                    self.world.check_may_go(self, key, dot)
        self.world.check_shown(self, key)

    def _arrive(self, key: str, old: Record, new: Record) -> None:
        now = self.world.clock()
        for dot in new.values:
            if dot not in old.values:
                self.arrived[key, dot, "dot"] = now
        for pair in new.pairs:
            if old.seen.get(pair.site) != pair.timestamp:
                self.arrived[key, pair, "pair"] = now

    def _gone(self, key: str, dot: Dot) -> None:
        if not self.covers(dot) and dot.site != self.site:
            self.context.dots.add((dot.site, dot.timestamp))

    # -- what was collected -----------------------------------------------------------------------

    def confirmed(self, arrived: int) -> bool:
        members = self.members - {self.name}
        if self.world.planted == "asks_its_own_datacenter":
            members = {
                m for m in members if self.world.datacenter(m) == self.world.datacenter(self.name)
            }
        return self.settled and all(self.held.get(member, -1) >= arrived for member in members)

    def proved(self, key: str, dot: Dot, kind: str) -> bool:
        """Whether this node knows all that came with it, and every member that counts holds it."""
        if self.world.planted == "prunes_by_its_own_row":
            return self.knows_about(dot)
        if self.world.planted == "prunes_by_the_rows_of_all":
            return all(self.world.nodes[name].knows_about(dot) for name in self.members)
        return self.knows_about(dot) and self.confirmed(self.arrived[key, dot, kind])

    def prune(self) -> None:
        for key, record in list(self.store.items()):
            left = {
                pair.site: pair.timestamp
                for pair in record.pairs
                if not self.proved(key, pair, "pair")
            }
            self.world.totals["pruned"] += len(record.seen) - len(left)
            known = all(map(self.knows_about, record.pairs))
            ripe = [dot for dot in record.values if known and self._may_collect(key, dot)]
            self.store[key] = Record(record.values, left).without(ripe)
            for dot in ripe:
                self.world.collected.add(dot)
                self._gone(key, dot)
                value = record.values[dot]
                if isinstance(value, Value) and value.expires:
                    self.expired_by = max(self.expired_by, value.expires)
                    if not self.has_passed(value, 0):
                        self.world.check_may_go(self, key, dot)
            if not self.store[key].values and not self.store[key].seen:
                del self.store[key]
            self._adopt(key)

    @property
    def waits(self) -> bool:
        """Whether anything is left to prune."""
        return any(
            record.seen or any(map(self.dead, record.values.values()))
            for record in self.store.values()
        )

    def _may_collect(self, key: str, dot: Dot) -> bool:
        value = self.store[key].values[dot]
        if isinstance(value, Cell):
            return False
        if isinstance(value, Value):
            ends = [
                v.expires
                for v in self.store[key].values.values()
                if isinstance(v, Value) and v.expires
            ]
            if self.world.planted == "expires_with_its_first" and ends:
                value = value._replace(expires=min(ends))
            if not self.has_passed(value, DRIFT):
                return False
        return self.proved(key, dot, "dot")

    def _adopt(self, key: str) -> None:
        """Cells of former lives of this node become part of that of this one."""
        record = self.store.get(key, EMPTY)
        for dot, cell in record.values.items():
            if not isinstance(cell, Cell) or dot.site == self.site:
                continue
            if self.world.planted == "anybody_adopts":
                may = self.proved(key, dot, "dot") and not self.world.is_alive(dot.site)
            else:
                may = dot.site in self.forebears and (
                    self.world.planted == "adopts_at_once" or self.proved(key, dot, "dot")
                )
            if may:
                self.world.totals["adopted"] += 1
                self.add(key, [dot])
                return

    def drop(self, key: str, dots: list[Dot], by: Node) -> None:
        """Take these out, as that node says."""
        record = self.store.get(key, EMPTY)
        for dot in dots:
            if dot not in record.values:
                continue
            value = record.values[dot]
            if self.dead(value):
                continue
            expires = value.expires if isinstance(value, Value) else None
            if expires is not None and expires <= max(by.expired_by, by.world.now + by.skew):
                continue  # perhaps it was collected for its expiry, which has not come here
            record = record.without([dot])
            self.world.quarantine(self, key, dot)
            if dot in self.taken:
                self.context.dots.add((dot.site, dot.timestamp))
            else:
                self.hearsay[dot] = False
        if key in self.store:
            self.store[key] = record

    def drop_dead(self, key: str, dots: list[Dot]) -> None:
        """A whole exchange has shown that these were collected."""
        record = self.store.get(key, EMPTY)
        for dot in dots:
            if (
                dot in record.values
                and self.dead(record.values[dot])
                and all(map(self.knows_about, [dot, *record.pairs]))
            ):
                value = record.values[dot]
                if isinstance(value, Value) and value.expires:
                    self.expired_by = max(self.expired_by, value.expires)
                record = record.without([dot])
                self._gone(key, dot)
        if key in self.store:
            self.store[key] = record

    # -- what members hold ------------------------------------------------------------------------

    def held_for(self, peer: Node) -> int:
        """Up to which time of its clock this node, and all behind it, hold what was at the peer."""
        if not self.world.is_gateway(self.name) or self.world.planted == "asks_its_own_datacenter":
            return self.context.seen.get(peer.site, -1)
        to_gateway = self.world.is_gateway(peer.name)
        behind = [m for m in self.members - {self.name} if self.world.is_gateway(m) != to_gateway]
        vouching = self.vouching[to_gateway]
        vouching.confirm(min((self.held.get(m, -1) for m in behind), default=self.world.now))
        return vouching.seen.get(peer.site, -1)
