"""The command `remove`."""

from __future__ import annotations

from typing import Annotated

import typer

from kvgossip.cli.arguments import Key
from kvgossip.cli.connection import DEFAULT_URL, Url
from kvgossip.cli.editing import edit
from kvgossip.cli.errors import EXIT_CODES
from kvgossip.cli.output import Format, Output


def remove(
    key: Key,
    what: Annotated[
        list[str],
        typer.Argument(metavar="ELEMENT|FIELD...", help="Elements of a set, or fields of a map."),
    ],
    url: Url = DEFAULT_URL,
    output: Output = Format.TABLE,
) -> None:
    """Take elements out of a set, or fields out of a map, on every node: as this node has them.
    What somebody else adds or sets meanwhile stays. `kvgossip delete` takes the whole key.

    Examples:

    - `kvgossip remove tags red`
    - `kvgossip remove user/7 phone fax`
    """
    edit(url, key, "remove", what, output)


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Keys", epilog=EXIT_CODES)(remove)
