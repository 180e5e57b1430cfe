"""The commands that keep a cluster clean: block, unblock, force-leave."""

from __future__ import annotations

from typing import Annotated

import typer

from kvgossip.cli.connection import DEFAULT_URL, Url, ask
from kvgossip.cli.errors import EXIT_CODES
from kvgossip.cli.output import Format, Output, say

Target = Annotated[
    str,
    typer.Argument(
        metavar="NAME|CIDR",
        help="A member's name, an IP address, or a network such as 10.2.0.0/16.",
    ),
]


def block(target: Target, url: Url = DEFAULT_URL, output: Output = Format.TABLE) -> None:
    """Make a node drop everything of a member or a network, and send it nothing. Until `unblock`,
    or its restart.

    Two clusters that were mixed are untangled so: on every node of one of them block the other one
    (its network, or each name), then on one node `force-leave --prune` each of its members; on the
    other side likewise. The data of both stays where it is.

    Examples:

    - `kvgossip block 10.2.0.0/16 --url http://10.1.0.5:7480`
    - `kvgossip block node-7`
    """
    say(
        ask(url, lambda client: client.block(target)),
        output,
        f"{target} is blocked on this node; block it on the others too",
    )


def unblock(target: Target, url: Url = DEFAULT_URL, output: Output = Format.TABLE) -> None:
    """Take a block back: the node listens to the member or network again."""
    say(
        ask(url, lambda client: client.unblock(target)), output, f"{target} is not blocked any more"
    )


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
    for command, title in ((block, "block"), (unblock, "unblock"), (force_leave, "force-leave")):
        app.command(title, rich_help_panel="Cluster", epilog=EXIT_CODES)(command)
