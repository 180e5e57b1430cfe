"""KnownPeers: the members that earlier lives knew, so that a restart finds the cluster though no
join address is up.

Laws
- Members are kept, with where they were, until they leave or are forgotten. A dead one is kept: it
  may come back.
- Those that this life has not met are asked to take it in, some at a time at random, with growing
  pauses, for as long as a dead member is kept. Not only until the first one answers: two halves
  that restart on both sides of a cut must find each other when it heals.
- They are no join addresses: a node settles without regard to them.
- If somebody else answers, the member of before is not looked for any more: at one address lives
  one name (member_table.py), and the life that is there began later.

Why they are asked, and not taken for members as they were: a Join checks that nobody else has this
node's name, and its answer has the members as they are now.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from random import Random

from kvgossip.config import Address, Config
from kvgossip.protocol.membership.sampling import uniform
from kvgossip.protocol.model.change import Persist
from kvgossip.protocol.model.member import Member, MemberState
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.model.peer import PoolKind
from kvgossip.protocol.saved_state import SavedPeer, peer_fact

ASKED_AT_ONCE = 8
PAUSE_FACTOR_MAX = 30


class KnownPeers:
    """`saved`: the members that an earlier life knew, by name. Its own name is none of them: a data
    directory may have been another node's."""

    def __init__(
        self, saved: Mapping[str, SavedPeer], kind: PoolKind, config: Config, rng: Random, now: Now
    ) -> None:
        #: those of them that this life has not met
        self.absent = {name: peer for name, peer in saved.items() if name != config.name}
        #: what is kept of each on the disk
        self._kept = dict(self.absent)
        #: how many of them were at each address
        self._kept_at = Counter(peer.address for peer in self._kept.values())
        self._kind, self._rng = kind, rng
        #: the times at which some of the absent are asked again, at which each is forgotten, and
        #: the first one of them, monotonic seconds
        self._next_s = now.monotonic_s
        self._forget_s = {
            name: now.monotonic_s + (peer.forget_s or config.forget_after_s)
            for name, peer in saved.items()
        }
        self._next_forget_s = min(self._forget_s.values(), default=math.inf)
        self._pause_s = config.join_retry_s
        self._pause_s_max = config.join_retry_s * PAUSE_FACTOR_MAX

    def changed(self, name: str, new: Member | None) -> list[Persist]:
        """The record of this member is now `new`; returns the facts to keep of it."""
        self.absent.pop(name, None)
        gone = new is None or new.state is MemberState.LEFT
        peer = None if new is None or gone else SavedPeer(new.host, new.port, new.forget_s)
        if self._kept.get(name) == peer:
            return []
        return [self._keep(name, peer)]

    def _keep(self, name: str, peer: SavedPeer | None) -> Persist:
        old = self._kept.pop(name, None)
        if old is not None:
            self._kept_at[old.address] -= 1
            if not self._kept_at[old.address]:
                del self._kept_at[old.address]
        if peer is not None:
            self._kept[name] = peer
            self._kept_at[peer.address] += 1
        return peer_fact(self._kind, name, peer)

    def deadline(self) -> float | None:
        return min(self._next_s, self._next_forget_s) if self.absent else None

    def has(self, address: Address) -> bool:
        """True if a member that is kept was there."""
        return address in self._kept_at

    def due(self, now: Now) -> list[Address]:
        """The addresses to ask now."""
        if not self.absent or now.monotonic_s < self._next_s:
            return []
        self._next_s = now.monotonic_s + self._pause_s
        self._pause_s = min(2 * self._pause_s, self._pause_s_max)
        names = uniform(self._rng, list(self.absent), ASKED_AT_ONCE)
        return [self.absent[name].address for name in names]

    def name_at(self, address: Address) -> str:
        """The absent member that was there; empty if there was none."""
        return next((name for name, peer in self.absent.items() if peer.address == address), "")

    def answered(self, address: Address, name: str) -> list[Persist]:
        """A node of this name is at this address now; returns the facts that are not kept any
        more."""
        gone = [
            absent
            for absent, peer in self.absent.items()
            if peer.address == address and absent != name
        ]
        for absent in gone:
            del self.absent[absent]
        return [self._keep(absent, None) for absent in gone]

    def forgotten(self, now: Now) -> list[Persist]:
        """Members that were absent for so long are forgotten, as dead ones are."""
        if not self.absent or now.monotonic_s < self._next_forget_s:
            return []
        gone = [name for name in self.absent if now.monotonic_s >= self._forget_s[name]]
        for name in gone:
            del self.absent[name]
        self._next_forget_s = min((self._forget_s[name] for name in self.absent), default=math.inf)
        return [self._keep(name, None) for name in gone]
