"""Text of others - the words of a refusal, of a condition, the name of a cluster - as it is logged
and shown: in quotes, so that nobody takes it for words of this node, and without characters that a
terminal obeys or a reader does not see (control and format characters, such as those that turn the
direction of a line)."""

from __future__ import annotations


def plain(text: str) -> str:
    """Its characters that are seen, and spaces."""
    return text if text.isprintable() else "".join(filter(str.isprintable, text))


def quoted(text: str) -> str:
    """The same in quotes, of which it has none inside; empty where it is."""
    quotes = plain(text).replace('"', "'")
    return f'"{quotes}"' if quotes else ""
