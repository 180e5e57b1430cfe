"""Source: where a cache has its data from - a member of the cluster, or one who follows a member.

A source speaks of raw records under whole keys. What they mean - decoding, validation, releases -
is the cache's. It calls its sink on a thread of its own, one call at a time, in the order in which
its node merged. All methods of a source may be called on any thread, and none of them waits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from kvgossip.releases.answers import (
    Applied,
    NodeApplied,
    Survey,
)

if TYPE_CHECKING:
    from kvgossip.protocol.model.write import Writing

__all__ = [
    "Applied",
    "NodeApplied",
    "Record",
    "Sink",
    "Source",
    "SourceState",
    "Survey",
]


TYPED = 0b1000
"""The bit of protocol/model/entry.py, which a follower does not load."""


class Record(NamedTuple):
    """One entry as it is on the nodes. `value`: None where it was deleted or has expired. `parent`:
    what its writer took the key over from (protocol/model/conflicts.py); `data`: all bytes of the
    entry, where the others tell less than these, since it expires, has flags or a type. Both only
    where a member gives them, since only who is to be a member needs them."""

    key: str
    value: bytes | None
    version: str
    content_type: str = ""
    parent: bytes = b""
    data: bytes = b""

    @property
    def is_merged(self) -> bool:
        """True if nodes merge it with what they have (protocol/typed), so that of two of one key
        neither need have all."""
        return bool(self.data) and bool(self.data[0] & TYPED)


class SourceState(NamedTuple):
    """What a source knows of itself. `node`, `zone`, `datacenter`: of the member whose data it has;
    a follower's is that which it follows. `settled`: what the sink has got by now is the truth of
    the cluster: that is said after the records, and never before. `exchanged_ms`: wall time of the
    last exchange that this member completed, of an earlier life where it comes from the disk; None:
    there was none."""

    role: Literal["member", "follower"]
    node: str
    zone: str
    datacenter: str
    settled: bool
    exchanged_ms: int | None
    #: nothing has come from peers in this life: what is here is the disk's, or a file's
    from_disk: bool
    #: why there is nothing newer, in words; empty where all is well
    problem: str = ""


class Sink(Protocol):
    """The cache, as its source sees it."""

    def replaced(self, records: Sequence[Record], *, settled: bool = False) -> None:
        """All live records under the prefix. `settled`: of a source that has settled, so that what
        is not among them is gone. The first call after `open`, and again after every gap."""

    def changed(self, records: Sequence[Record]) -> None:
        """Those that changed together: a batch is one call."""

    def state_changed(self, state: SourceState) -> None:
        """The source's state is another now."""

    def records(self) -> Mapping[str, Record]:
        """All that it has, by whole key: as a source is opened, what an earlier one has left."""


class Source(Protocol):
    def open(self, sink: Sink) -> None:
        """Begin, with all that is under the prefix. Raises ConfigError, DataDirError; then nothing
        is open."""

    def close(self) -> None:
        """End, and leave the cluster where it is a member; the one method that waits: until all is
        closed. Harmless when repeated."""

    def write(self, writes: Sequence[Writing]) -> Future[tuple[str, ...]]:
        """Write all as one batch, whole keys; the versions. Fails with the node's errors."""

    def report(self, applied: Applied) -> None:
        """What this process applied from now on: the answer to surveys."""

    def survey(self, prefix: str, timeout_s: float) -> Future[Survey]:
        """Ask all members what their processes applied under `prefix`."""
