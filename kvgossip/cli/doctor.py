"""The commands that look at the network between the nodes: doctor, rtt."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kvgossip.cli.connection import DEFAULT_URL, Result, Url, ask
from kvgossip.cli.errors import REFUSED, printable
from kvgossip.cli.output import Format, Output, print_json, print_table

if TYPE_CHECKING:
    from kvgossip.api.client import Client

DOCTOR_EXIT_CODES = "Exit code: 0 healthy; 1 there are findings; 2 wrong usage, or no node answers."
RTT_EXIT_CODES = (
    "Exit code: 0 a round trip is known; 1 none is, or the node said no; 2 wrong "
    "usage, or no node answers."
)
DASH = "-"

Name = Annotated[
    str, typer.Argument(metavar="A", help="A member's name, as `kvgossip members` shows it.")
]
Other = Annotated[
    str, typer.Argument(metavar="[B]", help="Another one. Left out: the node at the URL.")
]


def doctor(url: Url = DEFAULT_URL, output: Output = Format.TABLE) -> None:
    """Find out what is wrong with a cluster, and say it in words.

    The node at the URL looks at all members over its gossip sockets, by UDP and by TCP, and lets
    them look at each other: who reaches whom, how long it takes, whose clock is wrong, who has not
    settled, which keys they use, which datacenter has no gateway, which address nobody reaches. A
    healthy cluster answers at once; where something does not answer it takes some seconds. Of more
    than 64 members a random sample is looked at.

    Examples:

    - `kvgossip doctor --url http://10.0.0.5:7480`
    - `kvgossip doctor -o json | jq -r '.findings[].text'`
    """
    document = _with_progress(
        f"examining the cluster through {url}, which may take some seconds",
        url,
        lambda client: client.doctor(),
    )
    if output is Format.JSON:
        print_json(document)
    else:
        _print_checkup(document)
    if not document["healthy"]:
        raise typer.Exit(REFUSED)


def rtt(
    one: Name, other: Other = "", url: Url = DEFAULT_URL, output: Output = Format.TABLE
) -> None:
    """Show the round trip between two members: estimated from their network coordinates, and
    measured.

    The estimate costs nothing and needs some minutes of probes to be good; its error is what the
    nodes themselves think of it. Where neither of the two is the node at the URL, A is asked to
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


def _with_progress(what: str, url: str, question: Callable[[Client], Awaitable[Result]]) -> Result:
    """To a terminal alone, on stderr: what is piped on is the answer and nothing else."""
    if not sys.stderr.isatty():
        return ask(url, question)
    from rich.console import Console

    with Console(stderr=True).status(printable(what)):
        return ask(url, question)


def _print_checkup(document: dict[str, Any]) -> None:
    columns = ("name", "pool", "state", "udp", "tcp", "clock", "standing", "gateway")
    print_table(columns, map(_member_row, document["members"]))
    print()
    for finding in document["findings"]:
        where = " (WAN pool)" if finding["pool"] == "wan" else ""
        print(printable(f"! {finding['text']}{where}"))
    for pool in document["pools"]:
        print(printable(_summary(pool)))
    count = len(document["findings"])
    print("healthy" if document["healthy"] else f"{count} finding{'s' if count > 1 else ''}")


def _member_row(member: dict[str, Any]) -> list[Any]:
    offset_s, gateway = member["clock_offset_s"], member["gateway"]
    ways = ["(this node)", ""] if member["self"] else [_ms(member["udp_ms"]), _ms(member["tcp_ms"])]
    clock = DASH if offset_s is None else f"{offset_s:+.3f} s"
    return [
        member["name"],
        member["pool"],
        member["state"],
        *ways,
        clock,
        member["standing"] or DASH,
        "yes" if gateway else "",
    ]


def _summary(pool: dict[str, Any]) -> str:
    whole = pool["examined"] == pool["known"]
    share = (
        f"all {pool['known']} members"
        if whole
        else f"a sample of {pool['examined']} of {pool['known']} members"
    )
    return (
        f"{pool['pool']}: looked at {share}, through the eyes of {pool['observers']}, in "
        f"{pool['took_s']:.1f} s"
    )


def _round_trip(told: dict[str, Any]) -> str:
    measured, estimate = told["measured_ms"], told["estimate_ms"]
    parts = []
    if measured is not None:
        parts.append(f"{_ms(measured)} measured by {told['measured_by']}")
    if estimate is not None:
        parts.append(
            f"{_ms(estimate)} estimated from coordinates, give or take "
            f"{100 * told['estimate_error']:.0f} %"
        )
    if told["note"]:
        parts.append(told["note"])
    return f"{told['from']} - {told['to']} ({told['pool']}): " + (
        "; ".join(parts) or "nothing is known yet"
    )


def _ms(milliseconds: float | None) -> str:
    if milliseconds is None:
        return DASH
    return f"{milliseconds:.1f} ms" if milliseconds < 100 else f"{milliseconds:.0f} ms"


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Cluster", epilog=DOCTOR_EXIT_CODES)(doctor)
    app.command(rich_help_panel="Cluster", epilog=RTT_EXIT_CODES)(rtt)
