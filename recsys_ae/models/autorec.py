"""AutoRec: an autoencoder of rating vectors, of items or of users, trained on the observed ratings only."""

from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_array
from scipy.special import expit, logit
from torch import Generator

from recsys_ae.core.autoencoder import ACTIVATIONS, Autoencoder
from recsys_ae.core.axes import check_id_axes, wide_weights
from recsys_ae.core.corruption import Masking
from recsys_ae.core.devices import Device, device_of
from recsys_ae.core.limits import training_memory
from recsys_ae.core.optimisers import OPTIMISERS, check_decay
from recsys_ae.core.trainer import TrainConfig, fit, parts_of
from recsys_ae.declaration import OneOf, Sizes
from recsys_ae.errors import ConfigError
from recsys_ae.fitted import Fitted
from recsys_ae.ids import IdMap, Rows
from recsys_ae.interactions import Interactions
from recsys_ae.models import training
from recsys_ae.models.base import FitContext, Floats, Recommender, checked_rows, clip, fitted_on, fitted_state, item_counts
from recsys_ae.models.baselines import Biases
from recsys_ae.models.factors import pair_products, ridge, trained_rows

ENCODE_ROWS = 64  # few enough for one thread, see core.threads
Axis = Literal["item", "user"]


@dataclass
class AutoRec(Recommender):
    """Autoencoder of rating vectors: each item's, with one entry per user (I-AutoRec), or each user's (U-AutoRec).

    Source: Sedhain et al. 2015, equations 1 and 2: squared error over the observed ratings plus l2/2 times the squared weights
    (without biases), identity output. Deviations, with the setting that turns each off: Adam on mini-batches instead of L-BFGS
    (`optimiser: lbfgs`); the bias of the vector's item or user is added to the output, so that the network learns residuals
    (`centring: none`); columns with many ratings are regularised more (`l2_exponent: 0`); inputs may be dropped in training
    (`dropout: 0`). Output biases start at the mean rating, plus the column's bias with `centring: bias`.

    Who can be scored. `user`: anyone with a history of rated items. `item`: items are encoded from their training ratings,
    users are rows of the decoder. The row of a new user is fitted to their history by the same objective (ridge regression on
    the items' codes); new ratings of training users have no effect until the next fit. With both, a user or item without
    ratings gets the baseline of `models.baselines`: mean, user bias and item bias, as far as they exist.

    Scores are predicted ratings, not clipped to the scale; predictions are clipped. Internally, ratings are mapped to a scale
    from 1 to 5, so that the other parameters do not depend on theirs.

    Attributes:
        axis: whose rating vectors are reconstructed, `item` or `user`.
        hidden: sizes of the encoder's layers; the decoder mirrors them.
        activation: of the hidden layers, see `core.autoencoder.ACTIVATIONS`.
        output: `identity`, or `sigmoid` on ratings mapped to 0..1.
        centring: with `bias`, the bias (see `models.baselines`) of the vector's item or user is added to the output; with
            `none`, the output is the whole rating. The inputs are ratings in both cases.
        l2, l2_exponent: regularisation. In the first and last layer, the weights of a column with n ratings are charged
            l2 * (n / 100)^l2_exponent; inner weight matrices are charged l2.
        dropout: share of the observed inputs dropped in training.
        tied: decoder and encoder share their weight matrices.
        init_std: standard deviation of the initial weights.
        epochs, batch_size, optimiser, learning_rate, learning_rate_decay, patience, device: see `core.trainer.TrainConfig`.
    """

    axis: Axis = "item"
    hidden: Sizes = (500,)
    activation: Annotated[str, OneOf("activation", ACTIVATIONS)] = "sigmoid"
    output: Literal["identity", "sigmoid"] = "identity"
    centring: Literal["none", "bias"] = "bias"
    l2: Annotated[float, Field(ge=0)] = 200.0
    l2_exponent: Annotated[float, Field(ge=0, le=1)] = 0.5
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    tied: bool = False
    init_std: Annotated[float, Field(gt=0)] = 0.03
    epochs: Annotated[int, Field(ge=1)] = 45
    batch_size: Annotated[int, Field(ge=1)] = 64
    optimiser: Annotated[str, OneOf("optimiser", OPTIMISERS)] = "adam"
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    learning_rate_decay: Annotated[float, Field(gt=0, le=1)] = 0.95
    patience: Annotated[int, Field(ge=0)] = 20
    device: Device = "cpu"
    predicts_ratings: ClassVar[bool] = True
    validation_name: ClassVar[str] = "valid_rmse"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.output == "sigmoid" and self.centring != "none":
            raise ConfigError("autorec with a sigmoid output needs centring: none, because adding a bias leaves the range 0..1")
        check_decay(self.optimiser, self.learning_rate_decay)
        self._built: Scorer | None = None

    def _memory(self, n_users: int, n_items: int) -> int:
        return training_memory(lambda: self._module(n_items if self.axis == "user" else n_users, None))

    def _fit(self, train: Interactions, context: FitContext) -> Fitted:
        columns = self._scorer_class().columns
        known = {"rated_items": item_counts(train) > 0, **Biases.fit(train).arrays()}
        about = fitted_on(train, known, keep_users=columns == "users", keep_scale=True)
        ids: IdMap = getattr(train, columns)
        module = self._module(len(ids), Generator().manual_seed(context.seed))
        scorer = self._scorer_class()(self, module, about)
        inputs, row_bias, column_bias = scorer.vectors(train.matrix)
        rows = training.observed_rows(inputs)
        with torch.no_grad():
            level = torch.from_numpy(column_bias) + rows.values.mean()
            module.output_bias.copy_(torch.logit(level, 0.01) if scorer.sigmoid else level)
        if context.before is not None:
            check_id_axes(lambda n: self._module(n, None))
            axis = ids, context.before.ids[columns]
            training.copy_matching_parameters(module, context.before.arrays, {"inputs": axis, "outputs": axis})

        def state() -> Fitted:
            learned = training.weights_of(module)
            if self.axis == "item":
                learned["item_factors"] = hidden_factors(module, inputs, row_bias)
            return replace(about, arrays={**about.arrays, **learned})

        def predict(*pairs: Any) -> Floats:
            return self._scorer_class()(self, module, state()).predict_rows(*pairs)

        penalty = training.autoencoder_l2(self.l2, rows, self.l2_exponent)
        corruption = Masking(self.dropout) if self.dropout else None
        objective = training.ObservedError(penalty, corruption, torch.from_numpy(row_bias))
        valid = training.rating_validation(predict, context.history, context.valid)
        fit(module, objective, rows, TrainConfig.of(self, seed=context.seed), valid=valid, callbacks=context.callbacks)
        return state()

    def scores(self, history: Interactions, rows: Rows) -> Floats:
        return self._scorer(history).scores(history, checked_rows(history, rows))

    def predict_rows(self, history: Interactions, user_rows: Rows, item_rows: Rows) -> Floats:
        return clip(self._scorer(history).predict_rows(history, user_rows, item_rows), fitted_state(self))

    def item_vectors(self) -> Floats:
        return self._scorer().item_factors()[:, :-2]

    def user_vectors(self, history: Interactions, rows: Rows) -> Floats:
        return self._scorer(history).user_factors(history, rows)[:, :-2]

    def _module(self, width: int, generator: Generator | None) -> Autoencoder:
        return Autoencoder(
            width,
            self.hidden,
            activation=self.activation,
            tied=self.tied,
            initial=self.init_std,
            output_activation=self.output,
            generator=generator,
        )

    def _scorer_class(self) -> "type[Scorer]":
        return Scorer if self.axis == "user" else ItemScorer

    def _scorer(self, *histories: Interactions) -> "Scorer":
        """The fitted network, rebuilt when the fitted state has changed."""
        fitted = fitted_state(self, *histories)
        if self._built is None or self._built.fitted is not fitted:
            module = self._module(len(fitted.arrays["module.output_bias"]), None)
            training.load_weights(module, fitted.arrays)
            self._built = self._scorer_class()(self, module, fitted)
        return self._built


