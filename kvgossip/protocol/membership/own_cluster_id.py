"""OwnClusterId: the id of the cluster that this node belongs to, in all its pools.

Laws (protocol.md section 1)
- A node begins with a candidate of its own. It is minted once the node has settled and is no longer
  empty and alone: from then on the node is of that cluster, and so are its later lives on the same
  disk.
- A node that has minted nothing takes the id of the cluster that takes it in.
- Two ids that were minted, and have nothing in common, never become one but by an operator's word:
  then the number of the cluster that was asked stays, for both.
- The store places keys by the seed of the id, once one is minted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from kvgossip.protocol.model.change import Persist
from kvgossip.protocol.model.cluster_id import (
    NUMBER_BITS,
    UNKNOWN,
    ClusterId,
    minted,
    taken_over,
    united,
)
from kvgossip.protocol.outbox import Outbox
from kvgossip.protocol.wire.frame import Framing


class OwnClusterId:
    """`saved`: that of an earlier life, UNKNOWN where there was none. `site`: 64 random bits of
    this life, of which the number of the candidate is made, and `seed`: 64 that nobody else knows,
    of which its seed is. `reseed(seed)` lets the store place its keys by that. `settled()` and
    `alone()` are of this node: alone is who has nothing and knows nobody. `tell()` lets all members
    hear of a merge. `own_facts()` are those for a later life that have changed."""

    def __init__(
        self,
        saved: ClusterId,
        site: int,
        seed: int,
        *,
        reseed: Callable[[int], None],
        settled: Callable[[], bool],
        alone: Callable[[], bool],
        tell: Callable[[], None],
        own_facts: Callable[[], Iterable[Persist]],
        outbox: Outbox,
    ) -> None:
        number = site % 2**NUMBER_BITS or 1
        self.value = saved if saved.number else ClusterId(0, number, seed=seed)
        self._settled, self._alone = settled, alone
        self._reseed, self.tell = reseed, tell
        self._own_facts, self._outbox = own_facts, outbox
        #: of all pools of this node
        self._framings: list[Framing] = []

    @property
    def kept(self) -> ClusterId:
        """What a later life begins with; UNKNOWN while nothing is minted."""
        return self.value if self.value.minted else UNKNOWN

    @property
    def digest(self) -> int:
        """That of the id; 0 while nothing is minted."""
        return self.value.digest if self.value.minted else 0

    def mark(self, framing: Framing) -> None:
        """Let the frames of this pool carry the id, from now on."""
        self._framings.append(framing)
        framing.belong_to(self.value)

    def place(self) -> None:
        """Let the store place its keys by the seed, if the id is minted and it does not yet: an
        earlier life may have ended before all keys had their places."""
        if self.value.minted:
            self._reseed(self.value.seed)

    def look(self) -> None:
        """Mint, if it is time to."""
        if not self.value.minted and self._settled() and not self._alone():
            self._set(minted(self.value))

    def admits(self, theirs: ClusterId) -> bool:
        """True if a node of that id may become a member without an operator's word."""
        self.look()
        ours = self.value
        return not (ours.minted and theirs.minted) or ours.meets(theirs)

    def take(self, theirs: ClusterId) -> None:
        """A node of this id, which is admitted, becomes a member."""
        if not (self.value.minted or theirs.minted) and self._settled():
            self._set(minted(self.value))
        ours = self.value
        if theirs.number and (theirs.minted or not ours.minted):
            self._set(united(ours, theirs))

    def take_over(self, theirs: ClusterId) -> None:
        """An operator makes the cluster of that id a part of this one."""
        self._set(taken_over(self.value, theirs))
        self.tell()

    def _set(self, value: ClusterId) -> None:
        if value == self.value:
            return
        self.value = value
        for framing in self._framings:
            framing.belong_to(value)
        self.place()
        # it goes into any commit; where nothing asks for one, this does
        if value.minted and not self._outbox.writes_to_disk():
            self._outbox.persist(self._own_facts())
