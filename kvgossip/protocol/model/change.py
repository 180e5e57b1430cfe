"""Changed: the change of a key by a merge; Conflict: a write that lost to another one, neither of
which knew of the other; Persist: a fact that a replica keeps about itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from kvgossip.protocol.model.entry import Entry, entry_of


class Changed(NamedTuple):
    """A merge was news: `old` is the record that this replica had (None: nothing), `new` the one
    that it has now (perhaps a tombstone).

    Both are read from their immutable records on demand, so that a bulk load without watchers
    parses nothing. The store makes it, and it is the effect, the feed's and the commits' argument
    as it is: a tuple costs a third of a frozen dataclass to make.
    """

    key: str
    old_record: bytes | None
    new_record: bytes

    @property
    def old(self) -> Entry | None:
        return None if self.old_record is None else entry_of(self.key, self.old_record)

    @property
    def new(self) -> Entry:
        return entry_of(self.key, self.new_record)


class Conflict(NamedTuple):
    """Two writes of a key, of which neither writer had seen the other's, have met here: the record
    `lost` has lost to `kept` (see conflicts.py)."""

    key: str
    lost_record: bytes
    kept_record: bytes

    @property
    def lost(self) -> Entry:
        return entry_of(self.key, self.lost_record)

    @property
    def kept(self) -> Entry:
        return entry_of(self.key, self.kept_record)


@dataclass(frozen=True, slots=True)
class Persist:
    """A fact about this replica, which is no entry: keep it on the disk under this key. None:
    remove it."""

    key: bytes
    value: bytes | None
