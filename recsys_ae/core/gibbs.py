"""Gibbs sampling of a Bayesian factorisation machine whose attributes are those of rows and those of columns.

    value(r, c) = sum_f p_f(r) q_f(c) + noise(r),    p_f(r) = sum_j x_rj v_fj,    q_f(c) = sum_j y_cj w_fj

Shapes: N rows with C attributes x, M columns with D attributes y, F factors. Factors 0 and 1 are the biases: q_0 = p_1 = 1.
Attributes are in groups, in each of which the weights of a factor have a normal prior. Its mean and precision are drawn too,
so nothing has to be tuned for a group: useless attributes get weights near 0.

Sources: Freudenthaler, Schmidt-Thieme & Rendle 2011 (Bayesian factorisation machines), and myFM for a prior per group.
Deviations:

- Products of two attributes of the same side are left out, because they only add to the biases.
- The sufficient statistics of a side are summed up by row before its weights are drawn, so that a sweep takes
  O(F (nnz of the values + nnz of the attributes)) steps, and not O(F * sum over values of their attributes).
- Rows have precisions of the noise of their own, from a gamma distribution whose mean and shape are drawn too
  (Lakshminarayanan, Bouchard & Archambeau 2011). People who rate at random then count less.
- The prior of a group's precision is gamma(1/2, 0.005) and not gamma(1/2, 1/2), which keeps the weights of small groups large.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array, csr_array, hstack
from scipy.special import gammaln

from recsys_ae.core.kernels.gibbs import Design, Side, row_errors, sweep

Array = NDArray[np.float64]
SHAPE, RATE = 0.5, 0.005  # gamma prior of the precision of a group
FIRST_PRECISION = 2.0  # of the noise in the warm-up, which is then half of the variance
FIRST_SHARE = 0.25  # variance of the products of factors under the priors of the warm-up
FLOOR = 1e-3  # added to squared errors; otherwise, the noise of values without any would vanish
DEGREES = np.geomspace(1, 1000, 100)  # of freedom: twice the possible shapes of the distribution of noise precisions


class Block:
    """The attributes of n rows in G groups, and their weights in F factors.

    Attributes:
        attributes: csr_array [n, C], all groups side by side.
        weights: [F, C].
        sums: [F, n], the products of weights and attributes.
        mean, precision: [F, G], of the prior.
    """

    def __init__(
        self,
        groups: Sequence[csr_array],
        observed: NDArray[np.bool_],
        factors: int,
        constant: Literal[0, 1],
        rng: np.random.Generator,
    ) -> None:
        """Biases of 0, and K = F - 2 `factors` drawn from the prior of the warm-up.

        Args:
            groups: attributes [n, .] by group.
            observed: bool [n], which rows have values.
            factors: K, without biases.
            constant: the factor whose sums stay 1.
            rng: draws the weights.
        """
        self.attributes = csr_array(hstack(groups, format="csr"))
        seen = csc_array(self.attributes * observed[:, None])
        seen.eliminate_zeros()
        self.bounds = np.cumsum([0, *(group.shape[1] for group in groups)])
        parts = seen.indptr.astype(np.int64), seen.indices.astype(np.int32), seen.data.astype(np.float32)
        self.design = Design(*parts, self.bounds)
        self.used = np.diff(seen.indptr) > 0  # columns: only these tell something about the prior
        # Under the first prior, groups have equal parts in the sums, and all products together have the variance FIRST_SHARE.
        sizes = np.array([max(1e-6, (group**2).sum() / group.shape[0]) for group in groups])  # mean squared lengths of rows
        wide = np.sqrt(max(factors, 1) / FIRST_SHARE) * len(groups) * sizes
        self.mean, self.precision = np.zeros((factors + 2, len(groups))), np.tile(wide, (factors + 2, 1))
        self.weights = rng.standard_normal((factors + 2, len(self.used))) / np.sqrt(np.repeat(wide, np.diff(self.bounds)))
        self.weights[:2] = 0
        self.sums: Array = self.weights @ self.attributes.T
        self.sums[constant] = 1

    def draw_prior(self, rng: np.random.Generator) -> None:
        """Draw mean and precision of each group and factor, given the weights."""
        for group, (first, last) in enumerate(zip(self.bounds, self.bounds[1:], strict=False)):
            own = self.weights[:, first:last][:, self.used[first:last]]
            n, mean = own.shape[1], self.mean[:, group]
            squares = ((own - mean[:, None]) ** 2).sum(axis=1) + mean**2
            shape = SHAPE + (n + 1) / 2
            self.precision[:, group] = rng.standard_gamma(shape, len(own)) / (RATE + squares / 2)
            deviation = 1 / np.sqrt((n + 1) * self.precision[:, group])
            self.mean[:, group] = own.sum(axis=1) / (n + 1) + deviation * rng.standard_normal(len(own))

    def side(self, rng: np.random.Generator) -> Side:
        """The block with new noise, for a sweep."""
        return Side(self.design, self.weights, self.sums, self.mean, self.precision, rng.standard_normal(self.weights.shape))


class Chain:
    """A Markov chain of samples of all parameters.

    Attributes:
        rows, columns: the two blocks.
        level, degrees: the precisions of the rows' noise are gamma-distributed with the mean `level` and `degrees` of freedom,
            twice the shape; if all rows have the same, it is `level`.
    """

    def __init__(
        self,
        values: csr_array,
        row_groups: Sequence[csr_array],
        column_groups: Sequence[csr_array],
        *,
        factors: int,
        noise_per_row: bool,
        rng: np.random.Generator,
    ) -> None:
        """The start of a chain.

        Args:
            values: [N, M], of mean 0 and variance 1; every stored entry is observed.
            row_groups, column_groups: attributes [N, .] and [M, .] by group.
            factors: K, without biases.
            rng: draws all random numbers.
        """
        self._rng, self._per_row = rng, noise_per_row
        self._indptr, self._columns = values.indptr.astype(np.int64), values.indices.astype(np.int32)
        self._count = np.diff(self._indptr)
        self._rated = self._count > 0
        rated_columns = np.bincount(self._columns, minlength=values.shape[1]) > 0
        self.rows = Block(row_groups, self._rated, factors, 1, rng)
        self.columns = Block(column_groups, rated_columns, factors, 0, rng)
        self._errors = values.data.astype(np.float32)
        row_of_entry = np.repeat(np.arange(len(self._count)), self._count)
        for p, q in zip(self.rows.sums, self.columns.sums, strict=True):
            self._errors -= (p[row_of_entry] * q[self._columns]).astype(np.float32)
        self.level, self.degrees = FIRST_PRECISION, 4.0
        self._noise_precision = np.full(len(self._count), self.level)

    def step(self, warm_up: bool = False) -> None:
        """Draw everything once; to warm up, given the priors and the noise that the chain begins with.

        A chain begins with small factors, for which it would draw narrow priors, and with much noise for rows of a rare kind.
        It could take hundreds of steps to get away from these.
        """
        if not warm_up:
            self._draw_noise()
            self.rows.draw_prior(self._rng)
            self.columns.draw_prior(self._rng)
        sides = self.rows.side(self._rng), self.columns.side(self._rng)
        sweep(self._indptr, self._columns, self._errors, self._noise_precision, *sides)

    def noise_prior(self) -> tuple[float, float]:
        """Shape and rate of the gamma distribution that the precisions of the rows' noise come from."""
        return self.degrees / 2, self.degrees / (2 * self.level)

    def _draw_noise(self) -> None:
        """Draw the precision of each row's noise, and the distribution that they come from, or one precision for all."""
        squares, rng, n = np.empty(len(self._count)), self._rng, int(self._rated.sum())
        row_errors(self._indptr, self._errors, squares)
        squares += FLOOR * self._count
        if not self._per_row:
            self.level = rng.standard_gamma((1 + self._count.sum()) / 2) / ((1 + squares.sum()) / 2)
            self._noise_precision[:] = self.level
            return
        shape = (self.degrees + self._count) / 2
        self._noise_precision[:] = rng.standard_gamma(shape) / ((self.degrees / self.level + squares) / 2)
        known = self._noise_precision[self._rated]
        total, logarithms = known.sum(), np.log(known).sum()
        self.level = (RATE + self.degrees * total / 2) / rng.standard_gamma(SHAPE + n * self.degrees / 2)
        half = DEGREES / 2
        likelihood = n * (half * np.log(half / self.level) - gammaln(half)) + half * (logarithms - total / self.level)
        weight = np.exp(likelihood - likelihood.max())
        self.degrees = float(rng.choice(DEGREES, p=weight / weight.sum()))
