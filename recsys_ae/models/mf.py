"""Biased matrix factorisation, by stochastic gradient descent over single ratings."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Generator, Tensor, nn

from recsys_ae.core.kernels import factorisation
from recsys_ae.core.losses import LossSum
from recsys_ae.core.sparse import SparseRows
from recsys_ae.core.trainer import TrainConfig, fit
from recsys_ae.fitted import Fitted
from recsys_ae.ids import Rows
from recsys_ae.interactions import Interactions
from recsys_ae.models.base import FitContext, Floats, checked_pairs, checked_rows, fitted_on, fitted_state, item_counts
from recsys_ae.models.baselines import ITEM_REG, USER_REG, Biases
from recsys_ae.models.factors import FactorModel, pair_products, ridge, trained_rows
from recsys_ae.models.training import observed_rows, rating_validation
from recsys_ae.models.warm_start import copy_matching_rows
from recsys_ae.space import Range, Space

Doubles = NDArray[np.float64]
BLOCKS = 8  # blocks of users and of items: the number of threads that can work at once; the result does not depend on it


class Factors(nn.Module):
    """Factors p_u, q_i and biases b_u, b_i of N users and M items; items without ratings have factors 0.

    Args:
        user_bias, item_bias: initial biases, [N] and [M].
        rated: bool [M], items with ratings.
    """

    def __init__(
        self, user_bias: Doubles, item_bias: Doubles, rated: Tensor, factors: int, init_std: float, generator: Generator
    ) -> None:
        super().__init__()
        self.users = nn.Parameter(torch.randn(len(user_bias), factors, generator=generator) * init_std)
        self.items = nn.Parameter(torch.randn(len(item_bias), factors, generator=generator) * init_std * rated[:, None])
        self.user_bias, self.item_bias = (nn.Parameter(torch.from_numpy(bias).float()) for bias in (user_bias, item_bias))


@dataclass(frozen=True)
class RatingByRating:
    """SGD steps over single ratings in random order.

    Deviation: users and items are split into blocks at random in each epoch, and blocks that share neither users nor items are
    processed in parallel (Gemulla et al. 2011), so that the order is random only within and among blocks.
    """

    l2: factorisation.Factors

    @torch.no_grad()
    def epoch(self, module: Factors, rows: SparseRows, learning_rate: float, generator: Generator) -> LossSum:
        row, column = rows.row_ids[rows.row_of_entry()].numpy(), rows.columns.numpy()
        order = torch.randperm(len(column), generator=generator).numpy()
        row_block, column_block = (
            torch.randint(BLOCKS, (len(factors),), generator=generator).numpy() for factors in (module.users, module.items)
        )
        strata = factorisation.by_block(order, row, column, row_block, column_block, BLOCKS)
        weights = (module.users, module.items, module.user_bias, module.item_bias)
        factors = factorisation.Factors(*(weight.detach().numpy() for weight in weights))
        rate, errors = np.float32(learning_rate), np.zeros((BLOCKS, BLOCKS))
        factorisation.factor_steps(strata, row, column, rows.values.numpy(), factors, rate, self.l2, errors)
        return LossSum(torch.tensor(errors.sum()), torch.tensor(float(len(column))))


@dataclass
class MatrixFactorisation(FactorModel):
    """Biased matrix factorisation: mean + user bias + item bias + p_u . q_i, trained jointly.

    Source: Koren et al. 2009, equations 4 and 5, by stochastic gradient descent over single ratings. Deviations: the learning
    rate decays; ratings are scaled to variance 1 first, so that the other parameters do not depend on their scale; a bias is
    charged once, not for each rating, with the regularisation of `Biases`, so that those of users and items with few ratings
    are shrunk more; and biases start at those of `Biases`, with those of items shrunk towards what their popularity predicts.

    Who can be scored: users seen in training, by their learned factors; others by factors and a bias fitted to their history
    with the items fixed (ridge regression on the same objective). An item without training ratings is predicted by the
    user's bias and the level of an average item, a user without ratings by the mean and the item's bias. Scores are predicted
    ratings, not clipped to the scale; predictions are clipped.

    Attributes:
        factors: K.
        l2: each rating adds l2 * (|p_u|^2 + |q_i|^2) to its squared error.
        init_std: standard deviation of the initial factors.
        epochs, learning_rate, learning_rate_decay, patience: see `core.trainer.TrainConfig`.
    """

    factors: Annotated[int, Field(ge=1)] = 200
    l2: Annotated[float, Field(ge=0)] = 0.04
    init_std: Annotated[float, Field(gt=0)] = 0.005
    epochs: Annotated[int, Field(ge=1)] = 50
    learning_rate: Annotated[float, Field(gt=0)] = 0.02
    learning_rate_decay: Annotated[float, Field(gt=0, le=1)] = 0.95
    patience: Annotated[int, Field(ge=0)] = 20  # the small initial factors take some epochs to matter
    space: ClassVar[Space] = {
        "factors": Range(low=16, high=400, log=True),
        "l2": Range(low=0.005, high=0.3, log=True),
        "learning_rate": Range(low=0.003, high=0.1, log=True),
    }
    predicts_ratings: ClassVar[bool] = True
    validation_name: ClassVar[str] = "valid_rmse"

    def _memory(self, n_users: int, n_items: int) -> int:
        return 2 * 4 * (n_users + n_items) * (self.factors + 1)  # they are copied once

    def _fit(self, train: Interactions, context: FitContext) -> Fitted:
        ratings = train.matrix.data
        mean, unit = ratings.mean(), ratings.std() or 1.0
        baseline = Biases.fit(train, popularity=True)
        known = {"mean": np.array([mean]), "unit": np.array([unit]), "item_centre": baseline.item_centre}
        of_users, of_items = baseline.of_users(train.matrix) / unit, (baseline.item - baseline.item_centre) / unit
        rated = torch.from_numpy(item_counts(train) > 0)
        module = Factors(of_users, of_items, rated, self.factors, self.init_std, Generator().manual_seed(context.seed))
        if (before := context.before) is not None:
            for name, weight in module.named_parameters():
                ids = (train.users, before.ids["users"]) if name.startswith("user") else (train.items, before.ids["items"])
                copy_matching_rows(weight.detach(), torch.from_numpy(before.arrays[name]), *ids)
        rows = observed_rows(train.matrix)
        centre = torch.from_numpy(baseline.item_centre).float()[rows.columns]
        rows = rows.with_values((rows.values - float(mean) - centre) / float(unit))

        def state() -> Fitted:
            learned = {name: weight.detach().numpy().copy() for name, weight in module.named_parameters()}
            return fitted_on(train, {**known, **learned}, keep_users=True, keep_scale=True)

        config = TrainConfig.of(self, seed=context.seed, batch_size=1, optimiser="sgd")
        valid = rating_validation(lambda *pairs: self._predict(state(), *pairs), context.history, context.valid)
        fit(module, RatingByRating(self._strengths(train)), rows, config, valid=valid, callbacks=context.callbacks)
        return state()

    def _strengths(self, train: Interactions) -> factorisation.Factors:
        """What each rating is charged for the factors and biases of its user and item."""
        of_users, of_items = (np.maximum(n, 1).astype(np.float32) for n in (np.diff(train.matrix.indptr), item_counts(train)))
        users, items = (np.full(len(n), self.l2, np.float32) for n in (of_users, of_items))
        return factorisation.Factors(users, items, np.float32(USER_REG) / of_users, np.float32(ITEM_REG) / of_items)

    def item_vectors(self) -> Floats:
        return fitted_state(self).arrays["items"]

    def user_vectors(self, history: Interactions, rows: Rows) -> Floats:
        rows = checked_rows(history, rows)
        return self._user_factors(fitted_state(self, history), history, rows)[:, : self.factors]

    def predict_rows(self, history: Interactions, user_rows: Rows, item_rows: Rows) -> Floats:
        return self._predict(fitted_state(self, history), history, *checked_pairs(history, user_rows, item_rows))

    def _predict(self, fitted: Fitted, history: Interactions, user_rows: Rows, item_rows: Rows) -> Floats:
        user_factors = partial(self._user_factors, fitted, history)
        return pair_products(user_factors, self._item_factors(fitted), user_rows, item_rows)

    def _user_factors(self, fitted: Fitted, history: Interactions, rows: Rows) -> Floats:
        """[B, K + 2]: factors and user bias in units of ratings, 1. New users minimise the objective for their history."""
        arrays = fitted.arrays
        known, added = trained_rows(fitted, history, rows), 1e-6  # makes the solution unique even without regularisation
        own = np.c_[arrays["users"][known], arrays["user_bias"][known]]
        for place in np.flatnonzero(known < 0):
            ratings = history.matrix[rows[[place]]]
            items = np.c_[arrays["items"][ratings.indices], np.ones(ratings.nnz)]
            left = (ratings.data - _item_level(fitted)[ratings.indices]) / arrays["unit"]
            scale = np.sqrt(np.r_[np.full(self.factors, self.l2 * len(items)), USER_REG] + added)
            own[place] = ridge(items / scale, left, 1.0) / scale
        return np.c_[own * np.float32(arrays["unit"]), np.ones(len(rows), np.float32)]

    def _item_factors(self, fitted: Fitted) -> Floats:
        """[M, K + 2]: factors, 1, level; the product with `_user_factors` is a rating."""
        level = _item_level(fitted)
        return np.c_[fitted.arrays["items"], np.ones(len(level), np.float32), level]


def _item_level(fitted: Fitted) -> Floats:
    """float32 [M]: what a user without bias and factors gives to each item."""
    arrays = fitted.arrays
    return (arrays["mean"] + arrays["item_centre"] + arrays["unit"] * arrays["item_bias"]).astype(np.float32)
