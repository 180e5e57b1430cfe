"""What appeared together is seen together, by every thread, and what is read at last is what came
last."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kvgossip.cache.decoding import decode
from tests.cache.sources import FakeSource, Written, cache_of, record

THREADS = 8


@pytest.fixture
def quick_switches() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@dataclass(frozen=True)
class Pair:
    left: int = -1
    right: int = -1


@pytest.mark.usefixtures("quick_switches")
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 3), min_size=1, max_size=60))
def test_no_thread_ever_reads_half_of_a_set(kinds: list[int]) -> None:
    source = FakeSource({"left": "0", "right": "0", "noise": "x"})
    config = cache_of(source)
    pair = config.bind(Pair)
    config.open()
    torn: list[object] = []
    read = [0] * THREADS
    begun = threading.Barrier(THREADS + 1)
    done = threading.Event()

    def reader(number: int) -> None:
        begun.wait()
        while not done.is_set() or not read[number]:
            seen, whole = config.snapshot(), pair.value
            if seen["left"] != seen["right"] or whole.left != whole.right:
                torn.append((dict(seen), whole))
            read[number] += 1

    threads = [threading.Thread(target=reader, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    begun.wait()
    for number, kind in enumerate(kinds, start=1):
        both = {"left": str(number), "right": str(number)}
        if kind == 0:
            source.resync({**both, "noise": "y"})
        elif kind == 1:
            # a model of which one half is no number
            source.give({"left": "bad", "right": str(number)})
        else:
            source.give(both)
    done.set()
    for thread in threads:
        thread.join()
    assert torn == []
    assert all(read)
    config.close()


NAMES = st.sampled_from(["a", "b", "c/d", "c/e", "f"])
VALUES: st.SearchStrategy[Written] = st.sampled_from(["1", "2", "dark", b"\xff", '{"x": 1}'])
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["give", "resync", "override", "end", "read"]),
        st.dictionaries(NAMES, VALUES | st.none(), max_size=4),
    ),
    max_size=12,
)


@given(STEPS, st.dictionaries(NAMES, st.integers(), max_size=3))
def test_what_is_read_is_the_override_else_the_last_record_else_the_default(
    steps: list[tuple[str, dict[str, Written | None]]], defaults: dict[str, int]
) -> None:
    source = FakeSource({"a": "0"})
    config = cache_of(source, defaults)
    config.open()
    records: dict[str, Any] = {"a": 0}
    overrides: list[tuple[dict[str, Any], ExitStack]] = []
    for kind, values in steps:
        live = {name: value for name, value in values.items() if value is not None}
        decoded = {name: decode(record(name, value)) for name, value in live.items()}
        if kind == "give":
            source.give(values)
            gone = values.keys() - live.keys()
            records = {n: v for n, v in {**records, **decoded}.items() if n not in gone}
        elif kind == "resync":
            source.resync(live)
            records = decoded
        elif kind == "override":
            stack = ExitStack()
            stack.enter_context(config.override(values))
            overrides.append((dict(values), stack))
        elif kind == "end" and overrides:
            overrides.pop(len(values) % len(overrides))[1].close()
        top = {name: value for each, _ in overrides for name, value in each.items()}
        expected = {**defaults, **records, **top}
        assert dict(config.snapshot()) == expected
        assert list(config) == sorted(expected)
        assert len(config) == len(expected)
        for name in ("a", "b", "c/d", "c/e", "f"):
            assert (name in config) == (name in expected)
            assert config.get(name, "nothing") == expected.get(name, "nothing")
    for _, stack in overrides:
        stack.close()
    config.close()
