"""Models fitted by the library `implicit`: ALS and BPR. Values of interactions are ignored."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_array, csr_matrix
from threadpoolctl import threadpool_limits

from recsys_ae.digests import STEP, splitmix64
from recsys_ae.errors import TrainingError
from recsys_ae.fitted import Fitted
from recsys_ae.ids import Rows
from recsys_ae.interactions import Interactions, ones
from recsys_ae.models.base import FitContext, Floats, checked_rows, fitted_on, fitted_state, item_counts
from recsys_ae.models.factors import FactorModel, trained_rows
from recsys_ae.models.popularity_share import PopularityShare
from recsys_ae.models.recommend import check_scorable
from recsys_ae.models.warm_start import copy_matching_rows
from recsys_ae.ranking import ColumnFactors, Product
from recsys_ae.space import Range, Space


@dataclass
class ImplicitModel(FactorModel, PopularityShare):
    """Scores are products of the learned vectors of users and items; popularity is one more factor."""

    def item_vectors(self) -> Floats:
        return fitted_state(self).arrays["items"]

    @abstractmethod
    def user_vectors(self, history: Interactions, rows: Rows) -> Floats:
        """Vectors of the users at `rows` of `history`, float32 [B, K]."""

    def _user_factors(self, fitted: Fitted, history: Interactions, rows: Rows) -> Floats:
        vectors = self.user_vectors(history, rows)
        return np.c_[vectors, np.ones(len(rows), np.float32)] if "popularity_term" in fitted.arrays else vectors

    def _item_factors(self, fitted: Fitted) -> Floats:
        vectors, term = fitted.arrays["items"], fitted.arrays.get("popularity_term")
        return vectors if term is None else np.c_[vectors, term]

    def _learned_scores(self, history: Interactions, rows: Rows) -> Floats:
        return Product(self.user_vectors(history, rows), ColumnFactors.of(self.item_vectors())).to_array()


@dataclass
class ALS(ImplicitModel):
    """Weighted matrix factorisation of implicit feedback by alternating least squares.

    Source: Hu, Koren & Volinsky 2008, with confidence `alpha` for an interaction and 1 for every other pair. Known and new
    users alike are scored by one half step of the algorithm, from their history with the item factors fixed; for users whose
    history is that in the training data, its result is part of the model. Items without interactions, and users without a
    history, have score 0 everywhere, apart from `popularity`.

    Attributes:
        factors: K.
        l2: regularisation of all factors.
        alpha: confidence of an interaction.
        epochs: alternations of users and items.
        popularity: see `PopularityShare`.
    """

    factors: Annotated[int, Field(ge=1)] = 64
    l2: Annotated[float, Field(gt=0)] = 20.0
    alpha: Annotated[float, Field(gt=0)] = 2.0
    epochs: Annotated[int, Field(ge=1)] = 15
    space: ClassVar[Space] = {
        "factors": Range(low=16, high=256, log=True),
        "l2": Range(low=1, high=200, log=True),
        "alpha": Range(low=0.3, high=20, log=True),
    }

    def _memory(self, n_users: int, n_items: int) -> int:
        return 4 * (n_users + n_items) * self.factors

    def _learn(self, train: Interactions, context: FitContext) -> Fitted:
        from implicit.cpu.als import AlternatingLeastSquares

        start: dict[str, Floats] = {}
        if (before := context.before) is not None:  # new items start with random factors, as in a cold start
            start["item_factors"] = np.random.default_rng(context.seed).random((train.n_items, self.factors), np.float32) * 0.01
            copy_matching_rows(start["item_factors"], before.arrays["items"], train.items, before.ids["items"])
        options = {"factors": self.factors, "regularization": self.l2, "alpha": self.alpha, "iterations": self.epochs}
        model = fit_with_implicit(AlternatingLeastSquares, train, start, **options, random_state=context.seed)
        items = np.where(item_counts(train)[:, None] > 0, model.item_factors, np.float32(0))
        learned = {"items": items, "users": self._half_step(items, train.matrix), "histories": row_digests(train.matrix)}
        return fitted_on(train, learned, keep_users=True)

    def _half_step(self, items: Floats, histories: csr_array) -> Floats:
        """The user factors [B, K] that minimise the objective, given histories [B, M] and item factors [M, K]."""
        from recsys_ae.core.kernels.least_squares import weighted_factors  # heavy

        gram, out = items.T @ items, np.empty((histories.shape[0], self.factors), np.float32)
        entries = histories.indptr.astype(np.int64), histories.indices.astype(np.int64)
        weighted_factors(*entries, items, gram, np.float32(self.alpha), np.float32(self.l2), out)
        return out

    def user_vectors(self, history: Interactions, rows: Rows) -> Floats:
        rows = checked_rows(history, rows)
        fitted, histories = fitted_state(self, history), history.matrix[rows]
        arrays, same_ids = fitted.arrays, history.users.kind == fitted.ids["users"].kind
        known = trained_rows(fitted, history, rows) if same_ids else np.full(len(rows), -1)
        vectors, new = arrays["users"][known], (known < 0) | (arrays["histories"][known] != row_digests(histories))
        if new.any():
            vectors[new] = self._half_step(arrays["items"], histories[np.flatnonzero(new)])
        return vectors


@dataclass
class BPR(ImplicitModel):
    """Matrix factorisation with item biases that ranks a user's items above all others.

    Source: Rendle et al. 2009, by stochastic gradient descent over sampled pairs, on one thread, because with several the
    result is not reproducible. Scores only users seen in training: `scores` raises an error for any other, and `recommend`
    treats them as its `cold` says. Item vectors are the factors and the item's bias, user vectors the factors and 1.

    Attributes:
        factors: K.
        l2: regularisation of factors and biases.
        learning_rate: step size of the descent.
        epochs: passes over as many sampled pairs as there are interactions.
        popularity: see `PopularityShare`.
    """

    factors: Annotated[int, Field(ge=1)] = 64
    l2: Annotated[float, Field(ge=0)] = 0.01
    learning_rate: Annotated[float, Field(gt=0)] = 0.01
    epochs: Annotated[int, Field(ge=1)] = 100
    space: ClassVar[Space] = {
        "factors": Range(low=16, high=256, log=True),
        "l2": Range(low=0.001, high=0.1, log=True),
        "learning_rate": Range(low=0.003, high=0.1, log=True),
        "epochs": Range(low=30, high=300, log=True),
    }

    def _memory(self, n_users: int, n_items: int) -> int:
        return 4 * (n_users + n_items) * (self.factors + 1)

    def _learn(self, train: Interactions, context: FitContext) -> Fitted:
        from implicit.cpu.bpr import BayesianPersonalizedRanking

        start: dict[str, NDArray[Any]] = {}
        if (before := context.before) is not None:
            rng = np.random.default_rng(context.seed)
            for name, kind, ids in (("user_factors", "users", train.users), ("item_factors", "items", train.items)):
                start[name] = (rng.random((len(ids), self.factors + 1), np.float32) - 0.5) / self.factors
                copy_matching_rows(start[name], before.arrays[kind], ids, before.ids[kind])
        options = {"factors": self.factors, "learning_rate": self.learning_rate, "regularization": self.l2}
        options |= {"iterations": self.epochs, "num_threads": 1, "random_state": context.seed}
        model = fit_with_implicit(BayesianPersonalizedRanking, train, start, **options)
        items = np.where(item_counts(train)[:, None] > 0, model.item_factors, 0).astype(np.float32)
        return fitted_on(train, {"users": np.asarray(model.user_factors, np.float32), "items": items}, keep_users=True)

    def can_score(self, history: Interactions, rows: Rows) -> NDArray[np.bool_]:
        """bool [B]: users with training data and a history."""
        rows = checked_rows(history, rows)
        return (trained_rows(fitted_state(self, history), history, rows) >= 0) & (np.diff(history.matrix.indptr)[rows] > 0)

    def user_vectors(self, history: Interactions, rows: Rows) -> Floats:
        rows, fitted = checked_rows(history, rows), fitted_state(self, history)
        known = trained_rows(fitted, history, rows)
        check_scorable(known >= 0, history, rows)
        return fitted.arrays["users"][known]


def row_digests(matrix: csr_array) -> NDArray[np.uint64]:
    """A number for each row [B] that depends only on which entries it stores: the sum of hashes of their columns, modulo 2^64.

    Two different rows have the same one with a probability of about 2^-64.
    """
    hashes = splitmix64(matrix.indices.astype(np.uint64) * STEP)
    return np.diff(np.r_[np.uint64(0), np.cumsum(hashes)][matrix.indptr])


def fit_with_implicit(
    kind: Any,
    train: Interactions,
    start: Mapping[str, Floats],
    **options: Any,
) -> Any:
    """A fitted model of class `kind`, starting from the factors in `start`; without BLAS threads inside its own threads.

    Every interaction counts 1.
    """
    with threadpool_limits(1, "blas"):
        model = kind(**options)
        for name, factors in start.items():
            setattr(model, name, factors)
        clicks = csr_matrix(ones(train.matrix), dtype=np.float32)
        model.fit(clicks, show_progress=False, callback=partial(_check_factors, model))
    return model


def _check_factors(model: Any, epoch: int, *_: Any) -> None:
    """A callback of `implicit`: raises `TrainingError` as soon as a factor is not finite."""
    if not all(np.isfinite(factors).all() for factors in (model.item_factors, model.user_factors)):
        raise TrainingError(f"a factor is no longer finite after epoch {epoch + 1}")
