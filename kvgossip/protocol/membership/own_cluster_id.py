"""OwnClusterId: the id of the cluster that this node belongs to, in all its pools.

Laws (protocol.md section 1)
- A node begins with a candidate of its own. It is minted once the node has settled and is no longer
  empty and alone: from then on the node is of that cluster, and so are its later lives on the same
  disk.
- A node that has minted nothing takes the id of the cluster that takes it in.
- Two ids that were minted, and have nothing in common, never become one but by an operator's word:
  then the number of the cluster that was asked stays, for both.
"""

from __future__ import annotations

from collections.abc import Callable

from kvgossip.protocol.model.cluster_id import (
    NUMBER_BITS,
    UNKNOWN,
    ClusterId,
    minted,
    taken_over,
    united,
)
from kvgossip.protocol.wire.frame import Framing


class OwnClusterId:
    """`saved`: that of an earlier life, UNKNOWN where there was none. `site`: 64 random bits of
    this life, of which the candidate is made. `settled()` and `alone()` are of this node: alone is
    who has nothing and knows nobody. `changed()` is called after each change of what a later life
    begins with."""

    def __init__(
        self,
        saved: ClusterId,
        site: int,
        *,
        settled: Callable[[], bool],
        alone: Callable[[], bool],
        changed: Callable[[], None],
    ) -> None:
        self.value = saved if saved.number else ClusterId(0, site % 2**NUMBER_BITS or 1)
        self._settled, self._alone, self._changed = settled, alone, changed
        #: of all pools of this node
        self._framings: list[Framing] = []
        #: true if an operator has made two clusters one, and the members are to hear of it
        self.has_news = False

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
        if not theirs.minted and self._settled():
            self._set(minted(self.value))
        ours = self.value
        if not theirs.number:
            return
        if ours.meets(theirs) or not (ours.minted or theirs.minted):
            self._set(united(ours, theirs))
        elif not ours.minted:
            self._set(theirs)

    def take_over(self, theirs: ClusterId) -> None:
        """An operator makes the cluster of that id a part of this one."""
        self._set(taken_over(self.value, theirs))
        self.has_news = True

    def _set(self, value: ClusterId) -> None:
        if value == self.value:
            return
        self.value = value
        for framing in self._framings:
            framing.belong_to(value)
        if value.minted:
            self._changed()
