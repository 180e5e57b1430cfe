"""The command `import`. (The file has the underscore because `import` is a word of Python's.)"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from kvgossip.cli.archive_file import progress_bar, read_lines, summary
from kvgossip.cli.connection import DEFAULT_URL, Url, ask
from kvgossip.cli.errors import EXIT_CODES, UNUSABLE, CommandError, complain
from kvgossip.cli.output import Format, Output, say

if TYPE_CHECKING:
    from kvgossip.api.archive import Contents
    from kvgossip.client.client import Client

BATCH_LINES = 1000
BATCH_BYTES = 2**20
PROGRESS_LINES = 1000
NAMES_SHOWN = 20
AHEAD_S = 1.0
WAIT_S_MIN = 0.2


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
    wait: Annotated[
        bool,
        typer.Option("--wait", help="Wait for entries that lie in the future of the node's clock."),
    ] = False,
    url: Url = DEFAULT_URL,
    output: Output = Format.TABLE,
) -> None:
    """Bring the entries of an export back, through any node, into the whole cluster.

    The whole file is checked before anything is changed. Entries keep their versions, so that what
    was written since stays, importing twice changes nothing, and what was deleted since stays
    deleted; with --as-new the exported values win instead.

    An entry whose version is more than a second ahead of the node's clock is left out and named,
    and the exit code is 1; with --wait it is imported as soon as it is due.

    Examples:

    - `kvgossip import backup.ndjson.zst`
    - `kvgossip import backup.ndjson.zst --as-new`
    """
    contents = _checked(file)
    sending = Sending(file, contents, as_new=as_new)
    ask(url, lambda client: sending.send(client, wait=wait))
    counts, early = sending.counts, sending.early
    document = {
        **summary(file, contents),
        "outcomes": dict(counts),
        "ahead": [{"key": each.key, "version": each.version} for each in early],
    }
    say(document, output, f"{contents.entries:,} entries: {_sentence(counts, as_new)}")
    if counts["collected"]:
        complain(
            f"{counts['collected']:,} were deleted since the export and stay so",
            "--as-new brings them back",
        )
    if early:
        names = ", ".join(each.key for each in early[:NAMES_SHOWN])
        more = f" and {len(early) - NAMES_SHOWN:,} more" if len(early) > NAMES_SHOWN else ""
        raise CommandError(
            f"{len(early):,} entries are left out, since their versions lie in the future of the "
            f"node's clock: {names}{more}",
            "--wait imports them when they are due, the last one in "
            f"{max(each.due_s for each in early) - time.monotonic():,.0f} s",
            exit_code=1,
        )


def _sentence(counts: Counter[str], as_new: bool) -> str:
    known = "tombstones, left out" if as_new else "known already, or older than what is there"
    return f"{counts['news']:,} new, {counts['known']:,} {known}"


class Early(NamedTuple):
    """An entry that is not due yet; `due_s`: when it is, by this machine's monotonic clock."""

    line: bytes
    key: str
    version: str
    due_s: float


class Sending:
    """A file on its way into a node. Each batch is on the disk of the node, or not at all, when the
    next one is sent."""

    def __init__(self, file: Path, contents: Contents, *, as_new: bool) -> None:
        self._file, self._contents, self._as_new = file, contents, as_new
        self.counts: Counter[str] = Counter()
        #: the entries that were left out
        self.early: list[Early] = []

    def send(self, client: Client, *, wait: bool) -> None:
        entries, done, sent = self._contents.entries, 0, 0
        with progress_bar("importing") as advance:
            try:
                for batch in _batches(self._file):
                    sent = done + len(batch)
                    self._send_batch(client, batch)
                    done = sent
                    advance(done, entries)
            except BaseException:
                maybe = f", entries {done + 1:,} to {sent:,} perhaps" if sent > done else ""
                complain(
                    f"stopped: the first {done:,} of {entries:,} entries are imported{maybe}",
                    "import the file again to go on",
                )
                raise
        while wait and self.early:
            self._send_early(client)

    def _send_batch(self, client: Client, batch: Sequence[bytes]) -> None:
        answer = client.import_lines(b"".join(batch), self._as_new)
        self.counts.update(answer["outcomes"])
        now_s = time.monotonic()
        for each in answer.get("ahead", ()):
            due_s = now_s + max(each["ahead_s"] - AHEAD_S, 0.0)
            line = batch[each["line"] - 1]
            self.early.append(Early(line, each["key"], each["version"], due_s))

    def _send_early(self, client: Client) -> None:
        """Wait for the first ones, and send those that are due by then."""
        self.early.sort(key=lambda each: each.due_s)
        wait_s = max(self.early[0].due_s - time.monotonic(), WAIT_S_MIN)
        if wait_s >= 1:
            complain(f"waiting {wait_s:,.0f} s for {len(self.early):,} entries that are not due")
        time.sleep(wait_s)
        batch: list[bytes] = []
        size, now_s = 0, time.monotonic()
        for each in self.early[:BATCH_LINES]:
            if each.due_s > now_s or size >= BATCH_BYTES:
                break
            batch.append(each.line)
            size += len(each.line)
        self.early = self.early[len(batch) :]
        self.counts["refused"] -= len(batch)
        if batch:
            self._send_batch(client, batch)


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
