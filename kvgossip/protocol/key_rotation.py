"""KeyRotation: keys come and go on all nodes of a cluster while it runs, at the word of an operator
to any one of them.

    operator --> node ==KeyringOrder==> each member of its datacenter
                 gateway ==KeyringOrder==> gateways of other datacenters ==KeyringOrder==> their
                 members <==KeyringReport== each with the keys that it and those behind it have now,
                 or who did not answer

A key is replaced in three orders: install the new one everywhere, use it everywhere, remove the old
one everywhere. As every key of a ring opens, nobody is shut out at any moment, in whatever order
the nodes get there.

Laws
- `use` is ordered only once every alive member has the key, `remove` only once it is nobody's
  primary one; and neither while one does not answer: it might be the one that is shut out. Each
  node checks again for itself.
- An order names the life of the node that it is for, so that a recorded one is worth nothing to
  another node or to a later life. It is carried out once, also where it comes by two gateways.
- Orders are taken from every node that has a key, and only where frames are sealed: so a key
  travels sealed, and a stranger orders nothing.
- A node that was off during a rotation is refused afterwards with words that say which key is used
  (refusal.py, lesson 28).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from msgspec.structs import replace

from kvgossip.config import KEY_BYTES, Address
from kvgossip.errors import KeyringError
from kvgossip.protocol.effect import KeyringChanged, KeyringReported
from kvgossip.protocol.model.arrival import Arrival
from kvgossip.protocol.model.member import Member
from kvgossip.protocol.model.newest import Newest
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.model.peer import PoolKind
from kvgossip.protocol.model.plain_text import plain
from kvgossip.protocol.outbox import Outbox
from kvgossip.protocol.pools.pool_set import PoolSet
from kvgossip.protocol.wire.keyring import Keyring
from kvgossip.protocol.wire.message import Holding, KeyringAction, KeyringOrder, KeyringReport

FURTHER = {PoolKind.LAN: 2, PoolKind.WAN: 1}
"""How often an order that its first node sends into this pool is passed on: to the gateways of
other datacenters, and to their members."""
PATIENCE_S = (0.0, 3.0, 6.0, 9.0)
"""How long to wait for answers, by how often an order may be passed on; the last is for the first
node."""
KNOWN_MAX = 64
KEY_ID_BYTES = 4
NAMED_MAX = 8
Place = tuple[PoolKind, Address]


@dataclass(slots=True)
class Round:
    """One order, and what came back so far. `asked`: the nodes that have not answered. `origin`:
    the node that ordered it, None: this node's own operator."""

    request: int
    order: tuple[KeyringAction, bytes]
    origin: Place | None
    deadline_s: float
    asked: dict[Place, Member] = field(default_factory=dict)
    found: list[Holding] = field(default_factory=list)


@dataclass(slots=True)
class Conversation:
    """An operator's order, as the rounds that are still to come, and the objections of nodes to
    it."""

    ticket: int
    steps: list[tuple[KeyringAction, bytes]]
    faults: dict[tuple[str, str], str] = field(default_factory=dict)


