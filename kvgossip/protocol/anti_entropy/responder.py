"""Responder: the passive side of anti-entropy in one pool (see model/gossip.py).

    receive   on_question
    answer    from the store alone (answers.py), in one instant with its own context
    keep      the entries that are pushed, and the context of Conclude (keeper.py)

What takes long is answered in steps, at the next ticks (backlog.py).

It keeps no state of a session but who asks, over which link, and what was offered
(asked_exchange.py): Conclude counts only for an exchange that a member has begun, over the same
link, from that member's own host, and takes out only what was offered in it. (Whoever has a key may
call itself by a member's name. One that speaks from elsewhere, behind NAT, is believed in the
exchanges that this node begins with it.) And an exchange of our own with a peer that asks
would find the same differences.

Buckets, fingerprints and symbols mean nothing under another seed, and an asker that took an answer
to them for whole would learn a context of what it does not have. So each question is asked about a
tree of the seed that the exchange's number names, and is answered, to its last step, by such a tree
alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterator

from msgspec.structs import replace

from kvgossip.config import Address, Config
from kvgossip.errors import RemoteError
from kvgossip.protocol.anti_entropy.answers import (
    answer_compare,
    answer_leaves,
    answer_sketch,
    answer_want,
)
from kvgossip.protocol.anti_entropy.asked_exchange import AskedExchange
from kvgossip.protocol.anti_entropy.backlog import Backlog
from kvgossip.protocol.anti_entropy.ending import DROPPED_A_STEP, portions_of
from kvgossip.protocol.anti_entropy.keeper import Keeper
from kvgossip.protocol.anti_entropy.left_out import LeftOut
from kvgossip.protocol.anti_entropy.questions import (
    COLLECTED_MAX,
    FIRST_REQUEST,
    Question,
)
from kvgossip.protocol.membership.swim import Membership
from kvgossip.protocol.model.arrival import Arrival
from kvgossip.protocol.model.member import SyncState
from kvgossip.protocol.model.newest import Newest
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.outbox import SendPort
from kvgossip.protocol.store.store import Store
from kvgossip.protocol.tombstones.context_difference import decode, difference
from kvgossip.protocol.tombstones.tombstones import Tombstones
from kvgossip.protocol.wire.batching import chunks, pack, room_of, unpack
from kvgossip.protocol.wire.exchange_messages import (
    Compare,
    Conclude,
    Concluded,
    Decoded,
    Differ,
    Leaves,
    Merged,
    OtherPositions,
    Sketch,
    Symbols,
    Want,
    parts_of,
)
from kvgossip.protocol.wire.message import Message

ASKERS_MAX, ASKED_BY_LINK_MAX = 64, 8


class Responder:
    """`sync_state` is this node's."""

    def __init__(
        self,
        config: Config,
        *,
        store: Store,
        tombstones: Tombstones,
        keeper: Keeper,
        left_out: LeftOut,
        sync_state: Callable[[], SyncState],
        membership: Membership,
        send_port: SendPort,
        counters: Counter[str],
        now: Now,
    ) -> None:
        self._counters = counters
        self._config, self._store, self._tombstones = config, store, tombstones
        self._keeper, self._left_out, self._sync_state = keeper, left_out, sync_state
        self._membership, self._send_port = membership, send_port
        #: those that members have begun here, by number
        self._asked: Newest[int, AskedExchange] = Newest(ASKERS_MAX)
        #: by name, when that member asked last, monotonic seconds
        self._asked_s: dict[str, float] = {}
        self.backlog = Backlog()
        #: the time of this input
        self._now = now

    # -- receive ----------------------------------------------------------------------------------

    def on_question(self, question: Question, arrival: Arrival) -> None:
        """Raises RemoteError when the question makes no sense, or too many of its link wait."""
        if not self._config.anti_entropy:
            return
        source, now, *_ = arrival
        if not self._store.digest.has_numbered(question.exchange):
            self._decline(question, source)
            return
        asked = self._asked_exchange(question, source, now)
        if (
            isinstance(question, (Sketch, Compare))
            and question.request == FIRST_REQUEST
            and question.members != self._membership.table.digest
        ):
            self.send_members(source)
        self._now = now
        self.backlog.begin(self._answering(question, asked, source), source, _size_of(question))

    def tick(self, now: Now) -> None:
        """A step of what is left to answer."""
        if self.backlog.by_link:
            self._now = now
            self.backlog.step()

    def unreachable(self, address: Address) -> None:
        """This link broke."""
        self.backlog.forget(address)

    def _answering(
        self, question: Question, asked: AskedExchange | None, source: Address
    ) -> Iterator[None]:
        digest, steps = self._store.digest, self.answer(question, asked, source)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                answer: Message = end.value
                break
            yield
            if self._store.digest is not digest:
                self._decline(question, source)
                return
        if asked is not None:
            asked.answered(question, answer, self._store.digest)
        self._send_port.send(answer, source, reliable=True)

    def _decline(self, question: Question, source: Address) -> None:
        self._send_port.send(OtherPositions(question.exchange), source, reliable=True)

    def send_members(self, to: Address) -> None:
        """The member tables differ: each side sends its own, once an exchange, so that lost
        membership news is repaired too."""
        self._send_port.send_members(to, [self._membership.me, *self._membership.table.counted])

    def _asked_exchange(
        self, question: Question, source: Address, now: Now
    ) -> AskedExchange | None:
        """That of this question, if a member has begun it over this link."""
        known = self._asked.get(question.exchange)
        if known is None and isinstance(question, (Sketch, Compare)):
            member = self._membership.members.get(question.sender)
            if member is not None and member.reachable:
                speaks = source.host in (member.host, member.other_host)
                known = AskedExchange(member.name, source, member.name if speaks else "")
                self._forget_oldest(source)
                self._asked[question.exchange] = known
        if known is None or known.source != source:
            return None
        if known.speaker:
            self._asked_s[known.peer] = now.monotonic_s
        return known

    def _forget_oldest(self, source: Address) -> None:
        """Who begins one exchange after another does not push out those of others."""
        same = [number for number, asked in self._asked.items() if asked.source == source]
        if len(same) >= ASKED_BY_LINK_MAX:
            del self._asked[same[0]]

    def is_asking(self, peer: str, now: Now) -> bool:
        """True if this peer has an exchange with us under way."""
        asked_s = self._asked_s.get(peer)
        return asked_s is not None and now.monotonic_s - asked_s < self._config.rumor_settling_s

    def forget(self, peer: str) -> None:
        """It is no peer any more."""
        self._asked_s.pop(peer, None)

    # -- answer -----------------------------------------------------------------------------------

    def answer(
        self, question: Question, asked: AskedExchange | None, source: Address
    ) -> Generator[None, None, Message]:
        """In steps; the first one raises RemoteError when the question makes no sense."""
        store, now = self._store, self._now
        if isinstance(question, (Sketch, Compare)):
            name = question.sender
        else:
            name = self._membership.table.name_at(source) if asked is None else asked.peer
        room = room_of(self._config, self._membership.members.get(name))
        if isinstance(question, Sketch):
            sketched = answer_sketch(
                store, question, room, self._membership.table.digest, self._sync_state()
            )
            return self._with_context(sketched, question.context, now)
        if isinstance(question, Compare):
            compared = answer_compare(
                store, question, self._membership.table.digest, self._sync_state()
            )
            return self._with_context(compared, question.context, now)
        if isinstance(question, Leaves):
            return (yield from answer_leaves(store, question, room))
        if isinstance(question, Want):
            return (yield from answer_want(store, question, room))
        if isinstance(question, Conclude):
            return (yield from self._conclude(question, asked))
        self._left_out.heard(question.left_out, name, now)
        # who speaks over a link that another one has dialled cannot be told for sure, nor who lives
        # now where a name is known to
        sender = name if asked is None else asked.speaker
        kept = self._keeper.keep(question.entries, sender, now, shows=False)
        return Merged(
            exchange=question.exchange,
            request=question.request,
            news=kept.news,
            refused=len(kept.refused),
            collected=pack("Q", kept.collected),
            expired_ms=kept.expired_ms,
            parts=b"".join(kept.parts),
        )

    def _with_context(self, answer: Decoded | Symbols | Differ, asked: bytes, now: Now) -> Message:
        """In one instant with the answer itself: so the context is that of the data that is
        compared."""
        if not asked:
            return answer
        tombstones = self._tombstones
        facts = tombstones.facts(now)
        return replace(answer, site=tombstones.site, context=difference(facts, asked))

    def _conclude(
        self, conclude: Conclude, asked: AskedExchange | None
    ) -> Generator[None, None, Concluded]:
        """The initiator, which has judged that this node got all, sends its context. It does not
        speak to a life that began meanwhile, nor is it believed by one that it has not asked."""
        tombstones, dropped = self._tombstones, 0
        facts, collected = decode(conclude.context).facts, unpack("Q", conclude.collected)
        parts = parts_of(conclude.parts)
        if max(len(collected), len(parts)) > COLLECTED_MAX:
            raise RemoteError("bad_message", "more at once than is ever said to be collected")
        if asked is None or not asked.speaker:
            self._counters["concludes_refused"] += 1
        elif tombstones.show_set_back(facts, asked.peer, self._now):
            raise RemoteError("set_back")
        elif conclude.site == tombstones.site:
            for place, portion in enumerate(portions_of(facts)):
                if place or len(portion) < len(facts):
                    yield
                if not tombstones.learn(portion, asked.peer, self._now):
                    break
            for place, chunk in enumerate(chunks(collected, DROPPED_A_STEP)):
                if place:
                    yield
                offered = asked.offered(chunk, self._store.digest)
                dropped += tombstones.drops.in_exchange(
                    offered, asked.peer, conclude.expired_ms, self._now
                )
            for some in chunks(parts, DROPPED_A_STEP):
                yield
                named = [int.from_bytes(part[:8], "big") for part in some]
                may = dict.fromkeys(asked.offered(named, self._store.digest))
                dropped += tombstones.typed_drops.in_exchange(
                    [part for part, one in zip(some, named, strict=True) if one in may],
                    asked.peer,
                    conclude.expired_ms,
                    self._now,
                )
        return Concluded(
            exchange=conclude.exchange,
            request=conclude.request,
            site=tombstones.site,
            dropped=dropped,
        )


def _size_of(question: Question) -> int:
    """The bytes that a question holds on to while it waits."""
    if isinstance(question, Leaves):
        return len(question.buckets) + len(question.counts) + len(question.fingerprints)
    if isinstance(question, Want):
        return len(question.fingerprints)
    if isinstance(question, Conclude):
        return len(question.collected) + len(question.parts)
    return 0
