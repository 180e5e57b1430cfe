"""Bundles: batches of writes that travel and are merged as one, so that who hears of a batch shows all of it or nothing.

Laws
- The writes of a batch are made in one input, with consecutive timestamps, and so is their merge at a peer: nobody sees a part in between.
- A bundle is one rumor: one unit of a datagram where it fits, else a notice, whose bundle is fetched over a link like a large body.
- An entry that is superseded by a newer write counts as shown.

What is not promised: repair works key by key. A node that missed the bundle, and catches up by exchanges, may show a part of it until
its exchange completes. To hold parts back there would mean to hide entries whose fingerprints the digest has to count, from a node that
perhaps never gets the rest, as its part was superseded elsewhere: two nodes with equal data would have to show different things.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from kvgossip.config import Config
from kvgossip.errors import BadBatchError, ValueTooLargeError
from kvgossip.protocol.effect import Now
from kvgossip.protocol.entry import check_content_type, check_flags, check_key, check_ttl, version_of
from kvgossip.protocol.message import BUNDLE_ENTRIES_MAX, Pair

KEPT_MAX = 256
KEPT_BYTES_MAX = 16 * 2**20


class Writing(NamedTuple):
    """One write of a batch; `value` None deletes, and has none of the others. `ttl_s`, `flags`: as those of a put."""

    key: str
    value: bytes | None
    content_type: str | None = None
    ttl_s: float | None = None
    flags: int = 0


def check_write(key: str, value: bytes, content_type: str | None, config: Config) -> None:
    """Raises BadKeyError, ValueTooLargeError, or LocalError for a bad content type."""
    check_key(key)
    if content_type is not None:
        check_content_type(content_type)
    if len(value) > config.value_bytes_max:
        raise ValueTooLargeError(f"the value has {len(value)} bytes", f"value_bytes_max is {config.value_bytes_max}")


def check_batch(writes: Sequence[Writing], config: Config) -> None:
    """Raises as `check_write` of its parts, LocalError for a bad ttl or flags, and BadBatchError."""
    if not 0 < len(writes) <= BUNDLE_ENTRIES_MAX:
        raise BadBatchError(f"a batch of {len(writes)} writes", f"1 to {BUNDLE_ENTRIES_MAX} are taken")
    if len({each.key for each in writes}) < len(writes):
        raise BadBatchError("a batch writes a key twice", "leave all but its last write out")
    for each in writes:
        check_write(each.key, each.value or b"", each.content_type, config)
        check_ttl(each.ttl_s)
        check_flags(each.flags)
    size = sum(len(each.value or b"") + len(each.key.encode()) for each in writes)
    if size > config.message_bytes_max:
        hint = f"{config.message_bytes_max} are taken, which is message_bytes_max; write less at a time"
        raise ValueTooLargeError(f"the batch has {size} bytes", hint)


def key_of(entries: Sequence[Pair]) -> str:
    """What a bundle is called where rumors have a key: no key of an entry starts with a slash."""
    return f"/{version_of(entries[0][1])}"


def is_bundle_key(key: str) -> bool:
    return key.startswith("/")


class Bundles:
    """The last bundles that were too large for a datagram, for peers that fetch them.

    Each is kept for `keep_s`, and not longer than twice that: then its rumor has long cooled, and an exchange repairs who never got it.
    """

    def __init__(self, keep_s: float) -> None:
        self._keep_s, self._turn_s = keep_s, 0.0
        self._kept: dict[str, tuple[Pair, ...]] = {}
        self._aged: list[str] = []
        self._bytes = 0

    def __contains__(self, key: str) -> bool:
        return key in self._kept

    def get(self, key: str) -> tuple[Pair, ...] | None:
        return self._kept.get(key)

    def keep(self, entries: tuple[Pair, ...]) -> None:
        key = key_of(entries)
        if key in self._kept:
            return
        self._kept[key] = entries
        self._bytes += _size(entries)
        while len(self._kept) > KEPT_MAX or self._bytes > KEPT_BYTES_MAX:
            self._forget(next(iter(self._kept)))

    def _forget(self, key: str) -> None:
        self._bytes -= _size(self._kept.pop(key, ()))

    def age(self, now: Now) -> None:
        """To be called now and then."""
        if now.monotonic_s >= self._turn_s:
            self._turn_s = now.monotonic_s + self._keep_s
            for key in self._aged:
                self._forget(key)
            self._aged = list(self._kept)


def _size(entries: Sequence[Pair]) -> int:
    return sum(len(record) for _, record in entries)
