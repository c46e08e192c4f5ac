"""Combining the predictions of models: weights of ratings by least squares, of scores by NDCG.

Shapes: E members, B users, M items.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize, minimize_scalar
from scipy.sparse import csr_array

from recsys_ae.models.base import Floats
from recsys_ae.ranking import exclude, hits, ndcg, row_of_entry, top_k

Weights = NDArray[np.float64]
Combine = Literal["product", "mixture"]
ROUNDING = 1e-9  # smaller weights are 0
LENGTH = 100  # of the lists whose NDCG decides
STEPS = (4.0, 2.0, 2**0.5, 2**0.25)  # factors by which weights are changed, in one round of the search each
SHARPNESS = (0.1, 30.0)  # bounds; a standardised score of 1 more makes an item e^0.1 to e^30 times as likely


def least_squares(gram: Weights, correlation: Weights) -> Weights:
    """The w >= 0 [E] of sum 1 that minimise |P w - r|^2, given P^T P [E, E] and P^T r [E].

    Equal weights if the search finds no better ones.
    """
    scale = max(float(np.trace(gram)), 1e-300)
    gram, correlation, e = gram / scale, correlation / scale, len(gram)

    def error(w: Weights) -> tuple[float, Weights]:
        return float(w @ gram @ w / 2 - w @ correlation), gram @ w - correlation

    constraint = {"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like}
    options = {"ftol": 1e-15, "maxiter": 1000}
    start = np.full(e, 1 / e)
    found = minimize(error, start, jac=True, method="SLSQP", bounds=[(0, 1)] * e, constraints=constraint, options=options)
    weights = np.where(found.x > ROUNDING, found.x, 0)
    total = weights.sum()
    if total > 0 and error(weights / total)[0] <= error(start)[0]:  # `success` is also False for good solutions
        return np.asarray(weights / total, np.float64)
    return start


def weighted(weights: Weights, parts: Sequence[Floats]) -> Floats:
    """The weighted sum of arrays of one shape, float32."""
    return np.asarray(sum(np.float32(weight) * part for weight, part in zip(weights, parts, strict=True)), np.float32)


def standardised(scores: Floats, seen: csr_array) -> Floats:
    """Scores [B, M] minus the mean and divided by the deviation over the user's unseen items, float32 [B, M].

    Where all unseen items are equal, mean and deviation are those of all items. A score of -inf becomes the user's lowest.

    Args:
        seen: [B, M], whose entries are the seen items.
    """
    finite = np.isfinite(scores)
    lowest = np.where(finite, scores, np.inf).min(axis=1, initial=np.inf, keepdims=True)
    scores = np.where(finite, scores, np.where(np.isfinite(lowest), lowest, 0)).astype(np.float32)
    unseen = finite.copy()
    unseen[row_of_entry(seen), seen.indices] = False
    mean, deviation = _moments(scores, unseen)
    flat = np.flatnonzero(deviation == 0)
    mean[flat], deviation[flat] = _moments(scores[flat], finite[flat])
    return ((scores - mean[:, None]) / np.where(deviation, deviation, np.inf)[:, None]).astype(np.float32)


def _moments(scores: Floats, counted: NDArray[np.bool_]) -> tuple[Weights, Weights]:
    """Mean and standard deviation [B] of the counted scores of each row; 0 for a deviation that is only rounding."""
    n = counted.sum(axis=1).clip(min=1)
    mean = np.einsum("bm,bm->b", scores, counted, dtype=np.float64) / n
    centred = scores - mean.astype(np.float32)[:, None]
    deviation = np.sqrt(np.einsum("bm,bm,bm->b", centred, centred, counted, dtype=np.float64) / n)
    return mean, np.where(deviation > 1e-6 * np.abs(mean) + 1e-30, deviation, 0)


@dataclass(frozen=True)
class Experts:
    """Members that give every item a probability each, which are multiplied or added.

    Attributes:
        weights: w [E], of sum 1.
        sharpness: t [E], 1 in a product.
    """

    combine: Combine
    weights: Weights
    sharpness: Weights

    @classmethod
    def fit(cls, combine: Combine, z: Sequence[Floats], seen: csr_array, held_out: csr_array) -> Self:
        """The experts whose lists of unseen items have the highest NDCG@100 on held-out items.

        The search begins with equal weights and changes one at a time by the factors `STEPS`; then it tries to leave each out.

        Args:
            z: standardised scores of each member, E arrays [B, M].
            seen: [B, M], whose entries are the seen items.
            held_out: [B, M], whose entries are the held-out items, at least one in each row and none of them seen.
        """
        equal, relevant = np.full(len(z), 1 / len(z)), np.diff(held_out.indptr)
        one = np.ones(len(z)) if combine == "product" else np.array([_sharpness(own, seen, held_out) for own in z])
        parts = cls(combine, equal, one)._parts(z)

        def value(weights: Weights) -> float:
            scores = cls(combine, weights, one)._combined(parts)
            exclude(scores, seen)
            lists, _ = top_k(scores, min(LENGTH, scores.shape[1]))
            return float(ndcg(hits(lists, held_out), relevant, LENGTH).mean())

        return cls(combine, _climb(value, equal), one)

    def scores(self, z: Sequence[Floats]) -> Floats:
        """float32 [B, M], from the standardised scores of each member."""
        return self._combined(self._parts(z))

    def _parts(self, z: Sequence[Floats]) -> Sequence[Floats]:
        """What is combined, for each member."""
        if self.combine == "product":
            return z
        return [_log_softmax(np.float32(t) * own) for t, own in zip(self.sharpness, z, strict=True)]

    def _combined(self, parts: Sequence[Floats]) -> Floats:
        if self.combine == "product":
            return weighted(self.weights, parts)
        counted = [(np.float32(np.log(w)), part) for w, part in zip(self.weights, parts, strict=True) if w]
        return reduce(np.logaddexp, (weight + part for weight, part in counted))


def _climb(value: Callable[[Weights], float], weights: Weights) -> Weights:
    """Weights of sum 1 of a high value, found by changing one at a time; at last, each member is left out."""
    best = value(weights)
    for step in (*STEPS, 0):
        for member in range(len(weights)):
            for factor in (1 / step, step) if step else (0,):
                changed = np.where(np.arange(len(weights)) == member, factor * weights, weights)
                if changed.any() and (found := value(changed := changed / changed.sum())) > best:
                    best, weights = found, changed
    return weights


def _log_softmax(scores: Floats, counted: NDArray[np.bool_] | None = None) -> Floats:
    """Logarithms of the probabilities [B, M] of the `counted` items [B, M], or of all."""
    counting = scores if counted is None else np.where(counted, scores, -np.inf)
    highest = counting.max(axis=1, keepdims=True)
    total = np.exp(counting - highest).sum(axis=1, dtype=np.float64, keepdims=True)
    return np.asarray(scores - highest - np.log(total), np.float32)


def _sharpness(z: Floats, seen: csr_array, held_out: csr_array) -> float:
    """The t for which the softmax of t z over unseen items makes the held-out items most likely, users counting equally."""
    unseen, n = np.ones(z.shape, bool), np.diff(held_out.indptr)
    unseen[row_of_entry(seen), seen.indices] = False
    at, share = (row_of_entry(held_out), held_out.indices), np.repeat(1 / n, n)
    found = minimize_scalar(lambda t: -share @ _log_softmax(np.float32(t) * z, unseen)[at], bounds=SHARPNESS, method="bounded")
    return float(found.x)
