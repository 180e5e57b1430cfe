"""Binding: a model of the user's - a dataclass, a msgspec Struct or a pydantic model - whose fields
are keys under one prefix, as one object that is replaced as a whole.

Laws
- An object is made of one table, so its fields are of one state. A key that no field has is no part
  of it, and a field that no key has is what the defaults say: the cache's, then the model's.
- Whatever goes wrong is one Refused, which names the field. Code of users may raise what it likes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, Protocol, TypeVar

from kvgossip.cache.table import Table, Unopened
from kvgossip.errors import LocalError, Refused

M = TypeVar("M")
Check = TypeVar("Check", bound=Callable[[Any], object])


class Unfit(Exception):  # noqa: N818 - users see Refused
    """No object can be made. `field`: the name of the one that does not fit, empty for several."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(reason)
        self.field = field


class Maker(Protocol):
    """Makes objects of one model. `names`: of its fields, as keys have them."""

    names: tuple[str, ...]

    def make(self, given: Mapping[str, Any], written: Mapping[str, bytes]) -> Any:
        """`given`: decoded values by field; `written`: the bytes of those that are records. Raises
        Unfit, and whatever the model raises."""


class Showing(Protocol):
    """A cache, which shows a table."""

    _table: Table | Unopened


class Bound(Generic[M]):
    """A model under a prefix. `value` is the object of now: one whole state, never half of two."""

    def __init__(
        self,
        model: type[M],
        maker: Maker,
        prefix: str,
        cache: Showing,
        recheck: Callable[[Bound[Any]], None],
    ) -> None:
        self.model, self.prefix = model, prefix
        self._maker = maker
        #: the names that its fields have in a cache
        self.names = tuple(prefix + name for name in self._maker.names)
        self._checks: list[Callable[[Any], object]] = []
        self._cache, self._recheck = cache, recheck

    @property
    def value(self) -> M:
        """Raises Refused where a field that the model needs has neither a key nor a default, and
        LocalError where the cache has forgotten the model."""
        value: M = self._cache._table.models[self]
        return value

    def check(self, function: Check) -> Check:
        """A decorator: from now on an object is applied only where `function(object)` does not
        raise. What it raises goes to the writer. It may read the cache, must be quick, and
        cannot write."""
        self._checks.append(function)
        self._recheck(self)
        return function

    def forget(self, check: Callable[[Any], object]) -> None:
        """Undo `check`. Raises LocalError for what is none of the checks."""
        if check not in self._checks:
            raise LocalError(f"{check!r} is no check of {self!r}", "give the function itself")
        self._checks.remove(check)
        self._recheck(self)

    def make(self, table: Table) -> tuple[M | None, dict[str, str]]:
        """The object that this table makes; or None, and the reasons, by the name in the cache, or
        by the prefix where no single field is to blame."""
        try:
            given = {
                field: table[name]
                for field, name in zip(self._maker.names, self.names, strict=True)
                if table.has(name)
            }
            written = {
                field: record.value or b""
                for field in given
                if (record := table.records.get(self.prefix + field)) is not None
                and self.prefix + field not in table.layers.overrides
            }
            made: M = self._maker.make(given, written)
            for check in self._checks:
                check(made)
        except Unfit as error:
            return None, {self.prefix + error.field: str(error)}
        except Refused as error:
            return None, {self.prefix: str(error)}
        except (Exception, SystemExit) as error:
            return None, {self.prefix: f"{type(error).__name__}: {error}"}
        return made, {}

    def __repr__(self) -> str:
        return f"<Bound {self.model.__name__} under {self.prefix!r}>"
