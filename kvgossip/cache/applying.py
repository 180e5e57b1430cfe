"""Applying: the sink of a source - records come in, tables go out to readers, and what is refused
is reported.

Laws
- Readers see a table once it is complete, checked, and the cache is open; each set of records makes
  one, which replaces the one before.
- A source that does not know yet whose data it has changes nothing of where this process is: so a
  canary is shown until there is a reason against it.
- What is refused is reported once: in the log, to those who registered for it, and to the source.
- Code of users runs within: models and checks. It may read; it may neither write nor wait for the
  source, whose thread it holds.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from kvgossip.cache.binding import Bound
from kvgossip.cache.callbacks import Callbacks
from kvgossip.cache.resolution import RESERVED, Resolved, resolve
from kvgossip.cache.source import Applied, Record, SourceState
from kvgossip.cache.staleness import Staleness
from kvgossip.cache.status import NO_STATE, Refusal, Status
from kvgossip.cache.table import Layers, Table, Unopened
from kvgossip.cache.validation import Reasons, refusal, step
from kvgossip.errors import LocalError
from kvgossip.protocol.model.plain_text import plain

REASON_CHARACTERS_MAX = 500

log = logging.getLogger("kvgossip")


class Applying:
    """Of the records under a prefix."""

    def __init__(self, prefix: str, defaults: Mapping[str, Any], callbacks: Callbacks) -> None:
        self.prefix, self.title = prefix, prefix or "all keys"
        self.table = Table.of_defaults(defaults)
        self.state = NO_STATE
        #: what the records say, whether it is applied or not
        self.resolved = Resolved({})
        #: what is not applied, by key
        self.refusals: dict[str, Refusal] = {}
        self._refusals_total = 0
        self._callbacks = callbacks
        self._layers = self.table.layers
        self._overrides: list[Mapping[str, Any]] = []
        self._bounds: list[Bound[Any]] = []
        #: all live records by whole key, and the keys among them that are no keys of users
        self._records: dict[str, Record] = {}
        self._reserved: set[str] = set()
        #: names whose records are perhaps not applied
        self._refused: frozenset[str] = frozenset()
        #: true once records have come
        self._fed = False
        #: what readers have seen while the cache was not open; None: nothing
        self._seen: Table | None = None
        #: takes what is applied; None while the cache is not open
        self._report: Callable[[Applied], None] | None = None
        self._reported: Applied | None = None
        self._waiters: list[Future[None]] = []
        self._lock = threading.RLock()
        #: the thread that makes a table just now
        self._thread: int | None = None

    # -- of the source ----------------------------------------------------------------------------

    def replaced(self, records: Sequence[Record], *, settled: bool = False) -> None:
        with self._making():
            self._records = {record.key: record for record in records}
            self._reserved = {key for key in self._records if self._is_reserved(key)}
            self._fed = True
            self._resolve()

    def changed(self, records: Sequence[Record]) -> None:
        with self._making():
            loose = not self._reserved
            for record in records:
                if record.value is None:
                    self._records.pop(record.key, None)
                    self._reserved.discard(record.key)
                else:
                    self._records[record.key] = record
                    if self._is_reserved(record.key):
                        self._reserved.add(record.key)
            if loose and not self._reserved:
                self._take_loose(records)
            else:
                self._resolve()

    def state_changed(self, state: SourceState) -> None:
        with self._making():
            before = self.state
            if not state.node:
                state = state._replace(
                    node=before.node, zone=before.zone, datacenter=before.datacenter
                )
            self.state = state
            if self._fed and (before.node, before.zone) != (state.node, state.zone):
                self._resolve()
            waiters = self._waiters if state.settled else []
            self._waiters = [] if state.settled else self._waiters
        for waiter in waiters:
            if waiter.set_running_or_notify_cancel():
                waiter.set_result(None)

    def _is_reserved(self, key: str) -> bool:
        return key.startswith(RESERVED, len(self.prefix))

    def _take_loose(self, records: Sequence[Record]) -> None:
        """What `resolve` would make of them where there is no release, without a look at all the
        others."""
        values, start = dict(self.resolved.values), len(self.prefix)
        for record in records:
            if record.value is None:
                values.pop(record.key[start:], None)
            else:
                values[record.key[start:]] = record
        self._advance(Resolved(values), {record.key[start:] for record in records})

    def _resolve(self) -> None:
        node, zone, last = self.state.node, self.state.zone, self.resolved
        resolved = resolve(self._records, self.prefix, node, zone, last)
        before, now = self.resolved.values, resolved.values
        names = before.keys() | now.keys()
        self._advance(resolved, {name for name in names if before.get(name) != now.get(name)})

    # -- of the cache -----------------------------------------------------------------------------

    def present(self, show: Callable[[Table | Unopened], None], opens: Callable[[], Table]) -> None:
        """From now on readers see what `show` is given: a table, or, while the cache is not open,
        one that `opens`."""
        self._show, self._opens = show, opens
        self._present()

    def begin(self, report: Callable[[Applied], None]) -> None:
        """From now on readers see tables, callbacks hear of changes, and the source of what is
        applied."""
        with self._making():
            self._report, self._reported = report, None
            self._present()
            old, self._seen = self._seen, None
            if old is not None:
                names = frozenset((*old.names, *self.table.names))
                self._callbacks.changed(old, self.table, names)
            self._tell_source()

    def serve(self) -> None:
        """The cache is not open, and readers have what is here."""
        self._seen = self._seen or self.table

    def end(self) -> None:
        """The source is closed; readers keep the last table, and callbacks get what is due."""
        with self._lock:
            if self._report is not None:
                self._report = None
                self.serve()
            waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if waiter.set_running_or_notify_cancel():
                waiter.set_exception(LocalError("the cache was closed before it had settled"))
        self._callbacks.close()

    def orphan(self, *, was_open: bool) -> None:
        """In a forked child: readers open the cache again, and have what was here until then."""
        self._lock, self._thread, self._waiters = threading.RLock(), None, []
        self._callbacks.orphan()
        if was_open:
            self._report = None
            self.serve()
            self._present()

    def bind(self, bound: Bound[Any]) -> None:
        """From now on there is an object of this model; or its checks have changed."""
        with self._making():
            if bound not in self._bounds:
                self._bounds.append(bound)
            table = self.table.next(self.table.records, (), self._layers, self.table.release)
            table.models.pop(bound, None)
            made, reasons = bound.make(Table.of_defaults(self._layers.defaults))
            if reasons:
                table.models.refused[bound] = refusal(reasons)
            else:
                table.models[bound] = made
            self.table = table
            self._advance(self.resolved, bound.names)

    def unbind(self, bound: Bound[Any]) -> None:
        """There is no such object any more. Raises LocalError where there was none."""
        with self._making():
            if bound not in self._bounds:
                raise LocalError(f"{bound!r} is not bound to this cache", "give what `bind` gave")
            self._bounds.remove(bound)
            table = self.table.next(self.table.records, (), self._layers, self.table.release)
            table.models.pop(bound, None)
            table.models.refused.pop(bound, None)
            self.table = table
            # what it has refused may be good for all others
            self._advance(self.resolved, bound.names)

    @contextmanager
    def override(self, values: Mapping[str, Any]) -> Iterator[None]:
        """These values come before all others meanwhile."""
        with self._making():
            self._overrides.append(values)
            self._layer(values)
        try:
            yield
        finally:
            with self._making():
                self._overrides = [each for each in self._overrides if each is not values]
                self._layer(values)

    def _layer(self, changed: Iterable[str]) -> None:
        merged = {name: value for each in self._overrides for name, value in each.items()}
        self._layers = Layers(merged, self._layers.defaults)
        self._advance(self.resolved, changed)

    def check(self, writes: Mapping[str, Record | None]) -> None:
        """Raises Refused where these writes, None deletes, would not be applied here; LocalError
        where no single key is."""
        with self._making():
            table = self.table
            if table.release:
                raise LocalError(
                    f"under {self.prefix!r} the release {table.release!r} is active, which puts "
                    "single keys aside",
                    "make another release",
                )
            records = {**table.records, **writes}
            live = {name: record for name, record in records.items() if record is not None}
            overrides = {n: v for n, v in self._layers.overrides.items() if n not in writes}
            layers = Layers(overrides, self._layers.defaults)
            reasons = step(table, Resolved(live), writes, layers, self._bounds).reasons
            # what a model lacks by now is no fault of this write
            made = {
                name
                for bound in self._bounds
                if bound in table.models
                for name in (bound.prefix, *bound.names)
            }
        if faults := {key: why for key, why in reasons.items() if key in writes or key in made}:
            raise refusal(faults)

    def check_release(self, name: str, values: Mapping[str, Record]) -> None:
        """Raises Refused where this release would not be applied here, whatever is overridden."""
        with self._making():
            bare = Table.of_defaults(self._layers.defaults)
            names = {*values, *(name for bound in self._bounds for name in bound.names)}
            release = Resolved(dict(values), name)
            reasons = step(bare, release, names, bare.layers, self._bounds).reasons
        if reasons:
            raise refusal(reasons)

    def records(self) -> dict[str, Record]:
        """All live records by whole key, those that are no keys of users too, as they are now."""
        with self._lock:
            return dict(self._records)

    def settled(self) -> Future[None]:
        """Done once what is here is the truth of the cluster."""
        future: Future[None] = Future()
        with self._lock:
            if self.state.settled:
                future.set_result(None)
            else:
                self._waiters.append(future)
        return future

    def status(self, staleness: Staleness, problem: str) -> Status:
        """`problem`: of the cache, before that of the source."""
        with self._lock:
            state, table, resolved = self.state, self.table, self.resolved
            refused, refusals_total = tuple(self.refusals.values()), self._refusals_total
        age_s = staleness.age_s(state.exchanged_ms)
        return Status(
            settled=state.settled,
            stale=staleness.is_stale(age_s),
            age_s=age_s,
            source="defaults" if not table.records else "disk" if state.from_disk else "peers",
            role=state.role,
            node=state.node,
            release=table.release,
            pending=resolved.pending,
            refused=refused,
            ignored=resolved.ignored,
            problem=problem or resolved.problem or state.problem,
            refusals_total=refusals_total,
            became_stale_total=staleness.total,
        )

    @property
    def makes_here(self) -> bool:
        """True if this thread makes a table, so that it is a model or a check that asks."""
        return self._thread == threading.get_ident()

    # -- the next table ---------------------------------------------------------------------------

    @contextmanager
    def _making(self) -> Iterator[None]:
        with self._lock:
            before, self._thread = self._thread, threading.get_ident()
            try:
                yield
            finally:
                self._thread = before

    def _advance(self, resolved: Resolved, changed: Iterable[str]) -> None:
        old, suspects = self.table, self._refused.union(changed)
        self.resolved = resolved
        if suspects or resolved.release != old.release:
            self.table, reasons, self._refused = step(
                old, resolved, suspects, self._layers, self._bounds
            )
            self._present()
            if self._report is not None:
                self._callbacks.changed(old, self.table, suspects)
            if self._fed:
                self._note(reasons)
        self._tell_source()

    def _present(self) -> None:
        """What readers see from now on."""
        opened = self._report is not None
        self._show(self.table if opened else Unopened(self._opens, self._layers.overrides))

    def _note(self, reasons: Reasons) -> None:
        before, self.refusals = self.refusals, {}
        for key, reason in sorted(reasons.items()):
            record = self.resolved.values.get(key)
            text = plain(reason)[:REASON_CHARACTERS_MAX]
            self.refusals[key] = refused = Refusal(key, text, record.version if record else "")
            if before.get(key) != refused:
                self._refusals_total += 1
                log.warning(
                    "%s: %s is refused, and what was good last stays: %s",
                    self.title,
                    plain(key) or "the model",
                    text,
                )
                self._callbacks.refused(refused)

    def _tell_source(self) -> None:
        refused = tuple((each.key, each.reason) for each in self.refusals.values())
        # the newest release that was judged: what is refused is of that
        applied = Applied(self.prefix, self.resolved.release, refused)
        if self._fed and self._report is not None and applied != self._reported:
            self._reported = applied
            self._report(applied)
