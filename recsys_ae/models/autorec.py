"""AutoRec: an autoencoder of rating vectors, of items or of users, trained on the observed ratings only."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_array
from scipy.special import expit, logit

from recsys_ae.core.autoencoder import ACTIVATIONS, Autoencoder
from recsys_ae.core.axes import check_id_axes
from recsys_ae.core.corruption import Masking
from recsys_ae.core.devices import Device, device_of
from recsys_ae.core.optimisers import OPTIMISERS
from recsys_ae.core.sparse import SparseRows
from recsys_ae.core.trainer import Callback, TrainConfig, fit
from recsys_ae.declaration import Sizes, as_sizes
from recsys_ae.errors import ConfigError
from recsys_ae.interactions import Interactions, Rows
from recsys_ae.models.base import Fitted, Floats, Recommender, clip, fitted_state, rating_scale, warm_start_state
from recsys_ae.models.bias import Biases
from recsys_ae.models.factors import pair_products, ridge, trained_rows
from recsys_ae.models.training import (
    ObservedError,
    autoencoder_l2,
    copy_matching_parameters,
    l2_of,
    load_weights,
    observed_rows,
    validation,
    weights_of,
)

ENCODE_ROWS = 64  # few enough for one thread, see core.threads


@dataclass
class AutoRec:
    """Reconstructs rating vectors: each item's, one entry per user (I-AutoRec), or each user's (U-AutoRec).

    Source: Sedhain et al. 2015, equations 1 and 2: the squared error over observed ratings plus l2/2 times the squared
    weights (biases are free), identity output. Deviates, each part as published when its option says so: Adam on batches
    instead of L-BFGS (`optimiser`); the bias of the vector's item or user is added to the output, so that the network
    reconstructs what it leaves (`centring: none`); frequent columns are regularised more (`l2_exponent: 0`); a
    share of the inputs may be hidden while training (`dropout: 0`). Output biases
    start at the mean rating, with `centring: bias` plus the column's bias.

    Who can be scored. `user`: anyone with a history of rated items. `item`: items are represented by their training
    ratings, users by the decoder's row of each; for users not seen in training that row is found from their history by
    the same objective (a ridge regression on the items' codes), so that nothing is trained again, but later ratings of
    users who were there change nothing until the next fit. In both, a user or an item without ratings gets the baseline
    of `models.bias`: mean, user bias and item bias as far as there is one.

    Scores are predicted ratings, not clipped to the scale; predictions are. Inside, ratings are mapped
    to a scale from 1 to 5, so that the other parameters do not depend on it.

    Attributes:
        axis: `item` or `user`: whose rating vectors are reconstructed.
        hidden: sizes of the encoder's layers; the decoder mirrors them.
        activation: of the hidden layers, see `core.autoencoder.ACTIVATIONS`.
        output: `identity`, or `sigmoid` on ratings mapped to 0..1.
        centring: `bias`: the output is added to the bias (see `models.bias`) of the item or user whose vector it is;
            `none`: it is the whole rating. The inputs are the ratings themselves in both.
        l2, l2_exponent: regularisation. The weights of the first and last layer that belong to a column with n ratings are
            charged l2 * (n / 100)^l2_exponent, inner weight matrices l2.
        dropout: share of the observed inputs hidden in training, anew in each epoch.
        tied: decoder and encoder share their weight matrices.
        init_std: standard deviation of the initial weights.
        epochs, batch_size, optimiser, learning_rate, learning_rate_decay, patience, device: see `core.trainer.TrainConfig`.
    """

    axis: Literal["item", "user"] = "item"
    hidden: Sizes = (500,)
    activation: str = "sigmoid"
    output: Literal["identity", "sigmoid"] = "identity"
    centring: Literal["none", "bias"] = "bias"
    l2: Annotated[float, Field(ge=0)] = 200.0
    l2_exponent: Annotated[float, Field(ge=0, le=1)] = 0.5
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    tied: bool = False
    init_std: Annotated[float, Field(gt=0)] = 0.03
    epochs: Annotated[int, Field(ge=1)] = 45
    batch_size: Annotated[int, Field(ge=1)] = 64
    optimiser: str = "adam"
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    learning_rate_decay: Annotated[float, Field(gt=0, le=1)] = 0.95
    patience: Annotated[int, Field(ge=0)] = 20
    device: Device = "cpu"
    fitted: Fitted | None = field(default=None, init=False, repr=False)
    predicts_ratings: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self.hidden = as_sizes(self.hidden)
        ACTIVATIONS.check(self.activation)
        OPTIMISERS.check(self.optimiser)
        if self.output == "sigmoid" and self.centring != "none":
            raise ConfigError("autorec with a sigmoid output needs centring: none, because a bias leaves 0..1")
        self._built: _Scorer | None = None

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
        before = warm_start_state(self, warm_start)
        biases = Biases.fit(train)
        scale = rating_scale(train)
        by_user = self._inputs(train.matrix, scale)
        inputs = by_user if self.axis == "user" else by_user.T.tocsr()
        of_rows, of_columns = self._baselines(biases, train.matrix, self._unit(scale)[1])
        module = self._module(inputs.shape[1], torch.Generator().manual_seed(seed))
        rows, offset = observed_rows(inputs), torch.from_numpy(of_rows)
        with torch.no_grad():
            level = torch.from_numpy(of_columns) + rows.values.mean()
            module.output_bias.copy_(torch.logit(level, 0.01) if self.output == "sigmoid" else level)
        if before is not None:
            columns = (train.items, before.items) if self.axis == "user" else (train.users, before.users or train.users)
            check_id_axes(lambda n: self._module(n, None))
            copy_matching_parameters(module, before.arrays, {"inputs": columns, "outputs": columns})

        def predicted(shown: SparseRows, at: SparseRows) -> torch.Tensor:
            output: torch.Tensor = module(shown, at)
            return output + offset.to(output.device)[at.row_ids][at.row_of_entry()] if self.centring == "bias" else output

        known = {"rated_items": np.bincount(train.matrix.indices, minlength=train.n_items) > 0, **biases.arrays()}
        if self.axis == "item":
            known["trained_users"] = np.diff(train.matrix.indptr) > 0
        users = train.users if self.axis == "item" else None

        def state() -> Fitted:
            arrays = {**known, **weights_of(module)}
            if self.axis == "item":
                arrays["item_factors"] = _hidden_factors(module, inputs, of_rows)
            return Fitted.on(train, arrays, users=users, scale=scale)

        fit(
            module,
            ObservedError(
                predicted,
                autoencoder_l2(module, self.l2, rows, self.l2_exponent),
                Masking(self.dropout) if self.dropout else None,
            ),
            rows,
            TrainConfig(
                self.epochs,
                self.batch_size,
                self.optimiser,
                self.learning_rate,
                self.learning_rate_decay,
                self.patience,
                seed,
                device=self.device,
            ),
            valid=validation(lambda *pairs: _Scorer(self, module, state()).predict_rows(*pairs), valid_history or train, valid),
            callbacks=callbacks,
        )
        self.fitted = state()
        return self

    def scores(self, history: Interactions, rows: Rows) -> Floats:
        return self._scorer(history).scores(history, rows)

    def predict_rows(self, history: Interactions, user_rows: Rows, item_rows: Rows) -> Floats:
        return clip(self._scorer(history).predict_rows(history, user_rows, item_rows), fitted_state(self))

    def item_vectors(self) -> Floats:
        return self._scorer(None).item_factors[:, :-2]

    def user_vectors(self, history: Interactions, rows: Rows) -> Floats:
        return self._scorer(history).user_factors(history, rows)[:, :-2]

    def _module(self, width: int, generator: torch.Generator | None) -> Autoencoder:
        return Autoencoder(
            width,
            self.hidden,
            activation=self.activation,
            tied=self.tied,
            initial=self.init_std,
            output_activation=self.output,
            generator=generator,
        )

    def _scorer(self, history: Interactions | None) -> "_Scorer":
        """The fitted network, rebuilt from its arrays when they have changed."""
        fitted = fitted_state(self, history)
        if self._built is None or self._built.fitted is not fitted:
            module = self._module(len(fitted.arrays["module.output_bias"]), None)
            load_weights(module, fitted.arrays)
            self._built = _Scorer(self, module, fitted)
        return self._built

    def _inputs(self, ratings: csr_array, scale: tuple[float, float]) -> csr_array:
        """Ratings as the network sees them, rows being users."""
        low, unit = self._unit(scale)
        return csr_array(((ratings.data - low) / unit, ratings.indices, ratings.indptr), shape=ratings.shape, dtype=np.float32)

    def _unit(self, scale: tuple[float, float]) -> tuple[float, float]:
        """(low, unit): a rating is low + unit * what the network sees of it, on a scale from 1 to 5, or from 0 to 1."""
        width = scale[1] - scale[0] or 4.0  # where all ratings are the same, any unit will do
        return (scale[0] - width / 4, width / 4) if self.output == "identity" else (scale[0], width)

    def _baselines(self, biases: Biases, ratings: csr_array, unit: float) -> tuple[Floats, Floats]:
        """What is added to the output for each row of the inputs, and to its bias at the start for each column."""
        users, items = biases.of_users(ratings) / unit, biases.item / unit
        of_rows, of_columns = (items, users) if self.axis == "item" else (users, items)
        if self.centring == "none":
            of_rows, of_columns = np.zeros_like(of_rows), np.zeros_like(of_columns)
        return of_rows.astype(np.float32), of_columns.astype(np.float32)


class _Scorer:
    """Scores from a module, trained or in training.

    A rating is the product of a user's vector and an item's [H + 2]. Of the two, one is the last hidden layer for that
    user or item, followed by 1 and what is added to its output; the other is the output layer's weights for that column,
    followed by its bias and 1.
    """

    def __init__(self, options: AutoRec, module: Autoencoder, fitted: Fitted) -> None:
        assert fitted.scale is not None
        self.options = options
        self.module = module
        self.fitted = fitted
        self.scale = fitted.scale
        self.biases = Biases.from_arrays(fitted)
        self.rated_items = fitted.arrays["rated_items"]
        self.item_factors = _output_factors(module) if options.axis == "user" else fitted.arrays["item_factors"]

    def scores(self, history: Interactions, rows: Rows) -> Floats:
        baseline = self.biases.block(history, rows)
        scores = self._to_rating(self.user_factors(history, rows) @ self.item_factors.T)
        return np.where(self._known_users(history, rows)[:, None] & self.rated_items, scores, baseline)

    def predict_rows(self, history: Interactions, user_rows: Rows, item_rows: Rows) -> Floats:
        baseline = self.biases.pairs(history, user_rows, item_rows)
        products = pair_products(lambda rows: self.user_factors(history, rows), self.item_factors, user_rows, item_rows)
        everyone = np.arange(history.n_users)
        known = self._known_users(history, everyone)[user_rows] & self.rated_items[item_rows]
        return np.where(known, self._to_rating(products), baseline)

    def _known_users(self, history: Interactions, rows: Rows) -> NDArray[np.bool_]:
        """bool [B]: whom the network speaks for: users with a rating of an item it knows, and users it was trained on."""
        ratings = history.matrix[rows]
        user = np.repeat(np.arange(len(rows)), np.diff(ratings.indptr))
        known = np.bincount(user, self.rated_items[ratings.indices], len(rows)) > 0
        return known if self.options.axis == "user" else known | (trained_rows(self.fitted, history, rows) >= 0)

    def _to_rating(self, product: Floats) -> Floats:
        low, unit = self.options._unit(self.scale)
        output = product if self.options.output == "identity" else expit(product)
        return (low + unit * output).astype(np.float32)

    def user_factors(self, history: Interactions, rows: Rows) -> Floats:
        """[B, H + 2]"""
        if self.options.axis == "user":
            ratings = history.matrix[rows]
            offsets, _ = self.options._baselines(self.biases, ratings, self.options._unit(self.scale)[1])
            return _hidden_factors(
                self.module, _keep_columns(self.options._inputs(ratings, self.scale), self.rated_items), offsets
            )
        known = trained_rows(self.fitted, history, rows)
        side = _output_factors(self.module, known)
        for place in np.flatnonzero(known < 0):
            side[place] = self._fold_in(history.matrix[rows[[place]]])
        return side

    def _fold_in(self, ratings: csr_array) -> Floats:
        """[H + 2]: output weights, bias and 1 of a user without training ratings, the optimum of the objective for them.

        Minimises sum (r - o - w . h - b)^2 + l2 / 2 * |w|^2 over the user's ratings [1, M], h and o being their items'
        vectors and offsets, and l2 that of so many ratings. With a sigmoid output, r is replaced by its logit.
        """
        ratings = _keep_columns(self.options._inputs(ratings, self.scale), self.rated_items)
        items, rating = self.item_factors[ratings.indices], ratings.data
        if not len(rating):
            return np.zeros(self.item_factors.shape[1], np.float32)
        if self.options.output == "sigmoid":
            rating = logit(np.clip(rating, 0.02, 0.98))
        hidden, target = items[:, :-2], rating - items[:, -1]
        centre, mean = hidden.mean(axis=0), target.mean()
        weights = ridge(hidden - centre, target - mean, l2_of(len(rating), self.options.l2, self.options.l2_exponent) / 2)
        return np.r_[weights, mean - centre @ weights, 1].astype(np.float32)


def _hidden_factors(module: Autoencoder, inputs: csr_array, offsets: Floats) -> Floats:
    """[B, H + 2]: the last hidden layer for rows of the input, followed by 1 and what is added to the output."""
    x = SparseRows.from_arrays(inputs.indptr, inputs.indices, inputs.data, inputs.shape[1])
    with torch.no_grad():
        blocks = torch.arange(len(x)).split(ENCODE_ROWS)
        parts = [module.last_hidden(module.encode(x[index].to(device_of(module)))) for index in blocks]
    hidden = torch.cat(parts).cpu().numpy()
    return np.c_[hidden, np.ones(len(hidden), np.float32), offsets]


def _output_factors(module: Autoencoder, columns: Rows | None = None) -> Floats:
    """[D, H + 2]: weights of the output layer, its bias and 1; or those of some columns only."""
    weight, bias = (tensor.detach().cpu().numpy() for tensor in (module.wide_weights()[-1], module.output_bias))
    if columns is not None:
        weight, bias = weight[columns], bias[columns]
    return np.c_[weight, bias, np.ones(len(weight), np.float32)]


def _keep_columns(matrix: csr_array, keep: NDArray[np.bool_]) -> csr_array:
    """The matrix with the entries of some columns only, of the same shape."""
    if keep.all():
        return matrix
    kept = keep[matrix.indices]
    indptr = np.r_[0, np.cumsum(kept)][matrix.indptr].astype(matrix.indptr.dtype)
    return csr_array((matrix.data[kept], matrix.indices[kept], indptr), shape=matrix.shape)
