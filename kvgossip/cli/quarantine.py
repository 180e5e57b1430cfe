"""The commands `quarantine list`, `show`, `restore`, `discard` and `confirm`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kvgossip.cli.connection import DEFAULT_URL, Url, ask
from kvgossip.cli.errors import EXIT_CODES
from kvgossip.cli.output import Format, Output, print_json, print_table, say
from kvgossip.cli.streams import print_octets

if TYPE_CHECKING:
    from kvgossip.client.client import Client

app = typer.Typer(
    no_args_is_help=True,
    help=(
        "Values that a node brought back although the cluster had deleted them meanwhile: never "
        "merged silently, never lost."
    ),
)

CONFLICT = 409
Number = Annotated[
    str, typer.Argument(metavar="NUMBER", help="As `kvgossip quarantine list` shows it.")
]


def list_values(url: Url = DEFAULT_URL, output: Output = Format.TABLE) -> None:
    """List the values in the quarantine of a node: each node has its own."""
    values = ask(url, _pages)
    if output is Format.JSON:
        return print_json({"values": values})
    columns = ("number", "key", "bytes", "content_type", "version", "deleted_says")
    rows = ([*(value[column] for column in columns), _time(value["wall_ms"])] for value in values)
    print_table((*columns, "since"), rows)


def show(number: Number, url: Url = DEFAULT_URL) -> None:
    """Print one value: its raw bytes, nothing added. At a terminal, what it might obey is escaped.

    Examples:

    - `kvgossip quarantine show 0000018bcfe56800 > value`
    """
    print_octets(ask(url, lambda client: client.quarantined(number)).body)


def restore(
    number: Annotated[
        str, typer.Argument(metavar="[NUMBER]", help="As `kvgossip quarantine list` shows it.")
    ] = "",
    all_: Annotated[bool, typer.Option("--all", help="All values that are there.")] = False,
    since: Annotated[
        str,
        typer.Option(metavar="TIME", help="With --all: those since then, as `list` shows."),
    ] = "",
    url: Url = DEFAULT_URL,
    output: Output = Format.TABLE,
) -> None:
    """Write a value anew under its key, on every node, and take it out of the quarantine. Refused
    where there is a newer value; with --all such a value stays there, and is counted.

    Examples:

    - `kvgossip quarantine restore 0000018bcfe56800`
    - `kvgossip quarantine restore --all --since 2026-05-01T08:00:00+00:00`
    """
    if bool(number) is all_ or (since and not all_):
        raise typer.BadParameter("give the NUMBER of a value, or --all, perhaps with --since")
    if all_:
        since_ms = _since_ms(since) if since else 0
        document = ask(url, lambda client: _restore_all(client, since_ms))
        text = f"{document['restored']} values are stored; {document['newer']} stay, since newer "
        return say(document, output, f"{text}ones are there")
    document = ask(url, lambda client: client.restore_quarantined(number))
    say(document, output, f"{document['key']} is stored, version {document['version']}")


def discard(number: Number, url: Url = DEFAULT_URL, output: Output = Format.TABLE) -> None:
    """Forget a value for good."""
    say(
        ask(url, lambda client: client.discard_quarantined(number)),
        output,
        f"{number} is forgotten",
    )


def confirm(url: Url = DEFAULT_URL, output: Output = Format.TABLE) -> None:
    """Let a node drop the values that one member says were deleted, and that wait for a second
    member to say so: they go to its quarantine."""
    document = ask(url, lambda client: client.confirm_drops())
    say(document, output, f"{document['confirmed']} values may go, as soon as that member says so")


def _restore_all(client: Client, since_ms: int) -> dict[str, int]:
    from kvgossip.client.failures import RefusedError

    restored = newer = 0
    for value in _pages(client):
        if value["wall_ms"] < since_ms:
            continue
        try:
            client.restore_quarantined(value["number"])
            restored += 1
        except RefusedError as fault:
            if fault.status != CONFLICT:
                raise
            newer += 1
    return {"restored": restored, "newer": newer}


def _since_ms(text: str) -> int:
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1000)
    except ValueError as fault:
        text = f"{text!r} is no time: write it as 2026-05-01T08:00:00+00:00"
        raise typer.BadParameter(text) from fault


def _pages(client: Client) -> list[Any]:
    values: list[Any] = []
    after: str | None = ""
    while after is not None:
        page = client.quarantine(after)
        values += page["values"]
        after = page["after"]
    return values


def _time(wall_ms: int) -> str:
    return datetime.fromtimestamp(wall_ms / 1000, UTC).isoformat(timespec="seconds")


def register(parent: typer.Typer) -> None:
    for name, command in (
        ("list", list_values),
        ("show", show),
        ("restore", restore),
        ("discard", discard),
        ("confirm", confirm),
    ):
        app.command(name, epilog=EXIT_CODES)(command)
    parent.add_typer(app, name="quarantine", rich_help_panel="Backup")
