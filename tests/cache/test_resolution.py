"""What a member shows of a release: the old one or the new one whole, in any order of arrival; as a
property of records alone, and on members that are cut off, restarted and repaired."""

from __future__ import annotations

import json
from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvgossip.cache.resolution import Resolved, resolve
from kvgossip.cache.source import Record
from kvgossip.errors import ReleaseConflictError
from kvgossip.protocol.effect import Effect
from kvgossip.protocol.model.write import Writing
from kvgossip.releases.place import Place
from kvgossip.releases.target import member, share, zone
from tests.protocol.net import Disk, Network
from tests.releases.made import MEMBERS, PREFIX, Desk

NAMES = ("a", "b", "c")
ME = MEMBERS[1]


def values_of(release: int) -> dict[str, int]:
    return dict.fromkeys(NAMES, release)


def shown(resolved: Resolved) -> dict[str, int]:
    return {name: json.loads(record.value or b"") for name, record in resolved.values.items()}


def record_of(writing: Writing, place: int) -> Record:
    return Record(writing.key, writing.value, f"{place:016x}-{1:016x}")


def check_whole(resolved: Resolved) -> None:
    """A release is shown with all its values and no other's; the loose keys all say 0."""
    if resolved.release:
        assert shown(resolved) == values_of(int(resolved.release[1:]))
    else:
        assert set(shown(resolved).values()) <= {0}


def history(rng: Random) -> Desk:
    """Loose keys, and then releases, canaries, promotions and rollbacks."""
    desk = Desk()
    for name in NAMES:
        desk.write(Writing(PREFIX + name, b"0"))
    for number in range(1, rng.randint(2, 9)):
        to = rng.choice([None, None, zone("z1"), share(0.5), member(ME.name)])
        desk.release(f"r{number}", values_of(number), to)
        steps = rng.choice([None, desk.steps().rollback, desk.steps().promote])
        try:
            if steps is not None:
                desk.made(steps())
        except ReleaseConflictError:
            pass
    return desk


@given(st.randoms(use_true_random=False))
def test_in_any_order_of_arrival_a_release_is_shown_whole_or_not_at_all(rng: Random) -> None:
    desk = history(rng)
    arriving = [record_of(each, place) for place, each in enumerate(desk.log)]
    rng.shuffle(arriving)
    records: dict[str, Record] = {}
    last: Resolved | None = None
    for each in arriving:
        there = records.get(each.key)
        if there is None or each.version > there.version:
            records[each.key] = each
        if rng.random() < 0.2:
            # a restart: what was shown is forgotten
            last = None
        before, last = last, resolve(records, PREFIX, *ME, last)
        check_whole(last)
        if before is not None and last.release not in ("", before.release):
            # another release is shown since it is wanted, or else the old one had stayed
            assert not last.pending or before.release == ""
    assert last is not None
    assert (last.release, last.pending) == (desk.pointer.wanted(ME), "")
    assert last.ignored == (NAMES if last.release else ())


def test_without_a_pointer_the_loose_keys_are_shown_and_documents_are_not() -> None:
    desk = Desk()
    desk.release("r1", values_of(1))
    records = {
        each.key: record_of(each, 1)
        for each in (*desk.log, Writing("shop/x", b"1"), Writing("shop/@odd", b"1"))
    }
    del records["shop/@active"]
    assert shown(resolve(records, PREFIX, "m", "")) == {"x": 1}


def arrived(*writings: Writing) -> dict[str, Record]:
    return {each.key: record_of(each, place) for place, each in enumerate(writings)}


def test_a_pointer_before_its_document_leaves_the_old_release_and_says_what_is_pending() -> None:
    desk = Desk()
    desk.release("r1", values_of(1))
    old = arrived(*desk.log)
    last = resolve(old, PREFIX, *ME)
    desk.release("r2", values_of(2))
    document, pointer = desk.log[-2:]
    early = old | arrived(pointer, Writing("shop/loose", b"9"))
    for kept in (last, None):
        found = resolve(early, PREFIX, *ME, kept)
        assert (found.release, found.pending, shown(found)) == ("r1", "r2", values_of(1))
        assert found.ignored == ("loose",)
    whole = resolve(early | arrived(document), PREFIX, *ME, found)
    assert (whole.release, whole.pending, shown(whole)) == ("r2", "", values_of(2))


def test_who_starts_without_any_document_of_the_list_shows_nothing_rather_than_loose_keys() -> None:
    desk = Desk()
    for number in range(20):
        desk.release(f"r{number}", values_of(number))
    found = resolve(arrived(desk.log[-1], Writing("shop/a", b"0")), PREFIX, *ME)
    assert (found.values, found.pending, found.ignored) == ({}, "r19", ("a",))


def test_a_document_of_a_newer_format_is_refused_in_words_and_the_old_release_stays() -> None:
    desk = Desk()
    desk.release("r1", values_of(1))
    desk.release("r2", values_of(2))
    records = arrived(*desk.log) | arrived(Writing("shop/@release/r2", b'{"format": 2}'))
    found = resolve(records, PREFIX, *ME)
    assert (found.release, found.pending) == ("r1", "r2")
    assert "of format 2, and this version reads 1" in found.problem


