"""The command `dump`."""

from __future__ import annotations

import json
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import typer

from kvgossip.cli.arguments import Prefix
from kvgossip.cli.connection import DEFAULT_URL, Url, ask, ask_each
from kvgossip.cli.errors import EXIT_CODES
from kvgossip.cli.json_lines import show_progress, value_field

if TYPE_CHECKING:
    from kvgossip.client.client import Client

AT_A_TIME = 16
PAGE = 1000


def dump(
    prefix: Prefix = "",
    url: Url = DEFAULT_URL,
) -> None:
    """Print keys and their values as lines of JSON, in order; values that are no text as base64.

    What expires has the time that it has left as "ttl". A key whose writes are merged has its
    "type", and what it shows: JSON, or the newest of its values. `load` does not take these lines,
    since there is more to such a key; `export` keeps it whole.

    Each value is what the node has when it is read: a dump is no snapshot of one moment, and has no
    versions. `export` writes backups.

    Examples:

    - `kvgossip dump > keys.ndjson`
    - `kvgossip dump app/ | grep theme`
    """
    after: str | None = ""
    printed = 0
    while after is not None:
        page = ask(url, partial(_page, prefix=prefix, after=after))
        values = (partial(_line, entry=each) for each in page["entries"])
        for line in ask_each(url, values, AT_A_TIME):
            print(line, end="")
        printed += len(page["entries"])
        after = page["after"]
        if after is not None:
            show_progress(f"{printed} keys are printed")


def _page(client: Client, prefix: str, after: str) -> Any:
    return client.page(prefix, PAGE, after)


def _line(client: Client, entry: dict[str, Any]) -> str:
    """Empty for a key that was deleted meanwhile."""
    from kvgossip.client.failures import RefusedError

    try:
        value = client.get(entry["key"], newest="type" in entry).body
    except RefusedError as error:
        if error.status == 404:
            return ""
        raise
    document = {"key": entry["key"], **value_field(value)}
    if "type" in entry:
        document["type"] = entry["type"]
    if entry["content_type"] is not None:
        document["content_type"] = entry["content_type"]
    if entry.get("expires_ms") is not None:
        document["ttl"] = f"{max(entry['expires_ms'] - time.time_ns() // 1_000_000, 1)}ms"
    if entry.get("flags"):
        document["flags"] = entry["flags"]
    return _json(document) + "\n"


def _json(document: dict[str, Any]) -> str:
    """For people to read, where the locale has all characters and a terminal obeys none."""
    text = json.dumps(document, ensure_ascii=False)
    readable = text.isprintable() and sys.stdout.encoding.lower() == "utf-8"
    return text if readable else json.dumps(document)


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Keys", epilog=EXIT_CODES)(dump)
