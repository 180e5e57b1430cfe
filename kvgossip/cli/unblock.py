"""The command `unblock`."""

from __future__ import annotations

import typer

from kvgossip.cli.arguments import BlockTarget
from kvgossip.cli.connection import DEFAULT_URL, Url, ask
from kvgossip.cli.errors import EXIT_CODES
from kvgossip.cli.output import Format, Output, say


def unblock(target: BlockTarget, url: Url = DEFAULT_URL, output: Output = Format.TABLE) -> None:
    """Take a block back: the node listens to the member or network again."""
    say(
        ask(url, lambda client: client.unblock(target)), output, f"{target} is not blocked any more"
    )


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Cluster", epilog=EXIT_CODES)(unblock)
