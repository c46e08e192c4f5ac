"""AutoRec: an autoencoder of rating vectors, of items or of users, trained on the observed ratings only."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_array
from scipy.special import expit, logit
from torch import Generator

from recsys_ae.core.autoencoder import ACTIVATIONS, Autoencoder
from recsys_ae.core.axes import check_id_axes
from recsys_ae.core.corruption import Masking
from recsys_ae.core.devices import Device, device_of
from recsys_ae.core.optimisers import OPTIMISERS
from recsys_ae.core.sparse import SparseRows
from recsys_ae.core.trainer import fit
from recsys_ae.declaration import OneOf, Sizes
from recsys_ae.errors import ConfigError
from recsys_ae.fitted import Fitted
from recsys_ae.ids import Rows
from recsys_ae.interactions import Interactions
from recsys_ae.models.base import (
    FitContext,
    Floats,
    Recommender,
    Scale,
    clip,
    fitted_on,
    fitted_state,
    rating_scale,
    scale_of,
)
from recsys_ae.models.bias import Biases
from recsys_ae.models.factors import pair_products, ridge, trained_rows
from recsys_ae.models.training import (
    ObservedError,
    autoencoder_l2,
    copy_matching_parameters,
    l2_of,
    load_weights,
    observed_rows,
    rating_validation,
    train_config,
    weights_of,
)

ENCODE_ROWS = 64  # few enough for one thread, see core.threads
Axis = Literal["item", "user"]


@dataclass
class AutoRec(Recommender):
    """Autoencoder of rating vectors: each item's, with one entry per user (I-AutoRec), or each user's (U-AutoRec).

    Source: Sedhain et al. 2015, equations 1 and 2: the squared error over observed ratings plus l2/2 times the squared
    weights (biases are free), identity output. Deviations, each of which the option in parentheses turns off: Adam on
    mini-batches instead of L-BFGS (`optimiser`); the bias of the vector's item or user is added to the output, so that the
    network learns the residual (`centring: none`); frequent columns are regularised more (`l2_exponent: 0`); a share of the
    inputs may be dropped in training (`dropout: 0`). Output biases start at the mean rating, with `centring: bias` plus the
    column's bias.

    Who can be scored. `user`: anyone with a history of rated items. `item`: items are represented by their training
    ratings, users by their row of the decoder; for users not seen in training that row is the optimum of the same objective
    for their history (a ridge regression on the items' codes), so that nothing is trained again. Later ratings of training
    users change nothing until the next fit. Under both, a user or item without ratings gets the baseline of `models.bias`:
    mean, user bias and item bias, as far as they exist.

    Scores are predicted ratings, not clipped to the scale; predictions are clipped. Inside, ratings are mapped to a scale
    from 1 to 5, so that the other parameters do not depend on it.

    Attributes:
        axis: `item` or `user`: whose rating vectors are reconstructed.
        hidden: sizes of the encoder's layers; the decoder mirrors them.
        activation: of the hidden layers, see `core.autoencoder.ACTIVATIONS`.
        output: `identity`, or `sigmoid` on ratings mapped to 0..1.
        centring: `bias`: the output is added to the bias (see `models.bias`) of the item or user whose vector it is;
            `none`: the output is the whole rating. The inputs are the ratings themselves in both.
        l2, l2_exponent: regularisation. The weights of the first and last layer that belong to a column with n ratings are
            charged l2 * (n / 100)^l2_exponent, inner weight matrices l2.
        dropout: share of the observed inputs dropped in training, drawn anew in each epoch.
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
            raise ConfigError("autorec with a sigmoid output needs centring: none, because a bias leaves 0..1")
        self._built: Scorer | None = None

    def _fit(self, train: Interactions, context: FitContext) -> Fitted:
        biases, scale = Biases.fit(train), rating_scale(train)
        vectors = RatingVectors.of(train.matrix, self, scale, biases)
        rows = observed_rows(vectors.inputs)
        module = self._module(vectors.inputs.shape[1], Generator().manual_seed(context.seed))
        with torch.no_grad():
            level = torch.from_numpy(vectors.column_bias) + rows.values.mean()
            module.output_bias.copy_(torch.logit(level, 0.01) if self.output == "sigmoid" else level)
        if context.before is not None:
            axis, new_ids = ("items", train.items) if self.axis == "user" else ("users", train.users)
            columns = new_ids, context.before.ids[axis]
            check_id_axes(lambda n: self._module(n, None))
            copy_matching_parameters(module, context.before.arrays, {"inputs": columns, "outputs": columns})
        known = {"rated_items": np.bincount(train.matrix.indices, minlength=train.n_items) > 0, **biases.arrays()}
        if self.axis == "item":
            known["trained_users"] = np.diff(train.matrix.indptr) > 0

        def state() -> Fitted:
            arrays = {**known, **weights_of(module)}
            if self.axis == "item":
                arrays["item_factors"] = hidden_factors(module, vectors.inputs, vectors.row_bias)
            return fitted_on(train, arrays, keep_users=self.axis == "item", scale=scale)

        corruption = Masking(self.dropout) if self.dropout else None
        penalty = autoencoder_l2(module, self.l2, rows, self.l2_exponent)
        fit(
            module,
            ObservedError(penalty, corruption, torch.from_numpy(vectors.row_bias)),
            rows,
            train_config(self, context.seed),
            valid=rating_validation(
                lambda *pairs: self._scorer_of(module, state()).predict_rows(*pairs), context.history, context.valid
            ),
            callbacks=context.callbacks,
        )
        return state()

    def scores(self, history: Interactions, rows: Rows) -> Floats:
        return self._scorer(history).scores(history, rows)

    def predict_rows(self, history: Interactions, user_rows: Rows, item_rows: Rows) -> Floats:
        return clip(self._scorer(history).predict_rows(history, user_rows, item_rows), fitted_state(self))

    def item_vectors(self) -> Floats:
        return self._scorer(None).item_factors[:, :-2]

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

    def _scorer(self, history: Interactions | None) -> "Scorer":
        """The fitted network, rebuilt from its arrays when they have changed."""
        fitted = fitted_state(self, history)
        if self._built is None or self._built.fitted is not fitted:
            module = self._module(len(fitted.arrays["module.output_bias"]), None)
            load_weights(module, fitted.arrays)
            self._built = self._scorer_of(module, fitted)
        return self._built

    def _scorer_of(self, module: Autoencoder, fitted: Fitted) -> "Scorer":
        return (ItemScorer if self.axis == "item" else UserScorer)(self, module, fitted)


@dataclass(frozen=True)
class RatingTransform:
    """The map between ratings and the values that the network reconstructs: rating = low + unit * value.

    Values are on a scale from 1 to 5, or from 0 to 1 under a sigmoid output.
    """

    low: float
    unit: float
    sigmoid: bool

    @classmethod
    def of(cls, scale: Scale, output: str) -> "RatingTransform":
        width = scale[1] - scale[0] or 4.0  # where all ratings are the same, any unit will do
        if output == "sigmoid":
            return cls(scale[0], width, True)
        return cls(scale[0] - width / 4, width / 4, False)

    def to_values(self, ratings: csr_array) -> csr_array:
        values = (ratings.data - self.low) / self.unit
        return csr_array((values, ratings.indices, ratings.indptr), shape=ratings.shape, dtype=np.float32)

    def to_ratings(self, output: Floats) -> Floats:
        """Ratings from outputs before their activation."""
        return (self.low + self.unit * (expit(output) if self.sigmoid else output)).astype(np.float32)


@dataclass(frozen=True)
class RatingVectors:
    """The vectors that are reconstructed, the bias added to each row's output, and the biases that columns start with.

    Attributes:
        inputs: values of the ratings, a row for each item or user.
        row_bias, column_bias: float32, in the unit of the values; 0 without centring.
    """

    inputs: csr_array
    row_bias: Floats
    column_bias: Floats

    @classmethod
    def of(cls, ratings: csr_array, model: AutoRec, scale: Scale, biases: Biases) -> "RatingVectors":
        transform = RatingTransform.of(scale, model.output)
        values = transform.to_values(ratings)
        unit = transform.unit if model.centring == "bias" else np.inf
        of_users, of_items = ((bias / unit).astype(np.float32) for bias in (biases.of_users(ratings), biases.item))
        return cls(values, of_users, of_items) if model.axis == "user" else cls(values.T.tocsr(), of_items, of_users)


class Scorer(ABC):
    """Scores from a module, trained or in training.

    A rating is the product of a user's vector and an item's [H + 2]. One of the two is the last hidden layer for that user
    or item, followed by 1 and what is added to its output; the other is the output layer's weights for that column,
    followed by its bias and 1.
    """

    item_factors: Floats

    def __init__(self, model: AutoRec, module: Autoencoder, fitted: Fitted) -> None:
        self.model, self.module, self.fitted = model, module, fitted
        self.scale = scale_of(fitted) or (0.0, 0.0)
        self.transform = RatingTransform.of(self.scale, model.output)
        self.biases = Biases.from_arrays(fitted)
        self.rated_items = fitted.arrays["rated_items"]

    @abstractmethod
    def user_factors(self, history: Interactions, rows: Rows) -> Floats:
        """[B, H + 2]"""

    def known_users(self, history: Interactions, rows: Rows) -> NDArray[np.bool_]:
        """bool [B]: users the network can score: those with a rating of an item that it knows."""
        ratings = history.matrix[rows]
        user = np.repeat(np.arange(len(rows)), np.diff(ratings.indptr))
        return np.bincount(user, self.rated_items[ratings.indices], len(rows)) > 0

    def scores(self, history: Interactions, rows: Rows) -> Floats:
        baseline = self.biases.block(history, rows)
        scores = self.transform.to_ratings(self.user_factors(history, rows) @ self.item_factors.T)
        return np.where(self.known_users(history, rows)[:, None] & self.rated_items, scores, baseline)

    def predict_rows(self, history: Interactions, user_rows: Rows, item_rows: Rows) -> Floats:
        baseline = self.biases.pairs(history, user_rows, item_rows)
        products = pair_products(lambda rows: self.user_factors(history, rows), self.item_factors, user_rows, item_rows)
        known = self.known_users(history, np.arange(history.n_users))[user_rows] & self.rated_items[item_rows]
        return np.where(known, self.transform.to_ratings(products), baseline)

    def of_rated(self, ratings: csr_array) -> csr_array:
        """The ratings of items that were rated in training, the same shape."""
        if self.rated_items.all():
            return ratings
        kept = self.rated_items[ratings.indices]
        indptr = np.r_[0, np.cumsum(kept)][ratings.indptr].astype(ratings.indptr.dtype)
        return csr_array((ratings.data[kept], ratings.indices[kept], indptr), shape=ratings.shape)


class UserScorer(Scorer):
    """Users are encoded from their history; items are columns of the output layer."""

    def __init__(self, model: AutoRec, module: Autoencoder, fitted: Fitted) -> None:
        super().__init__(model, module, fitted)
        self.item_factors = output_factors(module)

    def user_factors(self, history: Interactions, rows: Rows) -> Floats:
        ratings = history.matrix[rows]
        vectors = RatingVectors.of(ratings, self.model, self.scale, self.biases)
        return hidden_factors(self.module, self.of_rated(vectors.inputs), vectors.row_bias)


class ItemScorer(Scorer):
    """Items are encoded once, from their training ratings; users are columns of the output layer, or folded in."""

    def __init__(self, model: AutoRec, module: Autoencoder, fitted: Fitted) -> None:
        super().__init__(model, module, fitted)
        self.item_factors = fitted.arrays["item_factors"]

    def known_users(self, history: Interactions, rows: Rows) -> NDArray[np.bool_]:
        """bool [B]: also those it was trained on."""
        return super().known_users(history, rows) | (trained_rows(self.fitted, history, rows) >= 0)

    def user_factors(self, history: Interactions, rows: Rows) -> Floats:
        known = trained_rows(self.fitted, history, rows)
        factors = output_factors(self.module, known)
        for place in np.flatnonzero(known < 0):
            factors[place] = self._fold_in(history.matrix[rows[[place]]])
        return factors

    def _fold_in(self, ratings: csr_array) -> Floats:
        """[H + 2]: output weights, bias and 1 of a user without training ratings, the optimum of the objective for them.

        Minimises sum (r - o - w . h - b)^2 + l2 / 2 * |w|^2 over the user's ratings [1, M], h and o being the vectors and
        row biases of the items, and l2 that of a column with that many ratings. Under a sigmoid output, r is replaced by its
        logit.
        """
        ratings = self.of_rated(self.transform.to_values(ratings))
        items, rating = self.item_factors[ratings.indices], ratings.data
        if not len(rating):
            return np.zeros(self.item_factors.shape[1], np.float32)
        if self.transform.sigmoid:
            rating = logit(np.clip(rating, 0.02, 0.98))
        hidden, target = items[:, :-2], rating - items[:, -1]
        centre, mean = hidden.mean(axis=0), target.mean()
        weights = ridge(hidden - centre, target - mean, l2_of(len(rating), self.model.l2, self.model.l2_exponent) / 2)
        return np.r_[weights, mean - centre @ weights, 1].astype(np.float32)


def hidden_factors(module: Autoencoder, inputs: csr_array, row_bias: Floats) -> Floats:
    """[B, H + 2]: the last hidden layer for rows of the input, followed by 1 and what is added to the output."""
    x = SparseRows.from_arrays(inputs.indptr, inputs.indices, inputs.data, inputs.shape[1])
    with torch.no_grad():
        blocks = torch.arange(len(x)).split(ENCODE_ROWS)
        parts = [module.last_hidden(module.encode(x[index].to(device_of(module)))) for index in blocks]
    return np.c_[torch.cat(parts).cpu().numpy(), np.ones(len(x), np.float32), row_bias]


def output_factors(module: Autoencoder, columns: Rows | None = None) -> Floats:
    """[D, H + 2]: weights of the output layer, its bias and 1, for all columns or for some."""
    weight, bias = (tensor.detach().cpu().numpy() for tensor in (module.wide_weights()[-1], module.output_bias))
    if columns is not None:
        weight, bias = weight[columns], bias[columns]
    return np.c_[weight, bias, np.ones(len(weight), np.float32)]
