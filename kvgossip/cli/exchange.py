"""The command `exchange`."""

from __future__ import annotations

from typing import Annotated

import typer

from kvgossip.cli.connection import DEFAULT_URL, Url, ask
from kvgossip.cli.errors import EXIT_CODES, complain
from kvgossip.cli.output import Format, Output, say, shown_ms


def exchange(
    member: Annotated[str, typer.Argument(metavar="MEMBER", help="A member that is alive.")],
    url: Url = DEFAULT_URL,
    output: Output = Format.TABLE,
) -> None:
    """Let the node at --url exchange with a member now: both end with the newer version of each
    key. Exit code 0 when the exchange was completed, 1 otherwise.

    Members exchange by themselves as soon as they differ; this does not wait for it, also where
    exchanges have brought nothing and were given up.

    Example:

    - `kvgossip differences node-2 ; kvgossip exchange node-2`
    """
    document = ask(url, lambda client: client.exchange(member))
    took = f"{shown_ms(document['took_ms'])}, {document['trips']} round trips"
    if document["completed"]:
        found = document["found"]
        words = "nothing was brought" if not found else f"{found:,} entries were brought"
        return say(document, output, f"{words} ({took})")
    say(document, output, f"the exchange was cut off ({took})")
    complain("the exchange was cut off", "what it had brought stays; `kvgossip doctor` looks")
    raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Cluster", epilog=EXIT_CODES)(exchange)
