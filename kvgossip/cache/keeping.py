"""Keeping: between a cache and its sources, of which one comes after the other: nothing that the
cache has is lost while the next one still has to find out, or because it knows less.

The law: what the cache has of a key is taken from it by newer news of that key, or by a source that
is believed: one that has settled, and knows what is known here. Until then a source brings what is
newer, and takes nothing away. A member that has just begun knows what its disk has, or nothing, and
to the cache that would look as if all had been deleted; and one that has settled may have done so
alone, or with somebody who has not heard yet what this process has.

So what a source lacks are its *seeds*: its node gets them under their versions, as it gets a
backup, and is the one that can tell. What the cluster has deleted it passes over, since it knows of
every version that the cluster has seen, also where no tombstone is left; all else is news to it,
and stays.

- Who takes over gives its own node all that it has; who follows gives what it misses in what the
  member tells (host_source.py, followers.py). So it does not matter whose process takes over, how
  far behind that was, and which prefix it reads.
- Deletes are seeds too, the newest GONE_MAX: where the member had them in memory alone, somebody
  who missed one would bring the value back.
- What an earlier source has left, before a fork or a close, is kept like all else, but is no seed:
  it may be hours old, and a node that began meanwhile cannot tell what was deleted in between.
- Of what nodes merge - counters, sets, siblings - the newer record may lack what the older one has.
  So it is a seed wherever the source has another one, and until that is believed it stays.
- Over HTTP nobody gives seeds, since who may read may not write: there a node that has settled is
  believed (url_source.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from kvgossip.cache.source import Record, Sink, SourceState

GONE_MAX = 1000


class Keeping:
    """A Sink before the sink of the cache."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._settled = False
        #: what the cache has, by key
        self._known = dict(sink.records())
        #: what went from it, oldest first: deleted, or expired under its own version
        self._gone: dict[str, Record] = {}
        #: what of both is no seed: left by an earlier source, or expired
        self._barren = dict(self._known)
        #: what the source has, where that is not believed yet
        self._doubted: dict[str, Record] | None = None
        #: true while that is about to be believed, and shown as a whole
        self._held = False

    def replaced(self, records: Sequence[Record], *, settled: bool = False) -> None:
        self._doubted = {record.key: record for record in records}
        self._held = settled and bool(self.lacking())
        if self._settled or self._is_new or (settled and not self._held):
            self._give_all(records)
        elif not self._held:
            self._give_newer(records)

    def changed(self, records: Sequence[Record]) -> None:
        if self._doubted is None:
            self._note(records)
            self._sink.changed(records)
            return
        merge_into(self._doubted, records)
        if not self._held:
            self._give_newer(records)

    def state_changed(self, state: SourceState) -> None:
        self._settled = state.settled
        if self._doubted is not None:
            records = list(self._doubted.values())
            if state.settled:
                self._give_all(records)
            elif self._held:
                self._held = False
                self._give_newer(records)
        self._sink.state_changed(state)

    def records(self) -> Mapping[str, Record]:
        return self._known

    @property
    def _is_new(self) -> bool:
        """True while there was nothing to lose."""
        return not (self._known or self._gone)

    # -- seeds ------------------------------------------------------------------------------------

    def seeds(self) -> list[Record]:
        """All that a node should know which has nothing."""
        return [
            record
            for record in (*self._known.values(), *self._gone.values())
            if record is not self._barren.get(record.key)
        ]

    def lacking(self) -> list[Record]:
        """What the source lacks, while it is not believed."""
        return [each for each in self.seeds() if self._is_lacking(each)]

    def _is_lacking(self, seed: Record) -> bool:
        if self._doubted is None:
            return False
        theirs = self._doubted.get(seed.key)
        if theirs is not None and seed.is_merged:
            # the node has what both come to, once it knows both
            return seed.data != theirs.data
        return seed.value is not None if theirs is None else seed.version > theirs.version

    # -- what the cache has -----------------------------------------------------------------------

    def _give_all(self, records: Sequence[Record]) -> None:
        self._known = {record.key: record for record in records}
        self._gone = {
            key: record
            for key, record in self._gone.items()
            if key not in self._known and record is not self._barren.get(key)
        }
        self._barren, self._doubted, self._held = {}, None, False
        self._sink.replaced(records)

    def _give_newer(self, records: Iterable[Record]) -> None:
        newer = [record for record in records if self._is_news(record)]
        self._note(newer)
        if newer:
            self._sink.changed(newer)

    def _is_news(self, record: Record) -> bool:
        known = self._known.get(record.key) or self._gone.get(record.key)
        if known is None:
            return True
        if record.is_merged and known.is_merged:
            # of two versions neither need have all: the node merges them first
            return False
        # what expires does so under its own version
        return record.version > known.version or (
            record.value is None and record.version == known.version
        )

    def _note(self, records: Iterable[Record]) -> None:
        for record in records:
            key = record.key
            before = self._known.pop(key, None)
            self._gone.pop(key, None)
            self._barren.pop(key, None)
            if record.value is not None:
                self._known[key] = record
                continue
            self._gone[key] = record
            if before is not None and before.version == record.version:
                self._barren[key] = record
        while len(self._gone) > GONE_MAX:
            oldest = next(iter(self._gone))
            del self._gone[oldest]
            self._barren.pop(oldest, None)


def merge_into(table: dict[str, Record], records: Iterable[Record]) -> None:
    """Later ones take the place of those before; a delete leaves nothing."""
    for record in records:
        if record.value is None:
            table.pop(record.key, None)
        else:
            table[record.key] = record
