"""The command `tls new`: a CA and certificates for trials."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kvgossip.cli.errors import EXIT_CODES, REFUSED, CommandError, printable
from kvgossip.cli.output import Format, Output, print_json

DAYS = 365

tls_app = typer.Typer(
    name="tls",
    no_args_is_help=True,
    help="Make a CA and certificates, for trials and small clusters.",
)


@tls_app.command(epilog=EXIT_CODES)
def new(
    directory: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="Where the CA is, or is made: ca.pem and ca.key."),
    ],
    host: Annotated[
        list[str] | None,
        typer.Option(
            "--host", metavar="NAME", help="A name or address of the node. May be given again."
        ),
    ] = None,
    client: Annotated[
        list[str] | None,
        typer.Option(
            "--client",
            metavar="NAME",
            help="A client, and its name in the tokens file. May be given again.",
        ),
    ] = None,
    days: Annotated[
        int,
        typer.Option(min=1, max=3650, metavar="N", help="So long the certificates hold."),
    ] = DAYS,
    output: Output = Format.TABLE,
) -> None:
    """Make a certificate for a node, reached by each --host, and one for each --client.

    Files are for their owner alone (mode 0600), and none is overwritten. The CA is made by the
    first call; later ones with the same DIR use it. Who has ca.key can speak for every node: keep
    it where no node runs.

    Examples:

    - `kvgossip tls new certs --host kv1.example --host 10.0.0.5`: certs/kv1.example.pem and .key
    - `kvgossip agent --tls-cert certs/kv1.example.pem --tls-key certs/kv1.example.key`
    - `kvgossip get a --url https://kv1.example:7480 --ca certs/ca.pem`
    - `kvgossip tls new certs --client ci`: for a node with `--tls-client-ca certs/ca.pem`
    """
    from kvgossip.api.tls.issue import make, utc_now
    from kvgossip.errors import LocalError

    if not host and not client:
        raise CommandError(
            "no certificate is asked for", "name a node with --host NAME, or a client with --client"
        )
    try:
        made = make(directory, host or [], client or [], days, utc_now())
    except LocalError as error:
        raise CommandError(str(error), error.hint, REFUSED) from None
    if output is Format.JSON:
        return print_json([each._asdict() for each in made])
    for each in made:
        print(printable(f"{each.cert} and {each.key}, until {each.not_after}"))


def register(app: typer.Typer) -> None:
    app.add_typer(tls_app, rich_help_panel="Cluster")
