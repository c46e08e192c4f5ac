"""Scorers: from histories to the inputs of an autoencoder of rating vectors, and from its outputs to scores.

Shapes: B users or rows, M items, D columns of the vectors; factors have H + 2 numbers, H being the width before the output,
of all networks together.
"""

from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.special import expit, logit

from recsys_ae.core.axes import wide_weights
from recsys_ae.core.devices import device_of
from recsys_ae.core.ensemble import Autoencoders, output_terms
from recsys_ae.core.sparse import SparseRows
from recsys_ae.core.trainer import parts_of
from recsys_ae.fitted import Fitted
from recsys_ae.ids import Rows
from recsys_ae.interactions import Interactions
from recsys_ae.models import training
from recsys_ae.models.base import Floats
from recsys_ae.models.baselines import ADDED_ROWS, ITEM_REG, USER_REG, Biases
from recsys_ae.models.factors import kept_columns, pair_products, ridge, trained_rows
from recsys_ae.models.side_information import SideFeatures

ENCODE_ROWS = 64  # few enough for one thread, see core.threads


class Vectors(NamedTuple):
    """Rating vectors to reconstruct, as values of the network.

    Attributes:
        inputs: [B, D].
        row_bias: float32 [B], added to all outputs of a row.
        column_bias: float32 [D], the difference of each column from the mean value.
    """

    inputs: csr_array
    row_bias: Floats
    column_bias: Floats


