"""Outputs of networks over sessions: scores of the next column, or the value of an event; and their losses.

T states in a batch, D columns, K candidates, H units.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Generator, Tensor, nn

from recsys_ae.core.axes import Axis
from recsys_ae.core.entries import rows_at
from recsys_ae.core.losses import TINY, LossSum, multinomial, squared_error
from recsys_ae.core.sessions import Linear, SessionBatch, SessionNetwork, vectors
from recsys_ae.core.shares import whole_batch
from recsys_ae.core.sparse import one_hot
from recsys_ae.core.trainer import Objective

RankingLoss = Literal["cross_entropy", "top1", "bpr_max"]
LOWEST = torch.finfo(torch.float32).min
CHUNK = 2**22  # activations in memory at a time when the values of all columns are computed


class Head(nn.Module):
    """A vector and a bias for each column; the vectors are those of the input if `tied`."""

    id_axes: Mapping[str, Axis] = {"output_weight": "outputs", "output_bias": "outputs"}

    def __init__(self, sessions: SessionNetwork, tied: bool, generator: Generator | None) -> None:
        super().__init__()
        width = len(sessions.input_weight)
        self.sessions = sessions
        self.output_weight = None if tied else vectors(width, sessions.hidden, generator)
        self.output_bias = nn.Parameter(torch.zeros(width))

    def output_vectors(self, columns: Tensor | None = None) -> Tensor:
        """The vectors of columns, [n, H]; of all if None."""
        if self.output_weight is None:
            return self.sessions.vectors_of(columns)
        if columns is None:
            return self.output_weight
        return rows_at(self.output_weight, columns)


class NextColumn(Head):
    """Scores h V^T + b of the next column."""

    def forward(self, states: Tensor, columns: Tensor | None = None) -> Tensor:
        """Scores of all columns, [T, D], or of some, [T, K]."""
        bias = self.output_bias if columns is None else self.output_bias[columns]
        return torch.addmm(bias, states, self.output_vectors(columns).T)

    def at(self, states: Tensor, columns: Tensor) -> Tensor:
        """The score of a column for each state, [T]."""
        return (states * self.output_vectors(columns)).sum(1) + self.output_bias[columns]


class ColumnValue(Head):
    """Values b + w . tanh(h W + v U) of events, given the state h before them; b and v are those of their columns.

    The activation lets state and column interact: the effect of a column depends on the state.
    """

    def __init__(self, sessions: SessionNetwork, tied: bool, generator: Generator | None) -> None:
        super().__init__(sessions, tied, generator)
        self.of_state, self.of_column = (Linear(sessions.hidden, sessions.hidden, generator) for _ in range(2))
        self.last = Linear(sessions.hidden, 1, generator)

    def at(self, states: Tensor, columns: Tensor) -> Tensor:
        """The value of a column for each state, [T]."""
        inner = self.of_state(states) + self.of_column(self.output_vectors(columns))
        return self.last(torch.tanh(inner))[:, 0] + self.output_bias[columns]

    def forward(self, states: Tensor) -> Tensor:
        """The values of all columns, [T, D]."""
        of_columns = self.of_column(self.output_vectors())
        step = max(1, CHUNK // of_columns.numel())
        weight = self.last.weight[:, 0]  # summed, because BLAS rounds a product differently in some rows
        parts = [(torch.tanh(part[:, None] + of_columns) * weight).sum(2) for part in self.of_state(states).split(step)]
        return torch.cat(parts) + self.last.bias + self.output_bias


def top1(own: Tensor, others: Tensor, other: Tensor) -> Tensor:
    """TOP1 of Hidasi et al. 2016, the mean of sigmoid(r_j - r) + sigmoid(r_j^2) over the candidates j, summed over targets.

    Args:
        own: the target's score r, [T, 1].
        others: the scores r_j of the candidates, [T, K].
        other: bool [T, K], false where a candidate is the target itself, which does not count.
    """
    terms = torch.sigmoid(others - own) + torch.sigmoid(others.square())
    return ((terms * other).sum(1) / other.sum(1).clamp(min=1)).sum()


def bpr_max(own: Tensor, others: Tensor, other: Tensor) -> Tensor:
    """BPR-max of Hidasi & Karatzoglou 2018, equation 9, with weight 1 for the squared scores; arguments as for `top1`.

    -log(sum of s_j sigmoid(r - r_j)) + sum of s_j r_j^2, s being the softmax of the candidates' scores.
    """
    shares = torch.softmax(others.masked_fill(~other, LOWEST), 1) * other
    return ((shares * others.square()).sum(1) - (shares * torch.sigmoid(own - others)).sum(1).clamp(min=TINY).log()).sum()


PAIRWISE: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {"top1": top1, "bpr_max": bpr_max}


@dataclass(frozen=True)
class NextColumnError(Objective[NextColumn, SessionBatch]):
    """A loss on the column of every event but the first of its session, given the state before it.

    `cross_entropy` is the negative log-likelihood under the softmax over all columns. With `negatives`, the softmax is over the
    target and the columns drawn for the batch, which importance weights make representative of all (Bengio & Senecal 2008). The
    candidates of the other losses are the targets of the batch and the columns drawn.

    Attributes:
        loss_name: the loss, see above.
        negatives: number of columns drawn for each batch.
        shares: float32 [D], the probability with which each column is drawn.
    """

    loss_name: RankingLoss
    negatives: int
    shares: Tensor
    separable: ClassVar[bool] = True

    def loss(self, module: NextColumn, batch: SessionBatch, generator: Generator) -> LossSum:
        follows = batch.follows()
        targets = batch.columns[follows]
        states = module.sessions(batch, generator).before(batch)[follows]
        if self.loss_name == "cross_entropy" and not self.negatives:
            return multinomial(module(states), one_hot(targets, len(self.shares)))
        drawn = self.drawn(generator).to(targets.device)
        everyones = (whole := whole_batch(batch)).columns[whole.follows()]
        candidates = drawn if self.loss_name == "cross_entropy" else torch.cat([drawn, everyones]).unique()
        others, other = module(states, candidates).float(), candidates != targets[:, None]
        own = module.at(states, targets)[:, None]
        if self.loss_name == "cross_entropy":
            stood_for = (self.negatives * self.shares.to(drawn.device)[candidates]).log()
            others = (others - stood_for).masked_fill(~other, LOWEST)
            total = (torch.cat([own, others], 1).logsumexp(1) - own[:, 0]).sum()
        else:
            total = PAIRWISE[self.loss_name](own, others, other)
        return LossSum(total, total.new_tensor(len(targets)))

    def drawn(self, generator: Generator) -> Tensor:
        """Columns drawn independently, int64 [negatives]."""
        return torch.searchsorted(self.shares.double().cumsum(0)[:-1], torch.rand(self.negatives, generator=generator))


@dataclass(frozen=True)
class ColumnValueError(Objective[ColumnValue, SessionBatch]):
    """Squared error of the value of every event, given the state before it."""

    separable: ClassVar[bool] = True

    def loss(self, module: ColumnValue, batch: SessionBatch, generator: Generator) -> LossSum:
        states = module.sessions(batch, generator).before(batch)
        return squared_error(module.at(states, batch.columns), batch.values)
