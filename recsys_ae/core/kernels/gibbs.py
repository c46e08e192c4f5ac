"""Gibbs sampling of a factorisation machine with a block of rows and a block of columns; see `core.gibbs` for the equations."""

from typing import Any, NamedTuple

import numpy as np
from numba import prange

from recsys_ae.core.kernels.compiled import compiled
from recsys_ae.core.kernels.layers import FAST


class Design(NamedTuple):
    """The attributes of n rows by column, C columns in G groups.

    `starts` int64 [C + 1], `rows` int32 [nnz] and `values` float32 [nnz]; group g has the columns groups[g] to groups[g + 1].
    """

    starts: Any
    rows: Any
    values: Any
    groups: Any


class Side(NamedTuple):
    """One of the two blocks of a chain: n rows, C columns in G groups, F factors; everything float64.

    Attributes:
        design: `Design`.
        weights: [F, C], changed in place.
        sums: [F, n], the weighted sums of each row's attributes, changed in place.
        mean, precision: [F, G], the normal prior of the weights in each group.
        noise: [F, C], standard normal.
    """

    design: Any
    weights: Any
    sums: Any
    mean: Any
    precision: Any
    noise: Any


@compiled(nogil=True, fastmath=FAST)
def draw_weights(side: Any, factor: int, state: Any) -> None:
    """Draw the weights of one factor in turn, each from its distribution given all others.

    Weights of columns that no row with ratings has are set to the prior's mean, which is exact in expectation.

    Args:
        side: `Side`.
        state: float64 [n, 3], of each row: the precision that its ratings give its sum, this times the error that is left, and
            the change of its sum; the last two are updated.
    """
    starts, rows, values, groups = side.design
    weights, noise = side.weights[factor], side.noise[factor]
    for group in range(len(groups) - 1):
        mean, precision = side.mean[factor, group], side.precision[factor, group]
        for column in range(groups[group], groups[group + 1]):
            seen, left = 0.0, 0.0
            for n in range(starts[column], starts[column + 1]):
                value, row = values[n], rows[n]
                seen += value * value * state[row, 0]
                left += value * state[row, 1]
            before, after = weights[column], mean
            if seen > 0:
                total = seen + precision
                after = (left + seen * before + precision * mean) / total + noise[column] / np.sqrt(total)
            weights[column] = after
            for n in range(starts[column], starts[column + 1]):
                step, row = values[n] * (after - before), rows[n]
                state[row, 1] -= step * state[row, 0]
                state[row, 2] += step


@compiled(nogil=True, fastmath=FAST)
def sweep(indptr: Any, columns: Any, errors: Any, noise_precision: Any, left: Any, right: Any) -> None:
    """Draw all weights of both sides once, factor by factor, the rows' before the columns'.

    Factor 0 is the bias of rows, whose counterpart is 1, and factor 1 that of columns; both are kept where they are 1.

    Args:
        indptr, columns: of the ratings, by row.
        errors: float32 [nnz], the ratings minus the sum of all products, updated.
        noise_precision: float64 [N], of the ratings of each row.
        left, right: the `Side` of rows and of columns.
    """
    n_rows, n_columns = len(indptr) - 1, right.sums.shape[1]
    of_rows, of_columns = np.zeros((n_rows, 3)), np.zeros((n_columns, 3))
    for factor in range(len(left.sums)):
        p, q = left.sums[factor], right.sums[factor]
        of_rows[:, 2] = 0
        if factor != 1:
            for r in range(n_rows):
                square, total = 0.0, 0.0
                for n in range(indptr[r], indptr[r + 1]):
                    own = q[columns[n]]
                    square += own * own
                    total += own * errors[n]
                of_rows[r, 0], of_rows[r, 1] = noise_precision[r] * square, noise_precision[r] * total
            draw_weights(left, factor, of_rows)
            p += of_rows[:, 2]
        of_columns[:] = 0
        for r in range(n_rows):
            weighted, change = noise_precision[r] * p[r], of_rows[r, 2]
            square = weighted * p[r]
            for n in range(indptr[r], indptr[r + 1]):
                c = columns[n]
                errors[n] -= change * q[c]
                of_columns[c, 0] += square
                of_columns[c, 1] += weighted * errors[n]
        if factor != 0:
            draw_weights(right, factor, of_columns)
            q += of_columns[:, 2]
            for r in range(n_rows):
                for n in range(indptr[r], indptr[r + 1]):
                    errors[n] -= p[r] * of_columns[columns[n], 2]


@compiled(nogil=True, fastmath=FAST)
def row_errors(indptr: Any, errors: Any, total: Any) -> None:
    """Set `total`, float64 [N], to the sum of the squared errors of each row."""
    for r in range(len(total)):
        total[r] = 0
        for n in range(indptr[r], indptr[r + 1]):
            total[r] += np.float64(errors[n]) * errors[n]


