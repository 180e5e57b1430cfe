"""The command `conflicts`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from kvgossip.cli.arguments import Prefix
from kvgossip.cli.connection import DEFAULT_URL, Url, ask
from kvgossip.cli.errors import EXIT_CODES
from kvgossip.cli.output import Format, Output, print_json, print_table
from kvgossip.cli.rollback import rollback

Restore = Annotated[
    tuple[str, str] | None,
    typer.Option(metavar="KEY VERSION", help="Write this version of the key again, as a new one."),
]


def conflicts(
    prefix: Prefix = "",
    restore: Restore = None,
    url: Url = DEFAULT_URL,
    output: Output = Format.TABLE,
) -> None:
    """List the writes that have lost to another one whose writer had not seen them, newest first,
    as far as the node has seen that: the last 1000 since its start.

    The greater version is kept everywhere. What has lost is in the history of its key, on every
    node to which both came, and --restore writes it again, as `kvgossip rollback` does.

    Examples:

    - `kvgossip conflicts cart/`
    - `kvgossip conflicts --restore cart/7 0192f3c1a2b40000-5d1c9e0f3a7b2468`
    """
    if restore is not None:
        return rollback(*restore, url, output)
    document = ask(url, lambda client: client.document("/conflicts", prefix=prefix))
    if output is Format.JSON:
        return print_json(document)
    print_table(
        ("key", "lost", "written", "by", "kept", "written", "by"),
        map(_row, document["conflicts"]),
    )


def _row(conflict: dict[str, Any]) -> tuple[Any, ...]:
    return conflict["key"], *_write(conflict["lost"]), *_write(conflict["kept"])


def _write(write: dict[str, Any]) -> tuple[str, str, str]:
    written = datetime.fromtimestamp(write["written_ms"] / 1000, UTC)
    return (
        write["version"] + (" (delete)" if write["deleted"] else ""),
        written.isoformat(timespec="milliseconds"),
        write["by"] or f"site {write['site']}",
    )


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Keys", epilog=EXIT_CODES)(conflicts)
