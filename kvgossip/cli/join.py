"""The command `join`."""

from __future__ import annotations

from typing import Annotated

import typer

from kvgossip.cli.connection import DEFAULT_URL, Url, ask
from kvgossip.cli.errors import EXIT_CODES
from kvgossip.cli.output import Format, Output, say


def join(
    addresses: Annotated[
        list[str],
        typer.Argument(
            metavar="HOST:PORT...", help="Gossip addresses of members; DNS names are fine."
        ),
    ],
    wan: Annotated[
        bool,
        typer.Option(
            "--wan",
            help="Join the WAN pool: these are WAN addresses of gateways, and so is the node.",
        ),
    ] = False,
    merge: Annotated[
        bool,
        typer.Option(
            "--merge",
            help="Where they are of another cluster, make the two one: all nodes of this one take "
            "over the id of theirs, and all data is merged.",
        ),
    ] = False,
    url: Url = DEFAULT_URL,
    output: Output = Format.TABLE,
) -> None:
    """Make a node join the cluster of these members. One that answers is enough; a refusal
    says what to change. Two clusters never merge but by `--merge`.

    Examples:

    - `kvgossip join 10.0.0.5:7481 --url http://127.0.0.1:7480`
    - `kvgossip join --wan gateway.dc2.example:7483`
    - `kvgossip join 10.0.0.5:7481 --merge`
    """
    document = ask(url, lambda client: client.join(addresses, wan, merge))
    say(document, output, f"joined: {document['members']} members are known")


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Cluster", epilog=EXIT_CODES)(join)
