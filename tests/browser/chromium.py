"""Chromium, as Debian has it, for a test: without a window, driven by playwright.

Where there is none, a test is skipped and says what it lacks; KVGOSSIP_REQUIRE_BROWSER=1 makes that
a failure.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
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


def believing(home: Path, ca: Path) -> None:
    """Make `home` the home of a user whose browser believes this CA, as its manual says: in the NSS
    database there. Skips the test where its tool is missing."""
    if shutil.which("certutil") is None:
        _give_up("there is no certutil (Debian package libnss3-tools)")
    folder = home / ".pki" / "nssdb"
    folder.mkdir(parents=True)
    database = f"sql:{folder}"
    add = ("-A", "-n", "kvgossip", "-t", "C,,", "-i", str(ca))
    for order in (("-N", "--empty-password"), add):
        subprocess.run(["certutil", "-d", database, *order], check=True, capture_output=True)


def _give_up(why: str) -> None:
    (pytest.fail if os.environ.get("KVGOSSIP_REQUIRE_BROWSER") == "1" else pytest.skip)(why)


@asynccontextmanager
async def browsing(home: Path | None = None) -> AsyncIterator[Browser]:
    """A browser of its own, which ends with the test. `home`: of the user whose it is."""
    if why := lacking():
        _give_up(why)
    # here, since collecting the tests must not need it
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=shutil.which(PROGRAM),
            args=OPTIONS,
            env=None if home is None else {**os.environ, "HOME": str(home)},
        )
        try:
            yield browser
        finally:
            await browser.close()