class Scorer:
    """Maps ratings to what the network reconstructs, and its outputs to scores; here for vectors of users.

    The network sees rating = low + unit * value, with values from 1 to 5, or from 0 to 1 if the output is a sigmoid. An output
    is the product of a user's and an item's factors [H + 2]. One of the two is the last hidden layer for the vector of that
    user or item, followed by 1 and its row bias; the other is the output layer's weights of that column, its bias, and 1. Of
    several networks, the hidden layers lie side by side, and the weights are divided by their number, so that the product is
    the mean of their outputs.
    """

    columns: ClassVar[Literal["users", "items"]] = "items"  # what the columns of the vectors are

    def __init__(self, model: Any, module: Any, fitted: Fitted) -> None:
        self.model, self.module, self.fitted = model, module, fitted
        self.biases, self.rated_items = Biases.from_arrays(fitted), fitted.arrays["rated_items"]
        self.users, self.items = SideFeatures.of(fitted, "user"), SideFeatures.of(fitted, "item")
        low, high = fitted.meta["scale"]
        width = high - low or 4.0  # any width will do if all ratings are equal
        self.sigmoid = getattr(model, "output", "identity") == "sigmoid"
        self.unit = width if self.sigmoid else width / 4
        self.low = low if self.sigmoid else low - self.unit

    def vectors(self, ratings: csr_array, features: csr_array | None = None) -> Vectors:
        """The vectors of users, given their ratings [B, M] and features [B, F]."""
        of_users = self.as_bias(self.biases.of_users(ratings, features))
        return Vectors(self.values(ratings), of_users, self.as_bias(self.biases.item))

    @property
    def level(self) -> float:
        """The mean rating as a value."""
        return (self.biases.mean - self.low) / self.unit

    @property
    def output_level(self) -> np.float32:
        """The output of the mean rating, without biases."""
        return np.float32(self.level)

    def user_prior(self, n_users: int, features: csr_array | None) -> Floats:
        """Biases of users from their features alone, as outputs."""
        return self.as_bias(self.biases.user_prior(n_users, features))

    def priors(self) -> tuple[Floats, Floats]:
        """Biases of rows [N] and columns [D] from their features alone, as outputs; those of columns with the mean."""
        of_users = self.user_prior(len(self.fitted.ids["users"]), None if self.users is None else self.users.matrix)
        of_items, level = self.as_bias(self.biases.item_prior), self.output_level
        return (of_users, level + of_items) if self.columns == "items" else (of_items, level + of_users)

    @property
    def column_reg(self) -> float:
        """Regularisation of the output's biases, in ratings: that of the baseline, which is part of the model if centred."""
        if self.model.centring == "none":
            return 0.0
        return ITEM_REG if self.columns == "items" else USER_REG

    def bias_penalty(self, rows: SparseRows) -> training.OutputBiasL2:
        """The penalty of output biases on the training rows."""
        rated = (training.column_counts(rows) > 0).float()
        of_items = self.columns == "items"
        centre = self.output_level + self.as_bias(self.biases.item_centre) if of_items else self.priors()[1]
        return training.OutputBiasL2(self.column_reg * rated, torch.from_numpy(centre), len(rows.columns))

    def as_bias(self, bias: NDArray[np.float64]) -> Floats:
        """Biases of ratings as values."""
        unit = self.unit if self.model.centring == "bias" else np.inf
        return (bias / unit).astype(np.float32)

    def values(self, ratings: csr_array) -> csr_array:
        values = (ratings.data - self.low) / self.unit
        return csr_array((values, ratings.indices, ratings.indptr), shape=ratings.shape, dtype=np.float32)

    @torch.no_grad()
    def start(self, inputs: SparseRows, vectors: Vectors) -> None:
        """Set the biases of the output, before training."""
        level = torch.from_numpy(self.output_level + vectors.column_bias)
        for network in self.module.networks:
            network.output_bias.copy_(torch.logit(level, 0.01) if self.sigmoid else level)

    def outputs_for(self, values: Floats) -> Floats:
        """Outputs before their activation that give these values, roughly for values at the ends of the scale."""
        return logit(np.clip(values, 0.02, 0.98)) if self.sigmoid else values

    def to_ratings(self, output: Floats) -> Floats:
        """Ratings from outputs before their activation."""
        return (self.low + self.unit * (expit(output) if self.sigmoid else output)).astype(np.float32)

    def of_rated(self, ratings: csr_array) -> csr_array:
        """The ratings of items that were rated in training, in the same shape."""
        return kept_columns(ratings, self.rated_items)

    def user_features(self, history: Interactions, rows: Rows) -> csr_array | None:
        """Features of the users at `rows`, [B, F]; None if the model has not learned from any."""
        return None if self.users is None else self.users.of_users(history, rows)

    def known_users(self, history: Interactions, rows: Rows) -> NDArray[np.bool_]:
        """bool [B]: users the network can score: those with ratings of items that were rated in training."""
        return np.diff(self.of_rated(history.matrix[rows]).indptr) > 0

    def known_items(self) -> NDArray[np.bool_]:
        """bool [M]: items the network can score."""
        return self.rated_items

    def row_factors(self, vectors: Vectors, features: csr_array | None) -> Floats:
        """[B, H + 2]: last hidden layer of each row, 1, and its row bias."""
        return hidden_factors(self.module, vectors.inputs, vectors.row_bias)

    def column_factors(self, columns: Rows | slice = slice(None)) -> Floats:
        """[D, H + 2]: output weights and bias of all columns or some, and 1."""
        return output_factors(self.module, columns)

    def learned(self, vectors: Vectors) -> dict[str, Floats]:
        """Arrays beside the weights that scoring needs, given the training vectors."""
        return {}

    def user_factors(self, history: Interactions, rows: Rows) -> Floats:
        """[B, H + 2]"""
        features = self.user_features(history, rows)
        vectors = self.vectors(history.matrix[rows], features)
        return self.row_factors(vectors._replace(inputs=self.of_rated(vectors.inputs)), features)

    def item_factors(self) -> Floats:
        """[M, H + 2]"""
        return self.column_factors()

    def scores(self, history: Interactions, rows: Rows) -> Floats:
        scores = _products(self.user_factors(history, rows), self.item_factors())
        users, items, features = self.known_users(history, rows), self.known_items(), self.user_features(history, rows)
        for start in range(0, len(rows), ADDED_ROWS):  # in place, because a block of scores takes a lot of memory
            part = slice(start, start + ADDED_ROWS)
            baseline = self.biases.block(history, rows[part], None if features is None else features[part])
            scores[part] = np.where(users[part, None] & items, self.to_ratings(scores[part]), baseline)
        return scores

    def predict_rows(self, history: Interactions, user_rows: Rows, item_rows: Rows) -> Floats:
        everyone = np.arange(history.n_users)
        baseline = self.biases.pairs(history, user_rows, item_rows, self.user_features(history, everyone))
        products = pair_products(lambda rows: self.user_factors(history, rows), self.item_factors(), user_rows, item_rows)
        known = self.known_users(history, everyone)[user_rows] & self.known_items()[item_rows]
        return np.where(known, self.to_ratings(products), baseline)


