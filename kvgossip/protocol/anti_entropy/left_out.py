"""LeftOut: the entries that peers hold and leave out, since they are too long for this node.

Every member tells in its record the longest frame that it takes over a link, which follows from its
`value_bytes_max` and `message_bytes_max`. A peer that has an entry beyond that sends a notice of it
instead, and all that lies behind it comes through: an exchange with such entries completes, but
its context is not learned here, or what was left out would look as if it had been collected.

They are few, and named to the operator: by a WARNING when one is heard of first, by a number in the
statistics, and to whoever lets the doctor ask. A peer may name any number of them, so there is one
WARNING a minute at most, with how many have come since the one before.
"""

from __future__ import annotations

from collections.abc import Iterable

from kvgossip.config import Config
from kvgossip.protocol.ingress.rate_limit import Bucket
from kvgossip.protocol.model.entry import Version, version_of
from kvgossip.protocol.model.newest import Newest
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.outbox import Outbox
from kvgossip.protocol.store.store import Store
from kvgossip.protocol.tombstones.causal_context import CausalContext
from kvgossip.protocol.wire.message import Notice

KEPT_MAX = 1024
LINES_PER_S = 1 / 60


class LeftOut:
    """By key; a notice goes when the entry, or a newer one, is here or was."""

    def __init__(
        self, config: Config, store: Store, context: CausalContext, outbox: Outbox
    ) -> None:
        self._config, self._store, self._outbox = config, store, outbox
        self._context = context
        self._notices: Newest[str, Notice] = Newest(KEPT_MAX)
        #: the lines of the log, and how many entries were heard of since the last one
        self._lines, self._unsaid = Bucket(LINES_PER_S, 1.0), 0

    def heard(self, notices: Iterable[Notice], peer: str, now: Now) -> None:
        """This peer has left these out."""
        for notice in notices:
            is_new = notice.key not in self._notices
            self._notices[notice.key] = notice
            if is_new and self._lines.admits(now.monotonic_s):
                self._warn(notice, peer)
            elif is_new:
                self._unsaid += 1

    def _warn(self, notice: Notice, peer: str) -> None:
        unsaid, self._unsaid = self._unsaid, 0
        others = f"; {unsaid:,} others were left out since the last such line" if unsaid else ""
        self._outbox.log(
            "WARNING",
            f"{peer!r} left out the entry {notice.key!r}, {notice.size:,} bytes: it is too long "
            f"for this node, whose value_bytes_max is {self._config.value_bytes_max:,}{others}. "
            "Give all nodes the same value_bytes_max and message_bytes_max",
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
