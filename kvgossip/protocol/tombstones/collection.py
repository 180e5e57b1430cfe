"""TombstoneCollection: the tombstones and expired entries that wait until nobody needs them
any more, and for whom they wait.

A tombstone that arrived here at time a (of this node's own HLC) may go when
- a row of the context covers it: then the context also covers all that its writer had seen, and
  such values are refused from now on (a dot is not enough); or it is older than `forget_after_s`,
  and its writer is no member: it vanished before it had exchanged with anybody, so that no row will
  ever come;
- and every member that counts has told that it holds all that had arrived here by a.

The first is for safety, and needs nobody else: whoever drops a tombstone refuses what it had
killed. The second is for quiet: were it dropped before all have it, those who lack it would learn
by refusals, and would put values into quarantine.

An entry that has expired waits for `drift_ms` more: where a clock is behind it is served until
then, and must not be taken from there.

Arrivals never go back, so one clock, that which all have confirmed, says how far down the list
one may go. What all hold, but no row covers, is put aside by its site, and looked at again when
that row advances.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from itertools import islice

from kvgossip.protocol.model.entry import expires_in, version_of
from kvgossip.protocol.model.hlc import milliseconds_of
from kvgossip.protocol.model.member import Member
from kvgossip.protocol.store.store import Store
from kvgossip.protocol.tombstones.causal_context import CausalContext

# 0.7 ms; four times as many at a time take 2.5 ms, and all of them three quarters of the time
PORTION = 64
PENDING_MAX = 8
RETRY_MS = 30_000
PART_KEYS_MAX = 16_384


class Waiting:
    """Keys with their arrivals, the oldest first.

    In parts, since a dict from whose front much was taken is searched from its old front on, and
    gives back no room before it grows again. Up to CPython 3.13 the garbage collector does not
    visit dicts of plain values.
    """

    __slots__ = ("_parts",)

    def __init__(self) -> None:
        self._parts: deque[dict[str, int]] = deque()

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    @property
    def oldest(self) -> int:
        """The first arrival; 0 where nothing waits."""
        return next(iter(self._parts[0].values())) if self._parts else 0

    def add(self, key: str, arrived: int) -> None:
        """`key` is not there, and no arrival is later."""
        if not self._parts or len(self._parts[-1]) >= PART_KEYS_MAX:
            self._parts.append({})
        self._parts[-1][key] = arrived

    def discard(self, key: str) -> bool:
        """Whether it was there."""
        for part in self._parts:
            if part.pop(key, None) is not None:
                if not part:
                    self._parts.remove(part)
                return True
        return False

    def take(self, limit: int, until: int) -> list[tuple[str, int]]:
        """At most `limit` of those that arrived by then, the oldest first. Nothing: there are no
        more of them."""
        if not self._parts:
            return []
        part = self._parts[0]
        taken = [(key, arrived) for key, arrived in islice(part.items(), limit) if arrived <= until]
        for key, _ in taken:
            del part[key]
        if not part:
            self._parts.popleft()
        return taken


class TombstoneCollection:
    """`confirmed`: what was known of the members when the round under way began."""

    __slots__ = (
        *(
            "_again",
            "_aside",
            "_context",
            "_drift_ms",
            "_forget_ms",
            "_looked",
            "_present",
            "_retried_ms",
            "_store",
            "_told",
            "_waiting",
        ),
        "confirmed",
    )

    def __init__(
        self, store: Store, context: CausalContext, forget_after_s: float, drift_ms: int
    ) -> None:
        self._store, self._context = store, context
        self._forget_ms, self._drift_ms = int(forget_after_s * 1000), drift_ms
        self._waiting = Waiting()
        self._aside: dict[
            int, dict[str, int]
        ] = {}  # site -> those whom no row covers, or that have just expired
        self._looked: dict[int, int] = {}  # site -> its row when those aside were looked at
        self._again: list[dict[str, int]] = []
        self._retried_ms = 0
        self._told: dict[int, int] = {}
        self._present: dict[int, None] = {}  # the lives of all members when the last round began
        self.confirmed = 0

    def __len__(self) -> int:
        return len(self._waiting) + sum(map(len, self._aside.values())) + sum(map(len, self._again))

    def add(self, key: str, arrived: int) -> None:
        """A tombstone has come into the store, or an entry there has expired."""
        self._waiting.add(key, arrived)

    def discard(self, key: str, record: bytes) -> None:
        """It is in the store no longer."""
        if not self._waiting.discard(key) and (self._aside or self._again):
            site = version_of(record).site
            aside = self._aside.get(site, {})
            if aside.pop(key, None) is not None and not aside:
                del self._aside[site]
            for batch in self._again:
                batch.pop(key, None)

    # -- what the members tell --------------------------------------------------------------------

    def heard(self, site: int, clock: int) -> None:
        """This life of a member holds all that had arrived here by then."""
        if clock > self._told.get(site, 0):
            self._told[site] = clock

    def confirmed_by(self, members: Iterable[Member], clock: int) -> int:
        """What all of them hold; everything up to `clock`, where there are none."""
        told = self._told
        return min((told.get(member.site, 0) for member in members), default=clock)

    def late(self, members: Iterable[Member]) -> list[str]:
        """The names of those for whom the oldest one waits."""
        oldest = self._waiting.oldest
        return sorted(
            {member.name: None for member in members if self._told.get(member.site, 0) < oldest}
        )

    # -- rounds -----------------------------------------------------------------------------------

    def begin(self, members: Iterable[Member], confirmed: int, wall_ms: int) -> None:
        """A round: `members` are all that are known, `confirmed` what those that count hold."""
        self._present = {member.site: None for member in members}
        self._told = {site: self._told[site] for site in self._present if site in self._told}
        self.confirmed = 0 if self._context.gaps else confirmed
        retry = wall_ms - self._retried_ms > min(self._forget_ms // 8, RETRY_MS)
        if retry:
            self._retried_ms = wall_ms
        rows = self._context.rows
        for site in [
            site for site in self._aside if retry or rows.get(site, 0) > self._looked[site]
        ]:
            self._again.append(self._aside.pop(site))

    def portion(self, wall_ms: int) -> tuple[list[str], bool]:
        """Keys that may go now, after looking at a portion; and whether there is more to look at in
        this round."""
        if not self.confirmed:
            return [], False
        if self._again:
            batch = self._again[-1]
            looked = [batch.popitem() for _ in range(min(PORTION, len(batch)))]
            if not batch:
                self._again.pop()
            return self._sort(looked, wall_ms), True
        looked = self._waiting.take(PORTION, self.confirmed)
        return self._sort(looked, wall_ms), bool(looked)

    def _sort(self, looked: list[tuple[str, int]], wall_ms: int) -> list[str]:
        ripe: list[str] = []
        for key, arrived in looked:
            record = self._store[key]
            if arrived <= self.confirmed and self.may_drop(record, wall_ms):
                ripe.append(key)
            else:
                site = version_of(record).site
                self._aside.setdefault(site, {})[key] = arrived
                self._looked[site] = self._context.rows.get(site, 0)
        if len(self._looked) > len(self._aside) + PORTION:
            self._looked = {site: self._looked[site] for site in self._aside}
        return ripe

    def may_drop(self, record: bytes, wall_ms: int) -> bool:
        """Whether this replica may let go a tombstone, as far as its own context is concerned."""
        version = version_of(record)
        if wall_ms < (expires_in(record) or -self._drift_ms) + self._drift_ms:
            return False
        if self._context.row_covers(version):
            return True
        # by its version, so that all nodes think alike
        return (
            milliseconds_of(version.timestamp) < wall_ms - self._forget_ms
            and version.site not in self._present
        )


class Vouching:
    """What a gateway tells on behalf of those behind it: its rows as they were when they had all
    that these rows stand for.

    Snapshots (my clock, my rows) wait until all behind have confirmed that clock. The oldest one
    waits on while newer ones replace each other, so that there is always one that will be
    confirmed.
    """

    __slots__ = ("_pending", "rows")

    def __init__(self) -> None:
        self.rows: Mapping[int, int] = {}
        self._pending: list[tuple[int, Mapping[int, int]]] = []

    @property
    def acks(self) -> bool:
        """Whether any snapshot waits to be confirmed."""
        return bool(self._pending)

    def note(self, clock: int, rows: Mapping[int, int]) -> None:
        """Rows have advanced."""
        if len(self._pending) >= PENDING_MAX:
            self._pending.pop()
        self._pending.append((clock, rows))

    def confirm(self, confirmed: int) -> None:
        while self._pending and self._pending[0][0] <= confirmed:
            self.rows = self._pending.pop(0)[1]