@pytest.mark.parametrize("octets", [b'{"format": 2}', b"nonsense", b""])
def test_a_pointer_that_cannot_be_read_changes_nothing_that_is_shown(octets: bytes) -> None:
    desk = Desk()
    desk.release("r1", values_of(1))
    last = resolve(arrived(*desk.log), PREFIX, *ME)
    records = arrived(*desk.log) | arrived(Writing("shop/@active", octets), Writing("shop/a", b"0"))
    found = resolve(records, PREFIX, *ME, last)
    assert (found.values, found.release) == (last.values, "r1")
    assert "pointer" in found.problem
    assert resolve(records, PREFIX, *ME).values == {}


def test_a_document_that_is_deleted_under_a_member_stays_shown_there() -> None:
    desk = Desk()
    desk.release("r1", values_of(1))
    last = resolve(arrived(*desk.log), PREFIX, *ME)
    found = resolve(arrived(desk.log[-1]), PREFIX, *ME, last)
    assert (shown(found), found.release, found.pending) == (values_of(1), "r1", "r1")


# -- on members ----------------------------------------------------------------------------------


class Shop(Network):
    """Members that each have a process with a cache: after every input it shows what is there, and
    that is whole. What it shows is forgotten when it restarts."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: dict[str, Resolved] = {}
        self.seen: set[str] = set()

    def perform(self, name: str, effects: list[Effect]) -> None:
        super().perform(name, effects)
        store = self.replicas[name].store
        records = {
            each.key: Record(each.key, each.value, str(each.version))
            for each in store.scan_entries(PREFIX, "", 1000)
        }
        found = resolve(records, PREFIX, name, "", self.shown.get(name))
        check_whole(found)
        self.shown[name] = found
        self.seen.add(found.release)

    def write(self, name: str, writings: Sequence[Writing | None]) -> None:
        for each in writings:
            if each is not None:
                assert each.value is not None
                self.put(name, each.key, each.value)

    def desk(self, name: str) -> Desk:
        """What this member has, as one from which a step is made."""
        desk = Desk(members=[Place(each.name, each.zone) for each in self.replicas[name].members()])
        for each in self.replicas[name].store.scan_entries(PREFIX, "", 1000):
            desk.values[each.key] = each.value or b""
        return desk


def strike(shop: Shop, rng: Random, down: set[str]) -> None:
    """Something that goes wrong, or is mended."""
    name = rng.choice("bc")
    match rng.randrange(5):
        case 0:
            shop.partition(name, " ".join(sorted({"a", "b", "c"} - {name})))
        case 1:
            shop.heal()
        case 2 if name not in down:
            shop.crash(name)
            shop.shown.pop(name, None)
            down.add(name)
        case 3 if name in down:
            shop.add(name, "abc".index(name), join=("10.0.0.1:7481",))
            down.discard(name)
        case _:
            # no datagram passes: what comes, comes by an exchange, key by key
            shop.passes = lambda frm, to, reliable: reliable
            if rng.random() < 0.5:
                shop.passes = lambda frm, to, reliable: True


@pytest.mark.parametrize("seed", range(12))
def test_a_member_that_was_cut_off_in_the_middle_shows_the_old_release_or_the_new_one_whole(
    seed: int,
) -> None:
    rng, shop, down = Random(seed), Shop(), set[str]()
    shop.disks = {name: Disk() for name in "abc"}
    shop.cluster("a b c")
    for name in NAMES:
        shop.put("a", PREFIX + name, b"0")
    for number in range(1, 12):
        strike(shop, rng, down)
        # long enough for a notice to be lost, or fetched, at a member that others have cut off
        shop.run(rng.choice([0.0005, 0.002, 0.3, 4.0]))
        author = rng.choice(sorted({"a", "b", "c"} - down))
        desk = shop.desk(author)
        to = rng.choice([None, None, member(rng.choice("abc"))])
        step = desk.release(f"r{number}", values_of(number), to)
        shop.write(author, (step.document, step.pointer))
    shop.heal()
    shop.passes = lambda frm, to, reliable: True
    for name in sorted(down):
        shop.add(name, "abc".index(name), join=("10.0.0.1:7481",))
    shop.until(shop.converged)
    pointer = shop.desk("a").pointer
    shop.run(0.1)
    assert {name: shop.shown[name].release for name in "abc"} == {
        name: pointer.wanted(Place(name, "")) for name in "abc"
    }
    assert not any(each.pending for each in shop.shown.values())
    assert len(shop.seen) > 5


def test_a_canary_of_ten_percent_on_fifty_members_hits_those_that_the_writer_named() -> None:
    shop = Shop()
    names = [f"m{number:02}" for number in range(50)]
    shop.cluster(" ".join(names))
    for number, to in ((1, None), (2, share(0.1))):
        step = shop.desk("m00").release(f"r{number}", values_of(number), to)
        shop.write("m00", (step.document, step.pointer))
        shop.until(shop.converged)
    hit = [name for name in names if shop.shown[name].release == "r2"]
    assert tuple(hit) == step.hits
    assert 1 <= len(hit) <= 12
    assert {shop.shown[name].release for name in names if name not in hit} == {"r1"}
    # and as members leave, nobody else is hit
    for name in (hit[0], *[name for name in names if name not in hit][1:6]):
        shop.leave(name)
    shop.run(5.0)
    assert [name for name in names if shop.shown[name].release == "r2"] == hit
