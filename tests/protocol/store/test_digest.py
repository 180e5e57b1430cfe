"""The digest tree: it depends on the content alone, and its levels mean the same at every depth."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvgossip.protocol.store.digest import FAN_OUT, DigestTree
from tests.protocol.net import record
from tests.protocol.strategies import few_keys, keys, records

CONTENT = st.dictionaries(keys, records, max_size=20)
LEVELS = st.integers(1, 4)


def change(tree: DigestTree, key: str, old: bytes | None, new: bytes | None) -> tuple[int, int]:
    return tree.replace(tree.hash_of(key), old, new)


def tree_of(content: dict[str, bytes], levels: int = 2, seed: int = 7) -> DigestTree:
    tree = DigestTree(levels, seed)
    for key, held in content.items():
        change(tree, key, None, held)
    return tree


def sums(tree: DigestTree) -> list[list[int]]:
    return [tree.sums(level).tolist() for level in range(tree.levels + 1)]


@given(st.lists(st.tuples(few_keys, st.none() | records), max_size=20), LEVELS)
def test_a_tree_depends_on_its_content_and_not_on_its_history(
    changes: list[tuple[str, bytes | None]], levels: int
) -> None:
    tree, content = DigestTree(levels, 7), dict[str, bytes]()
    for key, new in changes:
        old = content.pop(key, None)
        if (old, new) != (None, None):
            change(tree, key, old, new)
        if new is not None:
            content[key] = new
    tree._check(content.items())
    assert sums(tree) == sums(tree_of(dict(reversed(content.items())), levels))


@given(CONTENT, LEVELS, LEVELS)
def test_trees_of_different_depth_agree_on_the_levels_that_both_have(
    content: dict[str, bytes], one: int, other: int
) -> None:
    common = min(one, other) + 1
    assert sums(tree_of(content, one))[:common] == sums(tree_of(content, other))[:common]


@given(CONTENT, CONTENT)
def test_trees_of_different_content_have_different_roots(
    one: dict[str, bytes], other: dict[str, bytes]
) -> None:
    assert (tree_of(one).root == tree_of(other).root) == (one == other)


@given(CONTENT, LEVELS)
def test_a_bucket_is_the_xor_of_its_children_and_of_the_fingerprints_of_its_keys(
    content: dict[str, bytes], levels: int
) -> None:
    tree = tree_of(content, levels)
    for level in range(min(levels, 2) + 1):
        for bucket, expected in enumerate(tree.sums(level)):
            of_keys = 0
            for key, held in content.items():
                fingerprint = tree.fingerprint(key, held)
                of_keys ^= fingerprint if tree.bucket_of(level, fingerprint) == bucket else 0
            assert of_keys == expected
            if level < levels:
                of_children = 0
                for child in tree.sums(level + 1)[bucket * FAN_OUT : (bucket + 1) * FAN_OUT]:
                    of_children ^= child
                assert of_children == expected


@given(keys, records, LEVELS)
def test_a_fingerprint_names_the_bucket_of_its_key_on_every_level(
    key: str, held: bytes, levels: int
) -> None:
    tree = tree_of({key: held}, levels)
    fingerprint = tree.fingerprint(key, held)
    for level in range(levels + 1):
        bucket = tree.bucket_of(level, fingerprint)
        assert [place for place, total in enumerate(tree.sums(level)) if total] == [bucket]
        assert tree.sums(level)[bucket] == fingerprint


def test_a_change_returns_the_fingerprints_that_went_and_came() -> None:
    tree, old, new = DigestTree(2, 7), record(b"1"), record(b"2", ms=1)
    before, after = tree.fingerprint("k", old), tree.fingerprint("k", new)
    assert change(tree, "k", None, old) == (0, before)
    assert change(tree, "k", old, new) == (before, after)
    assert change(tree, "k", new, None) == (after, 0)
    assert sums(tree) == sums(DigestTree(2, 7))


def test_a_fingerprint_is_part_of_the_wire_protocol_and_does_not_change() -> None:
    assert f"{tree_of({'k': record(b'v')}, levels=4, seed=7).root:016x}" == "2e982b2880f55acc"


def test_clusters_have_different_positions_for_one_key() -> None:
    fingerprints = {DigestTree(2, seed).fingerprint("k", record(b"v")) for seed in range(20)}
    assert len(fingerprints) == 20
    assert len({fingerprint >> 48 for fingerprint in fingerprints}) == 20


def test_the_same_body_under_two_keys_has_two_fingerprints() -> None:
    tree = DigestTree(2, 7)
    one, other = (tree.fingerprint(key, record(b"v")) for key in "ab")
    assert one & 0xFFFFFFFFFFFF != other & 0xFFFFFFFFFFFF


def test_two_keys_that_swapped_their_bodies_are_seen() -> None:
    # an XOR of hashes of bodies alone would not see it
    one, other = record(b"1"), record(b"2")
    assert tree_of({"a": one, "b": other}).root != tree_of({"a": other, "b": one}).root


def test_check_finds_a_sum_that_is_wrong() -> None:
    content = {"a": record(b"1")}
    tree = tree_of(content)
    change(tree, "b", None, record(b"2"))
    with pytest.raises(AssertionError, match="the sums differ"):
        tree._check(content.items())
