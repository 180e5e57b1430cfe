"""What should be alike on all members: the keys that seal, and the tokens that HTTP asks for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from kvgossip.protocol.doctor.finding import Finding
from kvgossip.protocol.doctor.shell_report import NO_TOKENS
from kvgossip.protocol.effect import DoctorReport


def alike(report: DoctorReport) -> Iterator[Finding]:
    """The members that differ from most others."""
    yield from _keys(report)
    yield from _tokens(report)


def _keys(report: DoctorReport) -> Iterator[Finding]:
    rings = {
        name: condition.keys for name, condition in report.conditions.items() if condition.keys
    }
    primaries = Counter(keys[0] for keys in rings.values())
    if not primaries:
        return
    usual = max(
        primaries, key=lambda key: (primaries[key], rings.get(report.observer, ("",))[0] == key)
    )
    for name, keys in rings.items():
        if usual not in keys:
            text = (
                f"{name} lacks the key {usual}, with which most others seal: `kvgossip keyring "
                "install` it there"
            )
            yield Finding("key_missing", report.pool, (name,), text)
        elif keys[0] != usual:
            text = (
                f"{name} uses an older key, {keys[0]}, while most others seal with {usual}: "
                f"`kvgossip keyring use {usual}`"
            )
            command = f"kvgossip keyring use {usual}"
            yield Finding("key_older", report.pool, (name,), text, command)


def _tokens(report: DoctorReport) -> Iterator[Finding]:
    fingerprints = {
        name: condition.tokens for name, condition in report.conditions.items() if condition.tokens
    }
    counts = Counter(tokens for tokens in fingerprints.values() if tokens != NO_TOKENS)
    if not counts:
        return
    usual = max(counts, key=lambda each: (counts[each], fingerprints.get(report.observer) == each))
    for name, tokens in fingerprints.items():
        if tokens == NO_TOKENS:
            text = f"{name} asks for no tokens, and others do: start it with their --tokens FILE"
            yield Finding("tokens_missing", report.pool, (name,), text)
        elif tokens != usual:
            text = (
                f"{name} has other tokens ({tokens}) than most others ({usual}): give all nodes "
                "the same tokens file"
            )
            yield Finding("tokens_differ", report.pool, (name,), text)
