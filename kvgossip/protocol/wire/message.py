"""Every wire message but those of anti-entropy (exchange_messages.py) and of surveys of releases
(release_messages.py), as a frozen structure; frame.py turns them into bytes and back.

All of them are MessagePack arrays: a trailing field that this version does not know is ignored, a
missing one takes its default.

    failure detection   A --Ping--> B --Ack--> A                   each period
                        A --PingRequest--> C --Ping--> B           where B's ack is late:
                            B --Ack--> C --Ack|Nack--> A           C asks for A
    join                A ==Join, Member...==> B ==JoinReply, Member...==> A
    rumors              A --Gossip, Rumor|Notice|Bundle...--> B --Feedback|Busy--> A
                        A --Pull--> B --Gossip, Rumor...--> A      where the policy pulls
                        B ==Fetch==> A ==Bodies|Bundle==> B        after a Notice
    write concerns      A --Enquire--> B --Confirm--> A            where a feedback is missing
    surveys             A ==Measure==> B ==Measured==> A           by how much B differs
    keyrings            A ==KeyringOrder==> B ==KeyringReport==> A where frames are sealed
    examinations        A ==Examine==> B ==Condition, Sights==> A  how B is, and what it sees

    --> one datagram; ==> one frame of a TCP link. Member units ride on every datagram with room.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from kvgossip.protocol.model.cluster_id import UNKNOWN, ClusterId
from kvgossip.protocol.model.member import Count, Host, Life, Member, Name, Port, SyncState
from kvgossip.protocol.model.write import BATCH_ENTRIES_MAX

FACTS_OF_A_KIND_MAX = 8192
FACTS_BYTES_MAX = 8 + 17 * (4 * FACTS_OF_A_KIND_MAX + 2)
"""The longest context that travels: a mask, then 17 bytes a fact of one of three kinds, and the
sender's own row."""
Key = Annotated[str, Meta(min_length=1, max_length=1024)]
Pair = tuple[Key, bytes]
Levels = Annotated[int, Meta(ge=1, le=4)]
Text = Annotated[
    str, Meta(max_length=512, pattern=r"^[^\x00-\x1f\x7f-\x9f]*\Z")
]  # it goes into logs: no control characters


