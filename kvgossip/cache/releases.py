"""Releases: the releases of one cache, over its source.

Every method waits for the source, and none may be called on the source's own thread. Nobody
coordinates: who waits for an outcome, promotes or goes back is who called. Where that process ends,
a canary stays a canary, and `kvgossip release status` says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from msgspec import Struct

from kvgossip.cache.resolution import records_in
from kvgossip.cache.source import Record, Source, SourceState
from kvgossip.protocol.model.write import Writing
from kvgossip.releases.document import (
    document_of,
    name_at,
)
from kvgossip.releases.names import (
    documents_under,
    pointer_key,
)
from kvgossip.releases.outcome import (
    MemberState,
    Outcome,
    outcome_of,
    states_of,
)
from kvgossip.releases.pointer import (
    Canary,
    Pointer,
    read_pointer,
)
from kvgossip.releases.step import Author, Step, Steps
from kvgossip.releases.target import Target

WRITE_TIMEOUT_S = 10.0
SURVEY_TIMEOUT_S = 1.0
PAUSE_S = 0.1


class ReleasesStatus(Struct, frozen=True):
    """`active`: the release that is for all, empty for the loose keys; `before`: those that were,
    newest first; `names`: all that there are. `members`: what each made of the one it is to
    have."""

    active: str
    canary: Canary | None
    before: tuple[str, ...]
    names: list[str]
    members: list[MemberState]


class Held(Protocol):
    """What this process has under a prefix (applying.py)."""

    prefix: str
    state: SourceState

    def records(self) -> Mapping[str, Record]:
        """All that its source has now, by whole key; on any thread."""

    def check_release(self, name: str, values: Mapping[str, Record]) -> None:
        """Raises Refused where this process would not apply them."""


class Releases:
    """`source`: the one that is open; raises where none can be."""

    def __init__(self, source: Callable[[], Source], held: Held) -> None:
        self._source, self._held, self._prefix = source, held, held.prefix
        #: what the last step has written: it may come back from the source later
        self._written: dict[str, Record] = {}

    def release(
        self, values: Mapping[str, Any], name: str = "", to: Target | None = None
    ) -> Release:
        """Make the whole set of values the release of all members, or a canary for those in `to`.
        `name`: by the time, where it is left out.

        Raises Refused where this process would not apply it, BadReleaseError, ValueTooLargeError,
        ReleaseConflictError, and the node's errors of a write.
        """
        author = self._author()
        document = document_of(
            self._prefix,
            name or name_at(author.at_ms),
            values,
            by=author.by,
            at_ms=author.at_ms,
        )
        self._held.check_release(document.name, records_in(document, self._prefix, ""))
        return Release(self, self._make(self._steps(author).release(document, to)))

    def promote(self, name: str = "") -> Release:
        """The canary is for all from now on; `name`: only if it is this one. Raises
        ReleaseConflictError."""
        return Release(self, self._make(self._steps(self._author()).promote(name)))

    def rollback(self, name: str = "") -> Release:
        """End a canary, and go back to this release, for all; without a name, to the one that is
        for all where there is a canary, else to the one before. Raises NotFoundError,
        ReleaseConflictError."""
        return Release(self, self._make(self._steps(self._author()).rollback(name)))

    def status(self, timeout_s: float = SURVEY_TIMEOUT_S) -> ReleasesStatus:
        """What there is, and what each member made of it. Raises BadReleaseError."""
        octets = self._read(pointer_key(self._prefix))
        pointer = Pointer(format=1) if octets is None else read_pointer(octets)
        survey = self._source().survey(self._prefix, timeout_s).result()
        start = documents_under(self._prefix)
        return ReleasesStatus(
            active=pointer.release,
            canary=pointer.canary,
            before=pointer.before,
            names=sorted(
                key.removeprefix(start)
                for key, record in self._held.records().items()
                if key.startswith(start) and record.value is not None
            ),
            members=states_of(survey, pointer.wanted),
        )

    def withdraw(self, name: str) -> Release:
        """Take this release back: as `rollback`, but only while it is the canary, or for all where
        there is none. Raises ReleaseConflictError."""
        return Release(self, self._make(self._steps(self._author()).withdraw(name)))

    def wait(self, step: Step, timeout_s: float) -> Outcome:
        """What those that the step hits made of its release: once none of them is silent, or when
        the time is up."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            left_s = max(deadline_s - time.monotonic(), 0.0)
            survey = self._source().survey(self._prefix, min(left_s, SURVEY_TIMEOUT_S)).result()
            outcome = outcome_of(survey, step.release, step.hits)
            if not outcome.silent or time.monotonic() >= deadline_s:
                return outcome
            time.sleep(min(PAUSE_S, max(deadline_s - time.monotonic(), 0.0)))

    def _author(self) -> Author:
        self._source()  # with it comes the name of the node
        return Author(self._held.state.node, time.time_ns() // 1_000_000)

    def _steps(self, author: Author) -> Steps:
        survey = self._source().survey(self._prefix, SURVEY_TIMEOUT_S).result()
        return Steps(self._prefix, self._read, survey, author)

    def _make(self, step: Step) -> Step:
        writings = [each for each in (step.document, step.pointer) if each is not None]
        # one after the other: a pointer is followed once its document stands
        self._written = {each.key: self._write(each) for each in writings}
        return step

    def _write(self, writing: Writing) -> Record:
        (version,) = self._source().write([writing]).result(WRITE_TIMEOUT_S)
        return Record(writing.key, writing.value, version, writing.content_type or "")

    def _read(self, key: str) -> bytes | None:
        found = [
            record for each in (self._held.records(), self._written) if (record := each.get(key))
        ]
        return max(found, key=lambda record: record.version).value if found else None


class Release:
    """A release that is written, or that one went back to. `name`: empty for the loose keys.
    `hits`: the members that are alive and are to have it."""

    def __init__(self, releases: Releases, step: Step) -> None:
        self._releases, self._step = releases, step
        self.name, self.hits = step.release, step.hits

    def __repr__(self) -> str:
        return f"<Release {self.name or 'loose keys'!r} for {len(self.hits)} members>"

    def wait(self, timeout_s: float = 5.0) -> Outcome:
        """What they made of it: once all have answered for it, or when the time is up."""
        return self._releases.wait(self._step, timeout_s)

    def promote(self) -> Release:
        """For all from now on. Raises ReleaseConflictError where it is no canary any more."""
        return self._releases.promote(self.name)

    def rollback(self) -> Release:
        """Take it back. Raises ReleaseConflictError where another one has its place by now."""
        return self._releases.withdraw(self.name)
