"""Held: a watcher whose stream begins once the node has settled (see sse.py)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from kvgossip.api.access.rights import Caller
from kvgossip.api.routes.watch_event import Form


class Held(asyncio.Protocol):
    """It begins with `begin`. `closed`: called when its client has gone."""

    __slots__ = ("_closed", "begin", "caller", "form")

    def __init__(
        self,
        closed: Callable[[Held], None],
        begin: Callable[[asyncio.Transport], None],
        form: Form,
        caller: Caller | None,
    ) -> None:
        self._closed, self.begin = closed, begin
        self.form, self.caller = form, caller

    def connection_lost(self, error: Exception | None) -> None:
        self._closed(self)
