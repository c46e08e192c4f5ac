"""How much popularity should count beside what a model has learned: chosen on a part of the training data.

A fifth of the items of up to 2,000 users (6,000 on sparse data), at least one of each, is held out. A model fitted on the rest
ranks these items with each share p of 0.001, 0.01, 0.03, 0.1, 0.3, 1, 3, 10 and 30; the p with the highest NDCG@10 (the largest
of equals) is then used with the model fitted on all data. The same random numbers are drawn in every fit, whatever the seed.
"""

import logging
from abc import abstractmethod
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from pydantic import Field

from recsys_ae.fitted import Fitted
from recsys_ae.ids import Rows
from recsys_ae.interactions import Interactions
from recsys_ae.models.base import FitContext, Floats, Recommender, blocks_of, fitted_state, item_counts
from recsys_ae.ranking import exclude, hits, ndcg, top_k
from recsys_ae.sorting import random_ranks

SHARES = (0.001, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
HELD_OUT_USERS, HELD_OUT, LENGTH = 2000, 0.2, 10
THIN_USERS = 6000  # of thin data, where each user has little to hold out
THIN = 200  # average number of co-occurrences per item below which data are thin

logger = logging.getLogger(__name__)

ScoreFunction = Callable[[Rows], tuple[Floats, Floats]]
"""From rows of users [B] to their scores [B, M], and the weights [B] with which popularity times p is added."""


@dataclass
class PopularityShare(Recommender):
    """A ranker that adds item popularity to its learned scores s: s + p r q.

    q [M] is the number of users of each item over that of the most popular one, and r the mean range of the learned scores of
    a training user (of up to 2,000). So with a large p the order is that of popularity. Vectors of users and items, and weights
    between items, are those of the learned scores.

    Attributes:
        popularity: p; 0 as published. By default (None), p is 0 unless items have fewer than 200 co-occurrences on average. On
            such sparse data it is chosen during `fit`, see `popularity_share`, which takes another fit, on part of the data; a
            fit that starts from a fitted model keeps the p of that model. `fitted.meta["popularity"]` has it.
    """

    popularity: Annotated[float, Field(ge=0)] | None = None
    closed_form: ClassVar[bool] = False  # so that a fitted model to start from is ignored

    @abstractmethod
    def _learn(self, train: Interactions, context: FitContext) -> Fitted:
        """The state learned from `train`, without popularity."""

    @abstractmethod
    def _learned_scores(self, history: Interactions, rows: Rows) -> Floats:
        """`scores` without popularity."""

    def _fit(self, train: Interactions, context: FitContext) -> Fitted:
        share = self._share(train, context) if self.popularity is None else self.popularity
        fitted = self._learn(train, context)
        if not share:
            return fitted
        added = np.float32(share * self._with(fitted)._range(train)) * popularity_of(fitted.arrays["popularity"])
        return replace(fitted, arrays={**fitted.arrays, "popularity_term": added}, meta={**fitted.meta, "popularity": share})

    def _share(self, train: Interactions, context: FitContext) -> float:
        if not is_thin(train):
            return 0.0
        if context.before is not None and not self.closed_form:
            return float(context.before.meta.get("popularity", 0.0))
        alone = replace(context, callbacks=())  # which follow one training only
        return chosen_share(train, lambda rest: self._scorer(self._learn(rest, alone), rest), THIN_USERS)

    def scores(self, history: Interactions, rows: Rows) -> Floats:
        added = fitted_state(self, history).arrays.get("popularity_term")
        scores = self._learned_scores(history, rows)
        return scores if added is None else scores + added

    def _scorer(self, fitted: Fitted, train: Interactions) -> ScoreFunction:
        model = self._with(fitted)
        scale = model._range(train)
        return lambda rows: (model._learned_scores(train, rows), np.full(len(rows), scale, np.float32))

    def _range(self, train: Interactions) -> float:
        """r, see above; 1 if there is none."""
        users = some_users(train, 1, HELD_OUT_USERS, np.random.default_rng(0))
        if not len(users):
            return 1.0
        ranges = [np.ptp(self._learned_scores(train, rows), axis=1) for rows in blocks_of(users, train.n_items)]
        return float(np.concatenate(ranges).mean()) or 1.0

    def _with(self, fitted: Fitted) -> "PopularityShare":
        model = copy(self)
        model.fitted = fitted
        return model


def is_thin(train: Interactions) -> bool:
    """Whether items with interactions have fewer than 200 co-occurrences with other items, on average."""
    n = np.diff(train.matrix.indptr).astype(np.float64)
    return bool((n * (n - 1)).sum() < THIN * np.count_nonzero(item_counts(train)))


def popularity_of(counts: Floats) -> Floats:
    """q [M]: the number of users of each item over that of the most popular one."""
    return np.asarray(counts / np.maximum(counts.max(), 1), np.float32)


def some_users(train: Interactions, at_least: int, limit: int, rng: Generator) -> Rows:
    """Sorted rows of at most `limit` random users with at least `at_least` items."""
    able = np.flatnonzero(np.diff(train.matrix.indptr) >= at_least)
    return np.sort(rng.permutation(able)[:limit])


def chosen_share(train: Interactions, learn: Callable[[Interactions], ScoreFunction], limit: int = HELD_OUT_USERS) -> float:
    """The p for what is learned from `train`, see above; the largest if nothing can be held out. It is logged."""
    share = _best_share(train, learn, limit)
    logger.info("popularity weight: %g (chosen on held-out training data)", share)
    return share


def _best_share(train: Interactions, learn: Callable[[Interactions], ScoreFunction], limit: int) -> float:
    rng = np.random.default_rng(0)
    users = some_users(train, 2, limit, rng)
    if not len(users):
        return SHARES[-1]
    held = _held_out(train, users, rng)
    rest, wanted = train.filter(~held), train.filter(held)
    scorer = learn(rest)
    popularity = popularity_of(item_counts(rest))
    length, totals = min(LENGTH, train.n_items), np.zeros(len(SHARES))
    for rows in blocks_of(users, rest.n_items):
        history, relevant = rest.matrix[rows], wanted.matrix[rows]
        scores, weights = scorer(rows)
        if not (np.isfinite(scores).all() and np.isfinite(weights).all()):
            return SHARES[-1]  # if the whole model is like that, `fit` reports it
        for at, share in enumerate(SHARES):
            mixed = np.asarray(scores + np.float32(share) * weights[:, None] * popularity, np.float32)
            exclude(mixed, history)
            lists, _ = top_k(mixed, length)
            totals[at] += ndcg(hits(lists, relevant), np.diff(relevant.indptr), length).sum()
    return SHARES[int(np.flatnonzero(totals == totals.max())[-1])]


def _held_out(train: Interactions, users: Rows, rng: Generator) -> NDArray[np.bool_]:
    """bool [nnz]: which interactions of these users are held out."""
    indptr = train.matrix.indptr
    n = np.diff(indptr)
    number = np.zeros(len(n), np.int32)
    number[users] = np.maximum(1, HELD_OUT * n[users])
    return random_ranks(indptr, rng) < np.repeat(number, n)
