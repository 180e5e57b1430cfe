"""Shapes: what is read of JSON that another process wrote, and nothing else.

A shape makes a value of what a JSON parser gave, or raises ValueError. Bytes are not in the JSON,
but behind it, and `octets` takes them from there in their order.
"""

from __future__ import annotations

from collections.abc import Callable
from sys import intern
from typing import Any

COUNT_MAX = 2**64 - 1


class Values:
    """The bytes behind a JSON, from `place` on."""

    def __init__(self, body: bytes, place: int) -> None:
        self._body, self._place = body, place

    def take(self, length: int) -> bytes:
        start, self._place = self._place, self._place + length
        if self._place > len(self._body):
            raise ValueError("values that have not come")
        return self._body[start : self._place]

    def end(self) -> None:
        """Raises ValueError where there is more."""
        if self._place != len(self._body):
            raise ValueError("values that nobody speaks of")


Shape = Callable[[Any, Values], Any]


def text(given: Any, _: Values) -> str:
    if type(given) is not str:
        raise ValueError("no text")
    # raises for half of a surrogate pair
    given.isascii() or given.encode()
    return given


def interned(given: Any, values: Values) -> str:
    """Text that many have in common."""
    return intern(text(given, values))


def count(given: Any, _: Values) -> int:
    if type(given) is not int or not 0 <= given <= COUNT_MAX:
        raise ValueError("no count")
    return given


def number(given: Any, _: Values) -> float:
    if type(given) not in (int, float):
        raise ValueError("no number")
    return float(given)


def flag(given: Any, _: Values) -> bool:
    if type(given) is not bool:
        raise ValueError("neither true nor false")
    return given


def octets(given: Any, values: Values) -> bytes | None:
    return None if given is None else values.take(count(given, values))


def optional(shape: Shape) -> Shape:
    return lambda given, values: None if given is None else shape(given, values)


def many(shape: Shape) -> Shape:
    def read(given: Any, values: Values) -> tuple[Any, ...]:
        if type(given) is not list:
            raise ValueError("no array")
        return tuple([shape(each, values) for each in given])

    return read


def row(make: Callable[..., Any], *shapes: Shape) -> Shape:
    """An array with one element for each of these."""

    def read(given: Any, values: Values) -> Any:
        if type(given) is not list:
            raise ValueError("no array")
        return make(*[shape(each, values) for shape, each in zip(shapes, given, strict=True)])

    return read
