"""Life: when a cache is open, how its owner waits for it, and what it says of itself meanwhile.

The half of ConfigCache (config_cache.py, which has the laws) that is no reading and no writing.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TypeVar

from kvgossip.cache.applying import Applying
from kvgossip.cache.opening import Opening
from kvgossip.cache.staleness import Staleness
from kvgossip.cache.status import Refusal, Status, not_settled
from kvgossip.cache.validation import refusal
from kvgossip.errors import NotSettledError

SETTLING_S = 2.0
"""So long a context manager waits for the cache to settle."""

Cache = TypeVar("Cache", bound="Life")


class Life:
    """Every method may be called on any thread."""

    __slots__ = ("_applying", "_opening", "_staleness", "prefix")

    prefix: str
    _applying: Applying
    _opening: Opening
    _staleness: Staleness

    def open(self) -> None:
        """Begin, as the first read does. Raises ConfigError and DataDirError; then nothing is open.
        Harmless when repeated."""
        self._opening.open()

    def close(self) -> None:
        """Leave the cluster where this is a member, and end; returns when all is closed. Callbacks
        get what was due. Harmless when repeated."""
        self._opening.close()

    async def settled(self, timeout_s: float | None = None, *, strict: bool = False) -> None:
        """Open, and wait until what is here is the truth of the cluster. `strict`: and see that all
        of it is applied. Raises NotSettledError when it takes longer, Refused, and as `open`."""
        from kvgossip.cache import on_loop

        await self._opening.aopen()
        waiting = self._applying.settled()
        if not waiting.done():
            try:
                await on_loop.result_of(waiting, timeout_s)
            except TimeoutError:
                waiting.cancel()
                raise not_settled(self.prefix, timeout_s, self._applying.state.problem) from None
        if strict:
            _check_refused(self._applying.refusals)

    def wait_settled(self, timeout_s: float | None = None, *, strict: bool = False) -> None:
        """`settled`, for a program without a loop."""
        self.open()
        waiting = self._applying.settled()
        try:
            waiting.result(timeout_s)
        except TimeoutError:
            waiting.cancel()
            raise not_settled(self.prefix, timeout_s, self._applying.state.problem) from None
        if strict:
            _check_refused(self._applying.refusals)

    def status(self) -> Status:
        """What there is to know of this cache. Never fails."""
        self._opening.table()
        return self._status()

    def _status(self) -> Status:
        return self._applying.status(self._staleness, self._opening.problem)

    def __enter__(self: Cache) -> Cache:
        """Opens, and waits for up to 2 s until it has settled."""
        try:
            with suppress(NotSettledError):
                self.wait_settled(SETTLING_S)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    async def __aenter__(self: Cache) -> Cache:
        from kvgossip.cache import on_loop

        try:
            with suppress(NotSettledError):
                await self.settled(SETTLING_S)
        except BaseException:
            await on_loop.shielded(self.close)
            raise
        return self

    async def __aexit__(self, *error: object) -> None:
        from kvgossip.cache import on_loop

        await on_loop.on_thread(self.close)


def _check_refused(refused: Mapping[str, Refusal]) -> None:
    if refused:
        raise refusal({key: each.reason for key, each in refused.items()})
