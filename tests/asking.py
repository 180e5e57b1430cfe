"""The client of the commands, in a test whose event loop runs the node that is asked: each question
waits on a thread."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from typing import Any

from kvgossip.client.client import Client

STREAMS = ("export", "watch")
"""The questions whose answers are iterators."""


class AsyncClient:
    """Has the methods of Client, as coroutines, and those of STREAMS as asynchronous iterators."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._client = Client(*arguments, **options)
        self.url = self._client.url

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._client.close()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)

        def ask(*arguments: Any, **options: Any) -> Coroutine[Any, Any, Any]:
            return asyncio.to_thread(method, *arguments, **options)

        return (lambda *given: _each(method(*given))) if name in STREAMS else ask


async def _each(items: Iterator[Any]) -> AsyncGenerator[Any, None]:
    end = object()
    try:
        while (item := await asyncio.to_thread(next, items, end)) is not end:
            yield item
    finally:
        items.close()  # type: ignore[attr-defined]
