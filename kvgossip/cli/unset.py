"""The command `unset`."""

from __future__ import annotations

from typing import Annotated

import typer

from kvgossip.cli.arguments import Key
from kvgossip.cli.connection import DEFAULT_URL, Url
from kvgossip.cli.editing import edit
from kvgossip.cli.errors import EXIT_CODES
from kvgossip.cli.output import Format, Output
from kvgossip.cli.write_concern import Timeout, Wait


def unset(
    key: Key,
    fields: Annotated[list[str], typer.Argument(metavar="FIELD...", help="Which are to go.")],
    wait: Wait = None,
    timeout: Timeout = "5s",
    url: Url = DEFAULT_URL,
    output: Output = Format.TABLE,
) -> None:
    """Take fields out of a map, on every node, whatever is in them. What somebody else writes to
    them meanwhile stays.

    Examples:

    - `kvgossip unset user/7 phone fax`
    """
    edit(url, key, {"unset": fields}, output, wait, timeout)


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Keys", epilog=EXIT_CODES)(unset)
