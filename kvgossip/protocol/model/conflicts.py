"""Conflicts: of two writes of a key the greater version is kept, everywhere. Where neither writer
had seen the other's write, one of them is lost although it was acknowledged: here it is seen, so
that somebody learns of it.

Every write says what its writer had. Its *parent* is the newest version of another site that its
writer had under that key: that of the record that it replaces, where that is of another site; and
where it is of the own site, what that record has as its own parent. So what only one site writes
carries nothing, and a key that was taken over carries 18 bytes.

Why the parent is inherited, where a record says nothing of what the own site wrote before: a node
that has missed the first of two writes that follow each other would hold the second one against
that which the first had replaced, and that its writer knew.

Why it is the first 11 bytes of a version, the timestamp and three bytes of the site: so bytes
compare as versions do. Of writes in the same 65,536th of a millisecond by two sites that have three
bytes in common, one in 16 million, a conflict is taken for none.

The rule. A record has lost to one that is kept, of another site, when it is newer than its parent.
What a writer has had is never newer than that: versions under a key only grow. It is no conflict
- when both are deletes: nothing is lost;
- when what has lost has expired: it would have gone by now;
- when what has lost is a delete, and the writer of what is kept had found nothing there, which is
  what the delete left. (A delete of what that same site wrote is one: it was there.)

What the rule cannot see. It compares with the one version that the writer had last.
- Of three writes: one that has lost is older than the parent of what is kept, although that writer
  had not seen it. It lost to the parent, or to what was before, and is seen where it met that.
- A write that no node but its own ever had, and that was replaced there.
- Two writes of one site: a machine that was set back goes on as another one once it knows.
- A read of somebody else: a client that reads from one node and writes to another one has seen what
  the node that it writes to has not.
- What writers of releases before this one had seen, who say nothing: their writes have no parent,
  so that what they replaced is taken for lost wherever the two are offered to one node.
It says too much of a key that was deleted by another site, collected, and written anew by one of
its earlier writers, on a node that has the tombstone, or what it deleted, still.

Laws
- Each loser is seen once a node, however often it is offered, while fewer than SEEN_MAX others have
  come since.
- A write of a client is in conflict with nothing that is here: it has seen it.
- What only one site writes costs nothing but the comparison of two sites, 8 bytes each.
"""

from __future__ import annotations

from xxhash import xxh3_64_intdigest

from kvgossip.protocol.model.change import Conflict
from kvgossip.protocol.model.entry import (
    HEAD_BYTES,
    PARENT_BYTES,
    expires_in,
    is_dead,
    may_expire,
    parent_in,
)
from kvgossip.protocol.model.newest import Newest

SEEN_MAX = 8192

_PREFIX = slice(1, 1 + PARENT_BYTES)
"""Of a record: as much of its version as a parent has."""
_SITE = slice(9, HEAD_BYTES)
_PARENT_SITE = slice(9, 1 + PARENT_BYTES)


def parent_of(replaced: bytes, site: bytes) -> bytes:
    """The parent of a write of this site, 8 bytes, that replaces this record; empty: it has
    none."""
    return parent_in(replaced) if replaced[_SITE] == site else replaced[_PREFIX]


def are_in_conflict(kept: bytes, lost: bytes, wall_ms: int) -> bool:
    """True if the writer of `kept`, a greater version of the same key, had not seen `lost`, and
    something is lost."""
    if kept[_SITE] == lost[_SITE]:
        return False
    parent = parent_in(kept)
    if lost[_PREFIX] <= parent:
        return False
    if is_dead(lost):
        was_there = bool(parent) or parent_in(lost)[8:] == kept[_PARENT_SITE]
        return was_there and not is_dead(kept)
    return not may_expire(lost) or (expires_in(lost) or 0) > wall_ms


class Conflicts:
    """Those that one replica has seen lately."""

    def __init__(self) -> None:
        #: hashes of the losers
        self._seen: Newest[int, None] = Newest(SEEN_MAX)

    def between(self, key: str, kept: bytes, lost: bytes, wall_ms: int) -> Conflict | None:
        """Two records of different sites have met under this key. None where this is no conflict,
        or was seen before."""
        if not are_in_conflict(kept, lost, wall_ms):
            return None
        loser = xxh3_64_intdigest(lost[1:HEAD_BYTES] + key.encode())
        if loser in self._seen:
            return None
        self._seen[loser] = None
        return Conflict(key, lost, kept)
