"""Resolver: a function of the application that makes one value of several siblings. It is a client
of its node, and no part of the protocol: any number of nodes may have one, or none.

Laws
- It is asked where a key has several siblings, and what it gives is written with their context. So
  a write that came meanwhile stays beside that, and it is asked once more.
- Functions that give the same value for the same siblings, in any order, write equal values, which
  are one. Others come to an end too: each writes what it has seen, until one has seen the others'.
- Within a minute a key is tried TRIES times; then it is left as it is, and the log says so. The
  next write to it brings it up again.
- What the function raises goes to the log; the siblings stay.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from inspect import iscoroutinefunction
from typing import Protocol

from kvgossip.errors import KVGossipError, LocalError, OtherTypeError, WatchLaggedError
from kvgossip.protocol.model.entry import Entry
from kvgossip.protocol.model.newest import Newest
from kvgossip.runtime.changes.watchers import Watcher
from kvgossip.runtime.typed_keys import Siblings

log = logging.getLogger("kvgossip.resolver")

TRIES = 3
TRIES_IN_S = 60.0
KEYS_MAX = 4096
"""So many keys' tries are remembered."""
PAGE = 256

Resolve = Callable[[Sequence[bytes]], bytes | str]
_under_way: set[asyncio.Task[None]] = set()
"""asyncio itself would let go of them."""


class NodePort(Protocol):
    """What a resolver needs of its node."""

    async def wait_settled(self, timeout_s: float | None = None) -> None: ...

    def watch(self, prefix: str = "") -> Watcher: ...

    def records(self, prefix: str, after: str, limit: int) -> list[tuple[str, bytes]]: ...

    def siblings(self, key: str) -> Siblings: ...

    async def put(
        self, key: str, value: bytes | str, *, content_type: str | None, context: str | None
    ) -> Entry: ...


class Resolver:
    """See above. Made by `Node.resolver`."""

    def __init__(self, node: NodePort, prefix: str, resolve: Resolve) -> None:
        if iscoroutinefunction(resolve):
            raise LocalError(
                "a resolver is a plain function, not a coroutine function",
                "compute the value; it is written for you",
            )
        self.prefix = prefix
        #: how many values it has written, and how often a key was left as it is
        self.resolved = self.left = 0
        self._node, self._resolve = node, resolve
        #: by key, when it was tried lately, monotonic seconds
        self._tries: Newest[str, list[float]] = Newest(KEYS_MAX)
        self._task = asyncio.get_running_loop().create_task(self._run())
        _under_way.add(self._task)
        self._task.add_done_callback(_under_way.discard)

    def close(self) -> None:
        """Resolve nothing more. Harmless when repeated."""
        self._task.cancel()

    async def _run(self) -> None:
        lagged = True
        while lagged:
            lagged = False
            try:
                await self._node.wait_settled()
                async with self._node.watch(self.prefix) as changes:
                    await self._look_at_all()
                    async for change in changes:
                        await self._look(change.key)
            except WatchLaggedError:
                lagged = True
            except LocalError:
                log.debug("the resolver of %r ends with its node", self.prefix)

    async def _look_at_all(self) -> None:
        after = ""
        while page := self._node.records(self.prefix, after, PAGE):
            for key, _ in page:
                await self._look(key)
            after = page[-1][0]
            await asyncio.sleep(0)

    async def _look(self, key: str) -> None:
        try:
            values, context = self._node.siblings(key)
        except OtherTypeError:
            return
        if len(values) < 2 or context is None or not self._may_try(key):
            return
        try:
            value = self._resolve([each.value for each in values])
            await self._node.put(key, value, context=context, content_type=values[0].content_type)
        except Exception as error:
            # what is the application's may be anything
            if isinstance(error, KVGossipError):
                log.warning("the siblings of %r stay: %s", key, error)
            else:
                log.warning("the siblings of %r stay: its resolver failed", key, exc_info=error)
            return
        self.resolved += 1

    def _may_try(self, key: str) -> bool:
        now_s = asyncio.get_running_loop().time()
        tries = [at for at in self._tries.pop(key, []) if at > now_s - TRIES_IN_S]
        if len(tries) < TRIES:
            self._tries[key] = [*tries, now_s]
            return True
        self._tries[key] = tries
        self.left += 1
        log.warning("the siblings of %r stay: it was resolved %d times within a minute", key, TRIES)
        return False