class KeyRotation:
    """`problem` is why this node would not find its keys again after a restart; empty where it
    would."""

    def __init__(
        self, pools: PoolSet, keyring: Keyring | None, rng: Random, outbox: Outbox
    ) -> None:
        self.problem = ""
        self._pools, self._keyring, self._rng, self._outbox = pools, keyring, rng, outbox
        self._rounds: dict[int, Round] = {}
        self._known: Newest[int, None] = Newest(KNOWN_MAX)
        self._conversations: dict[int, Conversation] = {}
        self._waiting: list[Conversation] = []

    # -- the operator -----------------------------------------------------------------------------

    def ask(self, ticket: int, action: KeyringAction, key: bytes, now: Now) -> None:
        """Order this of the whole cluster. `key`: the key to install, or the four bytes of the id
        of the key to use or remove.

        KeyringReported follows, with the ticket. Raises KeyringError at once where this node itself
        cannot.
        """
        if self._keyring is None:
            raise KeyringError(
                "the frames of this cluster are not sealed, for this node has no keyring",
                "`kvgossip keygen FILE` makes one; start every node with --keyring FILE",
            )
        listing, order = (KeyringAction.LIST, b""), (action, key)
        if action is KeyringAction.LIST:
            steps = [listing]
        elif action is KeyringAction.INSTALL:
            steps = [order, listing]
        else:
            steps = [listing, order, listing]
        self._begin(Conversation(ticket, steps), now)

    def _begin(self, conversation: Conversation, now: Now) -> None:
        request = self._rng.getrandbits(64)
        self._conversations[request] = conversation
        self._start(
            Round(request, conversation.steps[0], None, now.monotonic_s + PATIENCE_S[-1]),
            FURTHER,
            now,
        )

    def _concluded(self, conversation: Conversation, found: list[Holding], now: Now) -> None:
        """A round of this conversation is over."""
        if conversation.steps[0][0] is not KeyringAction.LIST:
            conversation.faults |= {
                (held.datacenter, held.name): held.problem
                for held in found
                if held.problem and held.answered
            }
        if len(conversation.steps) > 1:
            objection = _objection(*conversation.steps[1], found)
            if objection:
                self._outbox.emit(KeyringReported(conversation.ticket, tuple(found), objection))
            else:
                # in an input of its own: until then the driver has performed what this round asks
                # for
                del conversation.steps[0]
                self._waiting.append(conversation)
            return
        results = tuple(
            replace(
                held,
                problem=held.problem or conversation.faults.get((held.datacenter, held.name), ""),
            )
            for held in found
        )
        self._outbox.emit(KeyringReported(conversation.ticket, results, ""))

    # -- orders -----------------------------------------------------------------------------------

    def on_order(self, order: KeyringOrder, arrival: Arrival, kind: PoolKind) -> None:
        source, now, *_ = arrival
        pool = self._pools.of(kind)
        if self._keyring is None or order.site != pool.membership.me.site:
            pool.counters["keyring_orders_refused"] += 1
            return
        hops, wanted = min(order.hops, FURTHER[PoolKind.LAN]), (order.action, order.key)
        if order.request in self._known:
            hops, wanted = 0, (KeyringAction.LIST, b"")
        beside = PoolKind.WAN if kind is PoolKind.LAN else PoolKind.LAN
        begun = Round(order.request, wanted, (kind, source), now.monotonic_s + PATIENCE_S[hops])
        self._start(begun, {beside: hops - 1} if hops else {}, now)

    def _start(self, begun: Round, further: Mapping[PoolKind, int], now: Now) -> None:
        """Carry the order out here, and pass it on into these pools, where it may be passed on so
        often."""
        self._known[begun.request] = None
        begun.found.append(self._carried_out(*begun.order))
        begun.asked = {
            (kind, member.address): member for kind in further for member in self._members(kind)
        }
        if not begun.asked:
            self._finish(begun, now)
            return
        self._rounds[begun.request] = begun
        action, key = begun.order
        for (kind, address), member in begun.asked.items():
            order = KeyringOrder(
                request=begun.request,
                site=member.site,
                hops=further[kind],
                action=action,
                key=key,
            )
            self._pools.of(kind).outbox.send(order, address, reliable=True)

    def _members(self, kind: PoolKind) -> list[Member]:
        """The members that an order goes to in this pool: in the WAN pool the gateways of other
        datacenters."""
        pool = self._pools.lan if kind is PoolKind.LAN else self._pools.wan
        if pool is None:
            return []
        here = pool.membership.me.datacenter
        return [
            member
            for member in pool.membership.reachable
            if kind is PoolKind.LAN or member.datacenter != here
        ]

    def _carried_out(self, action: KeyringAction, key: bytes) -> Holding:
        """The keys that this node has after the order, and why if it was not obeyed."""
        assert self._keyring is not None
        # only the next listing knows whether the change could be kept
        problem = self.problem if action is KeyringAction.LIST else ""
        try:
            if self._obeys(self._keyring, action, key):
                self._outbox.emit(KeyringChanged(self._keyring.keys))
        except KeyringError as error:
            problem = str(error)
        me = self._pools.lan.membership.me
        return Holding(
            name=me.name,
            datacenter=me.datacenter,
            keys=b"".join(map(bytes.fromhex, self._keyring.ids)),
            answered=True,
            problem=problem[:512],
        )

    def _obeys(self, keyring: Keyring, action: KeyringAction, key: bytes) -> bool:
        """True if that changed the keyring."""
        match action:
            case KeyringAction.INSTALL:
                if len(key) != KEY_BYTES:
                    raise KeyringError(f"a key has {KEY_BYTES} bytes")
                return keyring.install(key)
            case KeyringAction.USE:
                return keyring.use(key.hex())
            case KeyringAction.REMOVE:
                return keyring.remove(key.hex())
        return False

    # -- answers ----------------------------------------------------------------------------------

    def on_report(self, report: KeyringReport, arrival: Arrival, kind: PoolKind) -> None:
        source, now, *_ = arrival
        under_way = self._rounds.get(report.request)
        if under_way is None or under_way.asked.pop((kind, source), None) is None:
            self._pools.of(kind).counters["keyring_reports_unasked"] += 1
            return
        under_way.found += [replace(held, problem=plain(held.problem)) for held in report.found]
        if not under_way.asked:
            self._finish(under_way, now)

    def unreachable(self, address: Address, now: Now, kind: PoolKind) -> None:
        for under_way in list(self._rounds.values()):
            silent = under_way.asked.pop((kind, address), None)
            if silent is not None:
                under_way.found.append(_silent(silent))
                if not under_way.asked:
                    self._finish(under_way, now)

    def deadline(self) -> float | None:
        if self._waiting:
            return -math.inf
        return (
            min(under_way.deadline_s for under_way in self._rounds.values())
            if self._rounds
            else None
        )

    def tick(self, now: Now) -> None:
        if not self._waiting and not self._rounds:
            return
        waiting, self._waiting = self._waiting, []
        for conversation in waiting:
            self._begin(conversation, now)
        for under_way in [
            each for each in self._rounds.values() if each.deadline_s <= now.monotonic_s
        ]:
            self._finish(under_way, now)

    def _finish(self, done: Round, now: Now) -> None:
        if self._rounds.get(done.request) is done:
            del self._rounds[done.request]
        found = _each_once([*done.found, *map(_silent, done.asked.values())])
        if done.origin is not None:
            kind, address = done.origin
            self._pools.of(kind).outbox.send(
                KeyringReport(request=done.request, found=tuple(found)), address, reliable=True
            )
        else:
            self._concluded(self._conversations.pop(done.request), found, now)


