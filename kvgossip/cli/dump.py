"""The command `dump`."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import typer

from kvgossip.cli.arguments import Prefix
from kvgossip.cli.connection import DEFAULT_URL, Url, ask
from kvgossip.cli.errors import EXIT_CODES
from kvgossip.cli.json_lines import show_progress, value_field

if TYPE_CHECKING:
    from kvgossip.api.client import Client

AT_A_TIME = 64
PAGE = 1000


def dump(
    prefix: Prefix = "",
    url: Url = DEFAULT_URL,
) -> None:
    """Print keys and their values as lines of JSON, in order; values that are no text as base64.

    What expires has the time that it has left as "ttl".

    Each value is what the node has when it is read: a dump is no snapshot of one moment, and has no
    versions. `export` writes backups.

    Examples:

    - `kvgossip dump > keys.ndjson`
    - `kvgossip dump app/ | grep theme`
    """
    ask(url, lambda client: _print_all(client, prefix))


async def _print_all(client: Client, prefix: str) -> None:
    after: str | None = ""
    printed = 0
    while after is not None:
        page = await client.page(prefix, PAGE, after)
        for start in range(0, len(page["entries"]), AT_A_TIME):
            some = page["entries"][start : start + AT_A_TIME]
            for line in await asyncio.gather(*(_line(client, entry) for entry in some)):
                print(line, end="")
        printed += len(page["entries"])
        after = page["after"]
        if after is not None:
            show_progress(f"{printed} keys are printed")


async def _line(client: Client, entry: dict[str, Any]) -> str:
    """Empty for a key that was deleted meanwhile."""
    from kvgossip.api.client import RefusedError

    try:
        value = (await client.get(entry["key"])).body
    except RefusedError as error:
        if error.status == 404:
            return ""
        raise
    document = {"key": entry["key"], **value_field(value)}
    if entry["content_type"] is not None:
        document["content_type"] = entry["content_type"]
    if entry.get("expires_ms") is not None:
        document["ttl"] = f"{max(entry['expires_ms'] - time.time_ns() // 1_000_000, 1)}ms"
    if entry.get("flags"):
        document["flags"] = entry["flags"]
    return json.dumps(document, ensure_ascii=False) + "\n"


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Keys", epilog=EXIT_CODES)(dump)
