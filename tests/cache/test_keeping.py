"""Nothing that a cache has is lost while its next source still has to find out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kvgossip.cache.keeping import Keeping
from kvgossip.cache.source import Record, SourceState
from tests.cache.sinks import Remembering

KEYS = ("a", "b", "c")


def record(key: str, version: int, value: bytes | None = b"") -> Record:
    return Record(key, value, f"{version:04}")


def state(*, settled: bool) -> SourceState:
    return SourceState("member", "n1", "", "dc1", settled, None, from_disk=False)


def fed() -> tuple[Keeping, Remembering]:
    """The first source had a, b and c, under version 10."""
    sink = Remembering()
    keeping = Keeping(sink)
    keeping.state_changed(state(settled=True))
    keeping.replaced([record(key, 10, b"old") for key in KEYS])
    keeping.state_changed(state(settled=False))
    return keeping, sink


def test_what_the_first_source_has_is_shown_also_before_it_has_settled() -> None:
    sink = Remembering()
    keeping = Keeping(sink)
    keeping.state_changed(state(settled=False))
    keeping.replaced([record("a", 1, b"disk")])
    assert sink.table == {"a": b"disk"}


def test_a_source_that_begins_with_nothing_takes_nothing_away() -> None:
    keeping, sink = fed()
    keeping.replaced([])
    assert sink.table == dict.fromkeys(KEYS, b"old")


def test_older_values_are_no_news_and_newer_ones_are() -> None:
    keeping, sink = fed()
    keeping.replaced([record("a", 9, b"older"), record("b", 11, b"newer")])
    keeping.changed([record("c", 12, None), record("a", 10, b"same")])
    assert sink.table == {"a": b"old", "b": b"newer"}
    # a deleted one does not come back under an older version
    keeping.changed([record("c", 11, b"older")])
    assert sink.table == {"a": b"old", "b": b"newer"}


def test_what_a_settled_source_lacks_is_waited_for_and_then_all_is_shown_at_once() -> None:
    keeping, sink = fed()
    keeping.changed([record("b", 11, None)])
    sink.calls.clear()
    keeping.replaced([record("a", 11, b"newer"), record("b", 10, b"old")], settled=True)
    assert keeping.lacking() == [record("c", 10, b"old"), record("b", 11, None)]
    keeping.changed([record("b", 11, None)])
    assert sink.calls == []
    # the node has taken the delete, and knows that the other one was deleted
    keeping.state_changed(state(settled=True))
    assert sink.calls == [("replaced", ("a",))]
    assert keeping.lacking() == []


def test_where_a_settled_source_lacks_nothing_its_records_are_shown_at_once() -> None:
    keeping, sink = fed()
    sink.calls.clear()
    keeping.replaced([record(key, 12) for key in KEYS], settled=True)
    assert sink.calls == [("replaced", KEYS)]


def test_a_source_that_ends_before_it_is_believed_has_brought_what_is_newer() -> None:
    keeping, sink = fed()
    keeping.replaced([record("a", 11, b"newer")], settled=True)
    keeping.state_changed(state(settled=False))
    assert sink.table == {"a": b"newer", "b": b"old", "c": b"old"}


def test_what_an_earlier_source_has_left_and_what_has_expired_are_no_seeds() -> None:
    left = Remembering()
    left.replaced([record("a", 5, b"left"), record("b", 5, b"left")])
    keeping = Keeping(left)
    keeping.replaced([])
    assert set(left.table) == {"a", "b"}
    assert keeping.lacking() == []
    keeping.changed([record("c", 6), record("a", 7)])
    keeping.changed([record("c", 6, None)])
    assert keeping.seeds() == [record("a", 7)]


def test_what_has_expired_goes_under_its_own_version() -> None:
    keeping, sink = fed()
    keeping.replaced([record("a", 10, b"old")])
    keeping.changed([record("a", 10, None)])
    assert "a" not in sink.table


def test_once_it_has_settled_a_source_is_believed() -> None:
    keeping, sink = fed()
    keeping.replaced([record("a", 9, b"truth")])
    keeping.state_changed(state(settled=True))
    assert sink.table == {"a": b"truth"}
    assert sink.states[-1].settled
    keeping.changed([record("a", 8, b"whatever")])
    assert sink.table == {"a": b"whatever"}


STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.sampled_from(["replaced", "changed"]),
            st.dictionaries(
                st.sampled_from(KEYS), st.tuples(st.integers(1, 20), st.booleans()), max_size=3
            ),
        ),
        st.tuples(st.just("state_changed"), st.booleans()),
    )
)


@given(STEPS)
def test_a_settled_source_decides_and_another_one_brings_only_newer_news(
    steps: list[tuple[str, bool | dict[str, tuple[int, bool]]]],
) -> None:
    """Against a model: what the sources said, and what the cache may show."""
    keeping, sink = fed()
    source: set[str] | None = None
    settled = False
    for name, argument in steps:
        before = set(sink.table)
        if isinstance(argument, bool):
            settled = argument
            keeping.state_changed(state(settled=settled))
        else:
            live = {key for key, (_, lives) in argument.items() if lives or name == "replaced"}
            getattr(keeping, name)(
                [
                    record(key, version, b"" if key in live else None)
                    for key, (version, _) in argument.items()
                ]
            )
            if name == "replaced":
                source = live
            elif source is not None:
                source = source - argument.keys() | live
        if settled and source is not None:
            assert set(sink.table) == source
        elif before - set(sink.table):
            # nothing goes but by a delete
            assert name == "changed"


def test_of_a_merged_record_a_source_lacks_what_it_has_not_merged() -> None:
    def merged(data: bytes, version: int) -> Record:
        return record("a", version, data)._replace(data=b"\x08" + data)

    keeping = Keeping(sink := Remembering())
    keeping.replaced([merged(b"mine and theirs", 10)])
    keeping.state_changed(state(settled=True))
    keeping.state_changed(state(settled=False))
    keeping.replaced([merged(b"mine and theirs", 10)])
    assert keeping.lacking() == []
    # greater, and yet without what was here
    keeping.replaced([merged(b"theirs", 11)])
    assert keeping.lacking() == [merged(b"mine and theirs", 10)]
    assert sink.table == {"a": b"mine and theirs"}
    # the node has got it, has merged the two, and is believed
    keeping.changed([merged(b"all", 11)])
    keeping.state_changed(state(settled=True))
    assert sink.table == {"a": b"all"}
