"""The commands for earlier versions: history, rollback."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kvgossip.cli.connection import DEFAULT_URL, Url, ask
from kvgossip.cli.errors import EXIT_CODES
from kvgossip.cli.keys import Key
from kvgossip.cli.output import Format, Output, print_json, print_table, say

if TYPE_CHECKING:
    from kvgossip.api.client import Client

Version = Annotated[
    str, typer.Argument(metavar="VERSION", help="One of those that `kvgossip history` lists.")
]


def history(key: Key, url: Url = DEFAULT_URL, output: Output = Format.TABLE) -> None:
    """List the versions of a key that the node remembers, newest first: when each was written, and
    by which member.

    Every node remembers what it has seen itself, in memory, the last few versions of each key
    (history_versions, history_bytes_max).

    Examples:

    - `kvgossip history app/config`
    """
    document = ask(url, lambda client: client.history(key))
    if output is Format.JSON:
        return print_json(document)
    print_table(("written", "by", "what", "bytes", "version"), map(_row, document["versions"]))


def _row(edition: dict[str, Any]) -> tuple[Any, ...]:
    written = datetime.fromtimestamp(edition["written_ms"] / 1000, UTC).isoformat(
        timespec="milliseconds"
    )
    what = "delete" if edition["deleted"] else edition["content_type"] or "value"
    what += " (now)" if edition["present"] else ""
    return (
        written,
        edition["by"] or f"site {edition['site']}",
        what,
        edition["bytes"],
        edition["version"],
    )


def rollback(
    key: Key, version: Version, url: Url = DEFAULT_URL, output: Output = Format.TABLE
) -> None:
    """Write an earlier value of a key again, as a new version. An earlier delete is a delete again.

    Examples:

    - `kvgossip rollback app/config 0192f3c1a2b40000-5d1c9e0f3a7b2468`
    """
    document = ask(url, lambda client: _again(client, key, version))
    say(
        document,
        output,
        f"{key} is {'deleted' if document.get('deleted') else 'stored'} again as it was, version "
        f"{document['version']}",
    )


async def _again(client: Client, key: str, version: str) -> Any:
    edition = next(
        (each for each in (await client.history(key))["versions"] if each["version"] == version),
        None,
    )
    if edition is not None and edition["deleted"]:
        return await client.delete(key)
    earlier = await client.history_value(key, version)
    return await client.put(
        key, earlier.body, edition["content_type"] if edition is not None else None
    )


def register(app: typer.Typer) -> None:
    for command in (history, rollback):
        app.command(rich_help_panel="Keys", epilog=EXIT_CODES)(command)
