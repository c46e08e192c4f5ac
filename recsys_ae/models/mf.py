"""Biased matrix factorisation: an output layer like an autoencoder's, with a code that is looked up, not computed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Self

import numpy as np
import torch
from pydantic import Field
from torch import Generator, Tensor, nn

from recsys_ae.core.optimisers import OPTIMISERS
from recsys_ae.core.sparse import SparseRows, entry_l2, wide_input, wide_output
from recsys_ae.core.trainer import Callback, TrainConfig, fit
from recsys_ae.interactions import Interactions, Rows
from recsys_ae.models.base import Fitted, Floats, clip, fitted_state, rating_scale
from recsys_ae.models.bias import Biases
from recsys_ae.models.sides import pair_products, ridge, trained_rows
from recsys_ae.models.training import ObservedError, column_counts, observed_rows, validation


class Factors(nn.Module):
    """p_u . q_i + b_i + b_u for N users, M items and K factors."""

    def __init__(self, user_bias: Tensor, item_bias: Tensor, factors: int, init_std: float, generator: Generator) -> None:
        super().__init__()
        self.users = nn.Parameter(torch.randn(len(user_bias), factors, generator=generator) * init_std)
        self.items = nn.Parameter(torch.randn(len(item_bias), factors, generator=generator) * init_std)
        self.user_bias = nn.Parameter(user_bias)
        self.item_bias = nn.Parameter(item_bias)
        self.no_bias = torch.zeros(factors)

    def forward(self, batch: SparseRows, at: SparseRows) -> Tensor:
        """Predictions [nnz] at the pattern of a batch of users."""
        code = wide_input(batch.selector(len(self.users)), self.users, self.no_bias)
        return wide_output(code, self.items, self.item_bias, at) + self.user_bias[batch.rows][at.row_of_entry()]

    def wide_weights(self) -> list[nn.Parameter]:
        return [self.users, self.items]

    def l2(self, strength: float, rows: SparseRows) -> Callable[[SparseRows], Tensor]:
        """strength / 2 * (sum of the squared factors), in parts for the batches of `rows`."""
        of_items = strength / column_counts(rows).clamp(min=1)
        of_users = torch.full((len(self.users),), strength)

        def penalise(batch: SparseRows) -> Tensor:
            return entry_l2(self.items, batch, of_items) + entry_l2(self.users, batch.selector(len(self.users)), of_users)

        return penalise


@dataclass
class MatrixFactorisation:
    """Predicts mean + user bias + item bias + p_u . q_i, all learned together by gradient.

    Source: Koren et al. 2009, equation 4. Deviates: biases start at their closed-form estimates (`models.bias`) and are
    not regularised further; Adam on batches of whole users instead of one rating at a time.

    Who can be scored: users seen in training, by their learned factors; others by factors and bias found from their
    history with the items fixed (a ridge regression of the same objective). An item without training ratings has the
    mean and the user's bias, a user without ratings the mean and the item's bias. Scores are predicted ratings, not
    clipped to the scale; predictions are.

    Attributes:
        factors: K.
        l2: the penalty is l2 / 2 * (sum of the squared factors).
        init_std: standard deviation of the initial factors.
        epochs, batch_size, optimiser, learning_rate, decay, patience: see `core.trainer.TrainConfig`.
    """

    factors: Annotated[int, Field(ge=1)] = 64
    l2: Annotated[float, Field(ge=0)] = 20.0
    init_std: Annotated[float, Field(gt=0)] = 0.03
    epochs: Annotated[int, Field(ge=1)] = 60
    batch_size: Annotated[int, Field(ge=1)] = 64
    optimiser: str = "adam"
    learning_rate: Annotated[float, Field(gt=0)] = 3e-3
    decay: Annotated[float, Field(gt=0, le=1)] = 0.97
    patience: Annotated[int, Field(ge=0)] = 10
    fitted: Fitted | None = field(default=None, init=False, repr=False)
    predicts_ratings: ClassVar[bool] = True

    def __post_init__(self) -> None:
        OPTIMISERS.check(self.optimiser)

    def fit(
        self,
        train: Interactions,
        *,
        valid: Interactions | None = None,
        valid_history: Interactions | None = None,
        seed: int = 0,
        callbacks: Sequence[Callback] = (),
    ) -> Self:
        biases = Biases.fit(train)
        users, items = biases.of_users(train.matrix), biases.item
        user_start, item_start = (torch.from_numpy(bias.astype(np.float32)) for bias in (users, items))
        generator = torch.Generator().manual_seed(seed)
        module = Factors(user_start, item_start, self.factors, self.init_std, generator)
        rows = observed_rows(train.matrix)
        rows = rows.with_values(rows.values - biases.mean)
        trained = np.diff(train.matrix.indptr) > 0
        scale = rating_scale(train)

        rated = np.bincount(train.matrix.indices, minlength=train.n_items) > 0
        with torch.no_grad():
            module.items.mul_(torch.from_numpy(rated)[:, None])  # nothing is known of the others, so their factors stay 0

        def state() -> Fitted:
            learned = {name: weight.detach().numpy().copy() for name, weight in module.named_parameters()}
            arrays = {**biases.arrays(), **learned, "trained_users": trained}
            return Fitted(train.items, train.users, scale, train.users.kind, arrays)

        fit(
            module,
            ObservedError(module, module.l2(self.l2, rows)),
            rows,
            TrainConfig(self.epochs, self.batch_size, self.optimiser, self.learning_rate, self.decay, self.patience, seed),
            valid=validation(lambda *pairs: _predict(state(), self.l2, *pairs), valid_history or train, valid),
            callbacks=callbacks,
        )
        self.fitted = state()
        return self

    def scores(self, history: Interactions, rows: Rows) -> Floats:
        fitted = fitted_state(self, history)
        product = _user_side(fitted, self.l2, history, rows) @ _item_side(fitted).T
        return product + np.float32(fitted.arrays["mean"][0])

    def predict_rows(self, history: Interactions, user_rows: Rows, item_rows: Rows) -> Floats:
        return _predict(fitted_state(self, history), self.l2, history, user_rows, item_rows)


def _predict(fitted: Fitted, l2: float, history: Interactions, user_rows: Rows, item_rows: Rows) -> Floats:
    products = pair_products(lambda rows: _user_side(fitted, l2, history, rows), _item_side(fitted), user_rows, item_rows)
    return clip(products + np.float32(fitted.arrays["mean"][0]), fitted)


def _item_side(fitted: Fitted) -> Floats:
    """[M, K + 2]: factors, 1, item bias."""
    items = fitted.arrays["items"]
    return np.c_[items, np.ones(len(items), np.float32), fitted.arrays["item_bias"]]


def _user_side(fitted: Fitted, l2: float, history: Interactions, rows: Rows) -> Floats:
    """[B, K + 2]: factors, user bias, 1."""
    arrays = fitted.arrays
    known = trained_rows(fitted, history, rows)
    side = np.c_[arrays["users"][known], arrays["user_bias"][known], np.ones(len(rows), np.float32)]
    new = np.flatnonzero(known < 0)
    ratings = history.matrix[rows[new]]
    biases = Biases.from_arrays(fitted)
    side[new, -2] = biases.of_users(ratings)
    left = biases.residuals(ratings)
    for place, start, end in zip(new, left.indptr[:-1], left.indptr[1:], strict=True):
        side[place, :-2] = ridge(arrays["items"][left.indices[start:end]], left.data[start:end], l2 / 2)
    return side
