"""Switches in queries: `?recurse`, `recurse=true` and `recurse=1` mean yes, `false` and `0` no."""

from __future__ import annotations

from kvgossip.api.http.errors import RequestError

# The words of Go's ParseBool, in any case: Python's clients send True.
_MEANINGS = {"": True, "true": True, "t": True, "1": True, "false": False, "f": False, "0": False}


def is_on(name: str, text: str) -> bool:
    """Raises RequestError(400) for text that is neither: to guess would be to do another thing than
    was asked."""
    meaning = _MEANINGS.get(text.lower())
    if meaning is None:
        raise RequestError(
            400,
            f"{name} = {text[:100]!r} is neither true nor false",
            f"write {name}, {name}=true or {name}=1 for yes, {name}=false or {name}=0 for no",
        )
    return meaning
