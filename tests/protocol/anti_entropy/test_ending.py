"""What is learned at the end of an exchange is learned in portions, and is the same as at once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kvgossip.protocol.anti_entropy.ending import FACTS_A_STEP, portions_of
from kvgossip.protocol.tombstones.fact import Fact, Kind, fact_of

FACTS = st.lists(
    st.builds(fact_of, st.integers(1, 2**63), st.integers(1, 2**63), st.sampled_from(list(Kind))),
    max_size=20,
)


@given(FACTS, st.integers(0, 3 * FACTS_A_STEP))
def test_portions_hold_all_facts_with_the_latest_and_the_gaps_first(
    some: list[Fact], more: int
) -> None:
    facts = [*some, *(fact_of(place + 1, place, Kind.DOT) for place in range(more))]
    portions = list(portions_of(facts))
    assert {fact for portion in portions for fact in portion} == set(facts)
    assert all(len(portion) <= FACTS_A_STEP for portion in portions)
    if facts:
        assert max(facts) in portions[0]
    if len(portions) > 1:
        kinds = [fact[16] for portion in portions for fact in portion][1:]
        gaps = kinds.count(Kind.GAP)
        assert all(kind == Kind.GAP for kind in kinds[:gaps])
