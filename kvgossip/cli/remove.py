"""The command `remove`."""

from __future__ import annotations

from typing import Annotated

import typer

from kvgossip.cli.arguments import Field, Key
from kvgossip.cli.connection import DEFAULT_URL, Url
from kvgossip.cli.editing import edit, in_field
from kvgossip.cli.errors import EXIT_CODES
from kvgossip.cli.output import Format, Output
from kvgossip.cli.write_concern import Timeout, Wait


def remove(
    key: Key,
    elements: Annotated[
        list[str], typer.Argument(metavar="ELEMENT...", help="What is to go, as it was added.")
    ],
    field: Field = None,
    wait: Wait = None,
    timeout: Timeout = "5s",
    url: Url = DEFAULT_URL,
    output: Output = Format.TABLE,
) -> None:
    """Take elements out of a set, on every node. What somebody else adds meanwhile stays. `kvgossip
    delete` takes the whole key.

    Examples:

    - `kvgossip remove tags red`
    - `kvgossip remove user/7 ops --field roles`
    """
    edit(url, key, in_field({"remove": elements}, field), output, wait, timeout)


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Keys", epilog=EXIT_CODES)(remove)
