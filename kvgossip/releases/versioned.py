"""Versioned: JSON that says its own format, as the entries of releases do.

Fields that this version does not know are ignored; a newer format is refused, in words.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from kvgossip.errors import BadReleaseError

T = TypeVar("T")


class _Format(Struct, frozen=True):
    format: int


def read(octets: bytes, kind: type[T], newest: int, what: str, hint: str) -> T:
    """The value of this kind, of format `newest` or older. `what` and `hint`: for the errors.
    Raises BadReleaseError."""
    check_format(parsed(octets, _Format, what, hint).format, newest, what)
    value: T = parsed(octets, kind, what, hint)
    return value


def check_format(found: int, newest: int, what: str) -> None:
    """Raises BadReleaseError."""
    if found > newest:
        raise BadReleaseError(
            f"{what} is of format {found}, and this version reads {newest}",
            "upgrade kvgossip here; until then what was there before stays",
        )


def parsed(octets: bytes | msgspec.Raw, kind: Any, what: str, hint: str) -> Any:
    """The value of this kind, of whatever format. Raises BadReleaseError."""
    try:
        return msgspec.json.decode(octets, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadReleaseError(f"{what} cannot be read: {error}", hint) from None
