"""ExchangeScheduler: the active side of anti-entropy in one pool (see model/gossip.py).

    select peers   a random one at the push-pull floor; and by the events below; few at a time, and
                   none for ever (slots.py)
    select what    the difference of the two stores, found out in a session with the peer: an
                   Exchange (initiator.py) that asks little by little
    send           its questions, over a link
    keep           the entries of its answers (keeper.py)

An exchange starts with a peer whose root, seen in probe traffic, has differed for longer than
rumors need to settle - at once where nothing has changed here for so long -, on joining, and with a
member that came back. The passive side is responder.py.

An exchange is about trees of one seed (store/digest.py), which its number names. One whose peer has
another seed is cut by OtherPositions; one under way when this node is reseeded is cut, and begun
anew.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from random import Random

from kvgossip.config import Address, Config
from kvgossip.errors import RemoteError
from kvgossip.protocol.anti_entropy.ending import ending
from kvgossip.protocol.anti_entropy.folding import Folding
from kvgossip.protocol.anti_entropy.futility import Futility
from kvgossip.protocol.anti_entropy.initiator import Exchange
from kvgossip.protocol.anti_entropy.keeper import Keeper, Kept
from kvgossip.protocol.anti_entropy.left_out import LeftOut
from kvgossip.protocol.anti_entropy.questions import FIRST_REQUEST
from kvgossip.protocol.anti_entropy.responder import Responder
from kvgossip.protocol.anti_entropy.slots import Slots
from kvgossip.protocol.effect import Exchanged
from kvgossip.protocol.membership.swim import Membership
from kvgossip.protocol.merging import MergePort
from kvgossip.protocol.model.arrival import Arrival
from kvgossip.protocol.model.member import Member, SyncState
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.model.peer import Peer, PoolKind
from kvgossip.protocol.outbox import Outbox, SendPort
from kvgossip.protocol.store.store import Store
from kvgossip.protocol.tombstones.tombstones import Tombstones
from kvgossip.protocol.wire.batching import room_of
from kvgossip.protocol.wire.exchange_messages import (
    Concluded,
    Decoded,
    Differ,
    Entries,
    Merged,
    OtherPositions,
    Symbols,
)
from kvgossip.protocol.wire.message import Message, Pair

Answer = Decoded | Symbols | Differ | Entries | Merged | Concluded
NUMBER_BITS = 32


class ExchangeScheduler:
    """`responder` is the passive side of the same pool."""

    def __init__(
        self,
        config: Config,
        kind: PoolKind,
        *,
        store: Store,
        tombstones: Tombstones,
        merging: MergePort,
        left_out: LeftOut,
        sync_state: Callable[[], SyncState],
        membership: Membership,
        send_port: SendPort,
        outbox: Outbox,
        rng: Random,
        now: Now,
    ) -> None:
        #: the time at which the last exchange completed, monotonic seconds; None: never
        self.completed_s: float | None = None
        #: how many exchanges; `rounds`: how many questions were asked in them
        self.counters: Counter[str] = Counter()
        self.started = self.completed = self.cut = self.rounds = 0
        #: how many exchanges were cut since they were too slow
        self.slow = 0
        self._keeper, self._left_out = Keeper(kind, store, tombstones, merging), left_out
        self.responder = Responder(
            config,
            store=store,
            tombstones=tombstones,
            keeper=self._keeper,
            left_out=left_out,
            sync_state=sync_state,
            membership=membership,
            send_port=send_port,
            counters=self.counters,
            now=now,
        )
        self._config, self._kind, self._rng = config, kind, rng
        self._store, self._tombstones, self._merging = store, tombstones, merging
        self._membership, self._send_port, self._outbox = membership, send_port, outbox
        self._slots = Slots(config.exchange_timeout_s)
        #: by number, the exchanges that are about to complete, and what is left to do for them
        self._endings: dict[int, Iterator[None]] = {}
        #: by name, since when probes show another root than ours, monotonic seconds
        self._unequal_since_s: dict[str, float] = {}
        #: by name, when the last exchange with that peer completed, monotonic seconds
        self._last_with_s: dict[str, float] = {}
        self.futility = Futility(store, outbox)
        self._folding = Folding(store, now)
        #: the time at which an exchange with a random peer is due, monotonic seconds
        self._next_floor_s = now.monotonic_s + rng.random() * config.push_pull_interval_s

    @property
    def busy(self) -> bool:
        """True if an exchange of our own is under way."""
        return bool(self._slots.running)

    @property
    def news(self) -> int:
        """The residue of rumors: how many entries exchanges have brought."""
        return self._keeper.news

    # -- select a peer ----------------------------------------------------------------------------

    def select_peers(self, now: Now) -> list[Member]:
        """One at random at the push-pull floor, unless it asks us already."""
        return [
            peer
            for peer in self._membership.choose(1)
            if not self.responder.is_asking(peer.name, now)
        ]

    def saw_root(self, peer: str, root: int, now: Now, *, act: bool) -> None:
        """A probe carried the peer's root. `act`: true if it is on us to start an exchange over a
        difference."""
        if root == self._store.digest.root:
            self._unequal_since_s.pop(peer, None)
            self.futility.equals(peer)
            return
        self._folding.saw_other_root(self._merging.news_s, now)
        if self.futility.differs(peer, root):
            return
        since_s = self._unequal_since_s.setdefault(peer, now.monotonic_s)
        settling_s = self._config.rumor_settling_s
        quiet = now.monotonic_s - self._merging.news_s >= settling_s
        rested = now.monotonic_s - self._last_with_s.get(peer, -settling_s) >= settling_s
        if (
            act
            and rested
            and not self.responder.is_asking(peer, now)
            and (quiet or now.monotonic_s - since_s >= settling_s)
        ):
            self.start(peer, now, differs=True)

    def start(self, peer: str, now: Now, *, differs: bool = False) -> None:
        """Exchange with this peer, as soon as it is its turn. `differs`: its root is known to
        differ."""
        if self._config.anti_entropy:
            self._slots.wait(peer, differs=differs)
            self._start_waiting(now)

    def _start_waiting(self, now: Now) -> None:
        while (turn := self._slots.next()) is not None:
            name, differs = turn
            member = self._membership.members.get(name)
            if member is not None and member.reachable and name != self._membership.me.name:
                exchange = self.select_what(member, now)
                me, digest = self._membership.me.name, self._membership.table.digest
                self.send(exchange, exchange.open(differs, digest, me), now)

    # -- select what, and send --------------------------------------------------------------------

    def select_what(self, peer: Member, now: Now) -> Exchange:
        """Begin the session in which the difference from this peer is found."""
        exchange = Exchange(
            self._store.digest.numbered(self._rng.getrandbits(NUMBER_BITS)),
            peer.name,
            peer.address,
            self._store,
            room_of(self._config, peer),
            self._tombstones.facts(now),
        )
        self._slots.running[exchange.number] = exchange
        self.started += 1
        exchange.began_s = exchange.progress_s = now.monotonic_s
        return exchange

    def send(self, exchange: Exchange, messages: Iterable[Message], now: Now) -> None:
        for message in messages:
            self.rounds += 1
            exchange.trips += 1
            self._send_port.send(message, exchange.address, reliable=True)
        if exchange.complete:
            self._complete(exchange, now)

    # -- time -------------------------------------------------------------------------------------

    def deadline(self) -> float:
        if self._endings or self.responder.backlog.by_link:
            return 0.0
        nearest = self._next_floor_s
        for exchange in self._slots.running.values():
            due = exchange.eager or not self._is_comparable(exchange)
            nearest = min(nearest, 0.0 if due else self._end_s(exchange))
        if self._membership.table.reachable:
            folding_s = self._folding.deadline(self._merging.news_s)
            nearest = folding_s if folding_s < nearest else nearest
        return nearest

    def tick(self, now: Now) -> None:
        self.responder.tick(now)
        self._begin_anew(now)
        for exchange in list(self._slots.running.values()):
            if exchange.number in self._endings:
                self._end(exchange, now)
            elif now.monotonic_s >= self._end_s(exchange):
                self.slow += 1
                self._cut(exchange, now, slow=True)
            elif exchange.eager:
                self.send(exchange, exchange.send(), now)
        if now.monotonic_s >= self._next_floor_s:
            # the spread keeps nodes that were started together from asking together
            self._next_floor_s = now.monotonic_s + self._config.push_pull_interval_s * (
                0.75 + 0.5 * self._rng.random()
            )
            for peer in self.select_peers(now):
                self.start(peer.name, now)
        if self._membership.reachable:
            self._folding.tick(self._merging.news_s, now)

    def _end_s(self, exchange: Exchange) -> float:
        """Until when it may last without an answer, monotonic seconds."""
        silent_s = exchange.progress_s + self._config.exchange_timeout_s
        return min(silent_s, self._slots.end_s(exchange))

    def _cut(self, exchange: Exchange, now: Now, *, slow: bool = False) -> None:
        self._endings.pop(exchange.number, None)
        if self._slots.cut(exchange, slow=slow):
            self.cut += 1
            self._tell(exchange, now, completed=False)
            self._start_waiting(now)

    def begin_again(self, peer: str, now: Now) -> None:
        """This node is another life from now on. `peer`: who made it so."""
        self._restart(list(self._slots.running.values()), now)
        self.start(peer, now, differs=True)

    def _is_comparable(self, exchange: Exchange) -> bool:
        """False if this node was reseeded since it began."""
        return self._store.digest.has_numbered(exchange.number)

    def _begin_anew(self, now: Now) -> None:
        """Those exchanges that began before this node was reseeded."""
        running = self._slots.running.values()
        self._restart([each for each in running if not self._is_comparable(each)], now)

    def _restart(self, exchanges: Sequence[Exchange], now: Now) -> None:
        for exchange in exchanges:
            self._cut(exchange, now)
        for exchange in exchanges:
            self.start(exchange.peer, now, differs=True)

    # -- receive ----------------------------------------------------------------------------------

    def unreachable(self, address: Address, now: Now) -> None:
        self.responder.unreachable(address)
        running = self._slots.running.values()
        for exchange in [each for each in running if each.address == address]:
            self._cut(exchange, now)

    def on_answer(self, answer: Answer, arrival: Arrival) -> None:
        """An answer to one of our exchanges. Raises RemoteError, which cuts the exchange, when it
        makes no sense."""
        exchange = self._slots.running.get(answer.exchange)
        if exchange is None or exchange.number in self._endings:
            raise RemoteError("unasked_answer")
        now = arrival.now
        if not self._is_comparable(exchange):
            self._begin_anew(now)
            return
        exchange.progress_s = now.monotonic_s
        try:
            self.send(exchange, self._receive(exchange, answer, now), now)
        except RemoteError:
            self._cut(exchange, now)
            raise

    def declined(self, answer: OtherPositions, now: Now) -> str:
        """The peer has another seed: cut that exchange. Returns its peer; empty where there is no
        such exchange."""
        exchange = self._slots.running.get(answer.exchange)
        if exchange is None or exchange.number in self._endings:
            return ""
        self._cut(exchange, now)
        return exchange.peer

    def _receive(self, exchange: Exchange, answer: Answer, now: Now) -> Iterable[Message]:
        if isinstance(answer, Merged):
            # a live value goes at once, a tombstone when this exchange is complete
            exchange.brought += self._tombstones.drops.in_exchange(
                exchange.collected_in(answer), exchange.peer, answer.expired_ms, now
            ) + self._tombstones.typed_drops.in_exchange(
                exchange.parts_in(answer), exchange.peer, answer.expired_ms, now
            )
            return exchange.merged(answer)
        if isinstance(answer, Concluded):
            return exchange.concluded(answer)
        if isinstance(answer, (Entries, Decoded)):
            self._left_out.heard(answer.left_out, exchange.peer, now)
        if isinstance(answer, Entries):
            return exchange.entries(answer, self._keep(answer.entries, exchange, now))
        exchange.met(answer)
        peer = self._membership.members.get(exchange.peer)
        if peer is not None and exchange.context.peer_site not in (0, peer.site):
            raise RemoteError("another_life", "another one has come to the peer's address")
        if self._tombstones.show_set_back(exchange.context.of_peer, exchange.peer, now):
            raise RemoteError("set_back")
        if answer.request == FIRST_REQUEST and answer.members != self._membership.table.digest:
            self.responder.send_members(exchange.address)
        if isinstance(answer, Decoded):
            return exchange.decoded(answer, self._keep(answer.entries, exchange, now))
        return exchange.differ(answer) if isinstance(answer, Differ) else exchange.symbols(answer)

    def _keep(self, entries: Iterable[Pair], exchange: Exchange, now: Now) -> Kept:
        """Raises RemoteError, which cuts the exchange, where this machine was set back."""
        kept = self._keeper.keep(entries, exchange.peer, now)
        if kept.set_back:
            raise RemoteError("set_back")
        return kept

    def _complete(self, exchange: Exchange, now: Now) -> None:
        self._endings[exchange.number] = ending(exchange, self._tombstones, now)
        self._end(exchange, now)

    def _end(self, exchange: Exchange, now: Now) -> None:
        for _ in self._endings[exchange.number]:
            return
        del self._endings[exchange.number]
        self._slots.completed(exchange)
        self.completed += 1
        self.completed_s = self._last_with_s[exchange.peer] = now.monotonic_s
        self._unequal_since_s.pop(exchange.peer, None)
        self.futility.judge(exchange)
        self._tell(exchange, now, completed=True)
        self._merging.exchanged(
            Peer(self._kind, exchange.peer), exchange.peer_sync_state, exchange.began_s, now
        )
        self._start_waiting(now)

    def _tell(self, exchange: Exchange, now: Now, *, completed: bool) -> None:
        self._outbox.emit(
            Exchanged(
                Peer(self._kind, exchange.peer),
                completed,
                now.monotonic_s - exchange.began_s,
                exchange.trips,
                exchange.brought,
                exchange.brought_bytes,
            )
        )

    def unequal(self, now: Now) -> dict[str, float]:
        """By name, for how many seconds probes have shown another root than ours."""
        return {name: now.monotonic_s - since_s for name, since_s in self._unequal_since_s.items()}

    def unequal_since_s(self, peer: str) -> float | None:
        """The time at which probes began to show another root than ours, monotonic seconds; None:
        they do not."""
        return self._unequal_since_s.get(peer)

    def statistics(self) -> dict[str, int]:
        """Counters since the start, by name."""
        return {
            **self.counters,
            "exchanges_started": self.started,
            "exchanges_completed": self.completed,
            "exchanges_cut": self.cut,
            "exchanges_too_slow": self.slow,
            "exchanges_futile": self.futility.count,
            "exchange_rounds": self.rounds,
            "exchange_news": self.news,
        }

    def forget(self, peer: str) -> None:
        self._unequal_since_s.pop(peer, None)
        self._last_with_s.pop(peer, None)
        self._slots.forget(peer)
        self.responder.forget(peer)
        self.futility.forget(peer)
