"""Biased matrix factorisation, by stochastic gradient descent over single ratings."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Self

import numpy as np
import torch
from pydantic import Field
from torch import Generator, Tensor, nn

from recsys_ae.core.kernels import factorisation
from recsys_ae.core.losses import LossSum
from recsys_ae.core.sparse import SparseRows
from recsys_ae.core.trainer import Callback, TrainConfig, fit
from recsys_ae.interactions import Interactions, Rows
from recsys_ae.models.base import (
    Fitted,
    Floats,
    Recommender,
    clip,
    copy_matching_rows,
    fitted_state,
    rating_scale,
    warm_start_state,
)
from recsys_ae.models.factors import pair_products, ridge, trained_rows
from recsys_ae.models.training import observed_rows, validation

BLOCKS = 8  # parts of users and of items; so many threads can work at once, and the result does not depend on them


class Factors(nn.Module):
    """p_u, q_i, b_u and b_i for N users, M items and K factors. Items without ratings have 0."""

    def __init__(self, n_users: int, rated: Tensor, factors: int, init_std: float, generator: Generator) -> None:
        super().__init__()
        self.users = nn.Parameter(torch.randn(n_users, factors, generator=generator) * init_std)
        self.items = nn.Parameter(torch.randn(len(rated), factors, generator=generator) * init_std * rated[:, None])
        self.user_bias = nn.Parameter(torch.zeros(n_users))
        self.item_bias = nn.Parameter(torch.zeros(len(rated)))


@dataclass(frozen=True)
class RatingByRating:
    """Steps over single ratings in random order.

    Deviates from a plain pass: users and items are parted in blocks, drawn anew in each epoch, and blocks that share neither
    are worked on at once (Gemulla et al. 2011), so that the order is random within and among blocks only.
    """

    l2: float

    @torch.no_grad()
    def epoch(self, module: Factors, rows: SparseRows, learning_rate: float, generator: Generator) -> LossSum:
        row, column = rows.row_ids[rows.row_of_entry()].numpy(), rows.columns.numpy()
        order = torch.randperm(len(column), generator=generator).numpy()
        blocks = [torch.randint(BLOCKS, (n,), generator=generator).numpy() for n in (len(module.users), len(module.items))]
        strata = factorisation.by_block(order, row, column, *blocks, BLOCKS)
        weights = (module.users, module.items, module.user_bias, module.item_bias)
        factors = factorisation.Factors(*(weight.detach().numpy() for weight in weights))
        rates, errors = (np.float32(learning_rate), np.float32(self.l2)), np.zeros((BLOCKS, BLOCKS))
        factorisation.factor_steps(strata, row, column, rows.values.numpy(), factors, *rates, errors)
        return LossSum(torch.tensor(errors.sum()), torch.tensor(float(len(column))))


@dataclass
class MatrixFactorisation:
    """Predicts mean + user bias + item bias + p_u . q_i, all learned together.

    Source: Koren et al. 2009, equations 4 and 5, by stochastic gradient descent over single ratings as there. Deviates: the
    learning rate decays, and ratings are brought to variance 1 first, so that the other parameters do not depend on their
    scale.

    Who can be scored: users seen in training, by their learned factors; others by factors and a bias found from their
    history with the items fixed (a ridge regression of the same objective). An item without training ratings has the
    mean and the user's bias, a user without ratings the mean and the item's bias. Scores are predicted ratings, not
    clipped to the scale; predictions are.

    Attributes:
        factors: K.
        l2: each rating adds l2 * (|p_u|^2 + |q_i|^2 + b_u^2 + b_i^2) to its squared error.
        init_std: standard deviation of the initial factors.
        epochs, learning_rate, learning_rate_decay, patience: see `core.trainer.TrainConfig`.
    """

    factors: Annotated[int, Field(ge=1)] = 200
    l2: Annotated[float, Field(ge=0)] = 0.04
    init_std: Annotated[float, Field(gt=0)] = 0.005
    epochs: Annotated[int, Field(ge=1)] = 50
    learning_rate: Annotated[float, Field(gt=0)] = 0.02
    learning_rate_decay: Annotated[float, Field(gt=0, le=1)] = 0.95
    patience: Annotated[int, Field(ge=0)] = 5
    fitted: Fitted | None = field(default=None, init=False, repr=False)
    predicts_ratings: ClassVar[bool] = True

    def fit(
        self,
        train: Interactions,
        *,
        valid: Interactions | None = None,
        valid_history: Interactions | None = None,
        seed: int = 0,
        callbacks: Sequence[Callback] = (),
        warm_start: Recommender | None = None,
    ) -> Self:
        ratings = train.matrix.data
        known = {
            "mean": np.array([ratings.mean()]),
            "unit": np.array([ratings.std() or 1.0]),
            "trained_users": np.diff(train.matrix.indptr) > 0,
        }
        rated = torch.from_numpy(np.bincount(train.matrix.indices, minlength=train.n_items) > 0)
        module = Factors(train.n_users, rated, self.factors, self.init_std, Generator().manual_seed(seed))
        if (before := warm_start_state(self, warm_start)) is not None:
            assert before.users is not None
            users, items = (train.users, before.users), (train.items, before.items)
            for name, ids in (("users", users), ("user_bias", users), ("items", items), ("item_bias", items)):
                copy_matching_rows(getattr(module, name).detach(), torch.from_numpy(before.arrays[name]), *ids)
        rows = observed_rows(train.matrix)
        rows = rows.with_values((rows.values - float(known["mean"][0])) / float(known["unit"][0]))
        scale = rating_scale(train)

        def state() -> Fitted:
            learned = {name: weight.detach().numpy().copy() for name, weight in module.named_parameters()}
            return Fitted.on(train, {**known, **learned}, users=train.users, scale=scale)

        fit(
            module,
            RatingByRating(self.l2),
            rows,
            TrainConfig(self.epochs, 1, "sgd", self.learning_rate, self.learning_rate_decay, self.patience, seed),
            valid=validation(lambda *pairs: _predict(state(), self.l2, *pairs), valid_history or train, valid),
            callbacks=callbacks,
        )
        self.fitted = state()
        return self

    def scores(self, history: Interactions, rows: Rows) -> Floats:
        fitted = fitted_state(self, history)
        return _user_factors(fitted, self.l2, history, rows) @ _item_factors(fitted).T

    def item_vectors(self) -> Floats:
        return np.asarray(fitted_state(self).arrays["items"])

    def user_vectors(self, history: Interactions, rows: Rows) -> Floats:
        return _user_factors(fitted_state(self, history), self.l2, history, rows)[:, : self.factors]

    def predict_rows(self, history: Interactions, user_rows: Rows, item_rows: Rows) -> Floats:
        return _predict(fitted_state(self, history), self.l2, history, user_rows, item_rows)


def _predict(fitted: Fitted, l2: float, history: Interactions, user_rows: Rows, item_rows: Rows) -> Floats:
    user_factors = lambda rows: _user_factors(fitted, l2, history, rows)  # noqa: E731
    return clip(pair_products(user_factors, _item_factors(fitted), user_rows, item_rows), fitted)


def _item_factors(fitted: Fitted) -> Floats:
    """[M, K + 2]: factors, 1, mean + item bias; times `_user_factors` it is a rating."""
    arrays = fitted.arrays
    of_item = arrays["mean"] + arrays["unit"] * arrays["item_bias"]
    return np.c_[arrays["items"], np.ones(len(of_item), np.float32), of_item.astype(np.float32)]


def _user_factors(fitted: Fitted, l2: float, history: Interactions, rows: Rows) -> Floats:
    """[B, K + 2]: factors and user bias in units of ratings, 1."""
    arrays = fitted.arrays
    known = trained_rows(fitted, history, rows)
    own = np.c_[arrays["users"][known], arrays["user_bias"][known]]
    for place in np.flatnonzero(known < 0):
        own[place] = _fold_in(fitted, l2, history, rows[place])
    return np.c_[own * np.float32(arrays["unit"]), np.ones(len(rows), np.float32)]


def _fold_in(fitted: Fitted, l2: float, history: Interactions, row: int) -> Floats:
    """[K + 1]: factors and bias of a user without training ratings, the optimum of the objective for them."""
    arrays, ratings = fitted.arrays, history.matrix[[row]]
    items = ratings.indices
    left = (ratings.data - arrays["mean"]) / arrays["unit"] - arrays["item_bias"][items]
    return ridge(np.c_[arrays["items"][items], np.ones(len(items))], left, l2 * len(items))
