"""The command `rollback`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from kvgossip.cli.arguments import Key
from kvgossip.cli.connection import DEFAULT_URL, Url, ask
from kvgossip.cli.errors import EXIT_CODES
from kvgossip.cli.output import Format, Output, say

if TYPE_CHECKING:
    from kvgossip.client.client import Client

Version = Annotated[
    str, typer.Argument(metavar="VERSION", help="One of those that `kvgossip history` lists.")
]


def rollback(
    key: Key, version: Version, url: Url = DEFAULT_URL, output: Output = Format.TABLE
) -> None:
    """Write an earlier value of a key again, as a new version. An earlier delete is a delete again.

    Examples:

    - `kvgossip rollback app/config 0192f3c1a2b40000-5d1c9e0f3a7b2468`
    """
    document = ask(url, lambda client: _write_again(client, key, version))
    say(
        document,
        output,
        f"{key} is {'deleted' if document.get('deleted') else 'stored'} again as it was, version "
        f"{document['version']}",
    )


def _write_again(client: Client, key: str, version: str) -> Any:
    entry = next(
        (each for each in client.history(key)["versions"] if each["version"] == version),
        None,
    )
    if entry is not None and entry["deleted"]:
        return client.delete(key)
    earlier = client.history_value(key, version)
    content_type = entry["content_type"] if entry is not None else None
    return client.put(key, earlier.body, content_type)


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Keys", epilog=EXIT_CODES)(rollback)
