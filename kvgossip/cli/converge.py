"""The command `converge`: the members that have the same data as a node, and the others."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from kvgossip.cli.connection import DEFAULT_URL, Url, ask
from kvgossip.cli.errors import EXIT_CODES, complain
from kvgossip.cli.output import Format, Output, print_json, print_table

PAUSE_S = 0.25


def converge(
    wait: Annotated[
        bool, typer.Option("--wait", help="Ask again until all are equal, or the time is up.")
    ] = False,
    timeout: Annotated[
        float,
        typer.Option(metavar="S", min=0.0, max=86_400.0, help="Seconds to wait for, with --wait."),
    ] = 30.0,
    url: Url = DEFAULT_URL,
    output: Output = Format.TABLE,
) -> None:
    """Compare the data of all alive members with that of the node at --url. Exit code 0 when all
    are equal, 1 otherwise.

    Each member is asked for the root of its digest, and by how many keys it differs: exactly where
    that is few, else as an estimate ("about"), or "at least" where it is very many.

    Examples:

    - `kvgossip converge`
    - `kvgossip put app/config @config.json && kvgossip converge --wait --timeout 10`
    """
    deadline_s = time.monotonic() + timeout
    document = ask(url, lambda client: client.document("/converge"))
    while wait and not document["equal"] and time.monotonic() < deadline_s:
        time.sleep(PAUSE_S)
        document = ask(url, lambda client: client.document("/converge"))
    if output is Format.JSON:
        print_json(document)
    else:
        rows = [
            (document["asked"], "", "alive", "this node", document["root"], ""),
            *map(_row, document["members"]),
        ]
        print_table(("name", "pool", "state", "keys that differ", "root", "for"), rows)
    if not document["equal"]:
        complain(
            "not all members have the same data", "they repair themselves; --wait waits for it"
        )
        raise typer.Exit(1)


def _row(member: dict[str, Any]) -> tuple[Any, ...]:
    word = {"exact": "", "estimate": "about ", "at_least": "at least "}.get(member["precision"], "")
    differs = "no answer" if member["keys"] is None else f"{word}{member['keys']}"
    since = "" if member["unequal_s"] is None else f"{member['unequal_s']:.1f} s"
    return (member["name"], member["pool"], member["state"], differs, member["root"], since)


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Cluster", epilog=EXIT_CODES)(converge)
