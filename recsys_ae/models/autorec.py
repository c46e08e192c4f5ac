"""AutoRec: an autoencoder of rating vectors, of items or of users, trained on the observed ratings only."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field
from scipy.sparse import csr_array

from recsys_ae.core.autoencoder import Autoencoder
from recsys_ae.core.corruption import Masking
from recsys_ae.core.sparse import SparseRows
from recsys_ae.core.trainer import Callback, TrainConfig, fit
from recsys_ae.errors import ConfigError
from recsys_ae.interactions import IdMap, Interactions, Rows
from recsys_ae.models.base import Fitted, Floats, clip, fitted_state, rating_scale
from recsys_ae.models.bias import Biases
from recsys_ae.models.sides import pair_products
from recsys_ae.models.training import ObservedError, load_weights, observed_rows, validation, weights_of

ENCODE_ROWS = 1024


def _as_sizes(value: Any) -> Any:
    return (value,) if isinstance(value, int) else value


@dataclass
class AutoRec:
    """Reconstructs rating vectors: each item's, one entry per user (I-AutoRec), or each user's (U-AutoRec).

    Source: Sedhain et al. 2015, equations 1 and 2: the squared error over observed ratings plus l2/2 times the squared
    weights (biases are free), identity output. Deviates: Adam on batches instead of L-BFGS, a share of the inputs may be
    hidden while training, output biases start at the mean rating.

    Who can be scored. `user`: anyone with a history of rated items. `item`: users seen in training, from the decoder's
    row of each; for others that row is found from their history by the same objective (a ridge regression on the items'
    codes), so that nothing is trained again. In both, a user or an item without ratings gets the baseline of
    `models.bias`: mean, user bias and item bias as far as there is one.

    Scores are predicted ratings, not clipped to the scale; predictions are.

    Attributes:
        axis: `item` or `user`: whose rating vectors are reconstructed.
        hidden: sizes of the encoder's layers; the decoder mirrors them.
        activation: of the hidden layers, see `core.autoencoder.ACTIVATIONS`.
        output: `identity`, or `sigmoid` on ratings mapped to 0..1.
        centring: what is subtracted from the ratings first: `none`, their `mean`, or the `bias` baseline.
        l2: regularisation of all weight matrices.
        dropout: share of the observed inputs hidden in training, anew in each epoch.
        tied: decoder and encoder share their weight matrices.
        init_std: standard deviation of the initial weights.
        epochs, batch_size, optimiser, learning_rate, decay, patience: see `core.trainer.TrainConfig`.
    """

    axis: Literal["item", "user"] = "item"
    hidden: Annotated[tuple[Annotated[int, Field(ge=1)], ...], BeforeValidator(_as_sizes)] = (500,)
    activation: str = "sigmoid"
    output: Literal["identity", "sigmoid"] = "identity"
    centring: Literal["none", "mean", "bias"] = "none"
    l2: Annotated[float, Field(ge=0)] = 100.0
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    tied: bool = False
    init_std: Annotated[float, Field(gt=0)] = 0.03
    epochs: Annotated[int, Field(ge=1)] = 100
    batch_size: Annotated[int, Field(ge=1)] = 64
    optimiser: str = "adam"
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    decay: Annotated[float, Field(gt=0, le=1)] = 0.97
    patience: Annotated[int, Field(ge=0)] = 20
    fitted: Fitted | None = field(default=None, init=False, repr=False)
    predicts_ratings: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self.hidden = tuple(_as_sizes(self.hidden))
        if self.output == "sigmoid" and self.centring != "none":
            raise ConfigError("autorec with a sigmoid output needs centring: none, because centred ratings leave 0..1")
        self._network: _Network | None = None

    def fit(
        self,
        train: Interactions,
        *,
        valid: Interactions | None = None,
        seed: int = 0,
        callbacks: Sequence[Callback] = (),
    ) -> Self:
        biases = Biases.fit(train)
        scale = rating_scale(train)
        oriented = train if self.axis == "user" else train.T
        module = self._module(oriented.n_items, torch.Generator().manual_seed(seed))
        net = _Network(self, module, biases, scale, train.users, np.diff(oriented.matrix.T.tocsr().indptr) > 0)
        rows = observed_rows(net.oriented_input(train))
        with torch.no_grad():
            start = rows.values.mean()
            module.output_bias.fill_(torch.logit(start, 0.01) if self.output == "sigmoid" else start)
        objective = ObservedError(module, module.weight_matrices(), self.l2, Masking(self.dropout) if self.dropout else None)
        config = TrainConfig(self.epochs, self.batch_size, self.optimiser, self.learning_rate, self.decay, self.patience, seed)
        validate = validation(lambda *pairs: replace(net).predict_rows(*pairs), train, valid)  # a copy caches nothing here
        fit(module, objective, rows, config, valid=validate, callbacks=callbacks)
        arrays = {"trained_columns": net.trained_columns, **biases.arrays(), **weights_of(module)}
        self.fitted = Fitted(train.items, train.users if self.axis == "item" else None, scale, arrays)
        self._network = None
        return self

    def scores(self, history: Interactions, rows: Rows) -> Floats:
        return self._net(history).scores(history, rows)

    def predict_rows(self, history: Interactions, user_rows: Rows, item_rows: Rows) -> Floats:
        return clip(self._net(history).predict_rows(history, user_rows, item_rows), fitted_state(self))

    def _module(self, width: int, generator: torch.Generator | None) -> Autoencoder:
        return Autoencoder(
            width,
            self.hidden,
            activation=self.activation,
            tied=self.tied,
            init_std=self.init_std,
            output_activation=self.output,
            generator=generator,
        )

    def _net(self, history: Interactions) -> "_Network":
        """The fitted network, rebuilt from its arrays when it is first needed."""
        fitted = fitted_state(self, history)
        if self._network is None:
            trained = fitted.arrays["trained_columns"]
            module = self._module(len(trained), None)
            load_weights(module, fitted.arrays)
            users = fitted.users or IdMap(np.arange(0))
            assert fitted.scale is not None
            self._network = _Network(self, module, Biases.from_arrays(fitted), fitted.scale, users, trained)
        return self._network


@dataclass
class _Network:
    """Scores from a module, trained or in training.

    Rows of the module's input are the axis' own (items or users), its columns the others. A rating is the product of
    a user's vector and an item's: of the two, one is the last hidden layer for that row followed by a 1, the other the
    output layer's weights for that column followed by its bias.

    Attributes:
        trained_columns: bool [D], the columns with training ratings; weights of the others mean nothing.
        users: the training users, which the columns are when the axis is `item`.
    """

    options: AutoRec
    module: Autoencoder
    biases: Biases
    scale: tuple[float, float]
    users: IdMap
    trained_columns: NDArray[np.bool_]
    _item_side: tuple[Interactions, Floats] | None = None

    def scores(self, history: Interactions, rows: Rows) -> Floats:
        baseline = self.biases.block(history, rows)
        scores = self._to_rating(self._user_side(history, rows) @ self._items(history).T, baseline)
        known_user, known_item = self._known(history)
        return np.where(known_user[rows][:, None] & known_item, scores, baseline)

    def predict_rows(self, history: Interactions, user_rows: Rows, item_rows: Rows) -> Floats:
        baseline = self.biases.pairs(history, user_rows, item_rows)
        items = self._items(history)
        products = pair_products(lambda rows: self._user_side(history, rows), items, user_rows, item_rows)
        known_user, known_item = self._known(history)
        known = known_user[user_rows] & known_item[item_rows]
        return np.where(known, self._to_rating(products, baseline), baseline)

    def oriented_input(self, history: Interactions) -> csr_array:
        """What the module sees: a row per item or user, a column per trained user or item, ratings centred."""
        options = self.options
        matrix = self._centred(history.matrix)
        if options.axis == "user":
            return _keep_columns(matrix, self.trained_columns)
        known = self._trained_rows(history)
        place = np.flatnonzero(known >= 0)
        by_item = matrix[place].T.tocsr()
        columns = known[place][by_item.indices]
        return csr_array((by_item.data, columns, by_item.indptr), shape=(history.n_items, len(self.trained_columns)))

    def _centred(self, ratings: csr_array) -> csr_array:
        low, high = self.scale
        if self.options.centring == "bias":
            return self.biases.residuals(ratings)
        shift, unit = (self.biases.mean, 1.0) if self.options.centring == "mean" else (0.0, 1.0)
        if self.options.output == "sigmoid":
            shift, unit = low, high - low
        data = ((ratings.data - shift) / unit).astype(np.float32)
        return csr_array((data, ratings.indices, ratings.indptr), shape=ratings.shape)

    def _to_rating(self, product: Floats, baseline: Floats) -> Floats:
        if self.options.output == "sigmoid":
            low, high = self.scale
            return (low + (high - low) / (1 + np.exp(-product))).astype(np.float32)
        if self.options.centring == "bias":
            return product + baseline
        return product + np.float32(self.biases.mean) if self.options.centring == "mean" else product

    def _known(self, history: Interactions) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """bool [N], bool [M]: the users and the items that the network, not the baseline, speaks for."""
        user = np.diff(history.matrix.indptr) > 0
        if self.options.axis == "user":
            return user, self.trained_columns
        return user, np.bincount(history.item_rows(), minlength=history.n_items) > 0

    def _trained_rows(self, history: Interactions) -> Rows:
        """int64 [N]: the training row of each user of the history, -1 for those without training ratings."""
        same = history.users is self.users
        rows = np.arange(len(self.users)) if same else self.users.find(history.users.values)
        return np.where((rows >= 0) & self.trained_columns[rows], rows, -1)

    def _hidden(self, rows: csr_array) -> Floats:
        """[B, H + 1]: the last hidden layer for rows of the input, followed by a 1."""
        x = SparseRows.from_arrays(rows.indptr, rows.indices, rows.data, rows.shape[1])
        with torch.no_grad():
            parts = [
                self.module.last_hidden(self.module.encode(x.take(index))) for index in torch.arange(len(x)).split(ENCODE_ROWS)
            ]
            hidden = torch.cat(parts)
            return torch.cat([hidden, hidden.new_ones(len(hidden), 1)], dim=1).numpy()

    def _output(self) -> Floats:
        """[D, H + 1]: weights of the output layer, followed by its bias."""
        weight = self.module.input_weight if self.module.tied else self.module.output_weight
        return torch.cat([weight, self.module.output_bias[:, None]], dim=1).detach().numpy()

    def _items(self, history: Interactions) -> Floats:
        """[M, H + 1]"""
        if self.options.axis == "user":
            return self._output()
        if self._item_side is None or self._item_side[0] is not history:
            self._item_side = history, self._hidden(self.oriented_input(history))
        return self._item_side[1]

    def _user_side(self, history: Interactions, rows: Rows) -> Floats:
        """[B, H + 1]"""
        if self.options.axis == "user":
            users = IdMap(np.arange(len(rows)))
            return self._hidden(self.oriented_input(replace(history, matrix=history.matrix[rows], users=users, times=None)))
        known = self._trained_rows(history)[rows]
        side = self._output()[known]
        for place in np.flatnonzero(known < 0):
            side[place] = self._fold_in(history, rows[place])
        return side

    def _fold_in(self, history: Interactions, row: int) -> Floats:
        """[H + 1]: output weights and bias of a user without training ratings, the optimum of the objective for them.

        Minimises sum (r - w . h - b)^2 + l2 / 2 * |w|^2 over the user's ratings r, h being their items' vectors; solved
        in as many unknowns as there are ratings. With a sigmoid output, r is replaced by its logit.
        """
        start, end = history.matrix.indptr[row : row + 2]
        hidden = self._items(history)[history.matrix.indices[start:end], :-1]
        if start == end:
            return np.zeros(self._items(history).shape[1], np.float32)
        rating = self._centred(history.matrix[[row]]).data
        if self.options.output == "sigmoid":
            rating = np.log(np.clip(rating, 0.02, 0.98) / (1 - np.clip(rating, 0.02, 0.98)))
        centre, mean = hidden.mean(axis=0), rating.mean()
        gram = (hidden - centre) @ (hidden - centre).T
        gram[np.diag_indices(len(gram))] += self.options.l2 / 2 + 1e-6
        weights = (hidden - centre).T @ np.linalg.solve(gram, rating - mean)
        return np.r_[weights, mean - centre @ weights].astype(np.float32)


def _keep_columns(matrix: csr_array, keep: NDArray[np.bool_]) -> csr_array:
    """The matrix with the entries of some columns only, of the same shape."""
    if keep.all():
        return matrix
    kept = keep[matrix.indices]
    indptr = np.r_[0, np.cumsum(kept)][matrix.indptr].astype(matrix.indptr.dtype)
    return csr_array((matrix.data[kept], matrix.indices[kept], indptr), shape=matrix.shape)