class Message(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One message. The class variables are laws of that message."""

    #: the number that names the message on the wire; it never changes its meaning
    kind: ClassVar[int] = 0
    #: it is answered, so a frame may hold one such message
    question: ClassVar[bool] = False
    #: its answer costs much, so it is taken over a link alone
    needs_link: ClassVar[bool] = False


class Ping(Message, frozen=True):
    """Are you `target`, and alive? `root` is the sender's digest root, `wall_ms` its wall clock.

    `life`: 32 bits of the site of the sender, since the word of an earlier life says nothing of
    what this one holds; 0 of a version that does not say. `held`: all that had reached the target
    when its own clock stood there is held by the sender, and by all it answers for. `cluster`: the
    digest of the sender's cluster id, 0 while none is minted. `padding`: where the target may take
    the sender for a stranger, whose question may not have a longer answer.
    """

    kind = 1
    question = True
    sequence: Count
    sender: Name
    target: Name
    root: Count
    wall_ms: Count
    sync_state: SyncState
    life: Count = 0
    held: Count = 0
    cluster: Count = 0
    padding: Annotated[bytes, Meta(max_length=256)] = b""


class Ack(Message, frozen=True):
    """`sender` is alive: it answers the ping of that sequence number. `life` as in Ping; `held`,
    too, of the member that pinged.

    `coordinate`: its place in the network, see coordinate.py. `stranger`: it does not know the
    member that pinged, which shall tell it its record. `future_ms`: how far its hybrid clock is
    ahead of a wall clock that was set back, see clock_guard.py. `seen_host`: where the ping came
    from; empty where that is what the sender of the ack knows of the member that pinged. `gone_in`:
    the generation in which that member is dead, or has left, as the sender of the ack knows it; 0
    where it is not. So whoever lives hears that it has to come back with a greater one.
    """

    kind = 2
    sequence: Count
    sender: Name
    root: Count
    wall_ms: Count
    sync_state: SyncState
    life: Count = 0
    held: Count = 0
    coordinate: bytes = b""
    stranger: bool = False
    future_ms: Count = 0
    seen_host: Host = ""
    gone_in: Life = 0


class PingRequest(Message, frozen=True):
    """Please ping `target` at this address for `sender`, and pass its ack on. `nack`: and say so if
    there is none."""

    kind = 3
    question = True
    sequence: Count
    sender: Name
    target: Name
    host: Host
    port: Port
    nack: bool = True


class Nack(Message, frozen=True):
    """I asked, as you requested, and heard nothing yet: so at least the two of us are fine
    (Lifeguard)."""

    kind = 4
    sequence: Count


# kind 5 is Member itself: news about one member


class JoinPurpose(IntEnum):
    """ENTER: to become a member. LEARN: to hear of the cluster id, as a member. MERGE: an operator
    wants the cluster of the asking node to become a part of the other one."""

    ENTER = 0
    LEARN = 1
    MERGE = 2

    @classmethod
    def _missing_(cls, value: object) -> JoinPurpose:
        """A purpose that a newer release adds is no word of an operator."""
        return cls.ENTER


class Join(Message, frozen=True):
    """Take me into your pool: the node `name`, in its life `site`. Member units follow, its own
    first.

    `asked_host` is where this is sent: a host that listens everywhere learns from it where it is
    reached. `identity`: the public key of the newcomer, and its `signature`, both empty where it
    has none (see identity.py). `cluster_id`: of the newcomer. `asked_name`: of the member that was
    there before, empty where an operator gave the address.
    """

    kind = 6
    question = True
    needs_link = True
    name: Name
    site: Count
    asked_host: Host = ""
    identity: Annotated[bytes, Meta(max_length=32)] = b""
    signature: Annotated[bytes, Meta(max_length=64)] = b""
    cluster_id: ClusterId = UNKNOWN
    purpose: JoinPurpose = JoinPurpose.ENTER
    asked_name: Annotated[str, Meta(max_length=128)] = ""


class JoinReply(Message, frozen=True):
    """You are in. `observed_host` is where your frame came from, `cluster_id` what you are a part
    of now. Member units follow."""

    kind = 7
    sender: Name
    site: Count
    observed_host: Host
    sync_state: SyncState
    cluster_id: ClusterId = UNKNOWN


class Refused(Message, frozen=True):
    """Your frame or your join is refused, by a node of this cluster and pool; `text` says why and
    what to change."""

    kind = 8
    cluster: Text
    pool: Text
    text: Text


class Gossip(Message, frozen=True):
    """Opens a packet of rumors: Rumor and Notice units follow, and the Feedback names their places
    in this packet.

    `direct`: the sender wrote them, and is sending them itself to everybody that it can reach.
    `whole`: and that is every member.
    """

    kind = 9
    sequence: Count
    sender: Name
    direct: bool = False
    whole: bool = False


class Rumor(Message, frozen=True):
    """An entry that is news, as its record."""

    kind = 10
    key: Key
    record: bytes


class Notice(Message, frozen=True):
    """There is news under this key, too large for a datagram: fetch its record of `size` bytes."""

    kind = 11
    key: Key
    timestamp: Count
    site: Count
    size: Count


class Bundle(Message, frozen=True):
    """The entries of a batch, as their records: news in a packet of rumors, or, over a link, what
    was fetched after a Notice (batches.py).

    That Notice has a key that begins with a slash, as no entry has.
    """

    kind = 84
    entries: Annotated[tuple[Pair, ...], Meta(min_length=1, max_length=BATCH_ENTRIES_MAX)]


class Feedback(Message, frozen=True):
    """Bit i (least significant first) of `known` is set if the i-th rumor of that packet was no
    news here.

    Its bit of `collected` is set if the entry was once here, and was collected since: the sender of
    the packet shall take it out. `life`: 32 bits of the site of the node that answers, since
    another node may have come to the address that the packet went to; 0 of a version that does not
    say. `expired_ms` as in Merged.
    """

    kind = 12
    sequence: Count
    known: bytes
    collected: bytes = b""
    life: Count = 0
    expired_ms: Count = 0


class Fetch(Message, frozen=True):
    """Send me the records under these keys."""

    kind = 13
    question = True
    needs_link = True
    keys: Annotated[tuple[Key, ...], Meta(max_length=64)]


class Bodies(Message, frozen=True):
    """The records that were asked for."""

    kind = 14
    entries: tuple[Pair, ...]


class Pull(Message, frozen=True):
    """Send me your hot rumors. Gossip answers, or nothing where nothing is."""

    kind = 25
    question = True
    sender: Name


class Busy(Message, frozen=True):
    """I have accepted as many packets of rumors this interval as I take; yours of that sequence
    number was dropped."""

    kind = 26
    sequence: Count


# -- write concerns and surveys (80 to 89) --


class Enquire(Message, frozen=True):
    """Do you hold this version of the key, or a newer one? Confirm it as soon as you do. I have it,
    a record of `size` bytes.

    `sender` is filled over links alone, where nobody could know it from the address: beside the
    longest key there is no room in a datagram.
    """

    kind = 80
    question = True
    number: Count
    key: Key
    timestamp: Count
    site: Count
    size: Count
    sender: Annotated[str, Meta(max_length=128)] = ""


class Confirm(Message, frozen=True):
    """`sender`, in its life `life`, holds the version that the query of that number names."""

    kind = 81
    number: Count
    sender: Name
    life: Count


class Precision(IntEnum):
    """The worth of a number of differing keys."""

    EXACT = 0
    ESTIMATE = 1
    AT_LEAST = 2

    @classmethod
    def _missing_(cls, value: object) -> Precision:
        """A value that a newer release adds is an estimate of some kind."""
        return cls.ESTIMATE


class Measure(Message, frozen=True):
    """By how many keys does your store differ from mine? `parities` and `symbols` as in Sketch; no
    symbols: mine are not ready."""

    kind = 82
    question = True
    needs_link = True
    number: Count
    sender: Name
    root: Count
    parities: bytes
    symbols: bytes


class Measured(Message, frozen=True):
    """By `keys`; `root` is the root of `sender`."""

    kind = 83
    number: Count
    sender: Name
    root: Count
    keys: Count
    precision: Precision


# -- operators (50 to 59) --


class Prune(Message, frozen=True):
    """An operator wants this life of a member forgotten, and all before it. It is passed on as news
    of the member are."""

    kind = 50
    name: Name
    generation: Life
    site: Count

    @classmethod
    def of(cls, member: Member) -> Prune:
        return cls(member.name, member.generation, member.site)

    @property
    def life(self) -> tuple[int, int]:
        """As of a member: greater is later."""
        return (self.generation, self.site)


# -- keyrings (60 to 69) --


class KeyringAction(IntEnum):
    LIST = 0
    INSTALL = 1
    USE = 2
    REMOVE = 3


class KeyringOrder(Message, frozen=True):
    """Do this with your keyring, and let it be done behind you; for the life `site` alone. `hops`:
    how often it may be passed on.

    `key`: the key to install, or the four bytes of the id of the key to use or remove.
    """

    kind = 60
    question = True
    needs_link = True
    request: Count
    site: Count
    hops: Count
    action: KeyringAction
    key: bytes


class Holding(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The keyring of a node: the ids of its keys, four bytes each, the primary one first.
    `problem`: the fault of that, if there is one."""

    name: Name
    datacenter: Name
    keys: bytes
    answered: bool
    problem: Text


class KeyringReport(Message, frozen=True):
    """The keyrings of this node, and of those to which it has passed your order on."""

    kind = 61
    request: Count
    found: tuple[Holding, ...]


# -- examinations (70 to 79) --


class Sight(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The observation of one member by another. `state`: the observer's belief about it, a
    MemberState, -1 where it does not know the name.

    Round trips in microseconds, -1 where nothing came back; that of TCP may include the making of
    the link. `heard`: true if a ping of it came by a datagram since the observer began to look.
    `offset_ms`: by how much its wall clock is ahead of the observer's, where anything came back.
    """

    name: Name
    state: Annotated[int, Meta(ge=-1, le=255)]
    udp_us: Annotated[int, Meta(ge=-1, le=2**40)] = -1
    tcp_us: Annotated[int, Meta(ge=-1, le=2**40)] = -1
    heard: bool = False
    offset_ms: Annotated[int, Meta(ge=-(2**60), le=2**60)] = 0


class Examine(Message, frozen=True):
    """How are you? Condition answers at once; and where `subjects` are named, Sights when you have
    looked at these members."""

    kind = 70
    question = True
    needs_link = True
    sequence: Count
    sender: Name
    subjects: Annotated[tuple[Name, ...], Meta(max_length=64)] = ()


class Condition(Message, frozen=True):
    """The condition of the sender. `formats`: the lowest and the highest format of frames that it
    speaks. `keys`: ids, the primary one first.

    `left_out`: how many entries of others are too long for it, and the keys of some.

    `lost`: members missing in a partition that it suspects. `rival`: where another live node uses
    its name. `datacenters`: a gateway's knowledge of each, as (name, gateways that are alive,
    gateways that are gone). `not_ready`: why the sender should not be asked, as (code, text).
    `clock`: what is wrong with its clocks, in words; `disk`: with its data directory. `gap_s`: for
    how many seconds at most it collects no tombstone, since its context has a gap; 0: it has none.
    `tokens`: the fingerprint of those that its HTTP asks for, "none", or empty where it does not
    say. `notices`: what else is wrong, as (code, text).
    """

    kind = 71
    sequence: Count
    sender: Name
    site: Count
    sync_state: SyncState
    formats: tuple[Count, Count]
    keys: Annotated[tuple[Text, ...], Meta(max_length=64)] = ()
    gateway: bool = False
    lost: Count = 0
    rival: Text = ""
    datacenters: Annotated[tuple[tuple[Name, Count, Count], ...], Meta(max_length=64)] = ()
    not_ready: Annotated[tuple[tuple[Name, Text], ...], Meta(max_length=8)] = ()
    left_out: Count = 0
    left_out_keys: Annotated[tuple[Key, ...], Meta(max_length=64)] = ()
    clock: Text = ""
    disk: Text = ""
    gap_s: Count = 0
    tokens: Text = ""
    notices: Annotated[tuple[tuple[Name, Text], ...], Meta(max_length=8)] = ()


class Sights(Message, frozen=True):
    """The sender's observations of the members that it was asked to observe. `busy`: none, since it
    observes others for too many already."""

    kind = 72
    sequence: Count
    sender: Name
    seen: Annotated[tuple[Sight, ...], Meta(max_length=64)]
    busy: bool = False
