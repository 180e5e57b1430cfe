"""The command `block`."""

from __future__ import annotations

import typer

from kvgossip.cli.arguments import BlockTarget
from kvgossip.cli.connection import DEFAULT_URL, Url, ask
from kvgossip.cli.errors import EXIT_CODES
from kvgossip.cli.output import Format, Output, say


def block(target: BlockTarget, url: Url = DEFAULT_URL, output: Output = Format.TABLE) -> None:
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


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Cluster", epilog=EXIT_CODES)(block)
