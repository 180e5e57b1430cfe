"""Recorded: a replica that keeps its inputs, so that another one can be made that is as it was
after any of them.

A machine that is set back needs the replica of an earlier moment. That has no copy: generators have
none, and a function goes on asking the objects of the original. But it is deterministic: the same
inputs make it again, from its birth on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from random import Random
from typing import Any, NamedTuple

from kvgossip.config import Address, Config
from kvgossip.errors import KVGossipError
from kvgossip.protocol.acks.write_concern import WriteConcern
from kvgossip.protocol.effect import Effect
from kvgossip.protocol.model.change import Persist
from kvgossip.protocol.model.entry import Version
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.model.peer import PoolKind
from kvgossip.protocol.model.write import Writing
from kvgossip.protocol.replica import Replica
from kvgossip.protocol.typed.edit import Edit, KeyEdit
from kvgossip.protocol.writes import BatchWritten, Written


class Birth(NamedTuple):
    """What a replica begins with: the arguments of Replica; `chance` is the seed of its Random."""

    config: Config
    address: Address
    wan_address: Address
    chance: str
    now: Now
    saved: Mapping[bytes, bytes]


class Recorded(Replica):
    """`keeps`: whether it keeps them, each one's method and arguments."""

    def __init__(self, birth: Birth, *, keeps: bool) -> None:
        super().__init__(
            birth.config,
            address=birth.address,
            wan_address=birth.wan_address,
            rng=Random(birth.chance),
            now=birth.now,
            saved=dict(birth.saved),
        )
        self._birth, self._keeps = birth, keeps
        self.inputs: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def again(self, inputs: int) -> Recorded:
        """Another one, that has had the first so many of these inputs."""
        assert self._keeps
        other = Recorded(self._birth, keeps=self._keeps)
        for name, arguments, named in self.inputs[:inputs]:
            # an input that was refused may have changed something all the same
            with suppress(KVGossipError):
                getattr(other, name)(*arguments, **named)
        return other

    def _keep(self, name: str, *arguments: Any, **named: Any) -> None:
        if self._keeps:
            self.inputs.append((name, arguments, named))

    def take(self, entries: Sequence[tuple[str, bytes]]) -> None:
        """`load` with all that the disk has, and the end of loading."""
        self._keep("take", entries)
        self.load(entries)
        self.disk.loaded()

    def put(
        self,
        key: str,
        value: bytes,
        now: Now,
        content_type: str | None = None,
        ttl_s: float | None = None,
        flags: int = 0,
        after: Version | None = None,
    ) -> Written:
        self._keep("put", key, value, now, content_type, ttl_s, flags, after)
        return super().put(key, value, now, content_type, ttl_s, flags, after)

    def delete(self, key: str, now: Now, after: Version | None = None) -> Written:
        self._keep("delete", key, now, after)
        return super().delete(key, now, after)

    def edit(self, key: str, edit: Edit, now: Now) -> Written:
        self._keep("edit", key, edit, now)
        return super().edit(key, edit, now)

    def batch(self, writes: Sequence[Writing | KeyEdit], now: Now) -> BatchWritten:
        self._keep("batch", writes, now)
        return super().batch(writes, now)

    def wait(
        self, ticket: int, key: str, write_concern: WriteConcern, timeout_s: float, now: Now
    ) -> list[Effect]:
        self._keep("wait", ticket, key, write_concern, timeout_s, now)
        return super().wait(ticket, key, write_concern, timeout_s, now)

    def checkpoint(self, now: Now) -> list[Persist]:
        self._keep("checkpoint", now)
        return super().checkpoint(now)

    def receive(
        self,
        data: bytes,
        source: Address,
        now: Now,
        pool: PoolKind = PoolKind.LAN,
        *,
        reliable: bool = False,
        here: str = "",
    ) -> list[Effect]:
        self._keep("receive", data, source, now, pool, reliable=reliable, here=here)
        return super().receive(data, source, now, pool, reliable=reliable, here=here)

    def piggyback(self, room: int, now: Now) -> bytes:
        self._keep("piggyback", room, now)
        return super().piggyback(room, now)

    def absorb(self, data: bytes, now: Now) -> list[Effect]:
        self._keep("absorb", data, now)
        return super().absorb(data, now)

    def unreachable(
        self, address: Address, now: Now, pool: PoolKind = PoolKind.LAN
    ) -> list[Effect]:
        self._keep("unreachable", address, now, pool)
        return super().unreachable(address, now, pool)

    def resolved(
        self, target: str, addresses: Sequence[Address], now: Now, pool: PoolKind = PoolKind.LAN
    ) -> list[Effect]:
        self._keep("resolved", target, addresses, now, pool)
        return super().resolved(target, addresses, now, pool)

    def join(
        self,
        targets: Sequence[str],
        now: Now,
        pool: PoolKind = PoolKind.LAN,
        *,
        merge: bool = False,
    ) -> list[Effect]:
        self._keep("join", targets, now, pool, merge=merge)
        return super().join(targets, now, pool, merge=merge)

    def leave(self, now: Now) -> list[Effect]:
        self._keep("leave", now)
        return super().leave(now)

    def tick(self, now: Now) -> list[Effect]:
        self._keep("tick", now)
        return super().tick(now)
