"""The command `version`."""

from __future__ import annotations

import typer

from kvgossip import __version__
from kvgossip.cli.output import Format, Output, say


def version(output: Output = Format.TABLE) -> None:
    """Print the version of kvgossip."""
    say({"version": __version__}, output, f"kvgossip {__version__}")


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Nodes")(version)