class Scorer:
    """Maps ratings to what the network reconstructs, and its outputs to scores; here for vectors of users.

    The network sees rating = low + unit * value, with values from 1 to 5, or from 0 to 1 if the output is a sigmoid. An output
    is the product of a user's and an item's factors [H + 2]. One of the two is the last hidden layer for the vector of that
    user or item, followed by 1 and its row bias; the other is the output layer's weights of that column, its bias, and 1.
    """

    columns: ClassVar[Literal["users", "items"]] = "items"  # what the columns of the vectors are

    def __init__(self, model: AutoRec, module: Autoencoder, fitted: Fitted) -> None:
        self.model, self.module, self.fitted = model, module, fitted
        self.biases, self.rated_items = Biases.from_arrays(fitted), fitted.arrays["rated_items"]
        low, high = fitted.meta["scale"]
        width = high - low or 4.0  # any width will do if all ratings are equal
        self.sigmoid = model.output == "sigmoid"
        self.unit = width if self.sigmoid else width / 4
        self.low = low if self.sigmoid else low - self.unit

    def vectors(self, ratings: csr_array) -> tuple[csr_array, Floats, Floats]:
        """Vectors [B, D] to reconstruct, row biases [B] that are added to outputs, and initial column biases [D], as values."""
        unit = self.unit if self.model.centring == "bias" else np.inf
        of_users, of_items = ((bias / unit).astype(np.float32) for bias in (self.biases.of_users(ratings), self.biases.item))
        return self.values(ratings), of_users, of_items

    def values(self, ratings: csr_array) -> csr_array:
        values = (ratings.data - self.low) / self.unit
        return csr_array((values, ratings.indices, ratings.indptr), shape=ratings.shape, dtype=np.float32)

    def to_ratings(self, output: Floats) -> Floats:
        """Ratings from outputs before their activation."""
        return (self.low + self.unit * (expit(output) if self.sigmoid else output)).astype(np.float32)

    def of_rated(self, ratings: csr_array) -> csr_array:
        """The ratings of items that were rated in training, in the same shape."""
        kept = self.rated_items[ratings.indices]
        indptr = np.r_[0, np.cumsum(kept)][ratings.indptr].astype(ratings.indptr.dtype)
        return csr_array((ratings.data[kept], ratings.indices[kept], indptr), shape=ratings.shape)

    def known_users(self, history: Interactions, rows: Rows) -> NDArray[np.bool_]:
        """bool [B]: users the network can score: those with ratings of items that were rated in training."""
        return np.diff(self.of_rated(history.matrix[rows]).indptr) > 0

    def user_factors(self, history: Interactions, rows: Rows) -> Floats:
        """[B, H + 2]"""
        inputs, row_bias, _ = self.vectors(history.matrix[rows])
        return hidden_factors(self.module, self.of_rated(inputs), row_bias)

    def item_factors(self) -> Floats:
        """[M, H + 2]"""
        return output_factors(self.module)

    def scores(self, history: Interactions, rows: Rows) -> Floats:
        baseline = self.biases.block(history, rows)
        scores = self.to_ratings(self.user_factors(history, rows) @ self.item_factors().T)
        return np.where(self.known_users(history, rows)[:, None] & self.rated_items, scores, baseline)

    def predict_rows(self, history: Interactions, user_rows: Rows, item_rows: Rows) -> Floats:
        baseline = self.biases.pairs(history, user_rows, item_rows)
        products = pair_products(lambda rows: self.user_factors(history, rows), self.item_factors(), user_rows, item_rows)
        known = self.known_users(history, np.arange(history.n_users))[user_rows] & self.rated_items[item_rows]
        return np.where(known, self.to_ratings(products), baseline)


