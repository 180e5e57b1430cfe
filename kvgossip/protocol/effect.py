"""The boundary of the pure machine: the time goes in with every input, effects come out of every
input.

A driver reads the clocks once an input, performs the effects in their order, and calls
`Replica.tick` no later than `Replica.deadline()`. Nothing else crosses.

A driver with a disk writes Changed, Rewritten, Dropped, Quarantined and Persist there, those of one
input in one atomic commit, together with the facts of `Replica.checkpoint`. After a restart it
hands the facts to the next Replica as `saved`, and the records to `Replica.load`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from kvgossip.config import Address
from kvgossip.protocol.model.change import Changed, Conflict, Persist
from kvgossip.protocol.model.entry import make_record, version_of
from kvgossip.protocol.model.member import Member, MemberState
from kvgossip.protocol.model.peer import Peer, PoolKind
from kvgossip.protocol.model.story import Forgotten
from kvgossip.protocol.wire.message import Condition, Holding, Notice, Precision, Sight
from kvgossip.protocol.wire.overview_messages import Overview
from kvgossip.protocol.wire.release_messages import AppliedBy
from kvgossip.protocol.wire.story_messages import StoryHere


class Send(NamedTuple):
    """Send these bytes to `to`: as one datagram, or, when `reliable`, as one frame over the TCP
    link with that address. `fresh`: if nothing has come on that link since something was sent,
    over a new one."""

    to: Address
    data: bytes
    reliable: bool = False
    pool: PoolKind = PoolKind.LAN
    fresh: bool = False


@dataclass(frozen=True, slots=True)
class DoctorReport:
    """`observer` was asked; `members` are those that it looked at, out of `known`, itself not
    counted.

    `sights`: by observer, then by the member that it saw; the observer's own first. `conditions`:
    of all that sent theirs, the observer's own too. `answers_as`: members at whose address somebody
    of another name answers. `silent`: asked to look at others, without an answer; `busy`: too busy
    to. `refusals`: the words with which a member said no, by member. `took_s`: how long it took,
    seconds.
    """

    observer: str
    pool: str
    members: Mapping[str, Member]
    known: int
    sights: Mapping[str, Mapping[str, Sight]]
    conditions: Mapping[str, Condition]
    answers_as: Mapping[str, str]
    silent: tuple[str, ...]
    busy: tuple[str, ...]
    refusals: Mapping[str, str]
    took_s: float


def _gone(key: str, record: bytes) -> Changed:
    """The change that a value is served no more, although nobody has written so."""
    return Changed(key, record, make_record(version_of(record), None))


@dataclass(frozen=True, slots=True)
class Rewritten:
    """The record under this key has other bytes, of the same values: what it has seen is more, or
    less, or deletes have gone that nobody needs any more. Keep them on the disk; for watchers it is
    no change."""

    key: str
    record: bytes


@dataclass(frozen=True, slots=True)
class Dropped:
    """This record was taken out of the store: it was collected. Remove it from the disk."""

    key: str
    record: bytes


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A live value that the cluster had deleted was taken out here, as `peer` said: keep it in the
    quarantine. Its Dropped follows. Or, of a typed record, values that are `record`: then `left` is
    what is here now, and its Rewritten follows.

    For watchers it is `change`: a delete under the same version, or what is left.
    """

    key: str
    record: bytes
    peer: str
    left: bytes | None = None

    @property
    def change(self) -> Changed:
        if self.left is not None:
            return Changed(self.key, self.record, self.left)
        return _gone(self.key, self.record)


@dataclass(frozen=True, slots=True)
class Expired:
    """This entry is served no more: its time has come. Its record stays until it is collected, so
    nothing is to be written.

    For watchers it is `change`, as Quarantined is.
    """

    key: str
    record: bytes

    @property
    def change(self) -> Changed:
        return _gone(self.key, self.record)


@dataclass(frozen=True, slots=True)
class Revived:
    """This entry, which had expired, is served again: the clock by which its time had come was
    wrong, and was set back. For watchers it is `change`: it is there, under the version it had."""

    key: str
    record: bytes

    @property
    def change(self) -> Changed:
        return Changed(self.key, self.record, self.record)


@dataclass(frozen=True, slots=True)
class MemberChanged:
    """The record that this replica has of a member changed. `old` is None for a new name, `new` is
    None when it was forgotten."""

    old: Member | None
    new: Member | None
    pool: PoolKind = PoolKind.LAN


class Lacking(NamedTuple):
    """A member that has not shown that it holds a version, and its believed state; None: this life
    has not met it. Then its name may be a join address."""

    peer: Peer
    state: MemberState | None


@dataclass(frozen=True, slots=True)
class AckReceived:
    """Progress of a wait: this member, or this node, has shown that it holds the version, or a
    newer one of the key (tracker.py)."""

    ticket: int
    peer: Peer


@dataclass(frozen=True, slots=True)
class WriteConcernEnded:
    """A wait is over, `met` or out of time."""

    ticket: int
    met: bool
    held_by: tuple[Peer, ...]
    lacking: tuple[Lacking, ...]


