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

from collections.abc import Mapping
from random import Random

from kvgossip.config import Address, Config
from kvgossip.protocol.membership.sampling import uniform
from kvgossip.protocol.model.change import Persist
from kvgossip.protocol.model.member import Member, MemberState
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.model.peer import PoolKind
from kvgossip.protocol.saved_state import peer_fact

ASKED_AT_ONCE = 8
PAUSE_FACTOR_MAX = 30


class KnownPeers:
    """`saved`: the addresses of members that an earlier life knew, by name. Its own name is none of
    them: a data directory may have been another node's."""

    def __init__(
        self, saved: Mapping[str, Address], kind: PoolKind, config: Config, rng: Random, now: Now
    ) -> None:
        #: those of them that this life has not met
        self.absent = {name: place for name, place in saved.items() if name != config.name}
        #: the addresses that are kept on the disk
        self._kept = dict(self.absent)
        self._kind, self._rng = kind, rng
        #: the times at which some of the absent are asked again, and at which they are forgotten,
        #: monotonic seconds
        self._next_s = now.monotonic_s
        self._forget_s = now.monotonic_s + config.forget_after_s
        self._pause_s = config.join_retry_s
        self._pause_s_max = config.join_retry_s * PAUSE_FACTOR_MAX

    def changed(self, name: str, new: Member | None) -> list[Persist]:
        """The record of this member is now `new`; returns the facts to keep of it."""
        self.absent.pop(name, None)
        address = None if new is None or new.state is MemberState.LEFT else new.address
        if self._kept.get(name) == address:
            return []
        return [self._keep(name, address)]

    def _keep(self, name: str, address: Address | None) -> Persist:
        if address is None:
            del self._kept[name]
        else:
            self._kept[name] = address
        return peer_fact(self._kind, name, address)

    def deadline(self) -> float | None:
        return min(self._next_s, self._forget_s) if self.absent else None

    def has(self, address: Address) -> bool:
        """True if a member that is kept was there."""
        return address in self._kept.values()

    def due(self, now: Now) -> list[Address]:
        """The addresses to ask now."""
        if not self.absent or now.monotonic_s < self._next_s:
            return []
        self._next_s = now.monotonic_s + self._pause_s
        self._pause_s = min(2 * self._pause_s, self._pause_s_max)
        return [self.absent[name] for name in uniform(self._rng, list(self.absent), ASKED_AT_ONCE)]

    def answered(self, address: Address, name: str) -> list[Persist]:
        """A node of this name is at this address now; returns the facts that are not kept any
        more."""
        gone = [
            absent for absent, place in self.absent.items() if place == address and absent != name
        ]
        for absent in gone:
            del self.absent[absent]
        return [self._keep(absent, None) for absent in gone]

    def forgotten(self, now: Now) -> list[Persist]:
        """Members that were absent for so long are forgotten, as dead ones are."""
        if not self.absent or now.monotonic_s < self._forget_s:
            return []
        gone, self.absent = self.absent, {}
        return [self._keep(name, None) for name in gone]
