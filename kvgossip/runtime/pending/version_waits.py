"""VersionWaits: callers that wait on this node for a version of a key that was written elsewhere.

A waiter costs one entry of a table; a merge costs one look-up while anybody waits, and nothing
otherwise.
"""

from __future__ import annotations

import asyncio

from kvgossip.errors import LocalError, OverloadedError
from kvgossip.protocol.model.change import Changed
from kvgossip.protocol.model.entry import Version, version_of

WAITERS_MAX = 10_000

Waiters = dict[asyncio.Future[None], Version]


class VersionWaits:
    """False where nobody waits. At most `waiters_max` wait at once."""

    def __init__(self, waiters_max: int = WAITERS_MAX) -> None:
        self._waiters_max = waiters_max
        #: by key, each with the version that it waits for
        self._waiters: dict[str, Waiters] = {}
        #: how many wait
        self.count = 0

    def __len__(self) -> int:
        """How many wait."""
        return self.count

    def arrived(self, changed: Changed) -> None:
        waiters = self._waiters.get(changed.key)
        if waiters is not None:
            version = version_of(changed.new_record)
            for waiter, wanted in waiters.items():
                if wanted <= version and not waiter.done():
                    waiter.set_result(None)

    async def wait(self, key: str, version: Version) -> None:
        """Returns when this version, or a newer one, arrives. Raises OverloadedError for too many,
        LocalError when the node stops."""
        if self.count >= self._waiters_max:
            raise OverloadedError(
                f"{self._waiters_max} requests wait for versions already",
                "try again, or ask another node",
            )
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(key, {})[waiter] = version
        self.count += 1
        try:
            await waiter
        finally:
            self._forget(key, waiter)

    def close(self) -> None:
        for waiters in self._waiters.values():
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_exception(
                        LocalError("the node stopped while a read waited for a version")
                    )

    def _forget(self, key: str, waiter: asyncio.Future[None]) -> None:
        del self._waiters[key][waiter]
        self.count -= 1
        if not self._waiters[key]:
            del self._waiters[key]
