"""Gibbs sampling of factorisation machines, against slow references with the same random numbers, and exact posteriors."""

import numpy as np
import pytest
from scipy.sparse import csr_array, eye_array

from recsys_ae.core.gibbs import Block, Chain
from recsys_ae.core.kernels.gibbs import expected_rows, sweep

N, M, K = 9, 6, 2


def some_values(rng: np.random.Generator) -> csr_array:
    """[9, 6] with about half of the entries, none in row 3 or column 4."""
    observed = rng.random((N, M)) < 0.6
    observed[3], observed[:, 4] = False, False
    return csr_array(rng.normal(size=(N, M)) * observed)


def some_groups(rng: np.random.Generator, n: int) -> list[csr_array]:
    """Ids, and a group of attributes with several values in a row."""
    return [csr_array(eye_array(n)), csr_array(rng.normal(size=(n, 4)) * (rng.random((n, 4)) < 0.5))]


def a_chain(seed: int, **options: object) -> Chain:
    rng = np.random.default_rng(seed)
    groups = some_groups(rng, N), some_groups(rng, M)
    return Chain(some_values(rng), *groups, **{"factors": K, "noise_per_row": True, "rng": rng, **options})


def reference_sweep(values, design, weights, mean, precision, noise, noise_precision):
    """The same draws one weight at a time, from all residuals; the weights of both sides are changed in place."""
    row, column = values.nonzero()
    dense = values.toarray()
    for factor in range(K + 2):
        for side in (0, 1):
            if factor == 1 - side:
                continue  # the constant 1
            for j in range(design[side].shape[1]):
                sums = [w @ x.T for w, x in zip(weights, design, strict=True)]
                sums[0][1], sums[1][0] = 1, 1
                left = dense[row, column] - np.einsum("fn,fn->n", sums[0][:, row], sums[1][:, column])
                at, other = ((row, sums[1][factor, column]), (column, sums[0][factor, row]))[side]
                slope = design[side][at, j] * other
                group = int(j >= (N, M)[side])
                own, prior = precision[side][factor, group], mean[side][factor, group]
                total = own + (noise_precision[row] * slope**2).sum()
                before = weights[side][factor, j]
                numerator = (noise_precision[row] * slope * (left + slope * before)).sum() + own * prior
                drawn = numerator / total + noise[side][factor, j] / np.sqrt(total)
                weights[side][factor, j] = drawn if (slope != 0).any() else prior


def test_a_sweep_draws_each_weight_given_all_others():
    rng = np.random.default_rng(1)
    values = some_values(rng)
    indptr, columns = values.indptr.astype(np.int64), values.indices.astype(np.int32)
    noise_precision = rng.gamma(2, size=N)
    row = np.repeat(np.arange(N), np.diff(indptr))
    rated = np.diff(indptr) > 0, np.bincount(columns, minlength=M) > 0
    fresh = [Block(some_groups(rng, n), own, K, at, rng) for n, own, at in ((N, rated[0], 1), (M, rated[1], 0))]
    for block in fresh:
        block.mean[:], block.precision[:] = rng.normal(size=block.mean.shape), rng.gamma(2, size=block.mean.shape)
    sides = [block.side(rng) for block in fresh]
    weights = [block.weights.copy() for block in fresh]
    errors = (values.data - np.einsum("fn,fn->n", fresh[0].sums[:, row], fresh[1].sums[:, columns])).astype(np.float32)
    sweep(indptr, columns, errors, noise_precision, *sides)
    design = [block.attributes.toarray() for block in fresh]
    prior = [[getattr(block, name) for block in fresh] for name in ("mean", "precision")]
    reference_sweep(values, design, weights, *prior, [side.noise for side in sides], noise_precision)
    for block, expected in zip(fresh, weights, strict=True):
        used = np.abs(expected) > 0
        np.testing.assert_allclose(block.weights[used], expected[used], rtol=1e-3, atol=1e-4)
    left = values.data - np.einsum("fn,fn->n", fresh[0].sums[:, row], fresh[1].sums[:, columns])
    np.testing.assert_allclose(errors, left, atol=1e-5)


