"""Orders by group and within groups, compared with NumPy's sorts of everything."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays

from recsys_ae.sorting import begins, by_group, by_pair, random_ranks, within_groups

small = st.integers(0, 40)


@st.composite
def members(draw):
    """Groups [n] out of 6, and keys [n] out of 5, with many equal ones."""
    n = draw(small)
    return draw(arrays(np.int64, n, elements=st.integers(0, 5))), draw(arrays(np.int64, n, elements=st.integers(0, 4)))


def starts_of(groups, n_groups):
    return np.r_[0, np.cumsum(np.bincount(groups, minlength=n_groups))]


@given(members())
@settings(deadline=None)
def test_members_are_in_the_order_of_their_groups_and_keys_and_otherwise_as_before(both):
    groups, keys = both
    at, starts = by_group(groups, 6)
    np.testing.assert_array_equal(at, np.argsort(groups, kind="stable"))
    np.testing.assert_array_equal(starts, starts_of(groups, 6))
    at, starts, ordered = by_pair(groups, 6, keys, 5)
    np.testing.assert_array_equal(at, np.lexsort((keys, groups)))
    np.testing.assert_array_equal(starts, starts_of(groups, 6))
    np.testing.assert_array_equal(ordered, keys[at])
    pairs = list(zip(groups[at], ordered, strict=True))
    assert begins(starts, ordered).tolist() == [k == 0 or pairs[k] != pairs[k - 1] for k in range(len(pairs))]


@given(members(), st.randoms(use_true_random=False), st.sampled_from([0, -3, 2**52]))
@settings(deadline=None)
def test_keys_of_any_size_are_sorted_within_each_group_and_ties_decide(both, random, low):
    groups, keys = np.sort(both[0]), both[1] + low
    ties = np.array(random.sample(range(100), len(keys)), np.int64)
    starts = starts_of(groups, 6)
    np.testing.assert_array_equal(within_groups(starts, keys), np.lexsort((keys, groups)))
    np.testing.assert_array_equal(within_groups(starts, keys, ties), np.lexsort((ties, keys, groups)))


@pytest.mark.parametrize("kind", [np.int32, np.int64])
def test_arguments_stay_as_they_are(kind):
    groups, keys = np.array([1, 0, 1, 0], kind), np.array([2, 2, 1, 2], kind)
    before = groups.copy(), keys.copy()
    by_group(groups, 2), by_pair(groups, 2, keys, 3), within_groups(np.array([0, 4], kind), keys, groups + np.arange(4) * 2)
    np.testing.assert_array_equal((groups, keys), before)


def test_random_ranks_are_those_of_the_draws():
    starts, draws = np.array([0, 3, 3, 1000]), np.random.default_rng(7).random(1000)
    expected = np.r_[draws[:3].argsort().argsort(), draws[3:].argsort().argsort()]
    np.testing.assert_array_equal(random_ranks(starts, np.random.default_rng(7)), expected)
