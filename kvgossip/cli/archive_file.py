"""The file of `export` and `import`: lines of JSON, compressed where its name ends in .zst."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from kvgossip.cli.errors import CommandError

if TYPE_CHECKING:
    from kvgossip.api.archive import Contents


def read_lines(file: Path) -> Iterator[bytes]:
    """Raises ArchiveError for damage to the compression, CommandError where it cannot be read."""
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
def written_whole(part: Path, file: Path) -> Iterator[IO[bytes]]:
    """A file that appears under its name when it is whole and on the disk."""
    from kvgossip import zstd
    from kvgossip.runtime.disk.private_file import private_file

    try:
        with private_file(part) as raw:
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


def summary(file: Path, contents: Contents) -> dict[str, Any]:
    """A file and its contents, for programs."""
    return {
        "file": str(file),
        "entries": contents.entries,
        "certificates": contents.tombstones,
        "of": contents.head,
    }


@contextmanager
def progress_bar(label: str) -> Iterator[Any]:
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
        task = progress.add_task(label, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
