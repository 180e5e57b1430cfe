"""Chromium, as Debian has it, for a test: without a window, driven by playwright.

Where there is none, a test is skipped and says what it lacks; KVGOSSIP_REQUIRE_BROWSER=1 makes that
a failure.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.async_api import Browser

PROGRAM = "chromium"
STRANGERS = "*.example"
"""Names that the browser finds on this machine, whatever the public DNS has: as if their owner had
given them this address."""
OPTIONS = ("--no-sandbox", f"--host-resolver-rules=MAP {STRANGERS} 127.0.0.1")
"""Root has no sandbox; whoever runs tests trusts them."""


def lacking() -> str:
    """Why there is no browser; empty where there is one."""
    if shutil.which(PROGRAM) is None:
        return "there is no Chromium (Debian package chromium)"
    if importlib.util.find_spec("playwright") is None:
        return "there is no playwright (pip install playwright)"
    return ""


@asynccontextmanager
async def browsing() -> AsyncIterator[Browser]:
    """A browser of its own, which ends with the test."""
    if why := lacking():
        (pytest.fail if os.environ.get("KVGOSSIP_REQUIRE_BROWSER") == "1" else pytest.skip)(why)
    # here, since collecting the tests must not need it
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=shutil.which(PROGRAM), args=OPTIONS
        )
        try:
            yield browser
        finally:
            await browser.close()
