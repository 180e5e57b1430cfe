"""The commands export and import: all entries of a node into a file, and back."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, cast

import typer

from kvgossip.cli.connection import DEFAULT_URL, Url, ask
from kvgossip.cli.errors import EXIT_CODES, UNUSABLE, CommandError, complain
from kvgossip.cli.output import Format, Output, say

if TYPE_CHECKING:
    from kvgossip.api.archive import Contents
    from kvgossip.api.client import Client

BATCH_LINES = 1000
BATCH_BYTES = 2**20
PROGRESS_LINES = 1000


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
        with _written(part, file) as out:
            contents = ask(url, lambda client: _fetch(client, out))
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    document = {
        **_told(file, contents),
        "bytes": file.stat().st_size,
        "seconds": round(time.monotonic() - started_s, 2),
    }
    say(
        document,
        output,
        f"{contents.entries:,} entries ({contents.certificates:,} of them death certificates) are "
        f"in {file}",
    )


async def _fetch(client: Client, out: IO[bytes]) -> Contents:
    from kvgossip.api.archive import ArchiveError, Checker

    checker, rest, count = Checker(), b"", 0
    with _progress("exporting") as advance:
        async for piece in client.export():
            *lines, rest = (rest + piece).split(b"\n")
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


def import_(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="What `kvgossip export` wrote; .zst is compressed."),
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
    document = {**_told(file, contents), "outcomes": dict(counts)}
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
    known = (
        "death certificates, left out" if as_new else "known already, or older than what is there"
    )
    return f"{counts['news']:,} new, {counts['known']:,} {known}"


async def _send(client: Client, file: Path, contents: Contents, as_new: bool) -> Counter[str]:
    """Each batch is on the disk of the node, or not at all, when the next one is sent."""
    counts: Counter[str] = Counter()
    done = sent = 0
    with _progress("importing") as advance:
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
    for line in _lines(file):
        if checker.line(line):
            batch.append(line)
            size += len(line)
        if batch and (len(batch) >= BATCH_LINES or size >= BATCH_BYTES):
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _checked(file: Path) -> Contents:
    """What the file holds. Raises CommandError unless all of it is whole."""
    from kvgossip.api.archive import ArchiveError, Checker

    checker = Checker()
    try:
        with _progress("checking") as advance:
            for number, line in enumerate(_lines(file)):
                checker.line(line)
                if number % PROGRESS_LINES == 0:
                    advance(number, None)
        return checker.contents()
    except ArchiveError as error:
        raise CommandError(
            f"{file} cannot be imported: {error}", error.hint or "nothing was changed", UNUSABLE
        ) from error


def _lines(file: Path) -> Iterator[bytes]:
    from kvgossip import zstd
    from kvgossip.api.archive import LINE_BYTES_MAX, ArchiveError

    try:
        with open(file, "rb") as raw:
            lines: Any = zstd.ZstdFile(raw) if _is_compressed(file) else raw
            while line := lines.readline(LINE_BYTES_MAX):
                yield line
    except (zstd.ZstdError, EOFError) as error:
        raise ArchiveError(f"it is damaged: {error}", "nothing was changed") from error
    except OSError as error:
        raise CommandError(
            f"cannot read {file}: {error.strerror or error}",
            "name a file that `kvgossip export` wrote",
        ) from error


@contextmanager
def _written(part: Path, file: Path) -> Iterator[IO[bytes]]:
    """A file that appears under its name when it is whole and on the disk."""
    from kvgossip import zstd

    try:
        with open(part, "wb") as raw:
            if _is_compressed(file):
                with zstd.ZstdFile(raw, "w") as out:
                    yield cast("IO[bytes]", out)
            else:
                yield raw
            raw.flush()
            os.fsync(raw.fileno())
        os.replace(part, file)
    except OSError as error:
        raise CommandError(
            f"cannot write {file}: {error.strerror or error}",
            "name a file in a directory with room",
        ) from error


def _is_compressed(file: Path) -> bool:
    return file.suffix == ".zst"


def _told(file: Path, contents: Contents) -> dict[str, Any]:
    return {
        "file": str(file),
        "entries": contents.entries,
        "certificates": contents.certificates,
        "of": contents.head,
    }


@contextmanager
def _progress(what: str) -> Iterator[Any]:
    """A bar on a terminal; nothing elsewhere. `advance(done, total)`."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("entries"),
        TimeElapsedColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def register(app: typer.Typer) -> None:
    for name, command in (("export", export), ("import", import_)):
        app.command(name, rich_help_panel="Backup", epilog=EXIT_CODES)(command)
