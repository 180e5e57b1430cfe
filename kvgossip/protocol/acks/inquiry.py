"""VersionQueries in one pool: do you hold this version of a key, or a newer one?

    A --Enquire--> B --Confirm--> A    at once, or as soon as B does

Who is asked and lacks it, fetches it from the asker like a body that was noticed; then it answers.
What waits for an answer here is bounded in number and time, and lost with the process: the asker
asks again.
"""

from __future__ import annotations

from typing import NamedTuple

from kvgossip.config import Address
from kvgossip.protocol.membership.swim import Membership
from kvgossip.protocol.merging import Data
from kvgossip.protocol.model.entry import Version, version_of
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.outbox import Link
from kvgossip.protocol.rumors.mongering import Mongering
from kvgossip.protocol.wire.message import Confirm, Enquire, Notice

OPEN_MAX = 1024
OPEN_S = 30.0


class Open(NamedTuple):
    """An enquiry that cannot be confirmed yet. `reliable`: it came over a link, and so goes the
    answer."""

    version: Version
    reliable: bool
    end_s: float


class VersionQueries:
    """False where nobody waits for an answer of ours."""

    def __init__(
        self, data: Data, membership: Membership, mongering: Mongering, link: Link
    ) -> None:
        self._data, self._membership, self._spreading, self._link = (
            data,
            membership,
            mongering,
            link,
        )
        self._open: dict[str, dict[tuple[Address, int], Open]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def on_enquire(self, asked: Enquire, source: Address, now: Now, reliable: bool) -> None:
        record, version = self._data.store.record(asked.key), Version(asked.timestamp, asked.site)
        if record is not None and version_of(record) >= version:
            self._confirm(asked.number, source, reliable)
            return
        self._keep(
            asked.key, (source, asked.number), Open(version, reliable, now.monotonic_s + OPEN_S)
        )
        # a stranger's datagram must not make us dial
        if reliable or self._membership.name_at(source):
            self._spreading.fetch(
                Notice(asked.key, asked.timestamp, asked.site, asked.size), source, now
            )

    def _keep(self, key: str, who: tuple[Address, int], asked: Open) -> None:
        same = self._open.setdefault(key, {})
        self._count += who not in same
        same[who] = asked
        if self._count > OPEN_MAX:
            oldest = next(iter(self._open))
            self._count -= len(self._open.pop(oldest))

    def merged(self, key: str, record: bytes, now: Now) -> None:
        """This node has something newer under the key."""
        same = self._open.get(key)
        if same is None:
            return
        for who, asked in list(same.items()):
            if asked.version <= version_of(record) or now.monotonic_s >= asked.end_s:
                del same[who]
                self._count -= 1
                if now.monotonic_s < asked.end_s:
                    self._confirm(who[1], who[0], asked.reliable)
        if not same:
            del self._open[key]

    def _confirm(self, number: int, to: Address, reliable: bool) -> None:
        me = self._membership.me
        self._link.send(Confirm(number, me.name, me.site), to, reliable=reliable)

    def on_confirm(self, told: Confirm) -> None:
        """Believed of the life that is known here alone: an answer of an earlier one says nothing
        of what this one holds."""
        known = self._membership.members.get(told.sender)
        if known is not None and known.site == told.life:
            self._data.confirmed(told.number, told.sender)
