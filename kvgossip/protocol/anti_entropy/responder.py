"""Responder: the passive side of anti-entropy in one pool (see model/gossip.py).

    receive   on_question
    answer    from the store alone (answers.py), in one instant with its own context
    keep      the entries that are pushed, and the context of Conclude (keeper.py)

It keeps no state of a session. It only notes whose exchanges are under way here: one of our own
with such a peer would find the same differences.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from kvgossip.config import Address, Config
from kvgossip.protocol.anti_entropy.answers import (
    answer_compare,
    answer_leaves,
    answer_sketch,
    answer_want,
)
from kvgossip.protocol.anti_entropy.keeper import Keeper
from kvgossip.protocol.anti_entropy.left_out import LeftOut
from kvgossip.protocol.anti_entropy.questions import FIRST_REQUEST, Question
from kvgossip.protocol.membership.swim import Membership
from kvgossip.protocol.model.arrival import Arrival
from kvgossip.protocol.model.member import SyncState
from kvgossip.protocol.model.newest import Newest
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.outbox import SendPort
from kvgossip.protocol.store.store import Store
from kvgossip.protocol.tombstones.context_difference import decode, difference
from kvgossip.protocol.tombstones.tombstones import Tombstones
from kvgossip.protocol.wire.batching import pack, room_of, unpack
from kvgossip.protocol.wire.exchange_messages import (
    Compare,
    Conclude,
    Concluded,
    Decoded,
    Differ,
    Leaves,
    Merged,
    Sketch,
    Symbols,
    Want,
)
from kvgossip.protocol.wire.message import Message

ASKERS_MAX = 64


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
    ) -> None:
        self._config, self._store, self._tombstones = config, store, tombstones
        self._keeper, self._left_out, self._sync_state = keeper, left_out, sync_state
        self._membership, self._send_port = membership, send_port
        #: by exchange, the name of the member that asks
        self._askers: Newest[int, str] = Newest(ASKERS_MAX)
        #: by name, when that member asked last, monotonic seconds
        self._asked_s: dict[str, float] = {}

    # -- receive ----------------------------------------------------------------------------------

    def on_question(self, question: Question, arrival: Arrival) -> None:
        """Raises RemoteError when the question makes no sense."""
        if not self._config.anti_entropy:
            return
        source, now, _ = arrival
        self._note_asker(question, now)
        if (
            isinstance(question, (Sketch, Compare))
            and question.request == FIRST_REQUEST
            and question.members != self._membership.digest
        ):
            self.send_members(source)
        self._send_port.send(self.answer(question, source, now), source, reliable=True)

    def send_members(self, to: Address) -> None:
        """The member tables differ: each side sends its own, once an exchange, so that lost
        membership news is repaired too."""
        self._send_port.send_members(to, [self._membership.me, *self._membership.reachable])

    def _note_asker(self, question: Question, now: Now) -> None:
        if isinstance(question, (Sketch, Compare)) and question.sender in self._membership.members:
            self._askers[question.exchange] = question.sender
        name = self._askers.get(question.exchange)
        if name is not None:
            self._asked_s[name] = now.monotonic_s

    def is_asking(self, peer: str, now: Now) -> bool:
        """True if this peer has an exchange with us under way."""
        asked_s = self._asked_s.get(peer)
        return asked_s is not None and now.monotonic_s - asked_s < self._config.rumor_settling_s

    def forget(self, peer: str) -> None:
        """It is no peer any more."""
        self._asked_s.pop(peer, None)

    # -- answer -----------------------------------------------------------------------------------

    def answer(self, question: Question, source: Address, now: Now) -> Message:
        store = self._store
        if isinstance(question, (Sketch, Compare)):
            name = question.sender
        else:
            name = self._askers.get(question.exchange) or self._membership.name_at(source)
        room = room_of(self._config, self._membership.members.get(name))
        if isinstance(question, Sketch):
            sketched = answer_sketch(
                store, question, room, self._membership.digest, self._sync_state()
            )
            return self._with_context(sketched, question.context)
        if isinstance(question, Compare):
            compared = answer_compare(store, question, self._membership.digest, self._sync_state())
            return self._with_context(compared, question.context)
        if isinstance(question, Leaves):
            return answer_leaves(store, question, room)
        if isinstance(question, Want):
            return answer_want(store, question, room)
        if isinstance(question, Conclude):
            return self._conclude(question, name, now)
        self._left_out.told(question.left_out, name)
        kept = self._keeper.keep(question.entries, name, now)
        return Merged(
            exchange=question.exchange,
            request=question.request,
            news=kept.news,
            refused=len(kept.refused),
            collected=pack("Q", kept.collected),
        )

    def _with_context(self, answer: Decoded | Symbols | Differ, asked: bytes) -> Message:
        """In one instant with the answer itself: so the context is that of the data that is
        compared."""
        if not asked:
            return answer
        tombstones = self._tombstones
        return replace(answer, site=tombstones.site, context=difference(tombstones.facts(), asked))

    def _conclude(self, conclude: Conclude, peer: str, now: Now) -> Concluded:
        """The initiator, which has judged that this node got all, sends its context. It does not
        speak to a life that began meanwhile."""
        tombstones, dropped = self._tombstones, 0
        if conclude.site == tombstones.site:
            tombstones.learn(decode(conclude.context).facts, now)
            dropped = tombstones.drop_collected(unpack("Q", conclude.collected), peer, now)
        return Concluded(
            exchange=conclude.exchange,
            request=conclude.request,
            site=tombstones.site,
            dropped=dropped,
        )
