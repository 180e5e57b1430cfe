"""What should be alike on all members: the keys that seal, and the tokens that HTTP asks for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TypeVar

from kvgossip.protocol.doctor.finding import Finding
from kvgossip.protocol.doctor.shell_report import NO_TOKENS

T = TypeVar("T")


def alike(
    keyrings: Mapping[str, tuple[str, ...]], tokens: Mapping[str, str], observer: str, pool: str
) -> Iterator[Finding]:
    """The members that differ from most others. By name: the ids of their keys, the primary one
    first, and the fingerprints of their tokens; empty where there is none, or it is not said."""
    yield from _keys({name: keys for name, keys in keyrings.items() if keys}, observer, pool)
    yield from _tokens({name: each for name, each in tokens.items() if each}, observer, pool)


def usual(values: Mapping[str, T], observer: str) -> T:
    """What most of them have, of which there is one at least; of two that as many have, the
    observer's."""
    counts = Counter(values.values())
    return max(
        counts,
        key=lambda each: (counts[each], observer in values and values[observer] == each),
    )


def _keys(rings: Mapping[str, tuple[str, ...]], observer: str, pool: str) -> Iterator[Finding]:
    if not rings:
        return
    primary = usual({name: keys[0] for name, keys in rings.items()}, observer)
    for name, keys in rings.items():
        if primary not in keys:
            text = (
                f"{name} lacks the key {primary}, with which most others seal: `kvgossip keyring "
                "install` it there"
            )
            yield Finding("key_missing", pool, (name,), text)
        elif keys[0] != primary:
            text = (
                f"{name} uses an older key, {keys[0]}, while most others seal with {primary}: "
                f"`kvgossip keyring use {primary}`"
            )
            command = f"kvgossip keyring use {primary}"
            yield Finding("key_older", pool, (name,), text, command)


def _tokens(fingerprints: Mapping[str, str], observer: str, pool: str) -> Iterator[Finding]:
    asking = {name: each for name, each in fingerprints.items() if each != NO_TOKENS}
    if not asking:
        return
    most = usual(asking, observer)
    for name, tokens in fingerprints.items():
        if tokens == NO_TOKENS:
            text = f"{name} asks for no tokens, and others do: start it with their --tokens FILE"
            yield Finding("tokens_missing", pool, (name,), text)
        elif tokens != most:
            text = (
                f"{name} has other tokens ({tokens}) than most others ({most}): give all nodes "
                "the same tokens file"
            )
            yield Finding("tokens_differ", pool, (name,), text)
