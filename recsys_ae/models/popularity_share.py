"""How much popularity should count beside what a model has learned: chosen on a part of the training data.

A fifth of the items of up to 2,000 users, at least one of each, is held out. A model fitted on the rest ranks these items with
each share p of 0.001, 0.01, 0.03, 0.1, 0.3, 1 and 3; the p with the highest NDCG@10 (the largest of equals) is then used with
the model fitted on all data. The same random numbers are drawn in every fit, whatever the seed, so p depends on the data alone.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys_ae.ids import Rows
from recsys_ae.models.base import Floats, blocks_of
from recsys_ae.ranking import exclude, hits, ndcg, top_k

SHARES = (0.001, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
HELD_OUT_USERS, HELD_OUT, LENGTH = 2000, 0.2, 10

Scorer = Callable[[csr_array], tuple[Floats, Floats]]
"""From binary histories [B, M] to their scores [B, M], and the weights [B] with which popularity times p is added."""


def popularity_of(counts: Floats) -> Floats:
    """q [M]: the number of users of each item over that of the most popular one."""
    return np.asarray(counts / np.maximum(counts.max(), 1), np.float32)


def chosen_share(x: csr_array, learn: Callable[[csr_array], Scorer]) -> float:
    """The p with which what is learned from a part of the binary X [N, M] ranks the rest best; the largest if nothing can."""
    rest, wanted, users = _parted(x)
    if not len(users):
        return SHARES[-1]
    scorer = learn(rest)
    popularity = popularity_of(np.bincount(rest.indices, minlength=rest.shape[1]).astype(np.float32))
    totals = np.zeros(len(SHARES))
    for rows in blocks_of(users, rest.shape[1]):
        history, relevant = rest[rows], wanted[rows]
        scores, weights = scorer(history)
        if not (np.isfinite(scores).all() and np.isfinite(weights).all()):
            return SHARES[-1]  # `fit` reports it
        for at, share in enumerate(SHARES):
            mixed = np.asarray(scores + np.float32(share) * weights[:, None] * popularity, np.float32)
            exclude(mixed, history)
            lists, _ = top_k(mixed, LENGTH)
            totals[at] += ndcg(hits(lists, relevant), np.diff(relevant.indptr), LENGTH).sum()
    return SHARES[int(np.flatnonzero(totals == totals.max())[-1])]


def _parted(x: csr_array) -> tuple[csr_array, csr_array, Rows]:
    """X [N, M] without the held-out entries, these, and the users who have both."""
    rng, n = np.random.default_rng(0), np.diff(x.indptr)
    users = np.sort(rng.permutation(np.flatnonzero(n >= 2))[:HELD_OUT_USERS])
    number = np.zeros(len(n), np.int64)
    number[users] = np.maximum(1, HELD_OUT * n[users]).astype(np.int64)
    row = np.repeat(np.arange(len(n)), n)
    order = np.lexsort((rng.random(x.nnz), row))
    held = np.empty(x.nnz, bool)
    held[order] = np.arange(x.nnz) - x.indptr[row] < number[row]
    return _entries(x, ~held, row), _entries(x, held, row), users


def _entries(x: csr_array, chosen: NDArray[np.bool_], row: Rows) -> csr_array:
    """X [N, M] with only the chosen entries, bool [nnz]."""
    lengths = np.bincount(row[chosen], minlength=x.shape[0])
    return csr_array((x.data[chosen], x.indices[chosen], np.r_[0, np.cumsum(lengths)]), shape=x.shape)
