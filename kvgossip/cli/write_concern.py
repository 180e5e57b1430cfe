"""The options --wait and --timeout of writes, and the acks as they come in."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kvgossip.cli.arguments import seconds_of
from kvgossip.cli.connection import ask
from kvgossip.cli.errors import REFUSED, complain, printable
from kvgossip.cli.output import Format, say

if TYPE_CHECKING:
    from kvgossip.client.client import Client

WAIT_MAX_S = 3600.0
Wait = Annotated[
    str | None,
    typer.Option(
        "--wait",
        metavar="N|majority|all|zone:N|other-zone:N",
        help="Wait until so many members hold it, this one counted; N of each zone.",
    ),
]
Timeout = Annotated[
    str,
    typer.Option(
        "--timeout", metavar="DURATION", help="How long to wait, such as 500ms, 5s or 1m."
    ),
]


def write_and_wait(
    url: str,
    output: Format,
    timeout: str,
    write: Callable[[Client, float, Callable[[dict[str, Any]], None]], Any],
    unwritten: Callable[[Any, Format], None] | None = None,
) -> None:
    """Write, show each member that holds the write as soon as it does, and the result. Exits with 1
    where the write concern was not met in time. `write` is given a client, the seconds of
    `timeout`, and a callback for each ack; `unwritten` says it where there was nothing to write."""
    timeout_s = seconds_of("--timeout", timeout, WAIT_MAX_S)

    def show_ack(ack: dict[str, Any]) -> None:
        if output is not Format.JSON:
            print(f"held by {printable(ack['name'])} after {ack['ms']:.1f} ms", flush=True)

    document = ask(url, lambda client: write(client, timeout_s, show_ack))
    if unwritten is not None and "met" not in document:
        unwritten(document, output)
        return
    for each in document["lacking"]:
        if output is not Format.JSON:
            print(f"not held by {printable(each['name'])} ({each['state']})")
    holders, what = len(document["held_by"]), "deleted" if document.get("deleted") else "stored"
    among = f"{holders} of {holders + len(document['lacking'])} hold it, of {document['among']}"
    say(document, output, f"{document['key']} is {what}, version {document['version']}: {among}")
    if not document["met"]:
        hint = "the write stands and will reach the others; `kvgossip converge` shows when"
        complain(f"the time was up before wait={document['wait']} was met", hint)
        raise typer.Exit(REFUSED)