class ItemScorer(Scorer):
    """Vectors of items, encoded once from their training ratings; users are columns of the output layer, or folded in."""

    columns = "users"

    def vectors(self, ratings: csr_array, features: csr_array | None = None) -> Vectors:
        values, of_users, of_items = super().vectors(ratings, features)
        return Vectors(values.T.tocsr(), of_items, of_users)

    def known_users(self, history: Interactions, rows: Rows) -> NDArray[np.bool_]:
        return super().known_users(history, rows) | (trained_rows(self.fitted, history, rows) >= 0)

    def learned(self, vectors: Vectors) -> dict[str, Floats]:
        return {
            **super().learned(vectors),
            "item_factors": self.row_factors(vectors, None if self.items is None else self.items.matrix),
        }

    def user_factors(self, history: Interactions, rows: Rows) -> Floats:
        known = trained_rows(self.fitted, history, rows)
        factors = self.column_factors(known)
        new = np.flatnonzero(known < 0)
        folded: dict[int, Floats] = {}  # by row: a block of a few users has each of them several times
        for place, prior in zip(new, self.prior_factors(history, rows[new]), strict=True):
            row = int(rows[place])
            if row not in folded:
                folded[row] = self._fold_in(history.matrix[[row]], prior)
            factors[place] = folded[row]
        return factors

    def item_factors(self) -> Floats:
        return self.fitted.arrays["item_factors"]

    def prior_factors(self, history: Interactions, rows: Rows) -> Floats:
        """[B, H + 2]: factors of users without training ratings before their own ratings are taken into account."""
        factors = np.zeros((len(rows), self.item_factors().shape[1]), np.float32)
        factors[:, -2:] = self.output_level, 1
        return factors

    def _fold_in(self, ratings: csr_array, prior: Floats) -> Floats:
        """[H + 2]: output weights, bias and 1 of a user without training ratings, by the same objective.

        For each network, they minimise sum (r - o - w . h - b)^2 + l2 / 2 * |w - w0|^2 + reg * (b - b0)^2 over the user's
        ratings [1, M], where h and o are the vectors and row biases of the items, w0 and b0 those of the `prior`, l2 is that of
        a column with as many ratings and reg is `column_reg`. r are outputs, see `outputs_for`. A user without such ratings has
        the prior's factors.
        """
        ratings = self.of_rated(self.values(ratings))
        items, values = self.item_factors()[ratings.indices], self.outputs_for(ratings.data)
        if not len(items):
            return prior
        n, networks = len(values), len(self.module.networks)
        weight = np.r_[np.ones(n), self.column_reg] / (n + self.column_reg)  # of the ratings, and of the prior's bias
        l2 = training.l2_of(n, self.model.l2, self.model.l2_exponent) / (n + self.column_reg)
        factors = prior.astype(np.float64)
        for part in np.split(np.arange(items.shape[1] - 2), networks):
            hidden = np.r_[items[:, part], np.zeros((1, len(part)))]
            target = np.r_[values - items[:, -1] - prior[-2] - networks * items[:, part] @ prior[part], 0]
            centre, mean = weight @ hidden, weight @ target
            root = np.sqrt(weight)
            weights = ridge(root[:, None] * (hidden - centre), root * (target - mean), l2 / 2)
            factors[part] += weights / networks
            factors[-2] += (mean - centre @ weights) / networks
        return factors.astype(np.float32)


def _products(left: Floats, right: Floats) -> Floats:
    """left [B, H] @ right.T [H, M] by PyTorch: its threads sleep while they wait for each other, those of NumPy's BLAS spin."""
    found: Floats = (torch.from_numpy(left) @ torch.from_numpy(right).T).numpy()
    return found


@torch.no_grad()
def hidden_factors(module: Autoencoders, inputs: csr_array, row_bias: Floats) -> Floats:
    """[B, H + 2]: last hidden layers of each input row, 1, and its row bias."""
    parts = (part.to(device_of(module)) for part in parts_of(training.sparse_rows(inputs), ENCODE_ROWS))
    hidden = torch.cat([torch.cat(module.hidden(part), 1) for part in parts]).cpu().numpy()
    return np.c_[hidden, np.ones(len(hidden), np.float32), row_bias]


@torch.no_grad()
def output_factors(module: Autoencoders, columns: Rows | slice = slice(None)) -> Floats:
    """[D, H + 2]: weights and bias of the output for all columns or some, and 1."""
    at = columns if isinstance(columns, slice) else torch.from_numpy(columns)
    weights = [wide_weights(network)[-1][at] for network in module.networks]
    biases = [network.output_bias[at] for network in module.networks]
    return with_one(output_terms(weights, biases).cpu().numpy())


def with_one(factors: NDArray[Any]) -> Floats:
    """[n, H + 2] from [n, H + 1]: a column of ones is added, which row biases are multiplied by."""
    return np.c_[factors, np.ones(len(factors), np.float32)].astype(np.float32)
