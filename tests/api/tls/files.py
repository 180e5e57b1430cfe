"""Certificates for tests: one CA, of which a node and a client have theirs."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from kvgossip.api.tls.issue import make
from kvgossip.api.tls.reading import Files

HOST, CLIENT = "localhost", "ci"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def made(directory: Path, *, days: int = 30, now: datetime | None = None) -> Files:
    """The files of a node in `directory`, with a CA and a client beside them."""
    make(directory, [HOST, "127.0.0.1"], [CLIENT], days, now or datetime.now(UTC))
    return Files(str(directory / f"{HOST}.pem"), str(directory / f"{HOST}.key"))


def expired(directory: Path) -> Files:
    return made(directory, days=1, now=datetime.now(UTC) - timedelta(days=2))


def ca_of(files: Files) -> str:
    return str(Path(files.cert).with_name("ca.pem"))


def client_context(files: Files, *, with_certificate: bool = False) -> ssl.SSLContext:
    """Of a client that trusts the CA beside these files."""
    context = ssl.create_default_context(cafile=ca_of(files))
    if with_certificate:
        folder = Path(files.cert).parent
        context.load_cert_chain(folder / f"{CLIENT}.pem", folder / f"{CLIENT}.key")
    return context


async def until(condition: Callable[[], bool]) -> None:
    """Returns once it holds."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - what it waits for has no event
            await asyncio.sleep(0.01)
