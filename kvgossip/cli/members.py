"""The command `members`."""

from __future__ import annotations

from typing import Any

import typer

from kvgossip.cli.connection import DEFAULT_URL, Url, ask
from kvgossip.cli.errors import EXIT_CODES
from kvgossip.cli.output import Format, Output, print_json, print_table


def members(url: Url = DEFAULT_URL, output: Output = Format.TABLE) -> None:
    """Show every node that this node knows, and what it believes of it: alive, suspect, dead or
    left.

    A gateway is in two pools: it shows its datacenter as pool lan, then the gateways of all
    datacenters as pool wan. Its lag: of what a member wrote lately, 99 of 100 took no longer to
    arrive at this node. Its phi: how sure its silence makes that it is gone, 1 is wrong one time
    in 10, 8 one time in 100 million; whether it is, helpers decide.
    """
    document = ask(url, lambda client: client.document("/members"))
    if output is Format.JSON:
        return print_json(document)
    for member in document["members"]:
        member["state"] += " (blocked)" if member["blocked"] else ""
        member["rtt"], member["lag"], member["phi"] = _rtt(member), _lag(member), _phi(member)
    columns = (
        "name",
        "state",
        "pool",
        "address",
        "http",
        "datacenter",
        "rtt",
        "lag",
        "phi",
        "generation",
        "incarnation",
    )
    rows = ([member[column] for column in columns] for member in document["members"])
    print_table(columns, rows, spare=3)


def _rtt(member: dict[str, Any]) -> str:
    """The round trip from the node that was asked; one that is only estimated is marked."""
    if member["rtt_ms"] is not None:
        return f"{member['rtt_ms']:.1f} ms"
    return "" if member["rtt_estimate_ms"] is None else f"~{member['rtt_estimate_ms']:.1f} ms"


def _lag(member: dict[str, Any]) -> str:
    """Of what the member wrote lately: 99 of 100 arrived within this. An older node says none."""
    lag_ms = member.get("lag_p99_ms")
    return "" if lag_ms is None else f"{lag_ms:.1f} ms"


def _phi(member: dict[str, Any]) -> str:
    """An older node says none."""
    phi = member.get("phi")
    return "" if phi is None else f"{phi:.1f}"


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Cluster", epilog=EXIT_CODES)(members)
