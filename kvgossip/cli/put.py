"""The command `put`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kvgossip.cli.arguments import Context, Key, check_ttl
from kvgossip.cli.connection import DEFAULT_URL, Url, ask
from kvgossip.cli.errors import EXIT_CODES, CommandError
from kvgossip.cli.output import Format, Output, say
from kvgossip.cli.streams import stdin_octets
from kvgossip.cli.write_concern import Timeout, Wait, write_and_wait

Siblings = Annotated[
    bool, typer.Option("--siblings", help="Keep it beside values whose writers do not know of it.")
]


def put(
    key: Key,
    value: Annotated[
        str,
        typer.Argument(
            metavar="VALUE|@FILE|-", help="The text itself, a file's content, or standard input."
        ),
    ],
    content_type: Annotated[
        str | None,
        typer.Option("--content-type", "-t", metavar="TYPE", help="Stored with the value."),
    ] = None,
    ttl: Annotated[
        str | None,
        typer.Option(
            "--ttl", metavar="TIME", help="It expires after that time: 500ms, 30s, 15m, 12h."
        ),
    ] = None,
    siblings: Siblings = False,
    context: Context = None,
    wait: Wait = None,
    timeout: Timeout = "5s",
    url: Url = DEFAULT_URL,
    output: Output = Format.TABLE,
) -> None:
    """Store a value under a key, on every node.

    With --wait, show the members that hold it, and exit with 1 if not enough do when the time is
    up; the write stands all the same.

    With --siblings the key keeps the values of all writers that do not know of each other. With
    --context the write takes the place of those that the context has seen.

    Examples:

    - `kvgossip put greeting hello`
    - `kvgossip put app/config @config.json -t application/json`
    - `date | kvgossip put now -`
    - `kvgossip put owner '\\@alice'`: the text @alice, and no file
    - `kvgossip put cart/7 @cart.json --siblings`
    - `kvgossip put cart/7 @merged.json --context AdKnVt...`
    - `kvgossip put app/config @config.json --wait all`
    - `kvgossip put lease/leader web-1 --ttl 30s --wait zone:1 --timeout 500ms`
    """
    check_ttl(ttl)
    body = _read_value(value)
    if wait is not None:
        return write_and_wait(
            url,
            output,
            timeout,
            lambda client, timeout_s, show_ack: client.write_and_wait(
                key, body, content_type, wait, timeout_s, show_ack, ttl, context, siblings=siblings
            ),
        )
    document = ask(
        url, lambda client: client.put(key, body, content_type, ttl, context, siblings=siblings)
    )
    say(document, output, f"{document['key']} is stored, version {document['version']}")


def _read_value(value: str) -> bytes:
    if value == "-":
        return stdin_octets()
    if not value.startswith("@"):
        return value.removeprefix("\\" if value.startswith("\\@") else "").encode(
            "utf-8", "surrogateescape"
        )
    try:
        return Path(value[1:]).read_bytes()
    except OSError as error:
        raise CommandError(
            f"cannot read {value[1:]}: {error.strerror}",
            "a value that starts with '@' names a file, and with a backslash before it is a text, "
            "as in: '\\@name'; '-' reads stdin",
        ) from error


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Keys", epilog=EXIT_CODES)(put)
