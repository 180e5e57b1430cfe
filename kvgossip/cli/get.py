"""The command `get`."""

from __future__ import annotations

import sys

import typer

from kvgossip.cli.arguments import Key
from kvgossip.cli.connection import DEFAULT_URL, Url, ask
from kvgossip.cli.errors import EXIT_CODES


def get(key: Key, url: Url = DEFAULT_URL) -> None:
    """Print the value of a key: its raw bytes, nothing added.

    Examples:

    - `kvgossip get app/config > config.json`
    """
    reply = ask(url, lambda client: client.get(key))
    sys.stdout.buffer.write(reply.body)
    sys.stdout.buffer.flush()


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Keys", epilog=EXIT_CODES)(get)
