from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.sparse import csr_array

from recsys_ae.evaluation.protocols import near_duplicates as module
from recsys_ae.evaluation.protocols.near_duplicates import near_duplicates, row_blocks


def pattern(sets: list[set[int]], n_items: int) -> csr_array:
    indptr = np.r_[0, np.cumsum([len(one) for one in sets])]
    indices = np.array([item for one in sets for item in sorted(one)], np.int32)
    return csr_array((np.ones(len(indices), np.int8), indices, indptr), shape=(len(sets), n_items))


def by_brute_force(sets: list[set[int]]) -> tuple[list[bool], list[bool]]:
    same, similar = [False] * len(sets), [False] * len(sets)
    for a, b in combinations(range(len(sets)), 2):
        if min(len(sets[a]), len(sets[b])) >= 5:
            same[a], same[b] = (was or sets[a] == sets[b] for was in (same[a], same[b]))
            near = 10 * len(sets[a] & sets[b]) >= 9 * len(sets[a] | sets[b])
            similar[a], similar[b] = (was or near for was in (similar[a], similar[b]))
    return same, similar


def check(sets: list[set[int]], n_items: int) -> None:
    same, similar = near_duplicates(pattern(sets, n_items))
    assert (same.tolist(), similar.tolist()) == by_brute_force(sets)


def test_by_hand():
    ten, copy, nine = set(range(10)), set(range(10)), set(range(9))
    four = {20, 21, 22, 23}
    far = set(range(8)) | {30, 31}
    same, similar = near_duplicates(pattern([ten, four, nine, set(), copy, far, four], 40))
    assert same.tolist() == [True, False, False, False, True, False, False]
    assert similar.tolist() == [True, False, True, False, True, False, False]


@st.composite
def families(draw) -> tuple[list[set[int]], int]:
    """Sets of all sizes, many of which are copies of others with a few items more, fewer or exchanged."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    n_items = draw(st.sampled_from([12, 40, 300]))
    sets: list[set[int]] = []
    for _ in range(draw(st.integers(1, 60))):
        if sets and rng.random() < 0.6:
            base = set(sets[rng.integers(len(sets))])
            base -= set(rng.permutation(sorted(base))[: rng.integers(0, 2 + len(base) // 12)].tolist())
            sets.append(base | set(rng.integers(0, n_items, rng.integers(0, 2 + len(base) // 12)).tolist()))
        else:
            sets.append(set((n_items * rng.random(rng.integers(0, n_items)) ** 2).astype(int).tolist()))
    return sets, n_items


@settings(deadline=None, max_examples=150)
@given(families())
def test_agrees_with_comparing_all_pairs(family):
    check(*family)


@pytest.mark.parametrize("block", [1, 7, 100])
def test_blocks_do_not_matter(monkeypatch, block):
    monkeypatch.setattr(module, "BLOCK", block)
    rng = np.random.default_rng(3)
    base = [set(rng.integers(0, 200, 40).tolist()) for _ in range(20)]
    check([*base, *({*one, 1, 2} for one in base), *base[:3], set()], 200)


def test_blocks_of_rows_cover_all(monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 4)
    assert list(row_blocks(np.array([0, 3, 4, 4, 9, 10, 10]))) == [(0, 3), (3, 4), (4, 6)]
    assert list(row_blocks(np.array([0]))) == []


def test_many_near_copies_of_one_set_and_one_stranger():
    """A group in which nearly all are marked at once; the stranger shares a part with all, and is compared with each."""
    base = set(range(100))
    sets = [base - {number} | {200 + number} for number in range(60)] + [set(range(50)) | set(range(300, 350))]
    check(sets, 400)


def test_no_users_to_compare():
    same, similar = near_duplicates(pattern([{1}, {1}], 3))
    assert not same.any()
    assert not similar.any()
