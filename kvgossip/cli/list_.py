"""The command `list`. (The file has the underscore because `list` is a word of Python's.)"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from kvgossip.cli.arguments import Prefix
from kvgossip.cli.connection import DEFAULT_URL, Url, ask
from kvgossip.cli.errors import EXIT_CODES, complain
from kvgossip.cli.output import Format, Output, print_json, print_table

if TYPE_CHECKING:
    from kvgossip.client.client import Client

PAGE_LIMIT_MAX = 1000


def list_keys(
    prefix: Prefix = "",
    limit: Annotated[int, typer.Option(min=1, help="At most so many keys.")] = 100,
    after: Annotated[
        str, typer.Option(metavar="KEY", help="Only keys that sort after this one.")
    ] = "",
    url: Url = DEFAULT_URL,
    output: Output = Format.TABLE,
) -> None:
    """List keys in order, with size, content type and version.

    Examples:

    - `kvgossip list app/`
    - `kvgossip list --limit 10000 -o json`
    """
    document = ask(url, lambda client: _pages(client, prefix, limit, after))
    if output is Format.JSON:
        return print_json(document)
    rows = [
        (entry["key"], entry["bytes"], entry["content_type"], entry["version"])
        for entry in document["entries"]
    ]
    print_table(("key", "bytes", "content type", "version"), rows)
    if document["after"] is not None:
        complain(
            f"there are more keys after {document['after']}",
            "continue with --after KEY, or raise --limit",
        )


def _pages(client: Client, prefix: str, limit: int, after: str) -> dict[str, Any]:
    entries: list[Any] = []
    cursor: str | None = after
    while cursor is not None and len(entries) < limit:
        page = client.page(prefix, min(limit - len(entries), PAGE_LIMIT_MAX), cursor)
        entries += page["entries"]
        cursor = page["after"]
    return {"entries": entries, "after": cursor}


def register(app: typer.Typer) -> None:
    app.command("list", rich_help_panel="Keys", epilog=EXIT_CODES)(list_keys)
