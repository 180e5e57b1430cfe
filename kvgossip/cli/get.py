"""The command `get`."""

from __future__ import annotations

import typer

from kvgossip.cli.arguments import Key
from kvgossip.cli.connection import DEFAULT_URL, Url, ask
from kvgossip.cli.errors import EXIT_CODES
from kvgossip.cli.streams import print_octets


def get(key: Key, url: Url = DEFAULT_URL) -> None:
    """Print the value of a key: its raw bytes, nothing added. At a terminal, what it might obey is
    escaped.

    Examples:

    - `kvgossip get app/config > config.json`
    """
    print_octets(ask(url, lambda client: client.get(key)).body)


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Keys", epilog=EXIT_CODES)(get)
