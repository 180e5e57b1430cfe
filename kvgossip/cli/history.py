"""The command `history`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import typer

from kvgossip.cli.arguments import Key
from kvgossip.cli.connection import DEFAULT_URL, Url, ask
from kvgossip.cli.errors import EXIT_CODES
from kvgossip.cli.output import Format, Output, print_json, print_table


def history(key: Key, url: Url = DEFAULT_URL, output: Output = Format.TABLE) -> None:
    """List the versions of a key that the node remembers, newest first: when each was written, and
    by which member.

    Every node remembers the last few versions of each key that it has seen itself, in memory
    (history_versions, history_bytes_max).

    Examples:

    - `kvgossip history app/config`
    """
    document = ask(url, lambda client: client.history(key))
    if output is Format.JSON:
        return print_json(document)
    print_table(("written", "by", "what", "bytes", "version"), map(_row, document["versions"]))


def _row(entry: dict[str, Any]) -> tuple[Any, ...]:
    written = datetime.fromtimestamp(entry["written_ms"] / 1000, UTC).isoformat(
        timespec="milliseconds"
    )
    what = "delete" if entry["deleted"] else entry["content_type"] or "value"
    what += " (now)" if entry["present"] else ""
    return (
        written,
        entry["by"] or f"site {entry['site']}",
        what,
        entry["bytes"],
        entry["version"],
    )


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Keys", epilog=EXIT_CODES)(history)
