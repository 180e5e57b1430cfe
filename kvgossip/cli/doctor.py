"""The command `doctor`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import typer

from kvgossip.cli.connection import DEFAULT_URL, Result, Url, ask
from kvgossip.cli.errors import REFUSED, printable
from kvgossip.cli.output import DASH, Format, Output, print_json, print_table, shown_ms

if TYPE_CHECKING:
    from kvgossip.client.client import Client

EXIT_CODES = "Exit code: 0 healthy; 1 there are findings; 2 wrong usage, or no node answers."


def doctor(url: Url = DEFAULT_URL, output: Output = Format.TABLE) -> None:
    """Find the faults of a cluster, and say them in words.

    The node at the URL looks at all members over its gossip sockets, by UDP and by TCP, and lets
    them look at each other: which reach each other, how long it takes, whose clock is wrong, which
    have not settled, which keys they use, which datacenter has no gateway, which address nobody
    reaches. A healthy cluster answers at once; where something does not answer it takes some
    seconds. Of more than 64 members a random sample is looked at.

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
        _print_report(document)
    if not document["healthy"]:
        raise typer.Exit(REFUSED)


def _with_progress(text: str, url: str, question: Callable[[Client], Result]) -> Result:
    """To a terminal alone, on stderr: a pipe gets the answer and nothing else."""
    if not sys.stderr.isatty():
        return ask(url, question)
    from rich.console import Console

    with Console(stderr=True).status(printable(text)):
        return ask(url, question)


def _print_report(document: dict[str, Any]) -> None:
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
    ways = (
        ["(this node)", ""]
        if member["self"]
        else [shown_ms(member["udp_ms"]), shown_ms(member["tcp_ms"])]
    )
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


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Cluster", epilog=EXIT_CODES)(doctor)
