"""Validation: the step from one table to the next - what of new records is applied, and what is
refused.

Laws
- What is not valid is not applied: a value that declares JSON and is none, and the fields of a
  bound model of which no object can be made. The last good values stay.
- Loose keys are refused one by one, or model by model. Of a release nothing is applied where any of
  it is refused: readers see all of it, or what was before.
- What is refused is tried again with every step, until it is valid or gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from kvgossip.cache.binding import Bound
from kvgossip.cache.decoding import declares_json, decode
from kvgossip.cache.resolution import Resolved
from kvgossip.cache.source import Record
from kvgossip.cache.table import Layers, Table
from kvgossip.errors import Refused

Reasons = dict[str, str]
"""By the name of a key, or by the prefix of a model where no single field is to blame."""


class Step(NamedTuple):
    """`refused`: the names whose records are perhaps not those that are applied."""

    table: Table
    reasons: Reasons
    refused: frozenset[str]


def step(
    good: Table,
    resolved: Resolved,
    changed: Iterable[str],
    layers: Layers,
    bounds: Sequence[Bound[Any]],
) -> Step:
    """`good`: the table of now. `changed`: the names whose record, default or override may be
    another one than there."""
    suspects = frozenset(changed)
    reasons = _unreadable(resolved.values, suspects)
    refused = frozenset(reasons)
    touched = [bound for bound in bounds if not suspects.isdisjoint(bound.names)]
    unmade: dict[object, Refused] = {}
    while True:
        records = _applied(resolved.values, refused, good.records)
        table = good.next(records, suspects, layers, resolved.release)
        failed = _first_failure(table, touched)
        if failed is None:
            break
        bound, why = failed
        touched.remove(bound)
        reasons.update(why)
        refused |= frozenset(bound.names)
        if bound not in good.models:
            unmade[bound] = refusal(why)
    if reasons and resolved.release and resolved.values is not good.records:
        before = Resolved(good.records, good.release)
        return Step(step(good, before, suspects, layers, bounds).table, reasons, suspects)
    table.models.refused.update(unmade)
    return Step(table, reasons, refused)


def refusal(reasons: Reasons) -> Refused:
    """The error that tells a writer or a reader the first of these."""
    name, reason = next(iter(reasons.items()))
    return Refused(f"{name or 'the model'}: {reason}", "give it another value, or a default")


def _first_failure(table: Table, bounds: Sequence[Bound[Any]]) -> tuple[Bound[Any], Reasons] | None:
    """Make the objects of these models; the first of which none can be made."""
    for bound in bounds:
        made, reasons = bound.make(table)
        if reasons:
            return bound, reasons
        table.models[bound] = made
        table.models.refused.pop(bound, None)
    return None


def _applied(
    records: dict[str, Record], refused: frozenset[str], good: Mapping[str, Record]
) -> dict[str, Record]:
    """The records, with those that were good before in the place of what is refused."""
    if not refused:
        return records
    applied = {name: record for name, record in records.items() if name not in refused}
    applied.update((name, good[name]) for name in sorted(refused) if name in good)
    return applied


def _unreadable(records: Mapping[str, Record], suspects: frozenset[str]) -> Reasons:
    """Those that declare JSON, and are none."""
    found: Reasons = {}
    for name in suspects:
        record = records.get(name)
        if record is not None and record.content_type and declares_json(record):
            try:
                decode(record)
            except ValueError as error:
                found[name] = str(error)
    return found
