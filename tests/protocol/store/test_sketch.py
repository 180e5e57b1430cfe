"""The rateless sketch: it gives the whole difference of two sets, or nothing, whatever symbols a
peer made up."""

from __future__ import annotations

from importlib.util import find_spec
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kvgossip.protocol.store import sketch as sketch_module
from kvgossip.protocol.store.digest import DigestTree
from kvgossip.protocol.store.sketch import BULK, CHANGES_MAX, Sketch
from kvgossip.protocol.store.store import Store
from kvgossip.protocol.store.symbols import SYMBOL_BYTES, Symbols, places
from tests.protocol.net import record

HAS_NUMPY = find_spec("numpy") is not None
FINGERPRINTS = st.sets(st.integers(1, 2**64 - 1), max_size=40)


@pytest.fixture(params=["numpy", "plain"])
def arithmetic(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With numpy, and as where it is not installed."""
    if request.param == "plain":
        do_without_numpy(monkeypatch)
    elif not HAS_NUMPY:
        pytest.skip("numpy is not installed")
    else:
        monkeypatch.setattr(sketch_module, "BULK", 0)
    return str(request.param)


def do_without_numpy(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sketch_module, "_numpy_symbols", lambda: None)


def of(fingerprints: Any, length: int = 64) -> Sketch:
    sketch = Sketch(length)
    for fingerprint in fingerprints:
        sketch.toggle(fingerprint)
    return sketch


def numbers(count: int, seed: int = 1) -> list[int]:
    rng = Random(seed)
    return [rng.randrange(1, 2**64) for _ in range(count)]


def both_ways(one: set[int], other: set[int], length: int) -> list[int] | None:
    return of(one, length).decode(of(other, length).prefix(length))


@given(FINGERPRINTS, st.randoms(use_true_random=False))
def test_a_sketch_depends_on_the_set_alone_and_toggling_twice_is_nothing(
    fingerprints: set[int], rng: Any
) -> None:
    ordered = sorted(fingerprints)
    shuffled = [*ordered, 5, 5]
    rng.shuffle(shuffled)
    if 5 not in fingerprints:
        assert of(ordered).prefix(64) == of(shuffled).prefix(64)


@given(FINGERPRINTS, st.integers(0, 2**48 - 1), st.integers(0, 2**48 - 1))
def test_to_toggle_both_of_one_key_is_to_toggle_one_after_the_other(
    fingerprints: set[int], went: int, came: int
) -> None:
    at_once = of(sorted(fingerprints))
    at_once.toggle_both(went, came)
    assert at_once.prefix(64) == of([*sorted(fingerprints), went, came]).prefix(64)


@given(FINGERPRINTS, FINGERPRINTS, FINGERPRINTS, st.integers(1, 128))
def test_decoding_gives_the_whole_difference_or_nothing(
    common: set[int], mine: set[int], theirs: set[int], length: int
) -> None:
    found = both_ways(common | mine, common | theirs, length)
    assert found is None or set(found) == (common | mine) ^ (common | theirs)
    if found is not None:
        assert len(found) == len(set(found))


@pytest.mark.usefixtures("arithmetic")
@pytest.mark.parametrize(
    ("differences", "symbols"), [(0, 1), (1, 16), (5, 16), (100, 200), (1000, 1500)]
)
def test_about_one_and_a_half_symbols_a_difference_give_it_back_among_any_number(
    differences: int, symbols: int
) -> None:
    everything = numbers(2000 + differences)
    found = both_ways(set(everything), set(everything[differences:]), symbols)
    assert found is not None
    assert set(found) == set(everything[:differences])


@pytest.mark.usefixtures("arithmetic")
def test_too_few_symbols_give_nothing() -> None:
    assert both_ways(set(numbers(100)), set(), 50) is None


def test_the_same_numbers_come_out_with_numpy_and_without(monkeypatch: pytest.MonkeyPatch) -> None:
    if not HAS_NUMPY:
        pytest.skip("numpy is not installed")
    extremes = [1, 2**63, 2**64 - 1, 2**48 - 1, 2**53 + 1]
    with monkeypatch.context() as patch:
        patch.setattr(sketch_module, "BULK", 0)
        fast = of([*numbers(3000), *extremes], 4096).prefix(4096)
    do_without_numpy(monkeypatch)
    assert of([*numbers(3000), *extremes], 4096).prefix(4096) == fast


def test_a_prefix_is_these_bytes_for_ever() -> None:
    """Peers of all releases must agree on where a fingerprint lies, and on its checksum."""
    assert list(places(0x0123456789ABCDEF, 64)) == [0, 1, 2, 4, 6, 8, 20, 24, 34, 36]
    sums, checks = (
        "0123456789abcdc50123456789abcdc50123456789abcdef0000000000000000",
        "1ebb5b181ebb5b1836a7a5ee00000000",
    )
    assert of([0x0123456789ABCDEF, 42]).prefix(4).hex() == sums + checks


@settings(max_examples=150)
@given(st.binary(max_size=30 * SYMBOL_BYTES), FINGERPRINTS, st.booleans())
def test_whatever_symbols_a_peer_made_up_decoding_ends(
    symbols: bytes, mine: set[int], plain: bool
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if plain:
            do_without_numpy(patch)
        else:
            patch.setattr(sketch_module, "BULK", 0)
        sketch = of(mine)
        before = sketch.prefix(64)
        found = sketch.decode(symbols)
        assert found is None or len(found) <= len(symbols) // SYMBOL_BYTES
        assert sketch.prefix(64) == before


@pytest.mark.parametrize("length", [0, 1, SYMBOL_BYTES - 1, SYMBOL_BYTES + 1, 65 * SYMBOL_BYTES])
def test_symbols_that_are_none_cut_off_or_more_than_there_can_be_decode_to_nothing(
    length: int,
) -> None:
    assert of([7]).decode(bytes(length)) is None


def test_numpy_is_for_bulk_loads_alone() -> None:
    if not HAS_NUMPY:
        pytest.skip("numpy is not installed")
    small, large = of(numbers(BULK), 16), of(numbers(BULK + 1), 16)
    assert small.prefix(16) != large.prefix(16)
    assert isinstance(small._symbols, Symbols)
    assert not isinstance(large._symbols, Symbols)
    small.toggle(numbers(BULK + 1)[-1])
    assert small.prefix(16) == large.prefix(16)


def test_numpy_is_for_those_too_who_write_more_than_is_folded_in_the_meantime() -> None:
    if not HAS_NUMPY:
        pytest.skip("numpy is not installed")
    often, seldom = Sketch(16), Sketch(16)
    chunk = Symbols([]).chunk
    rounds = BULK // chunk // 2
    for half in (1, 2):
        for number in range(rounds):
            written = numbers(chunk + 1, seed=number + half * rounds)
            often.toggle_all(written)
            seldom.toggle_all(written[1:])
            often.work(lambda _: (0, []))
            seldom.work(lambda _: (0, []))
        assert isinstance(often._symbols, Symbols) == (half == 1)
    assert isinstance(seldom._symbols, Symbols)


# -- kept lazily ---------------------------------------------------------------------------------


def filled(count: int) -> Store:
    store = Store(DigestTree(2, seed=7))
    for number in range(count):
        store.merge(f"k{number}", record(b"v"))
    return store


def whole(store: Store) -> bytes:
    """The sketch that the content gives, made from nothing."""
    fingerprints = [store.digest.fingerprint(key, held) for key, held in store.records()]
    return of(fingerprints, store.sketch.length).prefix(store.sketch.length)


@pytest.mark.usefixtures("arithmetic")
def test_a_write_is_only_remembered_until_there_is_time() -> None:
    store = filled(100)
    assert not store.sketch.idle
    store.work_on_sketch()
    assert store.sketch.idle
    store.merge("k1", record(b"w", ms=1))
    assert not store.sketch.idle
    assert store.sketch.ready
    assert store.sketch.prefix(store.sketch.length) == whole(store)


@pytest.mark.usefixtures("arithmetic")
def test_a_key_that_is_written_all_the_time_is_no_bulk_load() -> None:
    store = filled(100)
    store.work_on_sketch()
    for number in range(CHANGES_MAX):
        store.merge("k1", record(b"w", ms=1 + number))
    assert not store.sketch.idle
    store.work_on_sketch()
    assert store.sketch.idle, "one portion: all but the first and the last version came and went"
    assert store.sketch.prefix(store.sketch.length) == whole(store)


@pytest.mark.usefixtures("arithmetic")
@given(st.lists(st.integers(1, 8), max_size=60))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_came_and_went_cancels_out(toggled: list[int]) -> None:
    odd = {fingerprint for fingerprint in toggled if toggled.count(fingerprint) % 2}
    assert of(toggled).prefix(64) == of(odd).prefix(64)


@pytest.mark.parametrize("changes_max", [100, 1000, CHANGES_MAX])
def test_loading_is_a_bulk_load_too_and_the_sketch_may_be_built_between_its_portions(
    changes_max: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sketch_module, "CHANGES_MAX", changes_max)
    store = Store(DigestTree(2, seed=7))
    for start in range(0, 3000, 300):
        store.load([(f"k{number:04}", record(b"v")) for number in range(start, start + 300)])
        store.work_on_sketch()
    while not store.sketch.idle:
        store.work_on_sketch()
    monkeypatch.undo()
    assert store.sketch.prefix(store.sketch.length) == whole(store)


def test_after_a_bulk_load_the_sketch_is_built_anew_in_portions_while_writes_go_on() -> None:
    store = Store(DigestTree(2, seed=7))
    for fingerprint in numbers(CHANGES_MAX + 10):
        store.sketch.toggle(fingerprint)
    assert not store.sketch.ready
    # what was toggled is not in the store: the sketch forgets it, and is built from the content
    for number in range(9000):
        store.merge(f"k{number}", record(b"v"))
    portions = 0
    while not store.sketch.idle:
        store.work_on_sketch()
        portions += 1
        store.merge(f"k{portions * 37}", record(b"w", ms=portions))
        if portions > 3:
            break
    while not store.sketch.idle:
        store.work_on_sketch()
    assert store.sketch.ready
    assert store.sketch.prefix(store.sketch.length) == whole(store)