@dataclass(frozen=True, slots=True)
class Surveyed:
    """A member has answered a survey: its root, and by how many keys it differs from this replica
    as it was when it asked."""

    ticket: int
    peer: Peer
    root: int
    keys: int
    precision: Precision


@dataclass(frozen=True, slots=True)
class AppliedReported:
    """A member has answered a survey of releases: what its processes made of the prefix."""

    ticket: int
    peer: Peer
    applied: tuple[AppliedBy, ...]


@dataclass(frozen=True, slots=True)
class OverviewReported:
    """A member has answered a survey of overviews: what it says of itself."""

    ticket: int
    peer: Peer
    overview: Overview


@dataclass(frozen=True, slots=True)
class StoryReported:
    """A member has answered a survey of stories: what it kept of a key."""

    ticket: int
    peer: Peer
    story: StoryHere


Theirs = bytes | Notice | None
"""What a member has under a key: its record; a notice of one that is too long for this node; or
nothing."""


class Differing(NamedTuple):
    """A key that differs: the record that is here, and what the member has."""

    key: str
    here: bytes | None
    there: Theirs


@dataclass(frozen=True, slots=True)
class Inspected:
    """An inspection is over. `fault`: why it ended before its end; empty where it did not.

    `found`: keys that were sought and differ. `keys`: by how many the member differs in all, as
    `precision` has it. `matching`: how many of them were sought, of those that were looked at;
    `whole`: all were. `unreadable`: how many of its records this node cannot read.
    """

    ticket: int
    peer: Peer
    fault: str
    found: tuple[Differing, ...]
    keys: int
    precision: Precision
    matching: int
    whole: bool
    unreadable: int


@dataclass(frozen=True, slots=True)
class Exchanged:
    """An exchange that this node began is over, `completed` or cut. `took_s`: since its first
    question. `trips`: how many were asked. `found`: how many entries either side lacked, or had
    to drop; `found_bytes`: of those that were brought."""

    peer: Peer
    completed: bool
    took_s: float
    trips: int
    found: int
    found_bytes: int


@dataclass(frozen=True, slots=True)
class Settled:
    """From now on reads are answered as truth."""


@dataclass(frozen=True, slots=True)
class Resolve:
    """Look up every address of this join target (`HOST:PORT`) and answer with
    `Replica.resolved`."""

    target: str
    pool: PoolKind = PoolKind.LAN


@dataclass(frozen=True, slots=True)
class Joined:
    """The node at `source`, which is named `name`, has answered a Join of ours: we are in its
    pool."""

    source: Address
    name: str
    pool: PoolKind = PoolKind.LAN


@dataclass(frozen=True, slots=True)
class JoinRefused:
    """A node refused us, or did not answer; `text` names both sides and says what to change.
    `logged`: a Log has said so already."""

    source: Address
    text: str
    pool: PoolKind = PoolKind.LAN
    logged: bool = False


@dataclass(frozen=True, slots=True)
class KeyringChanged:
    """The keys of this node are now these, the primary one first: keep them for its next life, and
    show them to nobody."""

    keys: tuple[bytes, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeyringReported:
    """The result of `Replica.rotate` with this ticket: the keys that each node has. `objection`
    says why it was not even tried; it is empty where it was."""

    ticket: int
    found: tuple[Holding, ...]
    objection: str


@dataclass(frozen=True, slots=True)
class Log:
    """Something an operator should read, already limited in rate. `level` is a name of the logging
    module: INFO, WARNING, ERROR."""

    level: str
    text: str


@dataclass(frozen=True, slots=True)
class Departed:
    """The farewell has been said: the driver may close the sockets."""


@dataclass(frozen=True, slots=True)
class Examined:
    """An examination of this pool is over: of `asked`, one member by the other one, or, where both
    are empty, of all."""

    asked: tuple[str, str]
    report: DoctorReport
    pool: PoolKind = PoolKind.LAN


def forgotten(effects: Iterable[Effect]) -> Iterator[Forgotten]:
    """Which records these effects take away, or bring back."""
    quarantined = None
    for each in effects:
        if isinstance(each, Expired):
            yield Forgotten("expired", each.key, each.record)
        elif isinstance(each, Revived):
            yield Forgotten("revived", each.key, each.record)
        elif isinstance(each, Quarantined):
            quarantined = each.record
            yield Forgotten("quarantined", each.key, each.record, each.peer)
        elif isinstance(each, Dropped) and each.record is not quarantined:
            yield Forgotten("collected", each.key, each.record)


Effect = (
    Send | Changed | Conflict | Expired | Revived | Rewritten | Dropped | Quarantined | Persist
    | MemberChanged | Settled | Resolve | Joined | JoinRefused | Log | Departed
    | KeyringChanged | KeyringReported | AckReceived | WriteConcernEnded | Surveyed
    | AppliedReported | Examined | OverviewReported | StoryReported | Exchanged | Inspected
)  # fmt: skip
