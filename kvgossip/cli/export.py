"""The command `export`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from kvgossip.cli.archive_file import progress_bar, summary, written_whole
from kvgossip.cli.connection import DEFAULT_URL, Url, ask
from kvgossip.cli.errors import EXIT_CODES, CommandError
from kvgossip.cli.output import Format, Output, say

if TYPE_CHECKING:
    from kvgossip.api.archive import Contents
    from kvgossip.client.client import Client


def export(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="Lines of JSON; a name that ends in .zst is compressed."
        ),
    ],
    url: Url = DEFAULT_URL,
    output: Output = Format.TABLE,
) -> None:
    """Write all entries of a node, as they are at one moment, into a file: with versions and
    tombstones, sorted by key.

    The node goes on meanwhile. The file appears under its name only when it is whole, and carries a
    checksum.

    Examples:

    - `kvgossip export backup.ndjson.zst`
    - `kvgossip export /dev/shm/now.ndjson --url http://10.0.0.5:7480`
    """
    started_s = time.monotonic()
    part = file.with_name(file.name + ".part")
    try:
        with written_whole(part, file) as out:
            contents = ask(url, lambda client: _fetch(client, out))
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    document = {
        **summary(file, contents),
        "bytes": file.stat().st_size,
        "seconds": round(time.monotonic() - started_s, 2),
    }
    tombstones = f"{contents.tombstones:,} of them tombstones"
    say(document, output, f"{contents.entries:,} entries ({tombstones}) are in {file}")


def _fetch(client: Client, out: IO[bytes]) -> Contents:
    from kvgossip.api.archive import ArchiveError, Checker

    checker, rest, count = Checker(), b"", 0
    with progress_bar("exporting") as advance:
        for chunk in client.export():
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                checker.line(line + b"\n")
            out.write(b"".join(line + b"\n" for line in lines))
            count += len(lines)
            advance(count, None)
    try:
        return checker.contents()
    except ArchiveError as error:
        raise CommandError(
            f"the node stopped in the middle: {error}",
            "no file was written; try again, or ask another node",
        ) from error


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Backup", epilog=EXIT_CODES)(export)
