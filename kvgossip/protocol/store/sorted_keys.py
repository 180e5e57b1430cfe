"""SortedKeys: strings in the order of their code points, in lists of a thousand (sortedcontainers).

That takes nine bytes a key. The garbage collector visits every string of such a list whenever it
visits the list: a million keys take it 10 to 20 ms. So an agent lets it visit everything rarely,
and not at all what is there to stay (kvgossip/cli/process/memory.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sortedcontainers import SortedList

FOLDER_STEPS = 10_000
"""So many keys in no folder are passed for one page of folders: a few milliseconds."""
LAST = chr(0x10FFFF)
"""The greatest code point."""


class SortedKeys:
    """A sorted set of keys."""

    __slots__ = ("_late", "_sorted")

    def __init__(self) -> None:
        self._sorted: SortedList[str] = SortedList()
        self._late: list[str] = []

    def __len__(self) -> int:
        return len(self._sorted) + len(self._late)

    def __contains__(self, key: str) -> bool:
        return key in self.sort()

    def add(self, key: str) -> None:
        """`key` is not there yet."""
        if self._late:
            self.sort()
        self._sorted.add(key)

    def extend(self, keys: Iterable[str]) -> None:
        """`add` of many. They wait until the order is needed: to sort all at once is faster."""
        self._late.extend(keys)

    def remove(self, key: str) -> None:
        """`key` is there."""
        self.sort().remove(key)

    def since(self, first: str, offset: int = 0) -> Iterator[str]:
        """Every key that is not less than `first`, in order, but for so many at the begin. The keys
        must not change meanwhile."""
        held = self.sort()
        return held.islice(held.bisect_left(first) + offset) if offset else held.irange(first)

    def count(self, prefix: str) -> int:
        """How many keys start with it: two searches, however many there are."""
        held, end = self.sort(), behind(prefix)
        last = len(held) if end is None else held.bisect_left(end)
        return last - held.bisect_left(prefix)

    def longest_start_of(self, text: str, least: str) -> str | None:
        """The longest key that `text` starts with, among those that start with `least`. Where there
        is none of these, that is one search; where all keys are greater than `text`, a glance."""
        held = self.sort()
        if not held or held[0] > text:
            return None
        while at := held.bisect_right(text):
            key = held[at - 1]
            if not key.startswith(least):
                break
            if text.startswith(key):
                return key
            # whatever `text` starts with is a start of what it has in common with this one
            text = _common_start(key, text)
        return None

    def sort(self) -> SortedList[str]:
        """All keys. Takes a tenth of a second where `extend` brought a million that were sorted."""
        if self._late:
            late, self._late = self._late, []
            self._sorted.update(late)
        return self._sorted

    def folders(
        self, prefix: str, first: str, limit: int, steps: int = FOLDER_STEPS
    ) -> tuple[list[tuple[str, int]], str | None]:
        """The texts that keys under `prefix` have up to their next slash, each with how many have
        it, of keys that are not less than `first`: at most `limit`, and at most `steps` keys
        without such a slash are passed. The second is the `first` to go on with; None: that is
        all."""
        found: list[tuple[str, int]] = []
        start: str | None = max(prefix, first)
        while start is not None:
            key = next(self.since(start), None)
            if key is None or not key.startswith(prefix):
                break
            if len(found) == limit or not steps:
                return found, key
            cut = key.find("/", len(prefix)) + 1
            if not cut:
                steps -= 1
                start = f"{key}\0"
            else:
                found.append((key[:cut], self.count(key[:cut])))
                start = behind(key[:cut])
        return found, None

    def _check(self) -> None:
        """Asserts that every key is in its place, and there once."""
        ordered = list(self.sort())
        assert ordered == sorted(set(ordered)), "the keys are out of order, or one is there twice"


def behind(prefix: str) -> str | None:
    """The least text that is greater than all that start with `prefix`; None: there is none."""
    stem = prefix.rstrip(LAST)
    return f"{stem[:-1]}{chr(ord(stem[-1]) + 1)}" if stem else None


def _common_start(one: str, other: str) -> str:
    pairs = zip(one, other, strict=False)
    return other[: next((at for at, (a, b) in enumerate(pairs) if a != b), len(one))]
