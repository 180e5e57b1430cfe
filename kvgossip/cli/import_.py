"""The command `import`. (The file has the underscore because `import` is a word of Python's.)"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kvgossip.cli.archive_file import progress_bar, read_lines, summary
from kvgossip.cli.connection import DEFAULT_URL, Url, ask
from kvgossip.cli.errors import EXIT_CODES, UNUSABLE, CommandError, complain
from kvgossip.cli.output import Format, Output, say

if TYPE_CHECKING:
    from kvgossip.api.archive import Contents
    from kvgossip.api.client import Client

BATCH_LINES = 1000
BATCH_BYTES = 2**20
PROGRESS_LINES = 1000


def import_(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="A file of `kvgossip export`; .zst is compressed."),
    ],
    as_new: Annotated[
        bool,
        typer.Option(
            "--as-new",
            help="Write the values anew, over whatever was written or deleted since the export.",
        ),
    ] = False,
    url: Url = DEFAULT_URL,
    output: Output = Format.TABLE,
) -> None:
    """Bring the entries of an export back, through any node, into the whole cluster.

    The whole file is checked before anything is changed. Entries keep their versions, so that what
    was written since stays, importing twice changes nothing, and what was deleted since stays
    deleted; with --as-new the exported values win instead.

    Examples:

    - `kvgossip import backup.ndjson.zst`
    - `kvgossip import backup.ndjson.zst --as-new`
    """
    contents = _checked(file)
    counts = ask(url, lambda client: _send(client, file, contents, as_new))
    document = {**summary(file, contents), "outcomes": dict(counts)}
    say(document, output, f"{contents.entries:,} entries: {_sentence(counts, as_new)}")
    if counts["collected"]:
        complain(
            f"{counts['collected']:,} were deleted since the export and stay so",
            "--as-new brings them back",
        )
    if counts["refused"]:
        raise CommandError(
            f"{counts['refused']:,} entries were refused",
            "their versions lie in the future of the node's clock",
            exit_code=1,
        )


def _sentence(counts: Counter[str], as_new: bool) -> str:
    known = "tombstones, left out" if as_new else "known already, or older than what is there"
    return f"{counts['news']:,} new, {counts['known']:,} {known}"


async def _send(client: Client, file: Path, contents: Contents, as_new: bool) -> Counter[str]:
    """Each batch is on the disk of the node, or not at all, when the next one is sent."""
    counts: Counter[str] = Counter()
    done = sent = 0
    with progress_bar("importing") as advance:
        try:
            for batch in _batches(file):
                sent = done + len(batch)
                answer = await client.import_lines(b"".join(batch), as_new)
                counts.update(answer["outcomes"])
                done = sent
                advance(done, contents.entries)
        except BaseException:
            maybe = f", entries {done + 1:,} to {sent:,} perhaps" if sent > done else ""
            complain(
                f"stopped: the first {done:,} of {contents.entries:,} entries are imported{maybe}",
                "import the file again to go on",
            )
            raise
    return counts


def _batches(file: Path) -> Iterator[list[bytes]]:
    from kvgossip.api.archive import Checker

    checker = Checker()
    batch: list[bytes] = []
    size = 0
    for line in read_lines(file):
        if checker.line(line):
            batch.append(line)
            size += len(line)
        if batch and (len(batch) >= BATCH_LINES or size >= BATCH_BYTES):
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _checked(file: Path) -> Contents:
    """The contents of the file. Raises CommandError unless all of it is whole."""
    from kvgossip.api.archive import ArchiveError, Checker

    checker = Checker()
    try:
        with progress_bar("checking") as advance:
            for number, line in enumerate(read_lines(file)):
                checker.line(line)
                if number % PROGRESS_LINES == 0:
                    advance(number, None)
        return checker.contents()
    except ArchiveError as error:
        raise CommandError(
            f"{file} cannot be imported: {error}", error.hint or "nothing was changed", UNUSABLE
        ) from error


def register(app: typer.Typer) -> None:
    app.command("import", rich_help_panel="Backup", epilog=EXIT_CODES)(import_)
