"""RumorPolicy: when a site loses interest in a rumor (Demers et al. 1987, section 1.4)."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvgossip.errors import ConfigError
from kvgossip.protocol.rumors.policy import Mode, RumorPolicy

KS = st.integers(1, 64)


def contacts_until_cold(policy: RumorPolicy, knew: bool, seed: int) -> int:
    rng, contacts = Random(seed), 0
    count: int | None = 0
    while count is not None:
        contacts += 1
        count = policy.after(count, knew, rng)
    return contacts


@given(KS)
def test_with_feedback_and_counter_a_rumor_is_hot_until_k_contacts_that_knew_it(k: int) -> None:
    assert contacts_until_cold(RumorPolicy(k), knew=True, seed=0) == k


@given(KS, st.integers(0, 63))
def test_with_feedback_a_contact_that_was_news_sets_the_counter_back(k: int, count: int) -> None:
    assert RumorPolicy(k).after(count, knew=False, rng=Random(0)) == 0


@given(KS, st.booleans())
def test_blind_with_a_counter_makes_k_contacts_whatever_they_knew(k: int, knew: bool) -> None:
    assert contacts_until_cold(RumorPolicy(k, feedback=False), knew, seed=0) == k


@given(st.integers(0, 63), st.integers())
def test_with_feedback_a_coin_is_tossed_only_after_contacts_that_knew(
    count: int, seed: int
) -> None:
    assert RumorPolicy(1, counter=False).after(count, knew=False, rng=Random(seed)) is not None


@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("feedback", [True, False])
def test_with_a_coin_interest_lasts_k_contacts_on_average(k: int, feedback: bool) -> None:
    policy = RumorPolicy(k, feedback=feedback, counter=False)
    lengths = [contacts_until_cold(policy, knew=True, seed=seed) for seed in range(2000)]
    # A geometric law: its deviation is sqrt(k (k-1)), so the mean of 2000 is within 4 standard
    # errors.
    assert sum(lengths) / 2000 == pytest.approx(k, abs=4 * (k * (k - 1) / 2000) ** 0.5 + 1e-9)


def test_with_k_0_interest_is_lost_at_once() -> None:
    assert RumorPolicy(0).after(0, knew=True, rng=Random(0)) is None
    assert RumorPolicy(0, counter=False).after(0, knew=True, rng=Random(0)) is None


@given(st.integers(0, 64), st.integers(0, 64))
def test_minimization_counts_a_contact_for_the_smaller_counter_and_for_both_if_they_are_equal(
    mine: int, theirs: int
) -> None:
    policy = RumorPolicy(mode=Mode.PUSH_PULL, minimization=True)
    assert policy.counts(mine, theirs) == (mine <= theirs)
    assert policy.counts(mine, theirs) or policy.counts(theirs, mine)


@given(st.integers(0, 64), st.integers(0, 64))
def test_without_minimization_every_contact_counts_for_both(mine: int, theirs: int) -> None:
    assert RumorPolicy(mode=Mode.PUSH_PULL).counts(mine, theirs)


@pytest.mark.parametrize(
    ("mode", "pushes", "pulls"),
    [(Mode.PUSH, True, False), (Mode.PULL, False, True), (Mode.PUSH_PULL, True, True)],
)
def test_push_pull_does_both(mode: Mode, pushes: bool, pulls: bool) -> None:
    assert (mode.pushes, mode.pulls) == (pushes, pulls)


def test_numbers_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ConfigError):
        RumorPolicy(-1)
    with pytest.raises(ConfigError):
        RumorPolicy(connection_limit=-1)
    with pytest.raises(ConfigError):
        RumorPolicy(hunt=-1)


def test_minimization_without_two_counters_to_compare_is_refused() -> None:
    with pytest.raises(ConfigError, match="push-pull"):
        RumorPolicy(minimization=True)
    with pytest.raises(ConfigError, match="counters"):
        RumorPolicy(mode=Mode.PUSH_PULL, counter=False, minimization=True)
