"""Names: the keys under which releases lie. By itself, since who follows a member loads little."""

from __future__ import annotations

RESERVED = "@"
"""Names that begin so are no keys of users."""
LOOSE = ""
"""In place of a release: the loose keys."""


def documents_under(prefix: str) -> str:
    """The prefix of the keys of all releases."""
    return f"{prefix}@release/"


def document_key(prefix: str, name: str) -> str:
    return f"{documents_under(prefix)}{name}"


def pointer_key(prefix: str) -> str:
    return f"{prefix}@active"
