"""A wide and deep network of the entries of a matrix, whose rows and columns have ids and features.

N rows, M columns, n entries, K factors, H units in the first hidden layer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from recsys_ae.core.axes import Axis
from recsys_ae.core.entries import rows_at
from recsys_ae.core.losses import LossSum, squared_error
from recsys_ae.core.ordinal import Ordinal, nearest_class
from recsys_ae.core.sparse import SparseRows, one_hot, times

LossName = Literal["squared_error", "softmax", "ordinal"]


@dataclass(frozen=True, eq=False)
class Known:
    """What is known of each row (or column) beside its id; None if it is not used.

    Attributes:
        features: [N, F].
        who: [N, M], the columns (or rows) that it has entries with, as a vector of length 1.
    """

    features: SparseRows | None
    who: SparseRows | None


class Side(nn.Module):
    """Embeddings of the rows, or of the columns: the sum of those of the id, of the features, and of who has entries with it.

    Weights are [ids or features, 1 + K]: in front the weight in the linear (wide) part, then the embedding. Those for who has
    entries start at 0, as the linear weights do.
    """

    def __init__(
        self, sizes: tuple[int, int, int], axes: tuple[Axis, Axis], factors: int, init_std: float, generator: Generator | None
    ) -> None:
        """`sizes`: number of ids, of ids on the other side (0: they are not used) and of features."""
        super().__init__()
        self.id_axes: Mapping[str, Axis] = dict(zip(("of_ids", "of_who"), axes, strict=True))

        def weight(n: int) -> nn.Parameter:
            drawn = torch.randn(n, 1 + factors, generator=generator).mul_(init_std)
            drawn[:, 0] = 0
            return nn.Parameter(drawn)

        self.of_ids = weight(sizes[0])
        self.of_who = nn.Parameter(torch.zeros(sizes[1], 1 + factors)) if sizes[1] else None
        self.of_features = weight(sizes[2]) if sizes[2] else None

    def forward(self, ids: SparseRows, who: SparseRows | None, features: SparseRows | None) -> list[Tensor]:
        """The vectors [B, 1 + K] to add up, each of the inputs being rows of a matrix."""
        inputs = ((ids, self.of_ids), (who, self.of_who), (features, self.of_features))
        return [times(rows, weight) for rows, weight in inputs if rows is not None and weight is not None]


class Coded(NamedTuple):
    """Rows or columns as the network sees them; the first dimensions are those of the entries, or 1."""

    wide: Tensor  # [...]
    factors: Tensor  # [..., K]
    first: Tensor  # [..., H], their share of the first hidden layer's input

    def at(self, index: Tensor) -> "Coded":
        """The rows at `index`, of all parts."""
        sizes = [1, self.factors.shape[1], self.first.shape[1]]
        parts = rows_at(torch.cat([self.wide[:, None], self.factors, self.first], 1), index).split(sizes, 1)
        return Coded(parts[0][:, 0], parts[1], parts[2])


class WideDeepNetwork(nn.Module):
    """Entries as a sum of linear terms, a product of embeddings, and a perceptron of the embeddings.

        wide    = a_r + b_c + f_r X g_c      a, b: of ids, features f, g and who; X [F, G]: all pairs of their features
        score   = wide + p_r . q_c           p, q [K]: embeddings, sums over the same
        deep    = MLP([p_r, q_c])

    The output is score + deep for the squared error and the ordinal loss, and for the softmax, the logits of the classes are
    slope_k * score + deep_k.

    Args:
        rows, columns: numbers of ids, of ids on the other side (0: not used) and of features.
        hidden: sizes of the perceptron's layers; none leaves the wide part and the product.
        classes: number of distinct values, not used for the squared error.
    """

    values: Tensor | None
    id_axes: Mapping[str, Axis] = {}

    def __init__(
        self,
        rows: tuple[int, int, int],
        columns: tuple[int, int, int],
        *,
        factors: int,
        hidden: Sequence[int],
        loss: LossName,
        classes: int,
        init_std: float,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        self.rows = Side(rows, ("rows", "inputs"), factors, init_std, generator)
        self.columns = Side(columns, ("inputs", "rows"), factors, init_std, generator)
        self.crosses = nn.Parameter(torch.zeros(rows[2], columns[2])) if rows[2] and columns[2] else None
        sizes = [2 * factors, *hidden, classes if loss == "softmax" else 1]
        deep = list(pairwise(sizes)) if hidden else []

        def layer(inputs: int, outputs: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(inputs, outputs, generator=generator).mul_((2 / inputs) ** 0.5))

        self.weights = nn.ParameterList([layer(*shape) for shape in deep])
        self.biases = nn.ParameterList([nn.Parameter(torch.zeros(outputs)) for _, outputs in deep])
        if deep:
            with torch.no_grad():
                self.weights[-1].zero_()  # the perceptron starts from 0
        self.ordinal = Ordinal(classes) if loss == "ordinal" else None
        self.register_buffer("values", torch.zeros(classes) if loss == "softmax" else None)
        self.slopes = nn.Parameter(torch.zeros(classes)) if loss == "softmax" else None
        self.levels = nn.Parameter(torch.zeros(classes)) if loss == "softmax" else None

    @torch.no_grad()
    def start_from(self, values: Tensor) -> None:
        """Take the distinct `values` [n] as classes, with the thresholds or levels that give their shares."""
        if self.ordinal is not None:
            self.ordinal.start_from(values)
        if self.values is not None and self.slopes is not None and self.levels is not None:
            distinct, count = values.unique(return_counts=True)
            self.values.copy_(distinct)
            self.slopes.copy_(distinct)
            self.levels.copy_((count / count.sum()).log())

    def coded(self, vectors: Tensor, side: Literal["rows", "columns"]) -> Coded:
        """Sums of the vectors of a `Side` [B, 1 + K] with their share of the first hidden layer."""
        wide, factors = vectors[:, 0], vectors[:, 1:]
        if not len(self.weights):
            return Coded(wide, factors, vectors[:, :0])
        k = factors.shape[1]
        half = self.weights[0][:k] if side == "rows" else self.weights[0][k:]
        return Coded(wide, factors, factors @ half)

    def crossed(self, features: SparseRows) -> Tensor:
        """f X [B, G] of rows with features [B, F]."""
        assert self.crosses is not None
        return times(features, self.crosses)

    def forward(self, score: Tensor, first: Tensor, dropout: float = 0.0, generator: Generator | None = None) -> Tensor:
        """Outputs [..., 1], or logits of the classes [..., C], from the scores [...] and first hidden inputs [..., H].

        Dropout is of hidden units, in training.
        """
        deep: Tensor | None = None
        if len(self.weights):
            hidden = first + self.biases[0]
            for weight, bias in zip(self.weights[1:], self.biases[1:], strict=True):
                hidden = torch.relu(hidden)
                if dropout:
                    kept = torch.rand(hidden.shape, generator=generator) >= dropout
                    hidden = hidden * kept / (1 - dropout)
                hidden = hidden @ weight + bias
            deep = hidden
        wide = score[..., None]
        if self.slopes is not None and self.levels is not None:
            wide = wide * self.slopes + self.levels
        return wide if deep is None else wide + deep

    def loss(self, outputs: Tensor, value: Tensor) -> LossSum:
        """Loss of outputs [n, 1 or C] for values [n], in nats for classes."""
        if self.ordinal is not None:
            total = self.ordinal.loss(outputs[:, 0], value).sum()
        elif self.values is not None:
            total = functional.cross_entropy(outputs, nearest_class(value, self.values), reduction="sum")
        else:
            return squared_error(outputs[:, 0], value)
        return LossSum(total, value.new_tensor(len(value)))

    def expected(self, outputs: Tensor) -> Tensor:
        """Expected value [...] of outputs [..., 1 or C]."""
        if self.ordinal is not None:
            return self.ordinal.expected(outputs[..., 0])
        return outputs[..., 0] if self.values is None else torch.softmax(outputs, -1) @ self.values


def crossed_terms(crossed: Tensor, row: Tensor, features: SparseRows) -> Tensor:
    """crossed[row] . features, for `crossed` [U, G], row numbers [n] and sparse features [n, G] -> [n]."""
    entry = features.row_of_entry()
    terms = crossed[row[entry], features.columns] * features.values
    return terms.new_zeros(len(features)).index_add(0, entry, terms)


def kept_ids(ids: Tensor, kept: Tensor, width: int) -> SparseRows:
    """One-hot rows of `ids` (int64 [B]); those that are not `kept` (bool [B]) are 0."""
    return one_hot(ids, width).with_values(kept.float())
