"""JoinAttempt: an operator's join, until a member has taken the node in or all that were asked have
failed to."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from kvgossip.config import GOSSIP_PORT, WAN_PORT, Address
from kvgossip.errors import ConfigError, JoinRefusedError
from kvgossip.protocol.model.peer import PoolKind
from kvgossip.runtime.pending.pending import Answer

DEFAULT_PORTS = {PoolKind.LAN: GOSSIP_PORT, PoolKind.WAN: WAN_PORT}


class JoinAttempt(Answer[None]):
    """Waits for any one of `targets` in this pool. It hears what happens there, and draws the
    conclusion."""

    def __init__(self, targets: Iterable[str], pool: PoolKind = PoolKind.LAN) -> None:
        super().__init__()
        self.pool = pool
        #: targets whose addresses are not known yet, in their order
        self._unresolved = dict.fromkeys(targets)
        #: addresses that were asked and have not answered
        self._asked: set[Address] = set()
        self._ever_asked = False
        #: why a target or an address did not help
        self._failures: list[str] = []

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
        if source in self._asked:
            self.give(None)

    def refused(self, source: Address, text: str) -> bool:
        """True if this was one of those that were asked."""
        if source not in self._asked:
            return False
        self._asked.remove(source)
        self._failures.append(text)
        self._conclude()
        return True

    async def wait_until_joined(self, timeout_s: float) -> None:
        """Raises JoinRefusedError with every reason, ConfigError where no address could be asked,
        LocalError when the node stops."""
        self._conclude()
        try:
            async with asyncio.timeout(timeout_s):
                await self.wait()
        except TimeoutError:
            silent = [*self._unresolved, *map(str, sorted(self._asked))]
            self._failures += [f"no answer from {one} within {timeout_s:g} s" for one in silent]
            raise self._failure() from None

    def _conclude(self) -> None:
        if not self._unresolved and not self._asked:
            self.fail(self._failure())

    def _failure(self) -> ConfigError | JoinRefusedError:
        text = "; ".join(dict.fromkeys(self._failures))
        if self._ever_asked:
            return JoinRefusedError(text, "the node keeps running as it was")
        return ConfigError(
            text or "there is nobody to join",
            "name members as HOST:PORT, for example 10.0.0.5:7481",
        )