@compiled(parallel=True, fastmath=FAST)
def expected_rows(
    indptr: Any, columns: Any, values: Any, vectors: Any, prior: Any, precision: Any, spread: Any, rounds: int, out: Any
) -> None:
    """The expected vectors of rows given their ratings, in each of S samples of all else.

    Given the noise, it is the solution of a ridge regression of H equations, whose sums over ratings are in float32. The noise
    of a row is found together with it, in the fixed point of mean-field variational inference.

    Args:
        indptr, columns, values: the ratings [B, M]; int64, because any other type takes seconds to compile, and float64.
        vectors: float32 [M, S, H], a bias and H - 1 factors of each column.
        prior: float32 [B, S, H], the bias and factors of each row that are expected without ratings.
        precision: float32 [S, H], of the prior.
        spread: float32 [S, 2]: shape and rate of the gamma prior of each row's noise precision.
        rounds: steps of the fixed point; with 0 the noise precision is shape / rate, the same for all rows.
        out: float32 [B, S, H].
    """
    samples, width = precision.shape
    for b in prange(len(indptr) - 1):
        first, last = indptr[b], indptr[b + 1]
        if first == last:
            for s in range(samples):
                for i in range(width):
                    out[b, s, i] = prior[b, s, i]
            continue
        own = np.ones((width, last - first), np.float32)  # factors by number, so that sums are long
        left = np.empty(last - first, np.float32)
        gram, lower, inverse = np.empty((width, width)), np.empty((width, width)), np.empty((width, width))
        product, mean, buffer = np.empty(width), np.empty(width), np.empty(width)
        for s in range(samples):
            squares = 0.0
            for n in range(last - first):
                vector = vectors[columns[first + n], s]
                left[n] = values[first + n] - vector[0]  # the counterpart of the row's own bias is 1
                squares += np.float64(left[n]) * left[n]
                for i in range(1, width):
                    own[i, n] = vector[i]
            for i in range(width):
                product[i] = _dot(own[i], left)
                for j in range(i + 1):
                    gram[i, j] = gram[j, i] = _dot(own[i], own[j])
            shape, rate = spread[s]
            noise = shape / rate
            for step in range(rounds + 1):
                _factorise(noise, gram, precision[s], lower)
                for i in range(width):
                    mean[i] = noise * product[i] + precision[s, i] * prior[b, s, i]
                _solve(lower, mean, buffer)
                if step < rounds:
                    error = squares + (width - _trace(lower, precision[s], inverse)) / noise
                    for i in range(width):
                        error += mean[i] * (_dot(gram[i], mean) - 2 * product[i])
                    noise = (shape + (last - first) / 2) / (rate + max(error, 0.0) / 2)
            for i in range(width):
                out[b, s, i] = mean[i]


@compiled(fastmath=FAST)
def _dot(left: Any, right: Any) -> float:
    total = left.dtype.type(0)
    for n in range(len(left)):
        total += left[n] * right[n]
    return total


@compiled(fastmath=FAST)
def _factorise(noise: float, gram: Any, precision: Any, lower: Any) -> None:
    """Set `lower` [H, H] to the Cholesky factor of noise * gram + diag(precision), below the diagonal."""
    for i in range(len(lower)):
        for j in range(i + 1):
            left = noise * gram[i, j] + (precision[i] if i == j else 0.0)
            for k in range(j):
                left -= lower[i, k] * lower[j, k]
            lower[i, j] = np.sqrt(left) if i == j else left / lower[j, j]


@compiled(fastmath=FAST)
def _solve(lower: Any, right: Any, buffer: Any) -> None:
    """Replace `right` [H] by the solution for the matrix with this Cholesky factor."""
    for i in range(len(right)):
        left = right[i]
        for k in range(i):
            left -= lower[i, k] * buffer[k]
        buffer[i] = left / lower[i, i]
    for i in range(len(right) - 1, -1, -1):
        right[i] = buffer[i] / lower[i, i]
        for k in range(i):
            buffer[k] -= lower[i, k] * right[i]


@compiled(fastmath=FAST)
def _trace(lower: Any, diagonal: Any, inverse: Any) -> float:
    """The trace of diag(diagonal) times the inverse of the matrix with this Cholesky factor; `inverse` [H, H] is a buffer."""
    total = 0.0
    for i in range(len(lower)):  # the rows of the factor's inverse, one from those above
        for j in range(i):
            inverse[i, j] = 0
        for k in range(i):
            for j in range(k + 1):
                inverse[i, j] -= lower[i, k] * inverse[k, j]
        inverse[i, i] = 1 / lower[i, i]
        for j in range(i):
            inverse[i, j] *= inverse[i, i]
        for j in range(i + 1):
            total += diagonal[j] * inverse[i, j] * inverse[i, j]
    return total
