"""The event loop that runs a node: uvloop's where it is installed, else asyncio's own. The code
works on both."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


def new_event_loop() -> asyncio.AbstractEventLoop:
    """A fresh event loop of the quickest kind there is."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def run(main: Coroutine[Any, Any, Result]) -> Result:
    """As asyncio.run: runs `main` on a fresh loop, returns what it returns, leaves no loop and no
    task behind."""
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(main)
