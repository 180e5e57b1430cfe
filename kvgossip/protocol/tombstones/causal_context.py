"""CausalContext: which versions this replica has ever merged (protocol.md section 6). It makes
deletes stay deleted.

    version vector entry   site -> timestamp   everything that this site wrote up to then
    seen                   site -> timestamp   everything that had arrived at this site by then, of
                                               its own clock
    dot                    one version         of those beyond the vector, which came alone: as a
                                               rumor, or by an exchange that was cut
    gap                    site -> timestamp   up to then there are versions that should be dots,
                                               and for which there was no room

Laws
- The store itself is part of the context: an entry that it holds needs no dot. A version becomes a
  dot when it leaves the store, or was offered and too old for it, and the vector does not cover it.
  So new keys cost nothing here, and entries of an exchange do not either.
- An entry of the vector advances only by `join`, when an exchange was whole: all that the peer held
  when it began has been merged, or what superseded it. So with an entry comes all that its site had
  seen when it wrote what the entry covers. A dot says nothing of that kind.
- Of the own site exactly what this life has written is covered, and its entry ends at the last own
  write: whoever covers more than it wrote would make others drop what it has lost. On disk the
  entry is kept with every commit, so that the next life has it as a past site.
- "Seen" travels beside the vector, and confirms arrivals; it covers nothing. One number for both
  would claim the versions that a machine lost when it was set back.
- A version of the own site that this life has not written, an entry of it that ends after its last
  write, and a "seen" of it that is later than its clock are signs of a set-back (set_back.py).
- A version that is covered stays covered (but for entries beyond the newest VECTOR_MAX, or an
  eighth less): joining is commutative, associative and idempotent.
- While there is a gap no tombstone is collected, so a dot too many delays, and harms nothing. A gap
  ends when the vector has passed it, or when it is older than dead members are remembered: whoever
  has made it up stops nobody for ever, and who brings back what is older is late for more than it.
  Until the vector has passed them, those that are here stay, and none more are taken: under a flood
  of writes to the same keys a dot that comes would be dropped before anybody asks, and to keep each
  for a moment would cost three changes of the disk a write.

No law is that an entry of another site counts no farther than what has come of that site, as a
record or by its own word, although a liar could then cover no writes that have not come yet. What
others have superseded does not come, either: x writes k, y deletes it, z joins, hears of the
delete, and all collect it. If z counted nothing of x, which has come nowhere near it, it would take
k from one that was away, and show it again. And who learns nothing at all while an entry is beyond
learns from nobody, since sites that are gone say nothing any more: then no tombstone is ever
collected. tests/model has both as mistakes.

Deviation from protocol.md and its model, where every version heard by rumor is a dot: dots of what
the store holds follow from the store, on this side and, once the exchange is whole, on the other
side too. They would be most of all dots.

On the disk: a key for each entry of the vector and each gap. Dots come and go by hundreds, so those
of one commit are a chunk and share a key, which is named after the first of them and has the others
as its value, and goes when all of them have gone. A dot that has come and gone between two commits
costs nothing.

Two contexts meet in an exchange: see context_difference.py.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Mapping

from kvgossip.protocol.model.change import Persist
from kvgossip.protocol.model.entry import HEAD_BYTES, Version
from kvgossip.protocol.model.ordered_set import OrderedSet
from kvgossip.protocol.tombstones.fact import (
    DOT,
    DOTS,
    FACT,
    PREFIX,
    VERSION,
    Fact,
    Kind,
    dot_key,
    encoded,
    fact_of,
    fact_timestamp,
    key_of,
    oldest,
    saved_dots,
    saved_facts,
)
from kvgossip.protocol.tombstones.own_writes import OwnWrites
from kvgossip.protocol.wire.message import FACTS_OF_A_KIND_MAX

VECTOR_MAX = DOTS_MAX = GAPS_MAX = SEEN_MAX = FACTS_OF_A_KIND_MAX
_NEVER = b""


class CausalContext:
    """`vector`, `dots` and `gaps` are read only outside. A dot is its version as records have it
    (see entry.py), so that asking whether a record is covered makes no Version of it: that is asked
    of every entry that is offered."""

    __slots__ = (
        "_bounds",
        "_changed",
        "_chunks",
        "_facts",
        "_fresh",
        "_has_new_dots",
        "_own_writes",
        "dots",
        "gaps",
        "own",
        "seen",
        "site",
        "vector",
    )

    def __init__(self, site: int) -> None:
        #: this life's own, and the same as records have it
        self.site, self.own = site, site.to_bytes(8, "big")
        self._own_writes = OwnWrites()
        #: by site, up to when of its clock all that had arrived there is here
        self.seen: dict[int, int] = {}
        #: by site, the timestamp up to which all that it wrote is covered
        self.vector: dict[int, int] = {}
        #: the vector, as bytes
        self._bounds: dict[bytes, bytes] = {}
        #: vector, gaps and seen as facts, by what is behind their timestamps
        self._facts: dict[bytes, Fact] = {}
        #: each with the dot after which its key on the disk is named; empty while it has no key yet
        self.dots: dict[bytes, bytes] = {}
        #: by site, the timestamp up to which dots may be missing
        self.gaps: dict[int, int] = {}
        #: by the dot after which a key on the disk is named, how many of its dots are left
        self._chunks: dict[bytes, int] = {}
        #: the dots that have no key on the disk yet
        self._fresh: OrderedSet[bytes] = OrderedSet()
        #: for the disk, by key
        self._changed: dict[bytes, bytes | None] = {}
        #: some have come since `dots_came` was asked last
        self._has_new_dots = False

    # -- questions --------------------------------------------------------------------------------

    def covers(self, version: Version) -> bool:
        """True if this replica has once merged this version, or had one that superseded it. For a
        version that its store holds the answer may be False."""
        return self.covers_dot(encoded(version))

    def covers_dot(self, dot: bytes) -> bool:
        """`covers` for a version as records have it."""
        timestamp, site = dot[:8], dot[8:]
        return (
            timestamp <= self._bounds.get(site, _NEVER)
            or dot in self.dots
            or (site == self.own and int.from_bytes(timestamp, "big") in self._own_writes)
        )

    def vector_covers(self, version: Version) -> bool:
        """True if it has merged that version together with all that its writer had seen."""
        if version.site == self.site:
            return version.timestamp in self._own_writes
        return self.vector.get(version.site, -1) >= version.timestamp

    # -- this life --------------------------------------------------------------------------------

    def wrote(self, timestamp: int) -> None:
        """This life writes a version, later than all before."""
        self._own_writes.add(timestamp)

    def is_foreign(self, record: bytes) -> bool:
        """True if a record is of the own site, and this life has not written it."""
        return (
            record[9:HEAD_BYTES] == self.own
            and int.from_bytes(record[1:9], "big") not in self._own_writes
        )

    def lost_in(self, facts: Iterable[Fact], clock: int) -> int | None:
        """A time at which this site wrote, or saw, what this life knows nothing of, as the facts of
        a peer say; None where they say nothing of the kind. `clock`: this life's own."""
        for fact in facts:
            if fact[8:16] != self.own:
                continue
            timestamp = fact_timestamp(fact)
            if fact[16] == Kind.SEEN:
                if timestamp > clock:
                    return timestamp
            elif fact[16] == Kind.DOT:
                if timestamp not in self._own_writes:
                    return timestamp
            elif timestamp > self._own_writes.last:
                return timestamp
        return None

    def begin_life(self, site: int, lost: int) -> None:
        """The machine was set back, and has lost the version that it wrote at this time. From now
        on this is another life; of the one before it is sure up to then."""
        old, (sure, later) = self.site, self._own_writes.split(lost)
        self.site, self.own = site, site.to_bytes(8, "big")
        self._own_writes = OwnWrites()
        self._note(Kind.VECTOR_ENTRY, old, None)
        if sure:
            self._advance(fact_of(sure, old, Kind.VECTOR_ENTRY))
        for timestamp in later[: DOTS_MAX // 2]:
            self._add(VERSION.pack(timestamp, old))

    def facts(self, clock: int) -> list[Fact]:
        """Everything, newest first; this life has seen all up to `clock`."""
        facts = [*(dot + DOT for dot in self.dots), *self._facts.values()]
        facts.append(fact_of(clock, self.site, Kind.SEEN))
        if self._own_writes.last:
            facts.append(fact_of(self._own_writes.last, self.site, Kind.VECTOR_ENTRY))
        return sorted(facts, reverse=True)

    # -- changes ----------------------------------------------------------------------------------

    def add(self, version: Version) -> None:
        """This version was merged, and the store does not hold it any more."""
        self._add(encoded(version))

    def add_record(self, record: bytes) -> None:
        """`add` for the version of a record."""
        self._add(record[1:HEAD_BYTES])

    def _add(self, dot: bytes) -> None:
        site = dot[8:]
        # what the own site has in the store this life has written, and knows
        if site == self.own or dot[:8] <= self._bounds.get(site, _NEVER) or dot in self.dots:
            return
        if len(self.dots) < DOTS_MAX:
            self.dots[dot] = b""
            self._fresh.add(dot)
            self._has_new_dots = True
        else:
            timestamp, site = VERSION.unpack(dot)
            self._open_gap(site, timestamp)

    def join(self, facts: Iterable[Fact], present: Container[int] = ()) -> int:
        """Take over the facts of a peer's context, at the end of a whole exchange; how many entries
        of the vector, and of what was seen, have advanced.

        `present`: the sites of members, whose entries stay however many there are.
        """
        in_order = sorted(fact for fact in facts if fact[8:16] != self.own)
        advanced = sum(self._advance(fact) for fact in in_order if fact[16] == Kind.VECTOR_ENTRY)
        if advanced:
            self._prune(present)
        advanced += sum(self._see(fact) for fact in in_order if fact[16] == Kind.SEEN)
        for site in oldest(self.seen, SEEN_MAX, present):
            self._forget(self.seen, site, Kind.SEEN)
        for fact in in_order:
            if fact[16] == Kind.DOT:
                self._add(fact[:16])
        for fact in in_order:
            if fact[16] == Kind.GAP:
                timestamp, site, _ = FACT.unpack(fact)
                self._open_gap(site, timestamp)
        return advanced

    def _advance(self, fact: Fact) -> bool:
        bound, of_site = fact[:8], fact[8:16]
        if bound <= self._bounds.get(of_site, _NEVER):
            return False
        timestamp, site, _ = FACT.unpack(fact)
        self.vector[site], self._bounds[of_site], self._facts[fact[8:]] = timestamp, bound, fact
        self._note(Kind.VECTOR_ENTRY, site, timestamp)
        return True

    def _see(self, fact: Fact) -> bool:
        timestamp, site, _ = FACT.unpack(fact)
        if timestamp <= self.seen.get(site, -1):
            return False
        self.seen[site], self._facts[fact[8:]] = timestamp, fact
        return True

    def _forget(self, times: dict[int, int], site: int, kind: Kind) -> None:
        fact = fact_of(times.pop(site), site, kind)
        del self._facts[fact[8:]]
        if kind is not Kind.SEEN:
            self._note(kind, site, None)

    def _prune(self, present: Container[int]) -> None:
        """Dots and gaps that the vector has passed say nothing any more; of a vector that is too
        long the oldest entries go."""
        bounds = self._bounds
        for dot in [dot for dot in self.dots if dot[:8] <= bounds.get(dot[8:], _NEVER)]:
            self._drop_dot(dot)
        for site in [
            site for site, timestamp in self.gaps.items() if self.vector.get(site, -1) >= timestamp
        ]:
            self._forget(self.gaps, site, Kind.GAP)
        for site in oldest(self.vector, VECTOR_MAX, present):
            self._forget(self.vector, site, Kind.VECTOR_ENTRY)
            del self._bounds[site.to_bytes(8, "big")]

    def _drop_dot(self, dot: bytes) -> None:
        chunk = self.dots.pop(dot)
        if not chunk:
            del self._fresh[dot]
            return
        self._chunks[chunk] -= 1
        if not self._chunks[chunk]:
            del self._chunks[chunk]
            self._changed[dot_key(chunk)] = None

    def _open_gap(self, site: int, timestamp: int) -> None:
        if self.gaps.get(site, -1) >= timestamp or self.vector_covers(Version(timestamp, site)):
            return
        fact = fact_of(timestamp, site, Kind.GAP)
        self.gaps[site], self._facts[fact[8:]] = timestamp, fact
        self._note(Kind.GAP, site, timestamp)
        for gone in oldest(self.gaps, GAPS_MAX, ()):
            self._forget(self.gaps, gone, Kind.GAP)

    def end_gaps(self, before: int) -> None:
        """Those that lie before this time are of no more use."""
        if self.gaps and min(self.gaps.values()) < before:
            for site in [site for site, timestamp in self.gaps.items() if timestamp < before]:
                self._forget(self.gaps, site, Kind.GAP)

    # -- the disk ---------------------------------------------------------------------------------

    def _note(self, kind: Kind, site: int, timestamp: int | None) -> None:
        self._changed[key_of(kind, site)] = (
            None if timestamp is None else timestamp.to_bytes(8, "big")
        )

    @property
    def writes(self) -> int:
        """How many versions this life has written."""
        return len(self._own_writes)

    @property
    def has_changed(self) -> bool:
        """True if `take_changes` has something for the disk, or `take_dots`."""
        return bool(self._changed) or self._has_new_dots

    def dots_came(self) -> bool:
        """True if dots have come since the last call. They go with the next commit, and ask for
        none by themselves."""
        came, self._has_new_dots = self._has_new_dots, False
        return came

    def take_changes(self) -> list[Persist]:
        """The changes since the last call, for the disk, but for dots that have come."""
        if not self._changed:
            return []
        changed, self._changed = self._changed, {}
        return [Persist(key, value) for key, value in changed.items()]

    def take_dots(self) -> list[Persist]:
        """The dots that have come since the last call, for the disk."""
        if not self._fresh:
            return []
        first = next(iter(self._fresh))
        if first in self._chunks:
            # it went, and has come again: its key has others still
            self._fresh |= {dot: None for dot, chunk in self.dots.items() if chunk == first}
        fresh, self._fresh = self._fresh, OrderedSet()
        self._name_chunk(first, fresh)
        return [Persist(dot_key(first), b"".join(dot for dot in fresh if dot != first))]

    def _name_chunk(self, chunk: bytes, dots: Collection[bytes]) -> None:
        self.dots.update(dict.fromkeys(dots, chunk))
        self._chunks[chunk] = len(dots)

    def own_entry(self) -> Persist:
        """For every commit: all that this life has written is in it."""
        last = self._own_writes.last
        key = key_of(Kind.VECTOR_ENTRY, self.site)
        return Persist(key, last.to_bytes(8, "big") if last else None)

    def restore(self, saved: Mapping[bytes, bytes]) -> None:
        """Take over the facts that an earlier life left. None of them is news for the disk, but for
        keys of which nothing is needed any more."""
        self.join(saved_facts(saved))
        self._changed.clear()
        for key in sorted(saved):
            if key.startswith(DOTS):
                dots = saved_dots(key, saved[key])
                held = [dot for dot in dots if self._fresh.pop(dot, self) is None]
                if held:
                    self._name_chunk(dots[0], held)
                else:
                    self._changed[key] = None
        self._has_new_dots = False

    def drop(self, saved: Mapping[bytes, bytes]) -> None:
        """Take off the disk the facts that an earlier life left: the data that it had merged is
        lost, so its context is worth nothing."""
        self._changed |= {key: None for key in sorted(saved) if key.startswith(PREFIX)}

    def renounce(self, saved: Mapping[bytes, bytes]) -> None:
        """`drop` after `restore`: some of the data is lost, and nobody knows which."""
        for times in (self.vector, self.seen, self.gaps):
            times.clear()
        for known in (self._bounds, self._facts, self.dots, self._chunks, self._changed):
            known.clear()
        self._fresh = OrderedSet()
        self._has_new_dots = False
        self.drop(saved)
