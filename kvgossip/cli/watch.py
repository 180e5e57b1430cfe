"""The command `watch`: changes, line by line, for as long as they are wanted."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kvgossip.cli.arguments import Prefix
from kvgossip.cli.connection import DEFAULT_URL, Url, ask
from kvgossip.cli.errors import EXIT_CODES, complain, printable
from kvgossip.cli.output import Format, Output

if TYPE_CHECKING:
    from kvgossip.client.client import Client, StreamEvent

PAUSE_MIN_S = 0.25
PAUSE_MAX_S = 10.0
_SENTENCES = {
    "resync": "-- what follows replaces all that was known --",
    "synced": "-- that is all there is; changes follow --",
}


def watch(
    prefix: Prefix = "",
    key: Annotated[
        str, typer.Option(metavar="KEY", help="Only this very key, instead of a prefix.")
    ] = "",
    since: Annotated[
        str,
        typer.Option(
            metavar="CURSOR",
            help="Go on from here; 0: begin with all that there is. Default: from now.",
        ),
    ] = "",
    values: Annotated[
        str, typer.Option(metavar="none|text|base64", help="Show the values too.")
    ] = "none",
    coalesce: Annotated[
        str,
        typer.Option(
            metavar="DURATION", help="Only the last change of each key in so long, as 100ms."
        ),
    ] = "0",
    count: Annotated[
        int, typer.Option(min=0, help="End after so many puts and deletes; 0: never.")
    ] = 0,
    url: Url = DEFAULT_URL,
    output: Output = Format.TABLE,
) -> None:
    """Print changes as they happen, here or anywhere in the cluster. Ctrl-C ends it.

    A connection that is lost is opened again, and goes on where it was; stderr says so. If that
    is not possible, because the node is another one or the pause was too long, all keys are printed
    once, between `resync` and `synced`.

    Examples:

    - `kvgossip watch config/`
    - `kvgossip watch --key config/theme --values text`
    - `kvgossip watch --since 0 -o json > changes.ndjson`: one JSON document a line, each with its
      cursor
    """
    query = {"key": key} if key else {"prefix": prefix}
    query |= {"values": values, "coalesce": coalesce}
    ask(url, lambda client: _print_all(client, query, since or None, count, output))


def _print_all(
    client: Client, query: dict[str, str], since: str | None, count: int, output: Format
) -> None:
    changes = 0
    for event in _for_ever(client, query, since):
        document = {"event": event.event, "cursor": event.cursor, **event.data}
        print(json.dumps(document) if output is Format.JSON else _line(event), flush=True)
        changes += event.event not in _SENTENCES
        if count and changes >= count:
            return


def _for_ever(client: Client, query: dict[str, str], cursor: str | None) -> Iterator[StreamEvent]:
    """The events of one stream after the other, each going on where the one before ended. Raises
    when there never was one."""
    from kvgossip.client.failures import RefusedError, UnreachableError

    connected, pause_s = False, PAUSE_MIN_S
    while True:
        why, hint = "the stream ended", ""
        try:
            for event in client.watch(query, cursor):
                connected, pause_s, cursor = True, PAUSE_MIN_S, event.cursor
                if event.event == "cut":
                    why, hint = event.data["error"], event.data["hint"]
                elif event.event:
                    yield event
        except (RefusedError, UnreachableError) as error:
            # a node that restarts has not settled for a while
            if not connected or (isinstance(error, RefusedError) and error.status != 503):
                raise
            why = str(error)
        complain(f"{why}; going on from {cursor}", hint if "resync" not in hint else "")
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, PAUSE_MAX_S)


def _line(event: StreamEvent) -> str:
    if event.event in _SENTENCES:
        return _SENTENCES[event.event]
    data: dict[str, Any] = event.data
    value = data.get("value")
    if "value_base64" in data:
        value = f"base64: {data['value_base64']}"
    parts = [
        f"{event.event:<6}",
        data["key"],
        data["version"],
        "" if "bytes" not in data else f"{data['bytes']} B",
        value,
    ]
    return "  ".join(printable(str(part)) for part in parts if part not in ("", None))


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Keys", epilog=EXIT_CODES)(watch)
