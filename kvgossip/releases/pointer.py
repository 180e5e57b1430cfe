"""Pointer: which release is for all, and which for whom; the entry `PREFIX@active`.

    {"format": 1, "release": "R2", "before": ["R1", ""], "canary": {"release": "R3",
     "to": {"zones": ["paris"], "share": 0.1}}, "by": "web-1", "at_ms": 1796054400000}

An empty name stands for the loose keys under the prefix, as they are without a pointer.

**Why it holds `before`.** Pointer and document are two entries, and rumor, exchange and disk bring
them in any order: where the document is not here yet, the old release stays. Who runs knows what it
had; who starts from a disk that was cut off in between does not. So the pointer says which releases
were for all before this one, newest first, and the newest of them that is here stands in. A
rollback goes back in that list, so what was wrong is in nobody's place.

Of two pointers that are written at the same time, one wins everywhere, as of any entry.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from kvgossip.releases.names import LOOSE
from kvgossip.releases.place import Place
from kvgossip.releases.target import Target
from kvgossip.releases.versioned import read

FORMAT = 1
BEFORE_MAX = 16


class Canary(Struct, frozen=True):
    """A release that only the members in `to` have."""

    release: str
    to: Target


class Pointer(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`release`: for all that have no canary. `before`: those that were for all, newest first, each
    once. `by`, `at_ms`: who wrote it, and when by his clock."""

    format: int
    release: str = LOOSE
    before: tuple[str, ...] = ()
    canary: Canary | None = None
    by: str = ""
    at_ms: int = 0

    def wanted(self, member: Place) -> str:
        """The release that this member is to have."""
        if self.canary is not None and self.canary.to.hits(self.canary.release, member):
            return self.canary.release
        return self.release

    def encoded(self) -> bytes:
        return msgspec.json.encode(self)


def read_pointer(octets: bytes) -> Pointer:
    """The pointer in this entry. Raises BadReleaseError, in words that a user can act on."""
    hint = "write it with `kvgossip release`, or delete it: then the loose keys are valid"
    return read(octets, Pointer, FORMAT, "the pointer to the release", hint)
