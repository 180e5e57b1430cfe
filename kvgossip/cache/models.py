"""Models: how an object is made of each kind of class that can be bound.

The law: what fits no field as it was decoded may fit as the text that it was written as: `10` is a
number, and text where the model wants text.

msgspec, dataclasses and pydantic are imported here: a program without models does not pay for them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, get_type_hints

import msgspec

from kvgossip.cache.binding import Maker, Unfit
from kvgossip.cache.decoding import text_of
from kvgossip.errors import LocalError

NATIVE = (bytes, bytearray, memoryview)
"""Text is no value of these, though msgspec would read it as base64."""


def maker_of(model: type) -> Maker:
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
        # models have it since 2.10, and its dataclasses longer
        fields = getattr(model, "__pydantic_fields__", None) or getattr(model, "model_fields", {})
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
