"""The command `rtt`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from kvgossip.cli.connection import DEFAULT_URL, Url, ask
from kvgossip.cli.errors import REFUSED, printable
from kvgossip.cli.output import Format, Output, print_json, shown_ms

EXIT_CODES = (
    "Exit code: 0 a round trip is known; 1 none is, or the node said no; 2 wrong "
    "usage, or no node answers."
)
Name = Annotated[
    str, typer.Argument(metavar="A", help="A member's name, as `kvgossip members` shows it.")
]
Other = Annotated[
    str, typer.Argument(metavar="[B]", help="Another one. Left out: the node at the URL.")
]


def rtt(
    one: Name, other: Other = "", url: Url = DEFAULT_URL, output: Output = Format.TABLE
) -> None:
    """Show the round trip between two members: estimated from their network coordinates, and
    measured.

    The estimate costs nothing and needs some minutes of probes to be good; its error is the
    opinion of the nodes themselves. If neither of the two is the node at the URL, A is asked to
    measure.

    Examples:

    - `kvgossip rtt web-2`
    - `kvgossip rtt web-2 web-7 --url http://10.0.0.5:7480`
    """
    # with one name the way is from the node that is asked, to it
    frm, to = (one, other) if other else ("", one)
    document = ask(url, lambda client: client.rtt(frm, to))
    if output is Format.JSON:
        print_json(document)
    else:
        print(printable(_round_trip(document)))
    if document["measured_ms"] is None and document["estimate_ms"] is None:
        raise typer.Exit(REFUSED)


def _round_trip(answer: dict[str, Any]) -> str:
    measured, estimate = answer["measured_ms"], answer["estimate_ms"]
    parts = []
    if measured is not None:
        parts.append(f"{shown_ms(measured)} measured by {answer['measured_by']}")
    if estimate is not None:
        parts.append(
            f"{shown_ms(estimate)} estimated from coordinates, give or take "
            f"{100 * answer['estimate_error']:.0f} %"
        )
    if answer["note"]:
        parts.append(answer["note"])
    return f"{answer['from']} - {answer['to']} ({answer['pool']}): " + (
        "; ".join(parts) or "nothing is known yet"
    )


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Cluster", epilog=EXIT_CODES)(rtt)