class ItemScorer(Scorer):
    """Vectors of items, encoded once from their training ratings; users are columns of the output layer, or folded in."""

    columns = "users"

    def vectors(self, ratings: csr_array) -> tuple[csr_array, Floats, Floats]:
        values, of_users, of_items = super().vectors(ratings)
        return values.T.tocsr(), of_items, of_users

    def known_users(self, history: Interactions, rows: Rows) -> NDArray[np.bool_]:
        return super().known_users(history, rows) | (trained_rows(self.fitted, history, rows) >= 0)

    def user_factors(self, history: Interactions, rows: Rows) -> Floats:
        known = trained_rows(self.fitted, history, rows)
        factors = output_factors(self.module, known)
        for place in np.flatnonzero(known < 0):
            factors[place] = self._fold_in(history.matrix[rows[[place]]])
        return factors

    def item_factors(self) -> Floats:
        return self.fitted.arrays["item_factors"]

    def _fold_in(self, ratings: csr_array) -> Floats:
        """[H + 2]: output weights, bias and 1 of a user without training ratings, by the same objective.

        They minimise sum (r - o - w . h - b)^2 + l2 / 2 * |w|^2 over the user's ratings [1, M], where h and o are the vectors
        and row biases of the items, and l2 is that of a column with as many ratings. With a sigmoid output, r is the logit of
        the value.
        """
        ratings = self.of_rated(self.values(ratings))
        items, values = self.item_factors()[ratings.indices], ratings.data
        if not len(items):
            return np.zeros(items.shape[1], np.float32)
        if self.sigmoid:
            values = logit(np.clip(values, 0.02, 0.98))
        hidden, target = items[:, :-2], values - items[:, -1]
        centre, mean = hidden.mean(axis=0), target.mean()
        l2 = training.l2_of(len(values), self.model.l2, self.model.l2_exponent)
        weights = ridge(hidden - centre, target - mean, l2 / 2)
        return np.r_[weights, mean - centre @ weights, 1].astype(np.float32)


@torch.no_grad()
def hidden_factors(module: Autoencoder, inputs: csr_array, row_bias: Floats) -> Floats:
    """[B, H + 2]: last hidden layer of each input row, 1, and its row bias."""
    parts = (part.to(device_of(module)) for part in parts_of(training.sparse_rows(inputs), ENCODE_ROWS))
    hidden = torch.cat([module.last_hidden(module.encode(part)) for part in parts]).cpu().numpy()
    return np.c_[hidden, np.ones(len(hidden), np.float32), row_bias]


def output_factors(module: Autoencoder, columns: Rows | slice = slice(None)) -> Floats:
    """[D, H + 2]: weights and bias of the output layer for all columns or some, and 1."""
    weight, bias = (tensor.detach().cpu().numpy()[columns] for tensor in (wide_weights(module)[-1], module.output_bias))
    return np.c_[weight, bias, np.ones(len(weight), np.float32)]
