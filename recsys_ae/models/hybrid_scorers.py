"""Scoring with a hybrid autoencoder, also of users and items that have only features."""

from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys_ae.core.devices import device_of
from recsys_ae.core.hybrid import Attributes, by_knowledge, scaled
from recsys_ae.core.sparse import SparseRows, unit_pattern
from recsys_ae.ids import Rows
from recsys_ae.interactions import Interactions
from recsys_ae.models import training
from recsys_ae.models.base import Floats
from recsys_ae.models.rating_scorers import ENCODE_ROWS, ItemScorer, Scorer, Vectors

LOGITS_PER_VALUE = 1.5  # roughly; values are from 1 to 5


class HybridScorer(Scorer):
    """Vectors of users, with features; the factors of columns are learned once, from the training ratings."""

    def as_bias(self, bias: NDArray[np.float64]) -> Floats:
        return super().as_bias(bias) * np.float32(LOGITS_PER_VALUE if self.module.ordinal else 1)

    @property
    def output_level(self) -> np.float32:
        """The output of the mean rating, without biases."""
        return np.float32(0 if self.module.ordinal else self.level)

    @torch.no_grad()
    def start(self, inputs: SparseRows, vectors: Vectors) -> None:
        self.module.output_bias.copy_(torch.from_numpy(self.output_level + vectors.column_bias))
        if self.module.ordinal is not None:
            self.module.ordinal.start_from(inputs.values)

    @torch.no_grad()
    def outputs_for(self, values: Floats) -> Floats:
        ordinal = self.module.ordinal
        return values if ordinal is None else np.interp(values, ordinal.values.cpu(), ordinal.middles().cpu())

    @torch.no_grad()
    def to_ratings(self, output: Floats) -> Floats:
        ordinal = self.module.ordinal
        return super().to_ratings(output if ordinal is None else ordinal.expected(torch.from_numpy(output)).numpy())

    def side_features(self) -> tuple[csr_array | None, csr_array | None]:
        """Features of all rows and of all columns of the training vectors."""
        users, items = (None if side is None else side.matrix for side in (self.users, self.items))
        return (users, items) if self.columns == "items" else (items, users)

    def attributes(self, vectors: Vectors) -> Attributes:
        """Side information of the columns, given the training vectors."""
        who = unit_pattern(training.sparse_rows(vectors.inputs.T.tocsr())) if self.model.who else None
        _, features = self.side_features()
        return Attributes(who, None if features is None else training.sparse_rows(features))

    def priors(self) -> tuple[Floats, Floats]:
        """Biases of rows [N] and columns [D] from their features alone, as values; those of columns with the mean."""
        of_users = self.user_prior(len(self.fitted.ids["users"]), None if self.users is None else self.users.matrix)
        of_items, level = self.as_bias(self.biases.item_prior), self.output_level
        return (of_users, level + of_items) if self.columns == "items" else (of_items, level + of_users)

    def user_prior(self, n_users: int, features: csr_array | None) -> Floats:
        return self.as_bias(self.biases.user_prior(n_users, features))

    @property
    def level(self) -> float:
        """The mean rating as a value."""
        return (self.biases.mean - self.low) / self.unit

    def users_have_features(self, history: Interactions, rows: Rows) -> NDArray[np.bool_]:
        """bool [B]: users with a known feature."""
        return np.zeros(len(rows), bool) if self.users is None else self.users.users_have_features(history, rows)

    def known_users(self, history: Interactions, rows: Rows) -> NDArray[np.bool_]:
        return super().known_users(history, rows) | self.users_have_features(history, rows)

    def known_items(self) -> NDArray[np.bool_]:
        return self.rated_items if self.items is None else self.rated_items | self.items.has_features()

    @torch.no_grad()
    def row_factors(self, vectors: Vectors, features: csr_array | None) -> Floats:
        x, device = scaled(training.sparse_rows(vectors.inputs)), device_of(self.module)
        side = None if features is None else training.sparse_rows(features)
        codes = [
            self.module.encode(
                x[at].to(device), None if side is None else by_knowledge(side[at], x.lengths[at] == 0).to(device)
            )
            for at in torch.arange(len(x)).split(ENCODE_ROWS)
        ]
        hidden = torch.cat(codes).cpu().numpy()
        return np.c_[hidden, np.ones(len(hidden), np.float32), vectors.row_bias]

    def column_factors(self, columns: Rows | slice = slice(None)) -> Floats:
        return self.fitted.arrays["column_factors"][columns]

    @torch.no_grad()
    def learned(self, vectors: Vectors) -> dict[str, Floats]:
        rated = np.bincount(vectors.inputs.indices, minlength=vectors.inputs.shape[1]) > 0
        weight, bias = (own.detach().cpu().numpy() for own in (self.module.output_weight, self.module.output_bias))
        own = np.c_[np.where(rated[:, None], weight, 0), np.where(rated, bias, self.priors()[1])]
        return {
            **super().learned(vectors),
            "column_factors": _with_one(own + self.column_terms(self.attributes(vectors), ~rated)),
        }

    def column_terms(self, attributes: Attributes, cold: NDArray[np.bool_]) -> Floats | float:
        """What attributes add to weights and bias, [D, H + 1], given which columns have no ratings."""
        if attributes.features is not None:
            attributes = replace(attributes, features=by_knowledge(attributes.features, torch.from_numpy(cold)))
        with torch.no_grad():
            terms = self.module.column_terms(attributes.to(device_of(self.module)))
        return terms if isinstance(terms, float) else cast(Floats, terms.cpu().numpy())


class HybridItemScorer(HybridScorer, ItemScorer):
    """Vectors of items, encoded once; the columns of new users come from their features, and from their ratings."""

    def prior_factors(self, history: Interactions, rows: Rows) -> Floats:
        features = self.user_features(history, rows)
        rated = self.of_rated(history.matrix[rows])
        who = unit_pattern(training.sparse_rows(rated)) if self.model.who else None
        own = np.zeros((len(rows), self.item_factors().shape[1] - 1), np.float32)
        own[:, -1] = self.output_level + self.user_prior(len(rows), features)
        side = Attributes(who, None if features is None else training.sparse_rows(features))
        return _with_one(own + self.column_terms(side, np.diff(rated.indptr) == 0))


def _with_one(factors: NDArray[Any]) -> Floats:
    return np.c_[factors, np.ones(len(factors), np.float32)].astype(np.float32)
