"""The command `settle`."""

from __future__ import annotations

import typer

from kvgossip.cli.connection import DEFAULT_URL, Url, ask
from kvgossip.cli.errors import EXIT_CODES
from kvgossip.cli.output import Format, Output, say


def settle(url: Url = DEFAULT_URL, output: Output = Format.TABLE) -> None:
    """Make a node answer reads with what it has, although it has not caught up. For when the others
    will not come back."""
    say(ask(url, lambda client: client.settle()), output, "the node answers reads with what it has")


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Cluster", epilog=EXIT_CODES)(settle)
