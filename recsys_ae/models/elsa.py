"""ELSA: the linear item-item autoencoder of low rank, trained by gradient."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Generator, Tensor, nn

from recsys_ae.core.axes import Axis
from recsys_ae.core.corruption import Masking
from recsys_ae.core.entries import rows_at
from recsys_ae.core.losses import LossSum
from recsys_ae.core.shares import whole_batch
from recsys_ae.core.sparse import SparseRows, sampled_linear, times
from recsys_ae.core.trainer import Objective
from recsys_ae.core.unit_rows import unit_rows
from recsys_ae.fitted import Fitted
from recsys_ae.ids import Rows
from recsys_ae.interactions import Interactions
from recsys_ae.models.base import Floats, checked_items, item_counts
from recsys_ae.models.neural import NeuralRanker
from recsys_ae.models.training import column_counts
from recsys_ae.space import Range, Space


class Network(nn.Module):
    """x -> x (A A^T - diag(A A^T)), where the rows of A [D, K] have length 1, or 0 for items without training data."""

    id_axes: Mapping[str, Axis] = {"input_weight": "inputs"}

    def __init__(self, width: int, factors: int, generator: Generator | None) -> None:
        super().__init__()
        self.input_weight = nn.Parameter(torch.randn(width, factors, generator=generator).div_(factors**0.5))

    def directions(self, items: Tensor | None = None) -> Tensor:
        """A [D, K], or its rows for `items` (int64 [T]), whose gradients touch no other rows."""
        weight = self.input_weight
        return unit_rows(weight if items is None else rows_at(weight, items))

    def encode(self, x: SparseRows) -> Tensor:
        """x A [B, K]"""
        return times(x, self.directions())

    def forward(self, x: SparseRows) -> Tensor:
        """Scores [B, D]."""
        directions = self.directions()
        scores = times(x, directions) @ directions.T
        scores[x.row_of_entry(), x.columns] -= x.values * directions.square().sum(1)[x.columns]
        return scores


@dataclass(frozen=True)
class Cosine(Objective[Network, SparseRows]):
    """1 - cosine of each binary row x and its reconstruction y from the entries s that dropout leaves, over all D columns.

    Computed from the T columns with entries in the batch, in O(T K min(B, K)) for B rows. In |y|^2, the square at a column that
    the row lacks is divided by the chance that another row of the batch has it. So |y|^2 is unbiased over batches (except for a
    row alone in its batch, where all such columns are missing), and exact if the batch holds all rows. It is the sum of the
    divided squares at all T columns, a quadratic form of the code s A, corrected at the columns that the row has.

    Attributes:
        dropout: share of x that s lacks.
        counts: float32 [D], how many of the `n_rows` training rows have each column.
        exponent, unit: a row with n entries has weight n^exponent / unit.
    """

    dropout: float
    counts: Tensor
    n_rows: int
    exponent: float = 0.0
    unit: float = 1.0
    known: dict[int, Tensor] = field(default_factory=dict)  # `_weights` by the size of the batch
    separable: ClassVar[bool] = True  # given the columns of the whole batch

    def loss(self, module: Network, batch: SparseRows, generator: Generator) -> LossSum:
        batch = batch.with_values(torch.ones_like(batch.values))
        shown = Masking(self.dropout, rescale=False)(batch, generator) if self.dropout else batch
        product, squared_length = self.of_reconstructions(module, shown)
        cosine = product / (batch.lengths * squared_length.clamp(min=1e-6)).sqrt()
        weights = batch.lengths**self.exponent / self.unit
        return LossSum((weights * (1 - cosine)).sum(), weights.sum())

    def of_reconstructions(self, module: Network, shown: SparseRows) -> tuple[Tensor, Tensor]:
        """x y^T and |y|^2, [B] each; the pattern of `shown` is x, its values are s."""
        whole = whole_batch(shown)
        present = torch.zeros(shown.width, dtype=torch.bool, device=shown.columns.device)
        present[whole.columns] = True
        items, place = torch.nonzero(present)[:, 0], present.cumsum(0) - 1  # faster than sorting and searching
        s = SparseRows(shown.row_ids, shown.indptr, place[shown.columns], shown.values, len(items))
        directions = module.directions(items)
        codes = times(s, directions)
        products = sampled_linear(codes, directions, directions.new_zeros(len(items)), s)  # s A A^T at the entries of x
        weights = self._weights(len(whole)).to(items.device)[items]
        own = products - s.values
        terms = torch.stack([own, own.square() - weights[s.columns] * products.square()], 1)
        sums = terms.new_zeros(len(s), 2).index_add(0, s.row_of_entry(), terms)
        return sums[:, 0], sums[:, 1] + squared_lengths(codes, directions * weights.sqrt()[:, None])

    def _weights(self, batch: int) -> Tensor:
        """float32 [D]: 1 over the chance that another row has a column; 0 where there is none."""
        if batch not in self.known:
            chances = chance_of_others(self.counts, batch, self.n_rows)
            self.known[batch] = torch.where(chances > 0, 1 / chances, 0.0)
        return self.known[batch]


def squared_lengths(codes: Tensor, matrix: Tensor) -> Tensor:
    """|c M^T|^2 for each row c of the codes [B, K], with M [T, K]; float32 [B], by whichever products are smaller.

    Never in bfloat16, because terms that are known more exactly are subtracted from it.
    """
    with torch.autocast(codes.device.type, enabled=False):
        if len(codes) < matrix.shape[1]:
            return (codes @ matrix.T).square().sum(1)
        lengths: Tensor = _QuadraticForm.apply(codes, matrix)
        return lengths


class _QuadraticForm(torch.autograd.Function):
    """c (M^T M) c^T, whose gradient for M takes one product with M where that of the factors takes two."""

    @staticmethod
    def forward(ctx: Any, codes: Tensor, matrix: Tensor) -> Tensor:
        products = codes @ (matrix.T @ matrix)
        ctx.save_for_backward(codes, matrix, products)
        return (products * codes).sum(1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        codes, matrix, products = ctx.saved_tensors
        twice = 2 * gradient[:, None]
        return twice * products, matrix @ (codes.T @ (twice * codes))


def chance_of_others(counts: Tensor, batch: int, n_rows: int) -> Tensor:
    """float32 [T]: the chance that in a random batch with a row that lacks a column, another row has it; 0 in a batch of 1.

    Args:
        counts: float32 [T], how many of all `n_rows` rows have the column.
    """
    lacking, others = n_rows - 1 - counts.double(), min(batch, n_rows) - 1
    # Of all choices of the others, the share that lacks the column: C(lacking, others) / C(n_rows - 1, others).
    within = lacking >= others
    lacking = torch.where(within, lacking, others)
    log_share = torch.lgamma(lacking + 1) - torch.lgamma(lacking - others + 1)
    log_share -= math.lgamma(n_rows) - math.lgamma(n_rows - others)
    return torch.where(within, 1 - log_share.exp(), 1.0).float()


@dataclass
class ELSA(NeuralRanker[Network]):
    """Low-rank linear autoencoder: scores x (A A^T - I), with x [M] binary and rows of length 1 in A [M, K].

    A linear autoencoder like `ease` with M K parameters instead of M^2, trained on batches that touch only their own items.
    Values of interactions are ignored. Works for any user; an item without interactions has score 0.

    Source: Vancura et al. 2022 (ELSA). Their loss is the squared distance between input and reconstruction, both scaled to
    length 1, which is 2 - 2 cosine; it is computed here without dense rows, see `Cosine`. Negative scores are kept, as in
    their equations. Deviations, by default: dropout of the inputs in training, and weights of the users.

    Attributes:
        factors: K.
        dropout: share of the inputs dropped in training; 0 as published.
        user_exponent: e; a user with n interactions has weight c n^e, where c makes the mean 1; 0 as published.
        Others: see `NeuralRanker`.
    """

    factors: Annotated[int, Field(ge=1)] = 512
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.3
    user_exponent: float = 0.5
    epochs: Annotated[int, Field(ge=1)] = 30
    batch_size: Annotated[int, Field(ge=2)] = 256
    learning_rate: Annotated[float, Field(gt=0)] = 1e-2
    learning_rate_decay: Annotated[float, Field(gt=0, le=1)] = 0.95
    space: ClassVar[Space] = {
        "factors": Range(low=32, high=512, log=True),
        "dropout": Range(low=0, high=0.8),
        "user_exponent": Range(low=-0.5, high=1),
        "learning_rate": Range(low=0.002, high=0.05, log=True),
    }

    def item_weights(self, rows: Rows) -> Floats:
        rows, vectors = checked_items(self, rows), self.item_vectors()
        directions = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        weights = directions[rows] @ directions.T
        weights[np.arange(len(rows)), rows] = 0
        return weights

    def _network(self, n_items: int, n_users: int, generator: Generator | None) -> Network:
        return Network(n_items, self.factors, generator)

    @torch.no_grad()
    def _new_network(self, train: Interactions, generator: Generator, before: Fitted | None) -> Network:
        """With zeros for items that neither `train` nor `before` knows: random directions would give random scores."""
        network = super()._new_network(train, generator, before)
        drawn, weight = self._network(train.n_items, train.n_users, generator).input_weight, network.input_weight
        zero = weight.norm(dim=1) == 0  # items of `before` without training data
        weight[zero] = drawn[zero]
        known = torch.from_numpy(item_counts(train) > 0)
        if before is not None:
            known |= torch.from_numpy(before.ids["items"].find(train.items.values) >= 0) & ~zero
        weight[~known] = 0
        return network

    def _objective(self, rows: SparseRows) -> Cosine:
        unit = float((rows.lengths.float() ** self.user_exponent).mean())
        return Cosine(self.dropout, column_counts(rows), len(rows), self.user_exponent, unit)

    def _rows(self, fitted: Fitted, history: Interactions, rows: Rows) -> SparseRows:
        """Binary, not l2-normalised: the order of scores is the same, and scores are sums over the history."""
        seen = super()._rows(fitted, history, rows)
        return seen.with_values(torch.ones_like(seen.values))
