"""The command `leave`."""

from __future__ import annotations

import typer

from kvgossip.cli.connection import DEFAULT_URL, Url, ask
from kvgossip.cli.errors import EXIT_CODES
from kvgossip.cli.output import Format, Output, say


def leave(url: Url = DEFAULT_URL, output: Output = Format.TABLE) -> None:
    """Make a node leave gracefully: it hands on its own news, the others list it as left, and its
    agent ends."""
    say(ask(url, lambda client: client.leave()), output, "the node has left")


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Cluster", epilog=EXIT_CODES)(leave)
