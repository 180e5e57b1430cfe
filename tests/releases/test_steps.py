"""Releases: documents, the pointer, targets, and the steps that write them."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvgossip.errors import (
    BadKeyError,
    BadReleaseError,
    NotFoundError,
    ReleaseConflictError,
    ValueTooLargeError,
)
from kvgossip.releases.answers import (
    NodeApplied,
    Survey,
)
from kvgossip.releases.document import (
    SentRelease,
    document_of,
    name_at,
    read_document,
    sent_document,
)
from kvgossip.releases.names import (
    document_key,
)
from kvgossip.releases.outcome import (
    outcome_of,
    states_of,
)
from kvgossip.releases.place import Place
from kvgossip.releases.pointer import (
    BEFORE_MAX,
    read_pointer,
)
from kvgossip.releases.target import (
    Target,
    hash_of,
    hit,
    member,
    parse_target,
    reaching,
    share,
    zone,
)
from tests.releases.made import MEMBERS, Desk


def made(values: dict[str, Any], name: str = "r1", prefix: str = "shop/") -> Any:
    return document_of(prefix, name, values, by="web-1", at_ms=5)


# -- documents -----------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)
VALUES = st.dictionaries(
    st.from_regex(r"[a-z][a-z0-9/]{0,6}[a-z]", fullmatch=True), JSON | st.binary(max_size=9)
)


@given(VALUES)
def test_values_come_out_of_a_document_as_they_went_in(values: dict[str, Any]) -> None:
    found = read_document(made(values).encoded()).contents()
    assert {
        name: each.octets if isinstance(values[name], bytes) else json.loads(each.octets)
        for name, each in found.items()
    } == values
    assert {name for name, each in found.items() if each.content_type != "application/json"} == {
        name for name, value in values.items() if isinstance(value, bytes)
    }


def test_a_document_is_these_bytes() -> None:
    octets = made({"limits/rate": 20, "theme": "dark", "logo": b"hi"}).encoded()
    assert json.loads(octets) == {
        "format": 1,
        "name": "r1",
        "values": {"limits/rate": 20, "theme": "dark"},
        "base64": {"logo": "aGk="},
        "by": "web-1",
        "at_ms": 5,
    }


@pytest.mark.parametrize(
    ("values", "name", "what"),
    [
        ({"/a": 1}, "r", "no key under 'shop/'"),
        ({"../a": 1}, "r", "no key under 'shop/'"),
        ({"": 1}, "r", "no key under 'shop/'"),
        ({"shop/a": 1}, "r", "with its prefix"),
        ({"@active": 1}, "r", "names '@active'"),
        ({"a": float("nan")}, "r", "the value of 'a' cannot be said in JSON"),
        ({"a": {1, 2}}, "r", "the value of 'a' cannot be said in JSON"),
        ({"a": 1}, "", "no name of a release"),
        ({"a": 1}, "a/b", "no name of a release"),
        ({"a": 1}, "x" * 65, "no name of a release"),
    ],
)
def test_what_cannot_be_released_is_said_in_words(
    values: dict[str, Any], name: str, what: str
) -> None:
    with pytest.raises(BadReleaseError, match=what) as caught:
        made(values, name)
    assert caught.value.hint


def test_a_release_over_a_mebibyte_is_refused_and_one_of_it_is_not() -> None:
    room = 2**20 - len(made({"a": ""}).encoded())
    assert len(made({"a": "x" * room}).encoded()) == 2**20
    with pytest.raises(ValueTooLargeError, match="the release 'r1' has 1048577 bytes"):
        made({"a": "x" * (room + 1)})


def test_a_prefix_that_leaves_no_room_for_the_name_is_refused() -> None:
    with pytest.raises(BadKeyError):
        made({"a": 1}, prefix="p" * 1020)


def test_fields_that_are_not_known_are_ignored_and_a_newer_format_is_refused_in_words() -> None:
    newer = {"format": 1, "name": "r", "values": {"a": 1}, "signed": "by hand"}
    assert read_document(json.dumps(newer).encode()).values.keys() == {"a"}
    with pytest.raises(BadReleaseError, match="the release is of format 2, and this version rea"):
        read_document(json.dumps({**newer, "format": 2, "values": 7}).encode())
    with pytest.raises(BadReleaseError, match="the pointer to the release is of format 2"):
        read_pointer(b'{"format": 2, "release": 9}')
    assert read_pointer(b'{"format": 1, "release": "r", "then": 1}').release == "r"


@pytest.mark.parametrize(
    "octets", [b"", b"\xff", b"[]", b"7", b'{"format": 1}', b"[" * 100_000, b'{"format": "x"}']
)
def test_what_is_no_document_or_pointer_is_an_error_in_words(octets: bytes) -> None:
    with pytest.raises(BadReleaseError, match="cannot be read"):
        read_document(octets)
    if octets != b'{"format": 1}':
        with pytest.raises(BadReleaseError, match="cannot be read"):
            read_pointer(octets)


def sent(body: bytes, name: str = "r") -> Any:
    return sent_document(
        "shop/", name, msgspec.json.decode(body, type=SentRelease), by="n1", at_ms=1
    )


def test_a_document_that_was_read_may_be_sent_again() -> None:
    first = made({"a": 1, "b": b"x"}, "r")
    again = sent(first.encoded())
    assert again.meaning() == first.meaning()
    assert (again.by, again.at_ms) == ("n1", 1)
    with pytest.raises(BadReleaseError, match="is of the release 'r', and was sent as 'q'"):
        sent(first.encoded(), "q")
    with pytest.raises(BadReleaseError, match="two values of 'a'"):
        sent(b'{"values": {"a": 1}, "base64": {"a": "aGk="}}')
    with pytest.raises(BadReleaseError, match="of format 9"):
        sent(b'{"format": 9}')


def test_the_same_values_in_another_spelling_are_the_same_and_others_are_not() -> None:
    one = sent(b'{"values": {"a": {"x": 1, "y": "\\u00e7"}, "b": 2}}')
    assert one.meaning() == sent('{"values":{"b":2,"a":{"y":"ç","x":1}}}'.encode()).meaning()
    different = (b'{"values": {"a": 1}}', b'{"values": {"a": true}}', b'{"values": {"a": 1.0}}')
    assert len({sent(each).meaning() for each in different}) == 3


def test_a_name_by_the_time_is_a_name() -> None:
    assert name_at(1796055605000) == "20261130T162005Z"
    made({}, name_at(0))


# -- targets -------------------------------------------------------------------------------------

NAMES = st.from_regex(r"[a-z]{1,4}", fullmatch=True)
SHARES = st.floats(0.001, 1.0)
TARGETS = st.builds(
    Target,
    zones=st.lists(NAMES, max_size=2, unique=True).map(tuple),
    share=st.just(0.0) | SHARES,
    members=st.lists(NAMES, max_size=2, unique=True).map(tuple),
)
PLACES = st.lists(
    st.builds(Place, NAMES, NAMES), min_size=1, max_size=20, unique_by=lambda each: each.name
)


@given(TARGETS, TARGETS, NAMES, PLACES)
def test_targets_are_joined_as_sets_of_members_are(
    one: Target, other: Target, release: str, members: list[Place]
) -> None:
    for each in members:
        both = one.hits(release, each) or other.hits(release, each)
        assert (one | other).hits(release, each) == both


@given(SHARES, SHARES, NAMES, PLACES, st.data())
def test_who_is_in_a_share_stays_in_it_as_others_come_and_go_and_as_it_grows(
    part: float, more: float, release: str, members: list[Place], data: st.DataObject
) -> None:
    part, more = sorted((part, more))
    before = hit(share(part), release, members)
    left = data.draw(st.lists(st.sampled_from(members), unique=True))
    stayed = {each.name for each in members if each not in left}
    now = hit(share(part), release, [each for each in members if each not in left])
    assert set(now) == set(before) & stayed
    assert set(before) <= set(hit(share(more), release, members))


def test_a_share_is_about_that_part_and_another_release_tries_others() -> None:
    members = [Place(f"web-{number}", "") for number in range(10_000)]
    one, two = (set(hit(share(0.1), release, members)) for release in ("r1", "r2"))
    assert 880 < len(one) < 1120
    assert 60 < len(one & two) < 140
    assert len(hit(share(1.0), "r1", members)) == 10_000


@given(SHARES, NAMES, PLACES)
def test_a_share_that_hits_nobody_takes_the_one_with_the_least_hash(
    part: float, release: str, members: list[Place]
) -> None:
    taken = hit(reaching(share(part), release, members), release, members)
    alone = hit(share(part), release, members)
    nearest = min(members, key=lambda each: hash_of(release, each.name))
    assert taken == (alone or [nearest.name])


def test_a_zone_or_a_name_that_nobody_has_is_said_in_words() -> None:
    for target in (zone("rome"), member("m99")):
        with pytest.raises(BadReleaseError, match="hits no member that is alive") as caught:
            reaching(target, "r", MEMBERS)
        assert caught.value.hint == "the zones of the members are z0, z1, z2"


@given(TARGETS)
def test_a_target_is_the_text_that_names_it(target: Target) -> None:
    text = str(target)
    if text:
        assert str(parse_target(text)) == text


@pytest.mark.parametrize(
    "text",
    ["", "paris", "zone=", "share=0", "share=1.1", "share=x", "share=nan", "zone=a b", "a=b"],
)
def test_what_is_no_target_is_an_error_in_words(text: str) -> None:
    with pytest.raises(BadReleaseError) as caught:
        parse_target(text)
    assert caught.value.hint


# -- steps ---------------------------------------------------------------------------------------


def test_a_release_is_a_document_and_then_a_pointer() -> None:
    desk = Desk()
    step = desk.release("r1", {"a": 1})
    assert [each.key for each in desk.log] == ["shop/@release/r1", "shop/@active"]
    assert (desk.pointer.release, desk.pointer.before) == ("r1", ("",))
    assert step.hits == tuple(each.name for each in MEMBERS)
    desk.release("r2", {"a": 2})
    assert (desk.pointer.release, desk.pointer.before) == ("r2", ("r1", ""))


def test_a_name_is_written_once() -> None:
    desk = Desk()
    desk.release("r1", {"a": 1})
    written = desk.values["shop/@release/r1"]
    again = desk.release("r1", {"a": 1})
    assert again.document is None
    assert desk.values["shop/@release/r1"] == written
    before = dict(desk.values)
    with pytest.raises(ReleaseConflictError, match="a release 'r1' with other values"):
        desk.release("r1", {"a": True})
    assert desk.values == before


def test_a_canary_hits_those_that_are_named_and_becomes_the_release_of_all() -> None:
    desk = Desk()
    desk.release("r1", {"a": 1})
    step = desk.release("r2", {"a": 2}, zone("z1") | share(0.1))
    pointer = desk.pointer
    assert pointer.release == "r1"
    assert step.hits == tuple(each.name for each in MEMBERS if pointer.wanted(each) == "r2")
    assert {each.name for each in MEMBERS if each.zone == "z1"} < set(step.hits)
    promoted = desk.made(desk.steps().promote("r2"))
    assert (desk.pointer.release, desk.pointer.canary) == ("r2", None)
    assert desk.pointer.before == ("r1", "")
    assert len(promoted.hits) == len(MEMBERS)
    # once more is no mistake, and another one is
    desk.made(desk.steps().promote("r2"))
    with pytest.raises(ReleaseConflictError, match="no canary"):
        desk.steps().promote("r1")
    with pytest.raises(ReleaseConflictError, match="there is no canary"):
        desk.steps().promote()


def test_a_canary_of_what_all_have_is_refused() -> None:
    desk = Desk()
    desk.release("r1", {"a": 1})
    with pytest.raises(ReleaseConflictError, match="is for all already"):
        desk.release("r1", {"a": 1}, share(0.5))


def test_the_first_release_may_be_a_canary_and_the_others_keep_the_loose_keys() -> None:
    desk = Desk()
    step = desk.release("r1", {"a": 1}, share(0.1))
    wanted = {each.name: desk.pointer.wanted(each) for each in MEMBERS}
    assert {name for name, release in wanted.items() if release == "r1"} == set(step.hits)
    assert {*wanted.values()} == {"", "r1"}
    desk.made(desk.steps().rollback())
    assert {desk.pointer.wanted(each) for each in MEMBERS} == {""}


def test_a_rollback_goes_back_in_what_was_for_all_and_leaves_out_what_was_wrong() -> None:
    desk = Desk()
    for name in ("r1", "r2", "r3"):
        desk.release(name, {"a": name})
    desk.release("r4", {"a": 4}, share(0.1))
    # a canary first
    desk.made(desk.steps().rollback())
    assert (desk.pointer.release, desk.pointer.before) == ("r3", ("r2", "r1", ""))
    desk.made(desk.steps().rollback())
    assert (desk.pointer.release, desk.pointer.before) == ("r2", ("r1", ""))
    # and forward again, by name
    desk.made(desk.steps().rollback("r3"))
    assert (desk.pointer.release, desk.pointer.before) == ("r3", ("r2", "r1", ""))
    desk.made(desk.steps().rollback("r1"))
    assert (desk.pointer.release, desk.pointer.before) == ("r1", ("",))
    desk.made(desk.steps().rollback())
    assert (desk.pointer.release, desk.pointer.before) == ("", ())
    with pytest.raises(ReleaseConflictError, match="no release before this one"):
        desk.steps().rollback()
    with pytest.raises(NotFoundError, match="no release 'r9'"):
        desk.steps().rollback("r9")


def test_a_release_is_taken_back_by_its_name_alone() -> None:
    desk = Desk()
    desk.release("r1", {"a": 1})
    desk.release("r2", {"a": 2}, share(0.5))
    with pytest.raises(ReleaseConflictError, match="'r1' is not the newest"):
        desk.steps().withdraw("r1")
    desk.made(desk.steps().withdraw("r2"))
    assert (desk.pointer.release, desk.pointer.canary) == ("r1", None)
    desk.made(desk.steps().withdraw("r1"))
    assert desk.pointer.release == ""


def test_what_was_for_all_is_remembered_so_far_back_and_each_once() -> None:
    desk = Desk()
    for number in range(2 * BEFORE_MAX):
        desk.release(f"r{number}", {"a": number})
    assert len(desk.pointer.before) == BEFORE_MAX
    desk.release(f"r{2 * BEFORE_MAX - 2}", {"a": 2 * BEFORE_MAX - 2})
    assert len({*desk.pointer.before, desk.pointer.release}) == len(desk.pointer.before) + 1


def test_a_pointer_that_cannot_be_read_is_written_over_by_nobody() -> None:
    desk = Desk()
    desk.release("r1", {"a": 1})
    desk.values["shop/@active"] = b'{"format": 2}'
    for step in (desk.steps().promote, desk.steps().rollback):
        with pytest.raises(BadReleaseError, match="of format 2"):
            step()
    with pytest.raises(BadReleaseError, match="of format 2"):
        desk.release("r2", {"a": 2})


# -- answers -------------------------------------------------------------------------------------


def test_what_members_made_of_a_release_is_one_word_each() -> None:
    survey = Survey(
        answers=(
            NodeApplied("a", "r2", 2),
            NodeApplied("b", "r2", 1, (("rate", "too many"),)),
            NodeApplied("c", "r1", 1),
            NodeApplied("c", "r2", 3),
            NodeApplied("f", "", 1, (("rate", "of old"),)),
        ),
        silent=("d",),
        members=tuple(Place(name, "") for name in "fedcba"),
    )
    assert [(each.node, each.state, each.why) for each in states_of(survey, lambda at: "r2")] == [
        ("a", "applied", "2 processes"),
        ("b", "refused", "rate: too many"),
        ("c", "waiting", "still has r1"),
        ("d", "silent", "no answer"),
        ("e", "unused", "no process there uses this prefix"),
        ("f", "waiting", "still has loose keys"),
    ]
    outcome = outcome_of(survey, "r2", list("abcde"))
    assert outcome.applied == ["a"]
    assert outcome.refused == [("b", "rate", "too many")]
    assert outcome.silent == ["c", "d"]


def test_a_key_of_a_document_is_under_the_prefix() -> None:
    assert document_key("shop/", "r1") == "shop/@release/r1"
