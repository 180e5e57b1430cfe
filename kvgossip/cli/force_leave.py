"""The command `force-leave`."""

from __future__ import annotations

from typing import Annotated

import typer

from kvgossip.cli.connection import DEFAULT_URL, Url, ask
from kvgossip.cli.errors import EXIT_CODES
from kvgossip.cli.output import Format, Output, say


def force_leave(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A member that is dead, or blocked on this node.")
    ],
    prune: Annotated[
        bool,
        typer.Option("--prune", help="Let every node forget it, instead of listing it as left."),
    ] = False,
    url: Url = DEFAULT_URL,
    output: Output = Format.TABLE,
) -> None:
    """Declare that a dead member will not come back: it is listed as left, and nobody tries to
    reach it any more.

    A member that answers probes is refused: it would contradict. Stop it, or `block` it on every
    node first.

    Examples:

    - `kvgossip force-leave node-7`
    - `kvgossip force-leave node-7 --prune`
    """
    sentence = f"{name} is forgotten by every node" if prune else f"{name} has left"
    say(ask(url, lambda client: client.force_leave(name, prune)), output, sentence)


def register(app: typer.Typer) -> None:
    app.command("force-leave", rich_help_panel="Cluster", epilog=EXIT_CODES)(force_leave)
