"""The commands for the cluster: members, status, join, leave, settle."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from kvgossip.cli.connection import DEFAULT_URL, Url, ask
from kvgossip.cli.errors import EXIT_CODES
from kvgossip.cli.output import Format, Output, print_json, print_table, say


def members(url: Url = DEFAULT_URL, output: Output = Format.TABLE) -> None:
    """Show every node that this node knows, and what it believes of it: alive, suspect, dead or
    left.

    A gateway is in two pools: it shows its datacenter as pool lan, then the gateways of all
    datacenters as pool wan.
    """
    document = ask(url, lambda client: client.members())
    if output is Format.JSON:
        return print_json(document)
    for member in document["members"]:
        member["state"] += " (blocked)" if member["blocked"] else ""
        member["rtt"] = _rtt(member)
    columns = (
        "name",
        "state",
        "pool",
        "address",
        "http",
        "datacenter",
        "rtt",
        "generation",
        "incarnation",
    )
    print_table(columns, ([member[column] for column in columns] for member in document["members"]))


def _rtt(member: dict[str, Any]) -> str:
    """From the node that was asked; what is only estimated is marked."""
    if member["rtt_ms"] is not None:
        return f"{member['rtt_ms']:.1f} ms"
    return "" if member["rtt_estimate_ms"] is None else f"~{member['rtt_estimate_ms']:.1f} ms"


def status(url: Url = DEFAULT_URL, output: Output = Format.TABLE) -> None:
    """Show a node's own view of itself: whether it has settled, its digest root, how many keys, its
    counters."""
    document = ask(url, lambda client: client.status())
    if output is Format.JSON:
        return print_json(document)
    print_table(("what", "value"), _flat(document))


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
    url: Url = DEFAULT_URL,
    output: Output = Format.TABLE,
) -> None:
    """Make a node join the cluster of these members. One that answers is enough; a refusal tells
    what to change.

    Examples:

    - `kvgossip join 10.0.0.5:7481 --url http://127.0.0.1:7480`
    - `kvgossip join --wan gateway.dc2.example:7483`
    """
    document = ask(url, lambda client: client.join(addresses, wan))
    say(document, output, f"joined: {document['members']} members are known")


def leave(url: Url = DEFAULT_URL, output: Output = Format.TABLE) -> None:
    """Make a node leave gracefully: it hands on its own news, the others list it as left, and its
    agent ends."""
    say(ask(url, lambda client: client.leave()), output, "the node has left")


def settle(url: Url = DEFAULT_URL, output: Output = Format.TABLE) -> None:
    """Make a node answer reads with what it has, although it has not caught up. For when the others
    will not come back."""
    say(ask(url, lambda client: client.settle()), output, "the node answers reads with what it has")


def _flat(document: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for name, value in document.items():
        rows += (
            _flat(value, f"{prefix}{name}.")
            if isinstance(value, dict)
            else [(f"{prefix}{name}", value)]
        )
    return rows


def register(app: typer.Typer) -> None:
    for command in (members, status, join, leave, settle):
        app.command(rich_help_panel="Cluster", epilog=EXIT_CODES)(command)
