"""The infective list: when a rumor is hot, and when it stops."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvgossip.protocol.rumors.hot_list import PENDING_MAX, HotList, HotRumor, bitmap
from kvgossip.protocol.rumors.policy import Mode, RumorPolicy

KNEW, NEWS = b"\x01", b"\x00"


def rumors_of(k: int = 3, rumors_max: int = 100, *, feedback: bool = True) -> HotList:
    return HotList(RumorPolicy(k=k, feedback=feedback), rumors_max, Random(1))


def heat(rumors: HotList, key: str = "k", heard_from: str | None = None) -> HotRumor:
    rumors.heat(key, key.encode(), heard_from)
    return next(rumor for rumor in rumors.hot() if rumor.key == key)


def tell(rumors: HotList, peer: str, answer: bytes | None) -> bool:
    """Contact this peer with everything hot; whether a packet was needed. None: it does not
    answer."""
    batch = [rumor for rumor in list(rumors.hot()) if rumors.contact(peer, rumor, 10)]
    if batch:
        sequence = rumors.sent(peer, batch)
        if answer is not None:
            rumors.feedback(sequence, answer)
    return bool(batch)


def hot(rumors: HotList) -> list[str]:
    return [rumor.key for rumor in rumors.hot()]


# -- the law of K --------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_a_rumor_cools_at_the_kth_contact_in_a_row_that_knew_it(k: int) -> None:
    rumors = rumors_of(k)
    heat(rumors)
    for contact in range(k):
        assert hot(rumors) == ["k"]
        tell(rumors, f"p{contact}", KNEW)
    assert hot(rumors) == []
    assert rumors.cooled == 1


def test_a_contact_to_which_it_was_news_starts_the_count_again() -> None:
    rumors = rumors_of(2)
    heat(rumors)
    for place, answer in enumerate([KNEW, NEWS, KNEW, NEWS, KNEW]):
        tell(rumors, f"p{place}", answer)
        assert hot(rumors) == ["k"]
    tell(rumors, "last", KNEW)
    assert hot(rumors) == []


def test_a_contact_that_does_not_answer_counts_as_nothing() -> None:
    rumors = rumors_of(1)
    heat(rumors)
    for place in range(5):
        tell(rumors, f"p{place}", None)
    assert hot(rumors) == ["k"]


def test_peers_that_never_answer_do_not_keep_a_rumor_hot_for_ever() -> None:
    rumors = rumors_of(3)
    heat(rumors)
    most = rumors.contacts_max(10)
    for place in range(most):
        assert tell(rumors, f"p{place}", None)
    assert hot(rumors) == ["k"]
    assert not tell(rumors, "one more", None)
    assert hot(rumors) == []


def test_a_peer_that_is_known_to_hold_it_counts_without_a_packet() -> None:
    rumors = rumors_of(2)
    heat(rumors, heard_from="teller")
    assert not tell(rumors, "teller", None)
    assert hot(rumors) == ["k"]
    assert tell(rumors, "other", NEWS)
    assert not tell(rumors, "other", None)
    assert not tell(rumors, "teller", None)
    assert hot(rumors) == []


def test_a_newer_version_replaces_the_rumor_and_starts_again() -> None:
    rumors = rumors_of(2)
    old = heat(rumors)
    tell(rumors, "p", KNEW)
    new = heat(rumors, heard_from="q")
    assert list(rumors.hot()) == [new]
    assert (new.unnecessary, new.contacts, new.holders) == (0, 0, {"q"})
    # and an answer about the old one touches nothing
    sequence = rumors.sent("r", [old])
    rumors.feedback(sequence, KNEW)
    rumors.feedback(rumors.sent("r", [old]), KNEW)
    assert list(rumors.hot()) == [new]
    assert rumors.cooled == 0


def test_k_zero_spreads_nothing() -> None:
    rumors = rumors_of(0)
    rumors.heat("k", b"k", None)
    assert (hot(rumors), rumors.fresh, len(rumors)) == ([], [], 0)


# -- other policies ------------------------------------------------------------------------------


def test_blind_counts_every_contact_whether_it_knew_or_not() -> None:
    rumors = rumors_of(3, feedback=False)
    heat(rumors)
    tell(rumors, "p", NEWS)
    tell(rumors, "q", None)
    assert hot(rumors) == ["k"]
    tell(rumors, "r", NEWS)
    assert hot(rumors) == []


def test_the_coin_cools_with_probability_one_in_k_at_each_contact_that_knew() -> None:
    contacts = 0
    for seed in range(300):
        rumors = HotList(RumorPolicy(k=4, counter=False), 100, Random(seed))
        heat(rumors)
        while hot(rumors):
            contacts += 1
            tell(rumors, f"p{contacts}", KNEW)
    # a geometric distribution's mean is k
    assert 3.6 <= contacts / 300 <= 4.4
    rumors = HotList(RumorPolicy(k=1, counter=False, mode=Mode.PUSH), 100, Random(1))
    heat(rumors)
    tell(rumors, "p", NEWS)
    assert hot(rumors) == ["k"]


# -- order and bounds ----------------------------------------------------------------------------


def test_own_writes_come_before_forwarded_rumors_each_oldest_first() -> None:
    rumors = rumors_of()
    for key, heard_from in (("f1", "p"), ("o1", None), ("f2", "p"), ("o2", None), ("f1", "q")):
        heat(rumors, key, heard_from)
    assert hot(rumors) == ["o1", "o2", "f2", "f1"]
    assert [rumor.key for rumor in rumors.take_fresh()] == ["o1", "o2", "f2", "f1"]
    assert rumors.take_fresh() == []


def test_what_cooled_meanwhile_is_not_fresh_any_more() -> None:
    rumors = rumors_of(1)
    heat(rumors, "a")
    heat(rumors, "b")
    rumors.feedback(rumors.sent("p", list(rumors.hot())), bitmap([True, False]))
    assert [rumor.key for rumor in rumors.take_fresh()] == ["b"]


def test_the_oldest_forwarded_rumor_cools_first_when_there_are_too_many() -> None:
    rumors = rumors_of(rumors_max=3)
    for key, heard_from in (
        ("o1", None),
        ("f1", "p"),
        ("f2", "p"),
        ("o2", None),
        ("o3", None),
        ("o4", None),
    ):
        heat(rumors, key, heard_from) if key not in ("o4",) else rumors.heat(key, b"", None)
    assert hot(rumors) == ["o2", "o3", "o4"]
    assert len(rumors) == 3
    assert rumors.cooled == 3


def test_cooling_all_leaves_nothing() -> None:
    rumors = rumors_of()
    heat(rumors, "a")
    heat(rumors, "b", "p")
    rumors.cool_all()
    assert (hot(rumors), rumors.fresh, rumors.cooled) == ([], [], 2)


# -- feedback ------------------------------------------------------------------------------------


@given(st.lists(st.booleans(), max_size=40))
def test_a_bitmap_has_one_bit_a_rumor_least_significant_first(known: list[bool]) -> None:
    bits = bitmap(known)
    assert len(bits) == -(-len(known) // 8)
    assert [bool(bits[place // 8] >> place % 8 & 1) for place in range(len(known))] == known


def test_each_bit_judges_the_rumor_in_its_place() -> None:
    rumors = rumors_of(1)
    for number in range(10):
        heat(rumors, f"k{number}")
    rumors.feedback(rumors.sent("p", list(rumors.hot())), b"\x81\x02")
    assert hot(rumors) == ["k1", "k2", "k3", "k4", "k5", "k6", "k8"]
    assert all("p" in rumor.holders for rumor in rumors.hot())


def test_an_answer_counts_once() -> None:
    rumors = rumors_of(2)
    heat(rumors)
    sequence = rumors.sent("p", list(rumors.hot()))
    rumors.feedback(sequence, KNEW)
    rumors.feedback(sequence, KNEW)
    assert hot(rumors) == ["k"]


@given(st.integers(0, 2**64 - 1), st.binary(max_size=4))
def test_a_strange_answer_changes_nothing(sequence: int, known: bytes) -> None:
    rumors = rumors_of(1)
    heat(rumors)
    mine = rumors.sent("p", list(rumors.hot()))
    if sequence != mine:
        rumors.feedback(sequence, known)
        assert hot(rumors) == ["k"]


def test_an_answer_that_is_too_short_changes_nothing() -> None:
    rumors = rumors_of(1)
    for number in range(9):
        heat(rumors, f"k{number}")
    rumors.feedback(rumors.sent("p", list(rumors.hot())), b"\xff")
    assert len(rumors) == 9


def test_who_did_not_get_a_packet_cannot_guess_its_number() -> None:
    rumors = rumors_of(1)
    rumor = heat(rumors)
    numbers = [rumors.sent("p", [rumor]) for _ in range(50)]
    assert len({other - one for one, other in pairwise(numbers)}) == 49
    assert max(numbers) > 2**24


def test_the_packets_that_wait_for_an_answer_are_bounded_and_the_oldest_go() -> None:
    rumors = rumors_of(1)
    rumor = heat(rumors)
    first = rumors.sent("p", [rumor])
    second = rumors.sent("q", [rumor])
    for _ in range(PENDING_MAX - 1):
        rumors.sent("q", [rumor])
    rumors.feedback(first, KNEW)
    assert hot(rumors) == ["k"]
    rumors.feedback(second, KNEW)
    assert hot(rumors) == []