def _silent(member: Member) -> Holding:
    return Holding(
        name=member.name,
        datacenter=member.datacenter,
        keys=b"",
        answered=False,
        problem="did not answer",
    )


def _each_once(found: Iterable[Holding]) -> list[Holding]:
    """Sorted, and of several words about one node the one that says most: its answer, and first its
    objection to the order."""
    best: dict[tuple[str, str], Holding] = {}
    for held in found:
        place = (held.datacenter, held.name)
        if place not in best or (held.answered, bool(held.problem)) > (
            best[place].answered,
            bool(best[place].problem),
        ):
            best[place] = held
    return [best[place] for place in sorted(best)]


def _objection(action: KeyringAction, key: bytes, found: Sequence[Holding]) -> str:
    """Why this must not be ordered now; empty where it may."""
    name = key.hex()
    silent = _names(held for held in found if not held.answered)
    if action is KeyringAction.USE:
        lacking = _names(held for held in found if held.answered and name not in ids_of(held))
        if lacking:
            return f"not every node has the key {name}: {lacking} lack it"
    if action is KeyringAction.REMOVE:
        using = _names(held for held in found if held.answered and ids_of(held)[:1] == [name])
        if using:
            return f"the key {name} is the primary one of {using}"
    if silent and action in (KeyringAction.USE, KeyringAction.REMOVE):
        return f"{silent} did not answer, and may be shut out"
    return ""


def _names(found: Iterable[Holding]) -> str:
    """A few of them in words."""
    names = [held.name for held in found]
    more = f" and {len(names) - NAMED_MAX} more" if len(names) > NAMED_MAX else ""
    return ", ".join(names[:NAMED_MAX]) + more


def ids_of(held: Holding) -> list[str]:
    """The ids of the keys that a node has, the primary one first."""
    return [
        held.keys[at : at + KEY_ID_BYTES].hex() for at in range(0, len(held.keys), KEY_ID_BYTES)
    ]


def parse_order(action: str, key: str) -> tuple[KeyringAction, bytes]:
    """The order that an operator wrote: `install` and 64 hexadecimal digits, `use` or `remove` and
    the 8 of an id, or `list`. Raises KeyringError."""
    try:
        wanted = KeyringAction[action.upper()]
        data = bytes.fromhex(key)
    except (KeyError, ValueError):
        wanted, data = KeyringAction.INSTALL, b"?"
    if len(data) != {KeyringAction.LIST: 0, KeyringAction.INSTALL: KEY_BYTES}.get(
        wanted, KEY_ID_BYTES
    ):
        raise KeyringError(
            "this is no order for a keyring",
            "install a key of 64 hexadecimal digits; use or remove one by the 8 digits of its id; "
            "or list",
        )
    return wanted, data