def test_draws_of_biases_have_the_exact_posterior():
    """Without products, the model is linear: the posterior is that of a ridge regression."""
    rng = np.random.default_rng(3)
    values = some_values(rng)
    row, column = values.nonzero()
    precision, noise_precision = 2.0, rng.gamma(3, size=N)
    observed = np.diff(values.indptr) > 0, np.bincount(values.indices, minlength=M) > 0
    blocks = [Block([csr_array(eye_array(n))], own, 0, at, rng) for n, own, at in ((N, observed[0], 1), (M, observed[1], 0))]
    for block in blocks:
        block.precision[:] = precision
    errors, draws = values.data.astype(np.float32), []
    for _ in range(20_000):
        sweep(values.indptr, values.indices, errors, noise_precision, *(block.side(rng) for block in blocks))
        draws.append(np.r_[blocks[0].weights[0], blocks[1].weights[1]])
    design = np.zeros((len(row), N + M))
    design[np.arange(len(row)), row], design[np.arange(len(row)), N + column] = 1, 1
    covariance = np.linalg.inv(design.T @ (noise_precision[row, None] * design) + precision * np.eye(N + M))
    mean = covariance @ design.T @ (noise_precision[row] * values.data)
    np.testing.assert_allclose(np.mean(draws, axis=0), mean, atol=0.03)
    drawn = np.r_[observed[0], observed[1]]  # the others have their expectation, the prior's mean
    np.testing.assert_allclose(np.cov(np.array(draws).T)[np.ix_(drawn, drawn)], covariance[np.ix_(drawn, drawn)], atol=0.03)


def test_errors_do_not_drift():
    chain = a_chain(0)
    indptr, columns = chain._indptr, chain._columns
    row = np.repeat(np.arange(N), np.diff(indptr))
    before = chain._errors + np.einsum("fn,fn->n", chain.rows.sums[:, row], chain.columns.sums[:, columns])
    for _ in range(300):
        chain.step()
    after = chain._errors + np.einsum("fn,fn->n", chain.rows.sums[:, row], chain.columns.sums[:, columns])
    np.testing.assert_allclose(after, before, atol=1e-4)


def test_the_prior_follows_the_weights_of_its_group():
    rng = np.random.default_rng(0)
    groups = [csr_array(eye_array(4000)), csr_array(np.ones((4000, 1)))]
    block = Block(groups, np.ones(4000, bool), 1, 1, rng)
    block.weights[0, :4000], block.weights[2, :4000] = rng.normal(2, 0.5, 4000), rng.normal(-1, 3, 4000)
    draws = []
    for _ in range(200):
        block.draw_prior(rng)
        draws.append(np.c_[block.mean[:, 0], 1 / np.sqrt(block.precision[:, 0])])
    np.testing.assert_allclose(np.mean(draws[20:], axis=0)[[0, 2]], [[2, 0.5], [-1, 3]], rtol=0.05)
    np.testing.assert_allclose(np.std(draws[20:], axis=0)[2, 0], 3 / np.sqrt(4000), rtol=0.3)


def test_the_noise_of_rows_is_found():
    """Precisions from a gamma distribution with mean 2 and 6 degrees of freedom."""
    rng = np.random.default_rng(0)
    n, m = 300, 60
    precision = rng.gamma(3, 2 / 3, n)
    values = csr_array(rng.normal(size=(n, m)) / np.sqrt(precision)[:, None])
    chain = Chain(values, [csr_array(eye_array(n))], [csr_array(eye_array(m))], factors=1, noise_per_row=True, rng=rng)
    draws = []
    for _ in range(150):
        chain.step()
        draws.append((chain.level, chain.degrees))
    level, degrees = np.mean(draws[50:], axis=0)
    assert level == pytest.approx(2, rel=0.15)
    assert degrees == pytest.approx(6, rel=0.3)
    assert np.corrcoef(np.log(precision), np.log(chain._noise_precision))[0, 1] > 0.9


def rows_to_expect(rng: np.random.Generator) -> tuple:
    """Ratings, and 2 samples of all else with 4 numbers for each row."""
    values = some_values(rng)
    vectors, prior = rng.normal(size=(M, 2, 4)).astype(np.float32), rng.normal(size=(N, 2, 4)).astype(np.float32)
    return values, vectors, prior, rng.gamma(2, size=(2, 4)).astype(np.float32), rng.gamma(2, size=(2, 2)).astype(np.float32)


@pytest.mark.parametrize("rounds", [0, 60])
def test_expected_rows_solve_their_equations(rounds):
    values, vectors, prior, precision, spread = rows_to_expect(np.random.default_rng(2))
    found = np.empty_like(prior)
    entries = values.indptr, values.indices, values.data
    expected_rows(*entries, vectors, prior, precision, spread, rounds, found)
    for row in range(N):
        own = slice(values.indptr[row], values.indptr[row + 1])
        for sample in range(2):
            at = vectors[values.indices[own], sample].astype(float)
            design, left, noise = np.c_[np.ones(len(at)), at[:, 1:]], values.data[own] - at[:, 0], np.divide(*spread[sample])
            for _ in range(rounds + 1):
                inverse = np.linalg.inv(noise * design.T @ design + np.diag(precision[sample]))
                mean = inverse @ (noise * design.T @ left + precision[sample] * prior[row, sample])
                error = ((left - design @ mean) ** 2).sum() + np.trace(design @ inverse @ design.T)
                noise = (spread[sample, 0] + len(left) / 2) / (spread[sample, 1] + error / 2) if rounds else noise
            np.testing.assert_allclose(found[row, sample], mean, rtol=1e-4, atol=1e-5)
