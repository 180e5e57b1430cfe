"""What former lives of a node have left in counters: this one takes it over, by proof, and no sum
changes."""

from __future__ import annotations

import pytest

from kvgossip.protocol.saved_state import SavedLife
from kvgossip.protocol.tombstones.former_lives import LIVES_MAX, ORPHANS_MIN, FormerLives
from kvgossip.protocol.typed import counter, field_map
from kvgossip.protocol.typed import edit as edits
from kvgossip.protocol.typed.body import decode, encode
from kvgossip.protocol.typed.edit import Edit
from kvgossip.protocol.typed.typed_record import TypedRecord, empty
from tests.protocol.net import Disk, Network
from tests.protocol.tombstones.restarts import restart, waiting


def site(number: int) -> bytes:
    return number.to_bytes(8, "big")


def dot(time: int, life: int) -> bytes:
    return site(time) + site(life)


def lives(*numbers: int, name: str = "a") -> FormerLives:
    former = FormerLives("a")
    former.restore(SavedLife(name=name, lives=b"".join(map(site, numbers))))
    return former


def counted(*by: int, edit: Edit | None = None) -> TypedRecord:
    """A record to which each of these lives has added once."""
    edit = edit or edits.add(2)
    record = empty(edit.type)
    for time, life in enumerate(by, 1):
        record = edit.apply(record, dot(time, life))
    return record


def test_after_many_restarts_a_record_keeps_few_subtotals_and_no_pair() -> None:
    restarts = 3 * ORPHANS_MIN
    outcome = restart(restarts)
    assert outcome[:2] == (restarts, restarts)
    assert max(outcome.subtotals) <= ORPHANS_MIN
    assert outcome.pairs == (0, 0), outcome


def test_who_is_alone_takes_nothing_over_as_its_disk_may_be_an_old_one() -> None:
    net = Network()
    net.disks["a"] = Disk()
    for life in range(2 * ORPHANS_MIN):
        if life:
            net.crash("a")
        net.add("a", 0)
        net.perform("a", net.replicas["a"].edit("n", edits.add(1), net.now("a")).effects)
        net.run(10.0)
    assert len(decode(net.replicas["a"].store["n"]).live) == 2 * ORPHANS_MIN
    assert waiting(net, "a")


def test_the_lives_of_another_name_are_none_of_its_own() -> None:
    record = encode(counted(*range(1, ORPHANS_MIN + 1)))
    assert len(lives(*range(1, ORPHANS_MIN + 1)).orphans(record)) == ORPHANS_MIN
    assert lives(*range(1, ORPHANS_MIN + 1), name="b").orphans(record) == []
    assert lives(*range(2, ORPHANS_MIN + 1)).orphans(record) == []


def test_the_disk_keeps_the_lives_that_have_written_the_newest_of_many() -> None:
    former = lives(*range(LIVES_MAX))
    assert former.kept(99, has_written=False) == b"".join(map(site, range(LIVES_MAX)))
    assert former.kept(99, has_written=True)[-16:] == site(LIVES_MAX - 1) + site(99)
    former.begin_life(98)
    assert former.kept(99, has_written=True)[-16:] == site(98) + site(99)
    assert len(former.kept(99, has_written=True)) == 8 * LIVES_MAX


@pytest.mark.parametrize("edit", [edits.add(2), edits.add_to_field("f", 2)])
def test_to_take_over_changes_no_sum_and_leaves_what_others_count(edit: Edit) -> None:
    record = counted(1, 2, 3, 9, edit=edit)
    adopted = edits.adopt(record.type, [dot(1, 1), dot(2, 2)]).apply(record, dot(5, 9))
    assert [value[8:16] for value in adopted.values] == [site(3), site(9)]
    assert adopted.seen == {site(1): site(1), site(2): site(2), site(9): site(4)}
    assert shown(adopted) == shown(record)


def test_a_field_that_is_another_kind_meanwhile_stays_so() -> None:
    record = counted(1, 2, 3, 4, edit=edits.add_to_field("f", 2))
    one = record._replace(seen={})
    other = field_map.set_field(empty(field_map.TYPE), dot(7, 7), "f", "text")
    both = one._replace(
        version=other.version, values=type(one.values)([*one.values, *other.values])
    )
    assert field_map.subtotals(both) == []
    assert lives(1, 2, 3, 4).orphans(encode(both)) == []


def shown(record: TypedRecord) -> object:
    if record.type == counter.TYPE:
        return counter.total_of(record.live)
    return field_map.fields_of(record)
