"""Reseeding: the tables, the digest and the sketch of a store under another seed, made from its
records some at a time, while the store goes on under the seed that it has.

A node takes over the seed of its cluster when it founds or joins one, and then has few keys, which
takes one step. But one that has taken writes for long before it met its cluster, and each node of a
cluster that an operator merges into another one, may have millions: nothing waits for these.

Laws
- Whatever changes meanwhile changes here as well: at the end both hold the same records, and a
  store that was reseeded is the same as one that was filled under that seed.
- No step takes more than some milliseconds. Until the last one every question is answered by what
  is old; from then on, in the same instant, all of them by what is new.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from kvgossip.protocol.store.digest import POSITION_BITS, DigestTree
from kvgossip.protocol.store.hash_table import HashTable
from kvgossip.protocol.store.sketch import Sketch
from kvgossip.protocol.typed.body import fingerprinted

STEP_KEYS = 500
"""Keys that take one or two milliseconds."""
_POSITIONS = 1 << POSITION_BITS


class Reseeding:
    """Begins with nothing: room for a million keys is not made in one step."""

    __slots__ = ("digest", "sketch", "tables")

    def __init__(self, levels: int, seed: int) -> None:
        self.digest = DigestTree(levels, seed)
        self.tables = HashTable(self.digest)
        self.sketch = Sketch()

    def changed(self, key: str, record: bytes | None) -> None:
        """This is under the key from now on; None: nothing is."""
        key_hash = self.digest.hash_of(key)
        old = self.tables.at(key_hash).get(key)
        if record is not None:
            self.tables.put(key_hash, key, record, old is None)
        elif old is not None:
            self.tables.pop(key_hash, key)
        for fingerprint in self.digest.replace(
            key_hash, _fingerprinted(old), _fingerprinted(record)
        ):
            if fingerprint:
                self.sketch.toggle(fingerprint)

    def steps(self, old: HashTable, record: Callable[[str], bytes | None]) -> Iterator[None]:
        """Take over all keys of the old tables. `record(key)` is what is there now."""
        for place, keys in enumerate(_portions(old)):
            if place:
                yield
            pairs = ((key, record(key)) for key in keys)
            entries = [(key, found) for key, found in pairs if found is not None]
            known = self.tables.add(entries)
            fresh = [entry for place, entry in enumerate(entries) if place not in known]
            self.sketch.toggle_all(self.digest.add(fresh))


def _fingerprinted(record: bytes | None) -> bytes | None:
    return None if record is None else fingerprinted(record)


def _portions(old: HashTable) -> Iterator[list[str]]:
    """All keys, in the order of their positions; tables may be split and joined meanwhile."""
    position, keys = 0, list[str]()
    while position < _POSITIONS:
        end = old.end_of(position)
        keys += [key for key, _ in old.between(position, end)]
        position = end
        while len(keys) >= STEP_KEYS:
            yield keys[:STEP_KEYS]
            del keys[:STEP_KEYS]
    yield keys
