"""Table: what readers see. A table is never changed, but replaced by the next one as a whole, so
that whoever reads twice from one of them reads one state.

A read is one look-up in a dict, `decoded`. Values are decoded when they are asked for first, and
the next table takes over what was decoded: ten thousand keys cost nothing until they are read.

`Unopened` stands where the table will be until there is one. It has nothing but what `override`
gives, so that the first read finds nothing, and opens the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from kvgossip.cache.decoding import decode
from kvgossip.cache.source import Record
from kvgossip.errors import LocalError, Refused

NO_RECORDS: dict[str, Record] = {}


class Layers(NamedTuple):
    """What this process itself says: before all records, and where there is none."""

    overrides: Mapping[str, Any]
    defaults: Mapping[str, Any]


class Models(dict[object, Any]):
    """The objects that bound models are made into, by their Bound; what none could be made of is in
    `refused`."""

    __slots__ = ("refused",)

    def __init__(self, models: Models | None = None) -> None:
        super().__init__(models or {})
        self.refused: dict[object, Refused] = {} if models is None else dict(models.refused)

    def __missing__(self, bound: object) -> Any:
        if bound not in self.refused:
            raise LocalError(f"{bound!r} is forgotten", "bind the model again")
        refused = self.refused[bound]
        raise Refused(str(refused), refused.hint)


class Table:
    """`decoded`: values by name, as far as they were asked for; those that are not records from the
    beginning. `records`: all of them by name, of the release `release`; never changed once they are
    here."""

    __slots__ = ("_names", "decoded", "layers", "models", "records", "release")

    def __init__(self, decoded: Mapping[str, Any], layers: Layers, release: str) -> None:
        #: a plain dict, since that is what the interpreter looks up soonest
        self.decoded = dict(decoded)
        self.layers, self.release = layers, release
        self.records = NO_RECORDS
        self.models = Models()
        self._names: tuple[str, ...] | None = None

    @classmethod
    def of_defaults(cls, defaults: Mapping[str, Any]) -> Table:
        return cls(defaults, Layers({}, defaults), "")

    def __getitem__(self, name: str) -> Any:
        if name not in self.decoded:
            record = self.records.get(name)
            if record is None:
                raise KeyError(name) from None
            self.decoded[name] = decode(record)
        return self.decoded[name]

    @property
    def opened(self) -> Table:
        return self

    def next(
        self, records: dict[str, Record], changed: Iterable[str], layers: Layers, release: str
    ) -> Table:
        """The table with these records. `changed`: all names whose record, default or override is
        another one now."""
        table = Table(self.decoded, layers, release)
        table.records, table.models = records, Models(self.models)
        overrides, defaults = layers
        for name in changed:
            if name in overrides:
                table.decoded[name] = overrides[name]
            elif name not in records and name in defaults:
                table.decoded[name] = defaults[name]
            else:
                table.decoded.pop(name, None)
        return table

    def find(self, name: str, default: Any = None) -> Any:
        """The value; the default where there is none."""
        return self[name] if self.has(name) else default

    def has(self, name: object) -> bool:
        # what is decoded is a record of this table, or of the layers
        return name in self.records or name in self.decoded

    @property
    def names(self) -> tuple[str, ...]:
        """All names, sorted."""
        if self._names is None:
            overrides, defaults = self.layers
            self._names = tuple(sorted({**defaults, **self.records, **overrides}))
        return self._names


class Unopened:
    """`opens()` opens the cache, and gives its table; `decoded` is what needs no table."""

    __slots__ = ("_opens", "decoded")

    def __init__(self, opens: Callable[[], Table], overrides: Mapping[str, Any]) -> None:
        self._opens, self.decoded = opens, dict(overrides)

    def __getitem__(self, name: str) -> Any:
        return self._opens()[name]

    def find(self, name: str, default: Any) -> Any:
        return self._opens().find(name, default)

    @property
    def opened(self) -> Table:
        return self._opens()

    @property
    def models(self) -> Models:
        return self._opens().models


class Snapshot(Mapping[str, Any]):
    """One state of a cache, which stays as it is: for all of one request."""

    __slots__ = ("_table",)

    def __init__(self, table: Table) -> None:
        self._table = table

    @property
    def release(self) -> str:
        """The release whose values these are; empty where keys were written one by one."""
        return self._table.release

    def __getitem__(self, name: str) -> Any:
        return self._table[name]

    def __contains__(self, name: object) -> bool:
        return self._table.has(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._table.names)

    def __len__(self) -> int:
        return len(self._table.names)

    def __repr__(self) -> str:
        return f"Snapshot({dict(self)!r}, release={self.release!r})"
