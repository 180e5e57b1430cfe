"""Gate: frames from the network are let in, or dropped and refused (protocol.md section 1).

A frame of another cluster or pool is dropped by its header alone, one that is sealed with a key
that this node lacks, or not sealed where all are, before it is decoded: counted by reason, once a
minute for each source logged, and answered with a refusal that lets the other side log the same
reason: a datagram once a minute, since its source may be a lie, a frame of a link always, or
a node that asks a second time to join would hear nothing. All complaints together are bounded
(complaints.py), and a datagram is answered with no more bytes than it has, unless it comes from
where a member has answered: a node that has missed a change of keys has to hear of it, and a
stranger would use this node to multiply what it sends. Whoever wants to join uses a link. A frame
that is not of our kind at all, a checksum or a seal that does not fit, and a replay are only
counted: answering them would make us a reflector.

A refusal is in clear, for a node that cannot open seals must be able to read it. So it is nobody's
word in particular: it makes a line in the log and, where this node has asked to join, an answer for
the operator; nothing else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from kvgossip.config import Address, Config
from kvgossip.errors import RemoteError
from kvgossip.protocol.ingress.complaints import Complaints
from kvgossip.protocol.ingress.rate_limit import RateLimit
from kvgossip.protocol.ingress.refusal import KEY_REASONS, pool_name, refusal_of
from kvgossip.protocol.model.arrival import Arrival
from kvgossip.protocol.model.member import Member
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.model.peer import PoolKind
from kvgossip.protocol.model.plain_text import plain, quoted
from kvgossip.protocol.outbox import Outbox
from kvgossip.protocol.wire.frame import (
    FLAG_REFUSED,
    OTHER_ID,
    Framing,
    cluster_number,
    frame_bytes_max,
    is_refusal,
)
from kvgossip.protocol.wire.keyring import Keyring
from kvgossip.protocol.wire.message import Message, Refused
from kvgossip.protocol.wire.unit import Opened, encode

LIVES_FACTOR = 2


class Gate:
    """`me` is this node's first record in the pool, `elsewhere()` its address in its other one,
    None if it has only one. `other_id(messages, number, arrival)`: what to say to a frame of
    another cluster id, that of this number; None: nothing.

    `failed(source, text)` is called where nothing that comes from there over a link can be read.
    `is_proven(source)`: a member has answered there.
    """

    def __init__(
        self,
        config: Config,
        kind: PoolKind,
        me: Member,
        keyring: Keyring | None,
        outbox: Outbox,
        counters: Counter[str],
        elsewhere: Callable[[], Address | None],
        other_id: Callable[[Sequence[Message | Member], int, Arrival], str | None],
        failed: Callable[[Address, str], None],
        is_proven: Callable[[Address], bool],
    ) -> None:
        self.pool = pool_name(kind, config.datacenter)
        self.framing = Framing(config.cluster, self.pool, frame_bytes_max(config))
        if keyring is not None:
            self.framing.seal_with(
                keyring, me.site, me.generation, LIVES_FACTOR * config.members_max
            )
        self._config, self._kind, self._me, self._keyring = config, kind, me, keyring
        self._outbox, self._counters = outbox, counters
        self._elsewhere, self._other_id, self._failed = elsewhere, other_id, failed
        self._is_proven, self._complaints = is_proven, Complaints(counters)
        #: the frame that is handled, or was handled last, was opened: whoever sent it is of this
        #: cluster and pool, and has the key
        self.has_opened = False
        self._sources = RateLimit(config.source_datagrams_per_s)

    def begin_life(self, me: Member) -> None:
        """This node is another life from now on."""
        if self.framing.seals is not None:
            self.framing.seals.begin_life(me.site, me.generation)

    @property
    def datagram_room(self) -> int:
        """How many bytes of units fit into a datagram."""
        return self._config.datagram_bytes_max - self.framing.overhead_bytes

    def open(self, data: bytes, arrival: Arrival) -> Opened | None:
        """The messages of a frame; None where it is dropped. A link is slowed down by not reading
        it, datagrams can only be left unread."""
        source, now, reliable, _ = arrival
        if not reliable and not self._sources.admits(source.host, now.monotonic_s):
            self._counters["frames_dropped.rate_limited"] += 1
            limit = f"source_datagrams_per_s = {self._config.source_datagrams_per_s:g}"
            self.complain(
                f"{source.host} flood",
                f"dropped datagrams from {source.host}, which sends more than {limit} "
                f"({self.here})",
                now,
            )
            return None
        try:
            opened = self.framing.open(data, reliable=reliable)
        except RemoteError as fault:
            self._drop(fault.reason, data, arrival)
            return None
        self.has_opened = not data[3] & FLAG_REFUSED
        return opened

    def _drop(self, reason: str, data: bytes, arrival: Arrival) -> None:
        source, now, reliable, _ = arrival
        text, reason = self._words(reason, data, arrival)
        self._counters[f"frames_dropped.{reason}"] += 1
        if text is None or is_refusal(data):
            return
        # words about pools are few; those about keys and ids name one, and a stranger could name
        # millions
        names_one = reason in KEY_REASONS or reason == OTHER_ID
        subject = f"{source.host} {reason if names_one else text}"
        is_due = self._complaints.is_due(subject, now)
        if is_due:
            self._warn(subject, f"dropped a frame from {source}: {text} ({self.here})", now)
        refusal = self.framing.refusal(text)
        fits = reliable or len(refusal) <= len(data) or self._is_proven(source)
        if (reliable or (is_due and fits)) and self._complaints.may_answer(
            source.host, reliable=reliable, now=now
        ):
            self._complaints.said(subject, now)
            self._outbox.send(source, refusal, reliable=reliable, pool=self._kind)
        if reliable:
            self._failed(source, f"the answer from {source} cannot be taken: {text} ({self.here})")

    def _words(self, reason: str, data: bytes, arrival: Arrival) -> tuple[str | None, str]:
        """What to say to a frame that is dropped, None: nothing; and the reason in the end: who is
        of another cluster id has to show that it has our keys before it gets an answer."""
        if reason == OTHER_ID:
            try:
                opened = self.framing.open(data, reliable=arrival.reliable, any_id=True)
            except RemoteError as fault:
                reason = fault.reason
            else:
                return self._other_id(opened.messages, cluster_number(data), arrival), reason
        datacenter, elsewhere = self._config.datacenter, self._elsewhere()
        text = refusal_of(reason, data, self._kind, datacenter, elsewhere, self._keyring)
        return text, reason

    def refuse(self, to: Address, text: str) -> None:
        """Say no to a node of our own cluster and pool: sealed, where frames are."""
        if self._keyring is None:
            data = self.framing.refusal(text)
        else:
            data = self.framing.frame(
                [encode(Refused(self.framing.cluster, self.pool, text[:512]))],
                reliable=True,
                joining=True,
            )
        self._outbox.send(to, data, reliable=True, pool=self._kind)

    def heard(self, refusal: Refused, arrival: Arrival) -> str:
        """A node says no: log it; returns the text for an operator who waits."""
        self._counters["refusals_heard"] += 1
        text = (
            f"refused by the node at {arrival.source} (cluster {plain(refusal.cluster)!r}, pool "
            f"{plain(refusal.pool)!r}), which says: {quoted(refusal.text)} ({self.here})"
        )
        self.complain(f"{arrival.source.host} refused", text, arrival.now)
        return text

    def complain(self, subject: str, text: str, now: Now, level: str = "WARNING") -> None:
        """Say so in the log, at most once a minute about each subject, and not too often in all."""
        if self._complaints.is_due(subject, now):
            self._warn(subject, text, now, level)

    def _warn(self, subject: str, text: str, now: Now, level: str = "WARNING") -> None:
        line = self._complaints.line(text, now)
        if line is not None:
            self._complaints.said(subject, now)
            self._outbox.log(level, line)

    @property
    def here(self) -> str:
        """This node in words, for the reader of its log."""
        sealing = "" if self._keyring is None else f", and seals with key {self._keyring.primary}"
        if isinstance(self._config.keyring, str) and self._keyring is not None:
            sealing += f" of {self._config.keyring}"
        return (
            f"this node is {self._me.name!r} of cluster {self.framing.cluster!r}, pool "
            f"{self.pool!r}{sealing}"
        )
