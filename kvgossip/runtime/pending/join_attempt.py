"""JoinAttempt: an operator's wish to join, until somebody has taken the node in or everybody has
failed to."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from kvgossip.config import Address
from kvgossip.errors import ConfigError, JoinRefusedError, LocalError
from kvgossip.protocol.model.peer import PoolKind


class JoinAttempt:
    """Waits for any one of `targets` in this pool. It is told what the node hears there, and draws
    the conclusion."""

    def __init__(self, targets: Iterable[str], pool: PoolKind = PoolKind.LAN) -> None:
        self.pool = pool
        self._targets = dict.fromkeys(targets)
        self._unresolved = dict(self._targets)
        self._asked: set[Address] = set()
        self._failures: list[str] = []
        self._ever_asked = False
        self._outcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def resolved(self, target: str, addresses: Sequence[Address]) -> None:
        """These addresses are going to be asked on behalf of this target."""
        if target in self._unresolved:
            del self._unresolved[target]
            self._asked.update(addresses)
            self._ever_asked = self._ever_asked or bool(addresses)
            if not addresses:
                self._failures.append(f"{target} cannot be resolved")
            self._conclude()

    def joined(self, source: Address) -> None:
        if source in self._asked and not self._outcome.done():
            self._outcome.set_result(None)

    def refused(self, source: Address, text: str) -> bool:
        """Whether this was one of those that were asked."""
        if source not in self._asked:
            return False
        self._asked.remove(source)
        self._failures.append(text)
        self._conclude()
        return True

    def stopped(self) -> None:
        """The node stops before anybody has answered."""
        if not self._outcome.done():
            self._outcome.set_exception(LocalError("the node stopped while it was joining"))

    async def wait(self, timeout_s: float) -> None:
        """Returns once a member has taken us in. Raises JoinRefusedError with every reason,
        ConfigError where nobody could be asked."""
        self._conclude()
        try:
            async with asyncio.timeout(timeout_s):
                await self._outcome
        except TimeoutError:
            silent = [*self._unresolved, *map(str, sorted(self._asked))]
            self._failures += [f"no answer from {one} within {timeout_s:g} s" for one in silent]
            raise self._failure() from None

    def _conclude(self) -> None:
        if not self._unresolved and not self._asked and not self._outcome.done():
            self._outcome.set_exception(self._failure())

    def _failure(self) -> ConfigError | JoinRefusedError:
        text = "; ".join(dict.fromkeys(self._failures))
        if self._ever_asked:
            return JoinRefusedError(text, "the node keeps running as it was")
        return ConfigError(
            text or "there is nobody to join",
            "name members as HOST:PORT, for example 10.0.0.5:7481",
        )
