"""ConfigCache: the configuration of a program, as the cluster has it, inside its own process.

    config = ConfigCache("shop/", cluster="shop", join=["10.0.0.5"], data_dir="/var/lib/shop")
    config["theme"]

Laws
- A cache opens nothing until it is read, written, or told to; to import, to bind models and to
  register callbacks is none of these. A value that `override` gives is read without opening it.
- Every method may be called on any thread. A read waits for the first opening, and then for
  nothing; `get` never fails.
- Where it cannot be opened, readers get defaults, `status` and the log say why, and it is tried
  again; `open`, the context managers, and writes raise.
- A closed cache keeps its last values. Readers and writers do not open it again; `open` does, and
  whatever waits for it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, TypeVar

from kvgossip.cache import forks
from kvgossip.cache.applying import Applying
from kvgossip.cache.binding import Bound
from kvgossip.cache.callbacks import Callbacks
from kvgossip.cache.decoding import encode
from kvgossip.cache.life import Life
from kvgossip.cache.making import of_this_host, of_urls
from kvgossip.cache.news import Change
from kvgossip.cache.opening import Opening, awaited, waited
from kvgossip.cache.resolution import RESERVED
from kvgossip.cache.source import Record, Source
from kvgossip.cache.staleness import Staleness
from kvgossip.cache.status import Refusal, Status
from kvgossip.cache.table import Snapshot, Table, Unopened
from kvgossip.errors import ConfigError, LocalError
from kvgossip.protocol.model.key import check_key

if TYPE_CHECKING:
    from kvgossip.cache.on_loop import Changes
    from kvgossip.cache.releases import Release, Releases
    from kvgossip.releases.target import Target

STALE_AFTER_S = 60.0

M = TypeVar("M")
OnChange = TypeVar("OnChange", bound=Callable[[Change], object])
OnRefused = TypeVar("OnRefused", bound=Callable[[Refusal], object])
OnStale = TypeVar("OnStale", bound=Callable[[Status], object])


class ConfigCache(Life):
    """All keys under `prefix`, which ends with a `/`; names of keys are without it.

    `cluster`, `join`, `data_dir`, `profile` and `parameters` are of the node that this process has
    where it is a member (see Config); ConfigError for what is wrong with them comes at once, or
    when it is to be the member, where another process of the host is that already.
    `defaults`: values by name, for keys that are not there. `stale_after_s`: `status` says *stale*
    once no exchange has completed for so long; more than twice the `push_pull_interval_s`.
    """

    __slots__ = (
        "__weakref__",
        "_callbacks",
        "_decoded",
        "_releases",
        "_table",
    )

    def __init__(
        self,
        prefix: str = "",
        *,
        cluster: str | None = None,
        join: Sequence[str] | str = (),
        data_dir: str | os.PathLike[str] = "",
        defaults: Mapping[str, Any] | None = None,
        stale_after_s: float = STALE_AFTER_S,
        profile: str = "lan",
        **parameters: Any,
    ) -> None:
        if cluster is not None:
            parameters["cluster"] = cluster
        targets = join if isinstance(join, str) else list(join)
        given = {**parameters, "join": targets, "data_dir": os.fspath(data_dir)}
        make_source = of_this_host(given, profile, prefix)
        self._set_up(make_source, prefix, defaults or {}, stale_after_s)

    @classmethod
    def static(cls, values: Mapping[str, Any], prefix: str = "") -> ConfigCache:
        """One with these values, without a node and a socket: for tests. What is written is there,
        in this object alone."""
        from kvgossip.cache.static_source import StaticSource

        return cls._over(StaticSource, prefix, values)

    @classmethod
    def follow(
        cls,
        url: str | Sequence[str],
        prefix: str = "",
        *,
        token: str = "",
        ca: str = "",
        file: str | os.PathLike[str] = "",
        defaults: Mapping[str, Any] | None = None,
        stale_after_s: float = STALE_AFTER_S,
    ) -> ConfigCache:
        """One that follows a node over HTTP: of several URLs the first that answers. `token`: its
        right; `ca`: a file of the certificates that are believed, instead of the machine's; `file`:
        where the values are kept for a start while no node answers. Raises ConfigError for what is
        no URL."""
        urls = [url] if isinstance(url, str) else list(url)
        make_source = of_urls(urls, prefix, token, ca, os.fspath(file))
        return cls._over(make_source, prefix, defaults, stale_after_s)

    @classmethod
    def _over(
        cls,
        make_source: Callable[[], Source],
        prefix: str,
        defaults: Mapping[str, Any] | None = None,
        stale_after_s: float = STALE_AFTER_S,
    ) -> ConfigCache:
        """One whose data is from there; `make_source()` is called at each opening."""
        cache = cls.__new__(cls)
        cache._set_up(make_source, prefix, defaults or {}, stale_after_s)
        return cache

    def _set_up(
        self,
        make_source: Callable[[], Source],
        prefix: str,
        defaults: Mapping[str, Any],
        stale_after_s: float,
    ) -> None:
        _check_prefix(prefix)
        self.prefix = prefix
        self._table: Table | Unopened
        self._releases: Releases | None = None
        self._callbacks = Callbacks(prefix or "all keys")
        self._applying = Applying(prefix, dict(defaults), self._callbacks)
        self._staleness = Staleness(
            self._applying.title, stale_after_s, self._status, self._callbacks.turned
        )
        self._opening = Opening(make_source, self._applying, self._staleness)
        self._applying.present(self._show, self._opening.table)
        forks.watch(self._opening)

    # -- reading ----------------------------------------------------------------------------------

    def __getitem__(self, name: str) -> Any:
        """The value: JSON where it is, else text, else bytes. It is everybody's: never change it in
        place. KeyError where there is neither a value nor a default."""
        try:
            return self._decoded[name]
        except KeyError:
            return self._table[name]

    def get(self, name: str, default: Any = None) -> Any:
        """The value, or this default; never fails, settled or not."""
        try:
            return self._decoded[name]
        except KeyError:
            return self._table.find(name, default)

    def __contains__(self, name: object) -> bool:
        return self._table.opened.has(name)

    def __len__(self) -> int:
        return len(self._table.opened.names)

    def __iter__(self) -> Iterator[str]:
        """All names as they are now, sorted."""
        return iter(self._table.opened.names)

    def snapshot(self) -> Snapshot:
        """All values as they are now, as an immutable mapping: for one request, for example."""
        return Snapshot(self._table.opened)

    def bind(self, model: type[M], prefix: str = "") -> Bound[M]:
        """The keys under this prefix as one object of a model: a dataclass, a msgspec.Struct, or a
        pydantic model. Raises LocalError for a class that is none."""
        from kvgossip.cache.models import maker_of

        bound = Bound(model, maker_of(model), prefix, self, self._applying.bind)
        self._applying.bind(bound)
        return bound

    def override(
        self, values: Mapping[str, Any] | None = None, /, **named: Any
    ) -> AbstractContextManager[None]:
        """A context in which these values come before all others, in this process: for tests."""
        return self._applying.override({**(values or {}), **named})

    # -- hearing of changes -----------------------------------------------------------------------

    def on_change(self, key: str) -> Callable[[OnChange], OnChange]:
        """A decorator: the function is called with a Change when this key changes, or any under
        this prefix (`limits/`, or all with an empty one): once for each set of changes that
        appeared together. Functions run on a thread of their own, in order; coroutine functions on
        the loop that registers them. The cache must be open to hear of anything."""

        def register(function: OnChange) -> OnChange:
            self._callbacks.on_change(key, function)
            return function

        return register

    def on_refused(self, function: OnRefused) -> OnRefused:
        """A decorator: the function is called with each Refusal, where `on_change` would call
        it."""
        self._callbacks.on_refused(function)
        return function

    def on_stale(self, function: OnStale) -> OnStale:
        """A decorator: the function is called with the Status, where `on_change` would call it:
        once the cache has become stale, and once it is fresh again."""
        self._callbacks.on_stale(function)
        return function

    def forget(self, registered: Callable[..., object] | Bound[Any]) -> None:
        """Undo `on_change`, `on_refused` and `on_stale` of this function, or `bind`, whose object
        has no `value` any more. Raises LocalError for what is not registered here."""
        if isinstance(registered, Bound):
            self._applying.unbind(registered)
        else:
            self._callbacks.forget(registered)

    def changes(self, key: str = "") -> Changes:
        """The same as an async iterator, which hears from now on and opens the cache."""
        return self._callbacks.iterate(key, self.open)

    # -- writing ----------------------------------------------------------------------------------

    def put(
        self, name: str, value: object, *, content_type: str = "", ttl_s: float | None = None
    ) -> str:
        """Write: text as text, bytes as they are, all else as JSON. Returns the version once this
        member has it, on its disk where it has one.

        Raises Refused where a bound model or a check does not take it, LocalError where a release
        is active, and as `Node.put`: then nothing was written.
        """
        return waited(self._write(name, *encode(value), content_type, ttl_s))

    def delete(self, name: str) -> str:
        """Delete; the version, empty where there was nothing. Raises as `put`."""
        return waited(self._write(name, None))

    async def aput(
        self, name: str, value: object, *, content_type: str = "", ttl_s: float | None = None
    ) -> str:
        """`put`, for a coroutine."""
        await self._opening.aopen(again=False)
        return await awaited(self._write(name, *encode(value), content_type, ttl_s))

    async def adelete(self, name: str) -> str:
        """`delete`, for a coroutine."""
        await self._opening.aopen(again=False)
        return await awaited(self._write(name, None))

    def _write(
        self,
        name: str,
        value: bytes | None,
        kind: str = "",
        content_type: str = "",
        ttl_s: float | None = None,
    ) -> Future[tuple[str, ...]]:
        """`kind`: what the content type is where none is given. A value of None deletes."""
        source = self._opening.for_writing()
        if name.startswith(RESERVED):
            raise LocalError(
                f"the name {name!r} begins with {RESERVED}, which is for releases",
                "choose another name",
            )
        key, content_type = self.prefix + name, content_type or kind
        check_key(key)
        self._applying.check(
            {name: None if value is None else Record(key, value, "", content_type)}
        )
        from kvgossip.protocol.model.write import Writing

        return source.write([Writing(key, value, content_type or None, ttl_s)])

    @property
    def releases(self) -> Releases:
        """Those of this prefix, with `status()`: what each member made of the one it is to have."""
        if self._releases is None:
            # most processes make none
            from kvgossip.cache.releases import Releases

            self._releases = Releases(self._opening.for_writing, self._applying)
        return self._releases

    def release(
        self, values: Mapping[str, Any], *, name: str = "", to: Target | None = None
    ) -> Release:
        """Make the whole set of values the release of all members, or a canary for those in `to`.
        `name`: by the time, where it is left out.

        Raises Refused where a bound model or a check of this process does not take it,
        BadReleaseError, ValueTooLargeError, ReleaseConflictError, and as `put`.
        """
        return self.releases.release(values, name, to)

    def promote(self, name: str = "") -> Release:
        """The canary is for all from now on; `name`: only if it is this one. Raises
        ReleaseConflictError."""
        return self.releases.promote(name)

    def rollback(self, name: str = "") -> Release:
        """End a canary, and go back to this release, for all; without a name, to the one that is
        for all where there is a canary, else to the one before. Raises NotFoundError,
        ReleaseConflictError."""
        return self.releases.rollback(name)

    def __repr__(self) -> str:
        return f"<ConfigCache {self.prefix!r}, {self._opening.state}>"

    def _show(self, table: Table | Unopened) -> None:
        # each read is one look-up in this, without another one of where it is
        self._table, self._decoded = table, table.decoded


def _check_prefix(prefix: str) -> None:
    if prefix and not prefix.endswith("/"):
        raise ConfigError(
            f"the prefix {prefix!r} does not end with a '/'", f"write it as {prefix + '/'!r}"
        )
    if prefix:
        check_key(prefix)
