"""Binding: a model of the user's - a dataclass, a msgspec Struct or a pydantic model - whose fields
are keys under one prefix, as one object that is replaced as a whole.

Laws
- An object is made of one table, so its fields are of one state. A key that no field has is no part
  of it, and a field that no key has is what the defaults say: the cache's, then the model's.
- What fits no field as it was decoded may fit as the text that it was written as: `10` is a number,
  and text where the model wants text.
- Whatever goes wrong is one Refused, which names the field. Code of users may raise what it likes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Generic, Protocol, TypeVar, get_type_hints

import msgspec

from kvgossip.cache.decoding import text_of
from kvgossip.cache.table import Table, Unopened
from kvgossip.errors import LocalError, Refused

M = TypeVar("M")
Check = TypeVar("Check", bound=Callable[[Any], object])

NATIVE = (bytes, bytearray, memoryview)
"""Text is no value of these, though msgspec would read it as base64."""


class Unfit(Exception):  # noqa: N818 - it never leaves this module
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
        prefix: str,
        cache: Showing,
        recheck: Callable[[Bound[Any]], None],
    ) -> None:
        self.model, self.prefix = model, prefix
        self._maker = _maker_of(model)
        #: the names that its fields have in a cache
        self.names = tuple(prefix + name for name in self._maker.names)
        self._checks: list[Callable[[Any], object]] = []
        self._cache, self._recheck = cache, recheck

    @property
    def value(self) -> M:
        """Raises Refused where a field that the model needs has neither a key nor a default."""
        value: M = self._cache._table.models[self]
        return value

    def check(self, function: Check) -> Check:
        """A decorator: from now on an object is applied only where `function(object)` does not
        raise. What it raises is told to the writer. It may read the cache, must be quick, and
        cannot write."""
        self._checks.append(function)
        self._recheck(self)
        return function

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


def _maker_of(model: type) -> Maker:
    """Raises LocalError for what is no model."""
    if hasattr(model, "__pydantic_validator__"):
        return PydanticMaker(model)
    if isinstance(model, type) and issubclass(model, msgspec.Struct):
        return PlainMaker(model, model.__struct_encode_fields__, model.__struct_fields__)
    if isinstance(model, type) and dataclasses.is_dataclass(model):
        names = tuple(each.name for each in dataclasses.fields(model) if each.init)
        return PlainMaker(model, names, names)
    raise LocalError(
        f"{model!r} cannot be bound", "bind a dataclass, a msgspec.Struct or a pydantic model"
    )


class PlainMaker:
    """Of dataclasses and Structs, which msgspec checks. `fields`: as the class itself names
    them."""

    def __init__(self, model: type, names: tuple[str, ...], fields: tuple[str, ...]) -> None:
        self._model, self.names = model, names
        try:
            msgspec.msgpack.Decoder(model)
            hints = get_type_hints(model, include_extras=True)
        except Exception as error:
            raise LocalError(
                f"{model.__name__} cannot be bound: {error}",
                "its types must be those that msgspec takes, or make it a pydantic model",
            ) from error
        self._types = {name: hints[field] for name, field in zip(names, fields, strict=True)}

    def make(self, given: Mapping[str, Any], written: Mapping[str, bytes]) -> Any:
        try:
            return self._convert(given, self._model)
        except msgspec.ValidationError as error:
            fitting = {name: self._fitting(name, given[name], written) for name in given}
            if all(fitting[name] is given[name] for name in given):
                raise Unfit("", str(error)) from None
        try:
            return self._convert(fitting, self._model)
        except msgspec.ValidationError as error:
            raise Unfit("", str(error)) from None

    def _fitting(self, name: str, value: Any, written: Mapping[str, bytes]) -> Any:
        """What of a value fits the field: as it was decoded, as text, as bytes."""
        try:
            self._convert(value, self._types[name])
            return value
        except msgspec.ValidationError as error:
            reason = str(error)
        for candidate in _as_written(written.get(name)):
            try:
                self._convert(candidate, self._types[name])
                return candidate
            except msgspec.ValidationError:
                continue
        raise Unfit(name, reason)

    @staticmethod
    def _convert(value: Any, kind: Any) -> Any:
        return msgspec.convert(value, kind, builtin_types=NATIVE, str_keys=True)


class PydanticMaker:
    """Of pydantic's models and dataclasses, which know best what they take."""

    def __init__(self, model: type) -> None:
        pydantic = import_module("pydantic")
        self._refused: type[Exception] = pydantic.ValidationError
        self._validate: Callable[[Any], Any] = pydantic.TypeAdapter(model).validate_python
        fields = getattr(model, "__pydantic_fields__", {})
        self.names = tuple(_alias(name, field) for name, field in fields.items())

    def make(self, given: Mapping[str, Any], written: Mapping[str, bytes]) -> Any:
        try:
            return self._validate(dict(given))
        except self._refused as error:
            reason = _reason_of(error)
            blamed = _blamed(error)
        fitting = {
            name: next(_as_written(written.get(name)), value) if name in blamed else value
            for name, value in given.items()
        }
        try:
            return self._validate(fitting)
        except self._refused:
            field, text = reason
            raise Unfit(field, text) from None


def _alias(name: str, field: Any) -> str:
    alias = field.validation_alias or field.alias
    return alias if isinstance(alias, str) else name


def _blamed(error: Any) -> set[str]:
    return {str(each["loc"][0]) for each in error.errors() if each["loc"]}


def _reason_of(error: Any) -> tuple[str, str]:
    """The field, and what is wrong with it, of the first mistake; the field is empty where it is
    the whole."""
    first = error.errors()[0]
    field = str(first["loc"][0]) if first["loc"] else ""
    deeper = "".join(f"[{part!r}]" for part in first["loc"][1:])
    return field, f"{first['msg']}{f', at {deeper}' if deeper else ''}"


def _as_written(value: bytes | None) -> Any:
    """What was written, as text where it is text, then as bytes."""
    if value is not None:
        text = text_of(value)
        if text is not None:
            yield text
        yield value
