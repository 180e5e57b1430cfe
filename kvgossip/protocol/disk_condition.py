"""DiskCondition: what is wrong with the data directory of this node - with what is in it, or with
the disk below it - for the doctor, and for the start.

Laws (protocol.md section 7)
- Each commit holds the digest root of the entries that are on the disk with it. A life whose
  entries do not give it has lost some, of which its causal context says that they were here: it
  would take them out of other nodes. So it renounces that context, and rebuilds. The first commit
  has the root of what is left: in the same one the context goes from the disk.
- Never silently: a WARNING, and a finding of the doctor until a settled member has sent it all.
"""

from __future__ import annotations

from collections.abc import Callable

from kvgossip.protocol.model.change import Persist
from kvgossip.protocol.model.plain_text import plain
from kvgossip.protocol.outbox import Outbox
from kvgossip.protocol.saved_state import SavedState, content_fact
from kvgossip.protocol.settling import Settling
from kvgossip.protocol.store.digest import shown
from kvgossip.protocol.store.store import Store
from kvgossip.protocol.tombstones.causal_context import CausalContext


class DiskCondition:
    """Of a replica without a disk nothing is ever wrong. `place` is that of OwnClusterId."""

    def __init__(
        self,
        saved: SavedState,
        store: Store,
        context: CausalContext,
        settling: Settling,
        outbox: Outbox,
        place: Callable[[], None],
    ) -> None:
        self._saved, self._store, self._context = saved, store, context
        self._settling, self._outbox, self._place = settling, outbox, place
        #: why the disk takes nothing now, in words, as the driver knows it; empty where it does
        self.fault = ""

    def loaded(self) -> None:
        """To be called once, before `start`, when all records of the disk have been taken."""
        self._store.loaded()
        self._compare()
        # not before: the root that was saved is of keys where the earlier life had placed them
        self._place()

    def _compare(self) -> None:
        """Rebuild, where the records are not those that were committed."""
        root, entries = self._store.digest.root, len(self._store)
        if root == self._saved.root:
            return
        self._context.renounce(self._saved.facts)
        self._settling.rebuild()
        text = (
            f"the disk has lost data: it gives {entries} entries with the root {shown(root):016x}, "
            f"and {self._saved.entries} with the root {shown(self._saved.root):016x} were "
            "committed; what is "
            "missing is fetched from peers, and until a settled one has sent it, or `kvgossip "
            "settle` accepts what is here, reads are not answered"
        )
        self._outbox.log("WARNING", text)

    def content(self) -> Persist:
        """The fact about the entries, for every commit."""
        digest = self._store.digest
        return content_fact(digest.root, len(self._store), digest.seed)

    def problem(self) -> str:
        """In words, and printable; empty: nothing is wrong."""
        if self._settling.rebuilding and not self._settling.settled:
            return "it has lost data, and fetches what is missing from peers"
        return plain(" ".join(self.fault.split()))
