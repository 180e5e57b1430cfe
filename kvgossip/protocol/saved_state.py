"""SavedState: the facts of a replica about itself, beyond its entries, from which the next life on
the same disk goes on.

Laws (protocol.md section 7)
- A later life has a greater generation in each pool than all before it, and its clock stands at
  least where theirs did: whatever the wall clock of the machine says after the restart.
- A replica that had settled once answers reads from its last known good data at once, without any
  peer (lesson 17).
- A member that was known is looked for again (known_peers.py), and a life that had not settled does
  not found a cluster of its own beside them.
- A later life is of the cluster that an earlier one was of (own_cluster_id.py).
- A life that rebuilds lost data takes nothing for the truth but what a settled member has, also
  after another restart.
- The lives of this node that have written are known to the next one (former_lives.py).
- What was collected for its expiry counts as such in later lives, too: clocks may be set back.
- How old the data of a disk is, is known from the last exchange of all its lives, within
  KEPT_EVERY_MS (settling.py).
- Each commit holds the digest root of the entries that are on the disk with it, and the seed under
  which it was made (disk_condition.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from kvgossip.config import Address
from kvgossip.protocol.model.change import Persist
from kvgossip.protocol.model.cluster_id import UNKNOWN, ClusterId
from kvgossip.protocol.model.peer import PoolKind

CLOCK = b"replica/clock"
SELF = b"replica/self"
CONTENT = b"replica/content"
PEER = b"peer/"


class SavedLife(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The facts that are always those of now. Generations are 0 where there is no such pool;
    `exchanged_ms` as in Settling, `expired_ms` as in Drops, `lives` as in FormerLives, of the node
    of this `name`. Append new fields with defaults."""

    lan_generation: int = 0
    wan_generation: int = 0
    settled: bool = False
    rebuilding: bool = False
    cluster_id: ClusterId = UNKNOWN
    exchanged_ms: int = 0
    expired_ms: int = 0
    name: str = ""
    lives: bytes = b""


class SavedPeer(NamedTuple):
    """Where a member was, and how many seconds it wants to be remembered; 0: it did not say."""

    host: str
    port: int
    forget_s: int = 0

    @property
    def address(self) -> Address:
        return Address(self.host, self.port)


class SavedState:
    """The facts that an earlier life left by Persist, and those that this one adds; empty where
    there was none."""

    def __init__(self, saved: Mapping[bytes, bytes]) -> None:
        self.facts = saved
        self.clock = int.from_bytes(saved.get(CLOCK, b""), "big")
        content = saved.get(CONTENT, bytes(16))
        #: the digest root and the number of the entries that were committed with these facts
        self.root = int.from_bytes(content[:8], "big")
        self.entries = int.from_bytes(content[8:16], "big")
        #: the seed of that root; None: nothing was committed
        self.seed = int.from_bytes(content[16:], "big") if CONTENT in saved else None
        self.own = _decode_self(saved[SELF]) if SELF in saved else SavedLife()
        #: the fact that the disk has, or will have with the next commit
        self._kept = self.own

    def own_facts(self, life: SavedLife) -> list[Persist]:
        """The fact about this life, if it has changed since this was last called."""
        if life == self._kept:
            return []
        self._kept = life
        return [Persist(SELF, msgspec.msgpack.encode(life))]

    def generation(self, kind: PoolKind) -> int:
        """The last one of an earlier life in this pool; 0: there was none."""
        return self.own.lan_generation if kind is PoolKind.LAN else self.own.wan_generation

    def peers(self, kind: PoolKind) -> dict[str, SavedPeer]:
        """The members that were in this pool, by name."""
        prefix = _peer_key(kind, "")
        return {
            key[len(prefix) :].decode(): _decode_peer(self.facts[key])
            for key in sorted(self.facts)
            if key.startswith(prefix)
        }


def clock_fact(timestamp: int) -> Persist:
    return Persist(CLOCK, timestamp.to_bytes(8, "big"))


def content_fact(root: int, entries: int, seed: int) -> Persist:
    return Persist(CONTENT, b"".join(each.to_bytes(8, "big") for each in (root, entries, seed)))


def peer_fact(kind: PoolKind, name: str, peer: SavedPeer | None) -> Persist:
    """The fact of a member; None forgets it."""
    return Persist(_peer_key(kind, name), None if peer is None else msgspec.msgpack.encode(peer))


def _peer_key(kind: PoolKind, name: str) -> bytes:
    return PEER + f"{kind.value}/{name}".encode()


_decode_self = msgspec.msgpack.Decoder(SavedLife).decode
_decode_peer = msgspec.msgpack.Decoder(SavedPeer).decode
