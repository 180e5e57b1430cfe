"""Keeping: between a cache and its sources, of which one comes after the other: nothing that the
cache has is lost while the next one still has to find out.

The law: what the cache has of a key is taken from it by newer news of that key, or by a source that
has settled. A member that has just begun knows what its disk has, or nothing; to the cache that
would look as if all had been deleted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kvgossip.cache.source import Record, Sink, SourceState


class Keeping:
    """A Sink before the sink of the cache."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._settled = False
        #: what the cache has, by key; while the source is not believed, deletes too
        self._known: dict[str, Record] = {}
        #: what the source has, where that is not believed yet
        self._doubted: dict[str, Record] | None = None

    def replaced(self, records: Sequence[Record]) -> None:
        if self._settled or not self._known:
            self._give_all(records)
            return
        self._doubted = {record.key: record for record in records}
        self._give_newer(records)

    def changed(self, records: Sequence[Record]) -> None:
        if self._doubted is None:
            merge_into(self._known, records)
            self._sink.changed(records)
        else:
            merge_into(self._doubted, records)
            self._give_newer(records)

    def state_changed(self, state: SourceState) -> None:
        self._settled = state.settled
        if state.settled and self._doubted is not None:
            self._give_all(list(self._doubted.values()))
        self._sink.state_changed(state)

    def _give_all(self, records: Sequence[Record]) -> None:
        self._doubted = None
        self._known = {record.key: record for record in records}
        self._sink.replaced(records)

    @property
    def values(self) -> list[Record]:
        """All that the cache has."""
        return [record for record in self._known.values() if record.value is not None]

    def _give_newer(self, records: Iterable[Record]) -> None:
        newer = [record for record in records if self._is_news(record)]
        self._known.update((record.key, record) for record in newer)
        if newer:
            self._sink.changed(newer)

    def _is_news(self, record: Record) -> bool:
        known = self._known.get(record.key)
        if known is None:
            return True
        # what expires does so under its own version
        return record.version > known.version or (
            record.value is None and record.version == known.version
        )


def merge_into(table: dict[str, Record], records: Iterable[Record]) -> None:
    """Later ones take the place of those before; a delete leaves nothing."""
    for record in records:
        if record.value is None:
            table.pop(record.key, None)
        else:
            table[record.key] = record
