"""LeftOut: the entries that peers hold and leave out, since they are too long for this node.

Every member tells in its record the longest frame that it takes over a link, which follows from its
`value_bytes_max` and `message_bytes_max`. A peer that has an entry beyond that sends a notice of it
instead, and all that lies behind it comes through: an exchange with such entries completes, but
its context is not learned here, or what was left out would look as if it had been collected.

They are few, and named to the operator: by a WARNING when one is heard of first, by a number in the
statistics, and to whoever lets the doctor ask.
"""

from __future__ import annotations

from collections.abc import Iterable

from kvgossip.config import Config
from kvgossip.protocol.model.entry import Version, version_of
from kvgossip.protocol.model.newest import Newest
from kvgossip.protocol.outbox import Outbox
from kvgossip.protocol.store.store import Store
from kvgossip.protocol.tombstones.causal_context import CausalContext
from kvgossip.protocol.wire.message import Notice

KEPT_MAX = 1024


class LeftOut:
    """By key; a notice goes when the entry, or a newer one, is here or was."""

    def __init__(
        self, config: Config, store: Store, context: CausalContext, outbox: Outbox
    ) -> None:
        self._config, self._store, self._outbox = config, store, outbox
        self._context = context
        self._notices: Newest[str, Notice] = Newest(KEPT_MAX)

    def told(self, notices: Iterable[Notice], peer: str) -> None:
        """This peer has left these out."""
        for notice in notices:
            known = self._notices.get(notice.key)
            self._notices[notice.key] = notice
            if known is None:
                self._outbox.log(
                    "WARNING",
                    f"{peer!r} left out the entry {notice.key!r}, {notice.size:,} bytes: it is too "
                    f"long for this node, whose value_bytes_max is {self._config.value_bytes_max:,}"
                    ". Give all nodes the same value_bytes_max and message_bytes_max",
                )

    @property
    def keys(self) -> list[str]:
        """Those that are still not here, the oldest first."""
        for key, notice in list(self._notices.items()):
            record, version = self._store.record(key), Version(notice.timestamp, notice.site)
            is_here = record is not None and version_of(record) >= version
            if is_here or self._context.vector_covers(version):
                del self._notices[key]
        return list(self._notices)
