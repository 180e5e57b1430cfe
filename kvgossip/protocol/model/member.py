"""Member: a peer with a state; and the order that decides every membership merge.

    alive(i) < suspect(i) < alive(i+1) < ... < dead, then left, of that generation < any state of a
    higher generation

Of two lives that began in one millisecond the one with the greater site is the later one, so that
the order is total.

An incarnation is raised by its owner to refute a suspicion, a generation by a restart - and by a
live node that hears that it was declared dead: death is final for a generation, so coming back
needs a new one. (memberlist lets alive(i+1) overrule dead(i); with generations the order stays
total and a stale obituary can never return.)
"""

from __future__ import annotations

import math
from enum import IntEnum
from functools import lru_cache
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from kvgossip.config import Address
from kvgossip.protocol.model.location import Location

# ASCII only, as Config has it: a limit on characters is then one on bytes, and a record fits into a
# datagram.
Name = Annotated[str, Meta(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9._-]+\Z")]
Host = Annotated[str, Meta(max_length=253, pattern=r"^[A-Za-z0-9.:%_-]*\Z")]
NumericHost = Annotated[str, Meta(max_length=64, pattern=r"^[0-9A-Fa-f.:]*\Z")]
Port = Annotated[int, Meta(ge=0, le=65535)]
Count = Annotated[int, Meta(ge=0)]  # msgspec reads 64 bits at most
FORGET_S_MAX = 366 * 86_400
Life = Annotated[int, Meta(ge=0, le=2**62)]  # there is room to raise it


_address = lru_cache(maxsize=4096)(Address)
"""Asked for every packet."""


class MemberState(IntEnum):
    ALIVE = 0
    SUSPECT = 1
    DEAD = 2
    LEFT = 3


_SUSPECT, _DEAD = MemberState.SUSPECT, MemberState.DEAD
"""CPython 3.11 runs Python code wherever a member of an enumeration is named by its class."""


class SyncState(IntEnum):
    """How much a node's answers are worth (protocol.md section 8).

    WAITING: it has not heard from every join address of its own. FRESH: it has, but from nobody who
    is settled; where all are fresh, nobody knows more. SETTLED: it has caught up, or founded the
    cluster. Without the difference between the first two, a node that joined through one that is
    itself still looking for the cluster would take that one's empty store for the truth.
    """

    WAITING = 0
    FRESH = 1
    SETTLED = 2

    @classmethod
    def _missing_(cls, value: object) -> SyncState:
        """A state that a newer release may add is worth least: a ping must stay one whatever its
        sender thinks of itself."""
        return cls.WAITING


class Member(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The record of one name. `host` is empty only in a first Join: the receiver fills in what it
    sees.

    `other_host`: where it is reached in the other IP family, if it has both; who needs that one
    keeps it as `host` (own_host.py). `site` identifies one life of the node; `http` is `HOST:PORT`
    or empty; `accuser` is the name that suspects it, in news of a suspicion; `identity` is the
    fingerprint of its key, or empty (see identity.py).

    `frame_bytes_max`: the longest frame that it takes over a link; what is too long for it is left
    out. `forget_s`: how many seconds it wants to be remembered once it is dead or has left. Both
    are 0 where it does not say.

    `signature`: the owner's key, and what it has signed with it, where it has an identity
    (signed_records.py).

    `types`: the format of typed records that it knows (typed/body.py); 0 where it knows none.

    `later`: the fields of a newer release, each as its MessagePack. They are kept, and passed on
    behind the known ones (wire/member_record.py); a new field goes before it.
    """

    #: as of messages: a record is no question
    question: ClassVar[bool] = False
    needs_link: ClassVar[bool] = False
    name: Name
    host: Host
    port: Port
    state: MemberState
    generation: Life
    incarnation: Life
    site: Count
    datacenter: Name
    http: Annotated[str, Meta(max_length=262, pattern=r"^[!-~]*\Z")] = ""
    accuser: Annotated[str, Meta(max_length=128, pattern=r"^[A-Za-z0-9._-]*\Z")] = ""
    zone: Annotated[str, Meta(max_length=64, pattern=r"^[A-Za-z0-9._-]*\Z")] = ""
    coordinates: Annotated[tuple[float, ...], Meta(max_length=8)] = ()
    identity: Annotated[bytes, Meta(max_length=16)] = b""
    gateway: bool = False
    frame_bytes_max: Count = 0
    forget_s: Annotated[int, Meta(ge=0, le=FORGET_S_MAX)] = 0
    other_host: NumericHost = ""
    signature: Annotated[bytes, Meta(max_length=96)] = b""
    types: Count = 0
    later: tuple[bytes, ...] = ()

    @property
    def address(self) -> Address:
        return _address(self.host, self.port)

    @property
    def location(self) -> Location:
        """The member's location as configured; coordinates that are no numbers are left out."""
        return Location(
            self.datacenter,
            self.zone,
            self.coordinates if all(map(math.isfinite, self.coordinates)) else (),
        )

    @property
    def reachable(self) -> bool:
        """Alive or suspect: a peer worth talking to."""
        return self.state <= _SUSPECT


def life(member: Member) -> tuple[int, int]:
    """Greater is later."""
    return (member.generation, member.site)


def rank(member: Member) -> tuple[int, int, int, int, MemberState]:
    """Greater wins. Within a generation: every terminal state is above every incarnation."""
    if member.state >= _DEAD:
        return (*life(member), 1, 0, member.state)
    return (*life(member), 0, member.incarnation, member.state)


def life_of(site: int) -> int:
    """The 32 bits of a site by which answers name the life of their sender."""
    return site & 0xFFFFFFFF


def is_of(member: Member, life: int) -> bool:
    """True if an answer that names this life is of the one in the record. 0: it does not say."""
    return life in (0, life_of(member.site))
