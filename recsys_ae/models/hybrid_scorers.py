"""Scoring with a hybrid autoencoder, also of users and items that have only features."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import Tensor

from recsys_ae.core.devices import device_of
from recsys_ae.core.ensemble import output_terms
from recsys_ae.core.hybrid import Attributes, by_knowledge
from recsys_ae.core.sparse import SparseRows, unit_pattern
from recsys_ae.ids import Rows
from recsys_ae.interactions import Interactions
from recsys_ae.models import training
from recsys_ae.models.base import Floats
from recsys_ae.models.rating_scorers import ENCODE_ROWS, ItemScorer, Scorer, Vectors, with_one

LOGITS_PER_VALUE = 1.5  # roughly; values are from 1 to 5


class HybridScorer(Scorer):
    """Vectors of users, with features; the factors of columns are learned once, from the training ratings."""

    def as_bias(self, bias: NDArray[np.float64]) -> Floats:
        return super().as_bias(bias) * np.float32(LOGITS_PER_VALUE if self.module.ordinal else 1)

    @property
    def output_level(self) -> np.float32:
        return np.float32(0 if self.module.ordinal else self.level)

    @torch.no_grad()
    def start(self, inputs: SparseRows, vectors: Vectors) -> None:
        super().start(inputs, vectors)
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

    def users_have_features(self, history: Interactions, rows: Rows) -> NDArray[np.bool_]:
        """bool [B]: users with a known feature."""
        return np.zeros(len(rows), bool) if self.users is None else self.users.users_have_features(history, rows)

    def known_users(self, history: Interactions, rows: Rows) -> NDArray[np.bool_]:
        return super().known_users(history, rows) | self.users_have_features(history, rows)

    def known_items(self) -> NDArray[np.bool_]:
        return self.rated_items if self.items is None else self.rated_items | self.items.has_features()

    @torch.no_grad()
    def row_factors(self, vectors: Vectors, features: csr_array | None) -> Floats:
        x, device = training.sparse_rows(vectors.inputs), device_of(self.module)
        side = None if features is None else training.sparse_rows(features)
        blocks = []
        for at in torch.arange(len(x)).split(ENCODE_ROWS):
            known = None if side is None else by_knowledge(side[at], x.lengths[at] == 0).to(device)
            blocks.append(torch.cat(self.module.hidden(x[at].to(device), known), 1))
        hidden = torch.cat(blocks).cpu().numpy()
        return np.c_[hidden, np.ones(len(hidden), np.float32), vectors.row_bias]

    def column_factors(self, columns: Rows | slice = slice(None)) -> Floats:
        return self.fitted.arrays["column_factors"][columns]

    @torch.no_grad()
    def learned(self, vectors: Vectors) -> dict[str, Floats]:
        device = device_of(self.module)
        rated = torch.from_numpy(np.bincount(vectors.inputs.indices, minlength=vectors.inputs.shape[1]) > 0).to(device)
        prior = torch.from_numpy(self.priors()[1]).to(device)
        own = [
            (network.output_weight * rated[:, None], torch.where(rated, network.output_bias, prior))
            for network in self.module.networks
        ]
        factors = self.with_attributes(own, self.attributes(vectors), ~rated)
        return {**super().learned(vectors), "column_factors": factors}

    @torch.no_grad()
    def with_attributes(self, own: Sequence[tuple[Tensor, Tensor]], attributes: Attributes, cold: Tensor) -> Floats:
        """[D, H + 2]: factors of columns.

        Args:
            own: for each network, their weights and biases without what attributes add.
            cold: bool [D], the columns without ratings.
        """
        attributes = attributes.to(cold.device)
        if attributes.features is not None:
            attributes = replace(attributes, features=by_knowledge(attributes.features, cold))
        pairs = zip(self.module.networks, own, strict=True)
        weights, biases = zip(*(network.with_attributes(*of_network, attributes) for network, of_network in pairs), strict=True)
        return with_one(output_terms(weights, biases).cpu().numpy())


class HybridItemScorer(HybridScorer, ItemScorer):
    """Vectors of items, encoded once; the columns of new users come from their features, and from their ratings."""

    def prior_factors(self, history: Interactions, rows: Rows) -> Floats:
        features = self.user_features(history, rows)
        rated = self.of_rated(history.matrix[rows])
        who = unit_pattern(training.sparse_rows(rated)) if self.model.who else None
        device = device_of(self.module)
        bias = torch.from_numpy(self.output_level + self.user_prior(len(rows), features)).to(device)
        own = [
            (network.output_weight.new_zeros(len(rows), network.output_weight.shape[1]), bias)
            for network in self.module.networks
        ]
        side = Attributes(who, None if features is None else training.sparse_rows(features))
        return self.with_attributes(own, side, torch.from_numpy(np.diff(rated.indptr) == 0).to(device))
