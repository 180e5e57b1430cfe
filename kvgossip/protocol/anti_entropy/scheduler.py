"""ExchangeScheduler: anti-entropy in one pool. When an exchange starts, with whom, how many at a
time, and what is answered.

Active side: an exchange starts with a peer whose root, seen in probe traffic, has differed for
longer than rumors need to settle - at once where nothing has changed here for so long -, on
joining, with a member that came back, and with a random peer at the push-pull floor. Passive side:
see responder.py; it keeps no state.

What an exchange brings is merged but not heated: after a healed partition the other peers see a
different root themselves, while heating would send the whole difference to everybody as rumors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from random import Random
from typing import NamedTuple

from msgspec.structs import replace

from kvgossip.config import Address, Config
from kvgossip.errors import RemoteError
from kvgossip.protocol.anti_entropy.initiator import FIRST_REQUEST, SHOWN, Exchange, Merge, Question
from kvgossip.protocol.anti_entropy.responder import (
    answer_compare,
    answer_leaves,
    answer_sketch,
    answer_want,
)
from kvgossip.protocol.membership.swim import Membership
from kvgossip.protocol.merging import MergePort, Origin, Outcome, Spread
from kvgossip.protocol.model.arrival import Arrival
from kvgossip.protocol.model.member import Member, SyncState
from kvgossip.protocol.model.newest import Newest
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.model.peer import Peer, PoolKind
from kvgossip.protocol.outbox import Outbox, SendPort
from kvgossip.protocol.store.store import Store
from kvgossip.protocol.tombstones.context_difference import decode, difference
from kvgossip.protocol.tombstones.tombstones import Tombstones
from kvgossip.protocol.wire.batching import pack, unpack
from kvgossip.protocol.wire.exchange_messages import (
    Compare,
    Conclude,
    Concluded,
    Decoded,
    Differ,
    Entries,
    Leaves,
    Merged,
    Sketch,
    Symbols,
    Want,
)
from kvgossip.protocol.wire.message import Message, Pair


class Futile(NamedTuple):
    """How often an exchange brought nothing while both roots stayed what they are."""

    times: int
    mine: int
    theirs: int


NEVER = Futile(0, 0, 0)
FUTILE_MAX = 3
SHOWN_DIGITS = 128
Answer = Decoded | Symbols | Differ | Entries | Merged | Concluded
EXCHANGES_MAX = 2
ASKERS_MAX = 64
SKETCH_REST_S = 0.05
SKETCH_PAUSE_S = 0.004


class ExchangeScheduler:
    """`completed_s` is when the last exchange completed (monotonic seconds, None: never).

    `rounds`: questions that were asked in exchanges. `news`: the residue of rumors, entries that
    exchanges have brought.
    """

    def __init__(
        self,
        config: Config,
        kind: PoolKind,
        *,
        store: Store,
        tombstones: Tombstones,
        merging: MergePort,
        sync_state: Callable[[], SyncState],
        membership: Membership,
        send_port: SendPort,
        outbox: Outbox,
        rng: Random,
        now: Now,
    ) -> None:
        self.completed_s: float | None = None
        self.started = self.completed = self.cut = self.futile = self.rounds = self.news = 0
        self._config, self._kind, self._rng = config, kind, rng
        self._store, self._tombstones, self._merging = store, tombstones, merging
        self._sync_state, self._membership = sync_state, membership
        self._send_port, self._outbox = send_port, outbox
        self._running: dict[int, Exchange] = {}
        self._waiting: dict[str, bool] = {}
        self._unequal_since_s: dict[str, float] = {}
        self._last_with_s: dict[str, float] = {}
        self._roots: dict[str, int] = {}
        self._asked_s: dict[str, float] = {}
        self._askers: Newest[int, str] = Newest(ASKERS_MAX)
        self._folded_s = now.monotonic_s
        self._futile: dict[str, Futile] = {}
        self._next_floor_s = now.monotonic_s + rng.random() * config.push_pull_interval_s

    # -- active side ------------------------------------------------------------------------------

    def saw_root(self, peer: str, root: int, now: Now, *, act: bool) -> None:
        """A probe carried the peer's root. `act`: whether it is on us to start an exchange over a
        difference."""
        if root == self._store.digest.root:
            self._unequal_since_s.pop(peer, None)
            self._futile.pop(peer, None)
            return
        self._roots[peer] = root
        if self._futile.get(peer, NEVER) == Futile(FUTILE_MAX, self._store.digest.root, root):
            return
        since_s = self._unequal_since_s.setdefault(peer, now.monotonic_s)
        settling_s = self._config.rumor_settling_s
        quiet = now.monotonic_s - self._merging.news_s >= settling_s
        rested = now.monotonic_s - self._last_with_s.get(peer, -settling_s) >= settling_s
        if (
            act
            and rested
            and not self._is_asking(peer, now)
            and (quiet or now.monotonic_s - since_s >= settling_s)
        ):
            self.start(peer, now, differs=True)

    def start(self, peer: str, now: Now, *, differs: bool = False) -> None:
        """Exchange with this peer, as soon as there are less than two under way. `differs`: its
        root is known to differ."""
        if not self._config.anti_entropy or any(
            exchange.peer == peer for exchange in self._running.values()
        ):
            return
        self._waiting[peer] = differs
        self._start_waiting(now)

    def _start_waiting(self, now: Now) -> None:
        while self._waiting and len(self._running) < EXCHANGES_MAX:
            name = next(iter(self._waiting))
            differs = self._waiting.pop(name)
            member = self._membership.members.get(name)
            if member is not None and member.reachable and name != self._membership.me.name:
                self._open(member, differs, now)

    def _open(self, member: Member, differs: bool, now: Now) -> None:
        number = self._rng.getrandbits(63)
        exchange = Exchange(
            number,
            member.name,
            member.address,
            self._store,
            self._config.message_bytes_max,
            self._tombstones.facts(),
        )
        self._running[exchange.number] = exchange
        self.started += 1
        exchange.progress_s = now.monotonic_s
        self._ask(
            exchange, exchange.open(differs, self._membership.digest, self._membership.me.name), now
        )

    def _ask(self, exchange: Exchange, messages: Iterable[Message], now: Now) -> None:
        for message in messages:
            self.rounds += 1
            self._send_port.send(message, exchange.address, reliable=True)
        if exchange.complete:
            self._complete(exchange, now)

    def deadline(self) -> float:
        nearest = self._next_floor_s
        for exchange in self._running.values():
            nearest = min(
                nearest,
                0.0 if exchange.eager else exchange.progress_s + self._config.exchange_timeout_s,
            )
        if not self._store.sketch.idle and self._membership.reachable:
            nearest = min(nearest, self._sketch_s)
        return nearest

    def tick(self, now: Now) -> None:
        for exchange in list(self._running.values()):
            if exchange.eager:
                self._ask(exchange, exchange.send(), now)
            elif now.monotonic_s >= exchange.progress_s + self._config.exchange_timeout_s:
                self._cut(exchange, now)
        if now.monotonic_s >= self._next_floor_s:
            # the spread keeps nodes that were started together from asking together
            self._next_floor_s = now.monotonic_s + self._config.push_pull_interval_s * (
                0.75 + 0.5 * self._rng.random()
            )
            for peer in self._membership.choose(1):
                if not self._is_asking(peer.name, now):
                    self.start(peer.name, now)
        if now.monotonic_s >= self._sketch_s and self._membership.reachable:
            self._store.work_on_sketch()
            self._folded_s = now.monotonic_s

    @property
    def _sketch_s(self) -> float:
        """When the sketch may be worked on: not while news comes in, and never so that nothing else
        gets its turn."""
        return max(self._merging.news_s + SKETCH_REST_S, self._folded_s + SKETCH_PAUSE_S)

    def _cut(self, exchange: Exchange, now: Now) -> None:
        if self._running.pop(exchange.number, None) is not None:
            self.cut += 1
            self._start_waiting(now)

    def unreachable(self, address: Address, now: Now) -> None:
        for exchange in [
            exchange for exchange in self._running.values() if exchange.address == address
        ]:
            self._cut(exchange, now)

    def on_answer(self, answer: Answer, arrival: Arrival) -> None:
        """An answer to one of our exchanges. Raises RemoteError, which cuts the exchange, when it
        makes no sense."""
        exchange = self._running.get(answer.exchange)
        if exchange is None:
            raise RemoteError("unasked_answer")
        now = arrival.now
        exchange.progress_s = now.monotonic_s
        try:
            self._ask(exchange, self._continue(exchange, answer, now), now)
        except RemoteError:
            self._cut(exchange, now)
            raise

    def _continue(self, exchange: Exchange, answer: Answer, now: Now) -> Iterable[Message]:
        if isinstance(answer, Merged):
            # a live value goes at once, a tombstone when this exchange is complete
            exchange.brought += self._tombstones.drop_collected(
                unpack("Q", answer.collected), exchange.peer, now
            )
            return exchange.merged(answer)
        if isinstance(answer, Concluded):
            return exchange.concluded(answer)
        if isinstance(answer, Entries):
            return exchange.entries(answer, self._merge(answer.entries, exchange.peer, now))
        if answer.request == FIRST_REQUEST and answer.members != self._membership.digest:
            self._tell_members(exchange.address)
        if isinstance(answer, Decoded):
            return exchange.decoded(answer, self._merge(answer.entries, exchange.peer, now))
        return exchange.differ(answer) if isinstance(answer, Differ) else exchange.symbols(answer)

    def _tell_members(self, to: Address) -> None:
        """The member tables differ: each side sends its own, once an exchange, so that lost
        membership news is repaired too."""
        self._send_port.send_members(to, [self._membership.me, *self._membership.reachable])

    def _complete(self, exchange: Exchange, now: Now) -> None:
        del self._running[exchange.number]
        self.completed += 1
        self._tombstones.learn(exchange.learned, now)
        exchange.brought += self._tombstones.drop_collected(exchange.renounced, exchange.peer, now)
        self.completed_s = self._last_with_s[exchange.peer] = now.monotonic_s
        self._unequal_since_s.pop(exchange.peer, None)
        self._judge(exchange)
        self._merging.exchanged(Peer(self._kind, exchange.peer), exchange.peer_sync_state)
        self._start_waiting(now)

    def _judge(self, exchange: Exchange) -> None:
        """Differences that bring nobody anything, three times with the same roots: no endless
        repair loop (lesson 5).

        The push-pull floor still tries, so that it ends by itself when the cause was a clock.
        """
        peer, root = exchange.peer, self._store.digest.root
        if exchange.brought or exchange.differing is None or peer not in self._roots:
            self._futile.pop(peer, None)
            return
        last = self._futile.get(peer, NEVER)
        same = (last.mine, last.theirs) == (root, self._roots[peer])
        self._futile[peer] = Futile(
            min(last.times + 1, FUTILE_MAX) if same else 1, root, self._roots[peer]
        )
        if same and last.times == FUTILE_MAX - 1:
            self.futile += 1
            self._complain(exchange, exchange.differing)

    def _complain(self, exchange: Exchange, differing: tuple[int, int]) -> None:
        store = self._store
        ours = {
            key: record.hex()[:SHOWN_DIGITS]
            for key, record in islice(store.entries_in(*differing), SHOWN)
        }
        theirs = {key: record.hex()[:SHOWN_DIGITS] for key, record in exchange.refused}
        text = (
            f"the digest of {exchange.peer!r} differs from ours in bucket {differing[1]} of level "
            f"{differing[0]}, but {FUTILE_MAX} "
            f"exchanges have brought nothing: not repaired until something changes. Ours: {ours}; "
            f"refused of theirs: {theirs}"
        )
        self._outbox.log("ERROR", text)

    def unequal_since_s(self, peer: str) -> float | None:
        """When probes began to show another root than ours, monotonic seconds; None: they do
        not."""
        return self._unequal_since_s.get(peer)

    def forget(self, peer: str) -> None:
        self._unequal_since_s.pop(peer, None)
        self._last_with_s.pop(peer, None)
        self._asked_s.pop(peer, None)
        self._roots.pop(peer, None)
        self._futile.pop(peer, None)

    # -- passive side -----------------------------------------------------------------------------

    def on_question(self, asked: Question, arrival: Arrival) -> None:
        """Answer from the store alone. Raises RemoteError when the question makes no sense."""
        if not self._config.anti_entropy:
            return
        source, now, _ = arrival
        self._note(asked, now)
        if (
            isinstance(asked, (Sketch, Compare))
            and asked.request == FIRST_REQUEST
            and asked.members != self._membership.digest
        ):
            self._tell_members(source)
        self._send_port.send(self._answer(asked, source, now), source, reliable=True)

    def _note(self, asked: Question, now: Now) -> None:
        """Who has an exchange with us under way: one of our own with that peer would find the same
        differences."""
        if isinstance(asked, (Sketch, Compare)) and asked.sender in self._membership.members:
            self._askers[asked.exchange] = asked.sender
        name = self._askers.get(asked.exchange)
        if name is not None:
            self._asked_s[name] = now.monotonic_s

    def _is_asking(self, peer: str, now: Now) -> bool:
        asked_s = self._asked_s.get(peer)
        return asked_s is not None and now.monotonic_s - asked_s < self._config.rumor_settling_s

    def _answer(self, asked: Question, source: Address, now: Now) -> Message:
        store, bytes_max = self._store, self._config.message_bytes_max
        if isinstance(asked, Sketch):
            sketched = answer_sketch(
                store, asked, bytes_max, self._membership.digest, self._sync_state()
            )
            return self._with_context(sketched, asked.context)
        if isinstance(asked, Compare):
            return self._with_context(
                answer_compare(store, asked, self._membership.digest, self._sync_state()),
                asked.context,
            )
        if isinstance(asked, Leaves):
            return answer_leaves(store, asked, bytes_max)
        if isinstance(asked, Want):
            return answer_want(store, asked, bytes_max)
        peer = self._askers.get(asked.exchange) or self._membership.name_at(source)
        if isinstance(asked, Conclude):
            return self._conclude(asked, peer, now)
        merged = self._merge(asked.entries, peer, now)
        return Merged(
            asked.exchange,
            asked.request,
            merged.news,
            len(merged.refused),
            pack("Q", merged.collected),
        )

    def _with_context(self, answer: Decoded | Symbols | Differ, asked: bytes) -> Message:
        """In one instant with the answer itself: so the context is that of what is compared."""
        if not asked:
            return answer
        tombstones = self._tombstones
        return replace(answer, site=tombstones.site, context=difference(tombstones.facts(), asked))

    def _conclude(self, conclude: Conclude, peer: str, now: Now) -> Concluded:
        """The asker, who has judged that this node got all, tells its context. It does not speak to
        a life that began meanwhile."""
        tombstones, dropped = self._tombstones, 0
        if conclude.site == tombstones.site:
            tombstones.learn(decode(conclude.context).facts, now)
            dropped = tombstones.drop_collected(unpack("Q", conclude.collected), peer, now)
        return Concluded(conclude.exchange, conclude.request, tombstones.site, dropped)

    def _merge(self, entries: Iterable[Pair], peer: str, now: Now) -> Merge:
        """Merge, and tell what became of it. An entry that is refused costs itself alone (lesson
        8)."""
        store, news = self._store, 0
        refused: list[int] = []
        collected: list[int] = []
        replaced: list[int] = []
        origin = Origin(Peer(self._kind, peer), Spread.NONE)
        for key, record in entries:
            old = store.record(key)
            outcome = self._merging.merge(key, record, now, origin)
            if outcome is Outcome.NEWS:
                news += 1
                if old is not None:
                    replaced.append(store.digest.fingerprint(key, old))
            elif outcome is not Outcome.KNOWN:
                (refused if outcome is Outcome.REFUSED else collected).append(
                    store.digest.fingerprint(key, record)
                )
        self.news += news
        return Merge(news, refused, collected, replaced)
