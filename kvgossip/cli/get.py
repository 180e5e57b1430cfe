"""The command `get`."""

from __future__ import annotations

from base64 import b64decode
from typing import Annotated, Any

import typer

from kvgossip.cli.arguments import Key
from kvgossip.cli.connection import DEFAULT_URL, Url, ask
from kvgossip.cli.errors import EXIT_CODES, CommandError
from kvgossip.cli.output import DASH, Format, Output, print_json, print_table
from kvgossip.cli.streams import print_octets

SHOWN_CHARACTERS = 24
"""Of a value in a table: with its version that fits into 80 columns."""


def get(
    key: Key,
    siblings: Annotated[
        bool, typer.Option("--siblings", help="A table of all values, and their context.")
    ] = False,
    newest: Annotated[
        bool, typer.Option("--newest", help="Of several values the newest one.")
    ] = False,
    url: Url = DEFAULT_URL,
    output: Output = Format.TABLE,
) -> None:
    """Print the value of a key: its raw bytes, nothing added. At a terminal, what it might obey is
    escaped. A counter is a number, a set and a map are JSON.

    A key of siblings has several values where writers did not know of each other; then this exits
    with 1. With --siblings all are shown, with the context for `kvgossip put --context`, which
    merges them; -o json shows them whole, also where there is one.

    Examples:

    - `kvgossip get app/config > config.json`
    - `kvgossip get cart/7 --siblings`
    """
    if newest and (siblings or output is Format.JSON):
        raise CommandError("--newest is one value as it is, and no list", "choose one of them")
    if siblings or output is Format.JSON:
        return _show(ask(url, lambda client: client.siblings(key)), output)
    print_octets(ask(url, lambda client: client.get(key, newest=newest)).body)


def _show(document: dict[str, Any], output: Format) -> None:
    if output is Format.JSON:
        return print_json(document)
    print_table(("version", "by", "bytes", "value"), map(_row, document["siblings"]))
    if document["context"]:
        print(f"context: {document['context']}")


def _row(sibling: dict[str, Any]) -> tuple[str, str, int, str]:
    if "value" in sibling:
        text, size = sibling["value"], len(sibling["value"].encode())
    else:
        octets = b64decode(sibling["base64"])
        text, size = octets.decode(errors="backslashreplace"), len(octets)
    if len(text) > SHOWN_CHARACTERS:
        text = text[: SHOWN_CHARACTERS - 3] + "..."
    return sibling["version"], sibling.get("writer") or DASH, size, text


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Keys", epilog=EXIT_CODES)(get)
