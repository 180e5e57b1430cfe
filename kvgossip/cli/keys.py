"""The commands for keys: get, put, delete, list."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kvgossip.cli.connection import DEFAULT_URL, Url, ask
from kvgossip.cli.errors import EXIT_CODES, REFUSED, CommandError, complain, printable
from kvgossip.cli.output import Format, Output, print_json, print_table, say

if TYPE_CHECKING:
    from kvgossip.api.client import Client

PAGE_LIMIT_MAX = 1000

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
Key = Annotated[
    str,
    typer.Argument(
        metavar="KEY",
        help="Any text up to 1,024 bytes; a '/' makes prefixes, '.' and '..' are no segments.",
    ),
]


def get(key: Key, url: Url = DEFAULT_URL) -> None:
    """Print the value of a key: its raw bytes, nothing added.

    Examples:

    - `kvgossip get app/config > config.json`
    """
    reply = ask(url, lambda client: client.get(key))
    sys.stdout.buffer.write(reply.body)
    sys.stdout.buffer.flush()


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
    wait: Wait = None,
    timeout: Timeout = "5s",
    url: Url = DEFAULT_URL,
    output: Output = Format.TABLE,
) -> None:
    """Store a value under a key, on every node.

    With --wait, show who has it, and exit with 1 if not enough members do when the time is up; the
    write stands all the same.

    Examples:

    - `kvgossip put greeting hello`
    - `kvgossip put app/config @config.json -t application/json`
    - `kvgossip put lease/leader web-1 --ttl 30s`
    - `date | kvgossip put now -`
    - `kvgossip put app/config @config.json --wait all`
    - `kvgossip put flag on --wait zone:1 --timeout 500ms`
    """
    body = _read_value(value)
    if wait is not None:
        return _wait(
            url,
            output,
            lambda client, told: client.write_and_wait(
                key, body, content_type, wait, timeout, told, ttl
            ),
        )
    document = ask(url, lambda client: client.put(key, body, content_type, ttl))
    say(document, output, f"{document['key']} is stored, version {document['version']}")


def delete(
    key: Key,
    wait: Wait = None,
    timeout: Timeout = "5s",
    url: Url = DEFAULT_URL,
    output: Output = Format.TABLE,
) -> None:
    """Delete a key, on every node. Exit code 1 when there is no such key. --wait as for `put`."""
    if wait is not None:
        return _wait(
            url,
            output,
            lambda client, told: client.write_and_wait(key, None, None, wait, timeout, told),
        )
    document = ask(url, lambda client: client.delete(key))
    say(document, output, f"{document['key']} is deleted, version {document['version']}")


def _wait(
    url: str,
    output: Format,
    write: Callable[[Client, Callable[[dict[str, Any]], None]], Awaitable[Any]],
) -> None:
    """Show who holds a write as they do, and what came of it."""

    def told(holder: dict[str, Any]) -> None:
        if output is not Format.JSON:
            print(f"held by {printable(holder['name'])} after {holder['ms']:.1f} ms", flush=True)

    document = ask(url, lambda client: write(client, told))
    for each in document["lacking"]:
        if output is not Format.JSON:
            print(f"not held by {printable(each['name'])} ({each['state']})")
    holders, what = len(document["held_by"]), "deleted" if document.get("deleted") else "stored"
    among = f"{holders} of {holders + len(document['lacking'])} hold it, of {document['among']}"
    say(document, output, f"{document['key']} is {what}, version {document['version']}: {among}")
    if not document["met"]:
        hint = "the write stands and will reach the others; `kvgossip converge` tells when"
        complain(f"the time was up before wait={document['wait']} was met", hint)
        raise typer.Exit(REFUSED)


def list_keys(
    prefix: Annotated[
        str, typer.Argument(metavar="PREFIX", help="Only keys that start with this.")
    ] = "",
    limit: Annotated[int, typer.Option(min=1, help="At most so many keys.")] = 100,
    after: Annotated[
        str, typer.Option(metavar="KEY", help="Only keys that sort after this one.")
    ] = "",
    url: Url = DEFAULT_URL,
    output: Output = Format.TABLE,
) -> None:
    """List keys in order, with size, content type and version.

    Examples:

    - `kvgossip list app/`
    - `kvgossip list --limit 10000 -o json`
    """
    document = ask(url, lambda client: _pages(client, prefix, limit, after))
    if output is Format.JSON:
        return print_json(document)
    rows = [
        (entry["key"], entry["bytes"], entry["content_type"], entry["version"])
        for entry in document["entries"]
    ]
    print_table(("key", "bytes", "content type", "version"), rows)
    if document["after"] is not None:
        complain(
            f"there are more keys after {document['after']}",
            "continue with --after KEY, or raise --limit",
        )


async def _pages(client: Client, prefix: str, limit: int, after: str) -> dict[str, Any]:
    entries: list[Any] = []
    cursor: str | None = after
    while cursor is not None and len(entries) < limit:
        page = await client.page(prefix, min(limit - len(entries), PAGE_LIMIT_MAX), cursor)
        entries += page["entries"]
        cursor = page["after"]
    return {"entries": entries, "after": cursor}


def _read_value(value: str) -> bytes:
    if value == "-":
        return sys.stdin.buffer.read()
    if not value.startswith("@"):
        return value.encode("utf-8", "surrogateescape")
    try:
        return Path(value[1:]).read_bytes()
    except OSError as error:
        raise CommandError(
            f"cannot read {value[1:]}: {error.strerror}",
            "a value that starts with '@' names a file; '-' reads stdin",
        ) from error


def register(app: typer.Typer) -> None:
    for name, command in (("get", get), ("put", put), ("delete", delete), ("list", list_keys)):
        app.command(name, rich_help_panel="Keys", epilog=EXIT_CODES)(command)
