"""The objective of a hybrid autoencoder: errors of observed ratings, some of whose inputs are dropped, and a penalty."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Generator, Tensor

from recsys_ae.core.axes import id_axes
from recsys_ae.core.hybrid import Attributes, HybridEnsemble, by_knowledge
from recsys_ae.core.losses import LossSum, squared_error
from recsys_ae.core.shares import drawn
from recsys_ae.core.sparse import SparseRows, entry_l2
from recsys_ae.models import training

ORDINAL_SCALE = 4.0  # gives the ordinal loss about the curvature of the squared error, so that l2 means the same


@dataclass(frozen=True)
class HybridError:
    """The error over the observed entries, with weight alpha for dropped inputs and beta for others, plus a penalty."""

    model: Any  # a `HybridAutoencoder`
    attributes: Attributes
    row_features: SparseRows | None  # of all rows
    row_bias: Tensor  # float32 [N], by `row_ids`
    row_prior: Tensor  # float32 [N], replaces it in cold rows
    column_prior: Tensor  # float32 [D], replaces the output's bias in cold columns
    level: float  # the mean value, which replaces dropped inputs
    penalty: training.Penalty
    sampled: ClassVar[bool] = True
    separable: ClassVar[bool] = True

    def loss(self, module: HybridEnsemble, batch: SparseRows, generator: Generator) -> LossSum:
        entry, model, device = batch.row_of_entry(), self.model, batch.values.device

        attributes, rows = self.attributes.to(device), batch.row_ids.cpu()
        cold_rows = drawn(torch.rand, [len(batch)], generator) < (model.cold if self.row_features is not None else 0)
        cold_columns = torch.rand(batch.width, generator=generator) < (model.cold if attributes.features is not None else 0)
        dropped = drawn(torch.rand, [len(batch.columns)], generator, "entries") < model.dropout
        cold_rows, cold_columns, dropped = (part.to(device) for part in (cold_rows, cold_columns, dropped))
        features = None if self.row_features is None else by_knowledge(self.row_features[rows].to(device), cold_rows)
        if attributes.features is not None:
            attributes = replace(attributes, features=by_knowledge(attributes.features, cold_columns))
        values = torch.where(dropped, self.level, batch.values) * ~cold_rows[entry]
        hidden = module.hidden(batch.with_values(values), features)
        output = module.decode(hidden, batch, attributes, (cold_columns, self.column_prior.to(device)))
        row_bias = torch.where(cold_rows, self.row_prior[rows].to(device), self.row_bias[rows].to(device))
        output = output + row_bias[entry]
        weight = torch.where(dropped | cold_rows[entry] | cold_columns[batch.columns], model.alpha, model.beta)
        weight = weight.expand_as(output)
        if module.ordinal is None:
            return squared_error(output, batch.values.expand_as(output), weight)
        errors = weight * module.ordinal.loss(output, batch.values)
        return LossSum(ORDINAL_SCALE * errors.sum(), weight.sum())


@dataclass(frozen=True)
class SidePenalty:
    """The L2 penalty of all weight matrices; each row is charged by its number of ratings, see `training.l2_of`.

    Attributes:
        total: number of ratings.
        per_entry: float32 [D], of the weights of a column, divided by its number of ratings.
        row, row_feature, column_feature: float32 [N], [F] and [G]; a feature has the ratings of the rows that have it.
    """

    l2: float
    who_l2: float
    total: int
    per_entry: Tensor
    row: Tensor
    row_feature: Tensor | None
    column_feature: Tensor | None

    @classmethod
    def of(cls, model: Any, inputs: csr_array, attributes: Attributes, row_features: SparseRows | None) -> "SidePenalty":
        of_rows = torch.from_numpy(np.diff(inputs.indptr)).float()
        of_columns = torch.from_numpy(np.bincount(inputs.indices, minlength=inputs.shape[1])).float()

        def strength(ratings: Tensor, l2: float) -> Tensor:
            return training.l2_of(ratings.clamp(min=1), l2, model.l2_exponent)

        def by_feature(features: SparseRows | None, ratings: Tensor) -> Tensor | None:
            if features is None:
                return None
            squares = features.values.square() * ratings[features.row_of_entry()]
            n = torch.zeros(features.width).index_add_(0, features.columns, squares)
            return torch.cat([strength(n, model.l2), strength(n, model.feature_l2)])

        per_entry = strength(of_columns, model.l2) / of_columns.clamp(min=1)
        of_features = by_feature(row_features, of_rows), by_feature(attributes.features, of_columns)
        return cls(model.l2, model.who_l2, inputs.nnz, per_entry, strength(of_rows, model.who_l2), *of_features)

    def __call__(self, module: HybridEnsemble, batch: SparseRows) -> Tensor:
        """The batch's share of the penalty."""
        axes, named = id_axes(module), dict(module.named_parameters())
        wide = [named[name] for name, axis in axes.items() if axis != "rows" and named[name].ndim == 2]
        one = torch.ones(1, device=batch.values.device)
        terms: list[tuple[Tensor | None, Tensor | None]] = []
        for network in module.networks:
            terms += [(self.l2 * one, weight) for weight in network.inner_weights] + [(self.who_l2 * one, network.projection)]
            terms += [(self.row, network.who_factors), (self.row, network.who_bias)]
            terms += [(self.row_feature, weight) for weight in (*network.feature_weights, network.film_weight)]
            terms += [(self.column_feature, weight) for weight in (network.feature_factors, network.feature_bias)]
        share = len(batch.columns) / self.total / 2
        parts = [entry_l2(weight, batch, self.per_entry.to(weight.device)) for weight in wide]
        for strength, weight in terms:
            if weight is not None and strength is not None:
                squares = weight.square() if weight.ndim == 1 else weight.square().sum(1)
                parts.append(share * (strength.to(weight.device) * squares).sum())
        return torch.stack(parts).sum()
