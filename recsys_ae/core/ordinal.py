"""Cumulative logits: a real number for each entry -> probabilities of ordered classes."""

import torch
from torch import Tensor, nn
from torch.nn import functional

FAR = 1e4  # stands for an infinite threshold, whose gradient would be NaN


def nearest_class(values: Tensor, classes: Tensor) -> Tensor:
    """int64 [n]: the class nearest to each value [n], of increasing classes [C]."""
    return torch.bucketize(values, (classes[1:] + classes[:-1]) / 2)


class Ordinal(nn.Module):
    """P(value <= v_k) = sigmoid(t_k - o) for C values v and thresholds t (McCullagh 1980), which increase by construction.

    Args:
        classes: C, at least 2.
    """

    values: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.register_buffer("values", torch.zeros(classes))
        self.steps = nn.Parameter(torch.zeros(classes - 1))

    @torch.no_grad()
    def start_from(self, values: Tensor) -> None:
        """Take the distinct `values` [n] as classes, with the thresholds that give their shares for o = 0."""
        distinct, count = values.unique(return_counts=True)
        thresholds = torch.logit((count / count.sum()).cumsum(0)[:-1].double(), 1e-6)
        self.values.copy_(distinct)
        self.steps.copy_(torch.cat([thresholds[:1], thresholds.diff().clamp(min=1e-3).expm1().log()]))

    def thresholds(self) -> Tensor:
        """[C - 1]"""
        return torch.cat([self.steps[:1], self.steps[:1] + functional.softplus(self.steps[1:]).cumsum(0)])

    def loss(self, output: Tensor, value: Tensor) -> Tensor:
        """-log P(value) of outputs [n] or [S, n] and values [n]; other values than the classes count as the nearest."""
        edges = functional.pad(functional.pad(self.thresholds(), (1, 0), value=-FAR), (0, 1), value=FAR)
        of_class = nearest_class(value, self.values)
        below, above = edges[of_class], edges[of_class + 1]
        # s(above - o) - s(below - o) = s(above - o) s(o - below) (1 - exp(below - above)), without cancellation
        log = functional.logsigmoid(above - output) + functional.logsigmoid(output - below)
        return -(log + torch.log1p(-torch.exp(below - above)))

    def expected(self, output: Tensor) -> Tensor:
        """Expected values for outputs of any shape."""
        total = self.values[-1].expand(output.shape).clone()
        for threshold, step in zip(self.thresholds(), self.values.diff(), strict=True):
            total -= step * torch.sigmoid(threshold - output)
        return total

    def middles(self) -> Tensor:
        """[C]: an output in the middle of each class; of the outer ones, 1.5 beyond their threshold."""
        edges = self.thresholds()
        return torch.cat([edges[:1] - 1.5, (edges[1:] + edges[:-1]) / 2, edges[-1:] + 1.5])
