"""The best columns of arrays and of products of factors, against a sort of all scores."""

import numba
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.sparse import csr_array

from recsys_ae.ranking import Allowed, ColumnFactors, Product, top_k, top_k_and_ties

MANY = 3000  # columns: more than are collected before the first reduction


def product(rows, columns) -> Product:
    return Product(np.asarray(rows, np.float32), ColumnFactors.of(np.asarray(columns, np.float32)))


def pattern(rng, shape, density) -> csr_array:
    """Random entries, some of which store a 0."""
    found = csr_array(rng.random(shape) < density)
    found.sort_indices()
    return csr_array((rng.integers(0, 2, found.nnz).astype(np.float32), found.indices, found.indptr), shape)


def random_filter(rng, shape) -> Allowed:
    mask, candidates, excluded = rng.random(shape[1]) < 0.7, pattern(rng, shape, 0.4), pattern(rng, shape, 0.3)
    return Allowed(*(part if rng.random() < 0.5 else None for part in (mask, candidates, excluded)))


def by_sorting(scores, k, allowed):
    """`top_k` by a stable sort."""
    scores = scores.copy()
    allowed.restrict(scores)
    columns, values = np.full((len(scores), k), -1), np.full((len(scores), k), np.nan, np.float32)
    for row, line in enumerate(scores):
        best = [column for column in np.argsort(-line, kind="stable") if line[column] > -np.inf][:k]
        columns[row, : len(best)], values[row, : len(best)] = best, line[best]
    return columns, values


def assert_best(scores, expected, k, allowed):
    for found, wanted in zip(top_k(scores, k, allowed), by_sorting(expected, k, allowed), strict=True):
        np.testing.assert_array_equal(found, wanted)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 60), st.integers(1, 70), st.integers(1, 9), st.integers(1, 80), st.booleans())
def test_best_of_products_and_arrays_are_those_of_a_sort(seed, n_rows, n_columns, height, k, with_ties):
    rng = np.random.default_rng(seed)
    rows, columns = (rng.normal(size=(n, height)) for n in (n_rows, n_columns))
    if with_ties:
        rows, columns = np.sign(np.round(rows)), np.round(columns)  # -1, 0, and 1; -0 among the products
    scores, allowed = product(rows, columns), random_filter(rng, (n_rows, n_columns))
    block = scores.to_array()
    np.testing.assert_allclose(block, rows @ columns.T, rtol=1e-4, atol=1e-4)
    assert_best(scores, block, k, allowed)
    assert_best(block, block, k, allowed)


@pytest.mark.parametrize("k", [1, 10, 500])
@pytest.mark.parametrize("tail", [0, 1], ids=["of equal length", "of falling length"])
def test_best_of_many_columns(k, tail, rng):
    """More columns than are collected at a time; with falling lengths, most panels are left out."""
    rows, columns = rng.normal(size=(101, 7)), rng.normal(size=(MANY, 7))
    columns *= rng.permutation(np.arange(1, MANY + 1))[:, None] ** -float(tail)
    scores, allowed = product(rows, columns), Allowed(excluded=pattern(rng, (101, MANY), 0.1))
    assert_best(scores, scores.to_array(), k, allowed)
    assert_best(scores.to_array(), scores.to_array(), k, allowed)


def test_many_equal_scores_come_in_the_order_of_the_columns(rng):
    rows, columns = rng.integers(0, 2, (50, 3)), rng.integers(0, 2, (MANY, 3))
    scores = product(rows, columns)
    assert_best(scores, scores.to_array(), 100, Allowed())
    assert_best(product(rows, 0 * columns), np.zeros((50, MANY), np.float32), 100, Allowed())


def test_factors_of_other_types_are_converted(rng):
    rows, columns = rng.normal(size=(5, 3)), np.asfortranarray(rng.normal(size=(9, 3)))
    scores = Product(rows[::2], ColumnFactors.of(columns))
    assert_best(scores, product(rows[::2], columns).to_array(), 4, Allowed())
    np.testing.assert_array_equal(scores.to_array(), product(rows[::2], columns).to_array())


def test_zeros_of_both_signs_are_equal():
    scores = np.array([[-0.0, 0.0, -1.0, -0.0, 0.0]], np.float32)
    assert top_k(scores, 5)[0].tolist() == [[0, 1, 3, 4, 2]]


def test_a_product_has_the_same_bits_in_any_block_and_with_any_number_of_threads(rng):
    rows, columns = rng.normal(size=(97, 33)).astype(np.float32), rng.normal(size=(400, 33)).astype(np.float32)
    expected, before = product(rows, columns).to_array(), numba.get_num_threads()
    some, others = rng.permutation(97)[:13], rng.permutation(400)[:77]
    np.testing.assert_array_equal(product(rows[some], columns[others]).to_array(), expected[np.ix_(some, others)])
    numba.set_num_threads(1)
    try:
        np.testing.assert_array_equal(product(rows, columns).to_array(), expected)
        lists = top_k(product(rows, columns), 9)
    finally:
        numba.set_num_threads(before)
    for one, other in zip(lists, top_k(product(rows, columns), 9), strict=True):
        np.testing.assert_array_equal(one, other)


def test_no_score_exceeds_the_bound(rng):
    for _ in range(50):
        rows, columns = rng.normal(size=(9, 70)), rng.normal(size=(30, 70))
        scores = product(rows, np.r_[columns, rows])  # parallel ones reach it
        assert np.abs(scores.to_array()).max() <= scores.bound()
    assert product([[np.nan, 1]], [[0, 1]]).bound() == product([[np.inf, 1]], [[0, 1]]).bound() == np.inf
    assert not np.isfinite(product([[1, 1]], [[0, 1], [np.nan, 1]]).bound())


def test_ties_of_products_are_those_of_arrays(rng):
    rows, columns = rng.integers(0, 2, (40, 3)), rng.integers(0, 2, (60, 3))
    scores, wanted = product(rows, columns), csr_array((rng.random((40, 60)) < 0.2).astype(np.float32))
    allowed = Allowed(excluded=pattern(rng, (40, 60), 0.3))
    found, expected = (top_k_and_ties(one, 5, wanted, allowed) for one in (scores, scores.to_array()))
    np.testing.assert_array_equal(found[0], expected[0])
    assert found[2].nnz > 0 == (found[2] != expected[2]).nnz
