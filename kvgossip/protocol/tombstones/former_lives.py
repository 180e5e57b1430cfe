"""FormerLives: the lives of this node before this one that have written, and what they left in
counters: a subtotal each (typed/counter.py), which only this node may take over.

Laws (rule 10 of tests/model/siblings.py)
- A life is a former one by this node's own disk, under the same name. A copy of that disk under
  another name takes nothing over, or two would count the same.
- Nothing is taken over before this life has completed an exchange: a disk that was set back may
  name what a later life has taken over already. And only by the proof by which tombstones go
  (collection.py): so nothing of that life can be under way that is newer.
- A subtotal stays while there are fewer than ORPHANS_MIN in a record: else each restart would cost
  a write for each counter.

Of more than LIVES_MAX lives the oldest leave what they have left for good, as does one whose disk
is lost.
"""

from __future__ import annotations

from kvgossip.protocol.saved_state import SavedLife
from kvgossip.protocol.typed import counter, field_map
from kvgossip.protocol.typed.body import decode, type_in
from kvgossip.protocol.typed.typed_record import DOT_BYTES

SITE_BYTES = 8
LIVES_MAX = 64
ORPHANS_MIN = 4


class FormerLives:
    __slots__ = ("_sites", "has_exchanged", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        #: their sites, the oldest first, as records have them
        self._sites: tuple[bytes, ...] = ()
        #: true once this life has completed an exchange
        self.has_exchanged = False

    def restore(self, saved: SavedLife) -> None:
        """What an earlier life on this disk has left."""
        if saved.name == self.name:
            former = saved.lives
            self._sites = tuple(
                former[start : start + SITE_BYTES] for start in range(0, len(former), SITE_BYTES)
            )

    def kept(self, site: int, *, has_written: bool) -> bytes:
        """For the disk: with this life, for the next one."""
        own = (site.to_bytes(SITE_BYTES, "big"),) if has_written else ()
        return b"".join((*self._sites, *own)[-LIVES_MAX:])

    def begin_life(self, former: int) -> None:
        """The life that has been this node's until now is a former one."""
        self._sites = (*self._sites, former.to_bytes(SITE_BYTES, "big"))[-LIVES_MAX:]
        self.has_exchanged = False

    def orphans(self, record: bytes) -> list[bytes]:
        """The dots of the subtotals in this record that this life is to take over; none where they
        are few."""
        if not self._sites:
            return []
        type_ = type_in(record)
        if type_ == counter.TYPE:
            subtotals = decode(record).live
        elif type_ == field_map.TYPE:
            subtotals = field_map.subtotals(decode(record))
        else:
            return []
        found = [value[:DOT_BYTES] for value in subtotals if value[8:DOT_BYTES] in self._sites]
        return found if len(found) >= ORPHANS_MIN else []
