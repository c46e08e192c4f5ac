"""CDAE: the denoising autoencoder with a node for each user, trained on sampled outputs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Generator, Tensor, nn

from recsys_ae.core.autoencoder import ACTIVATIONS
from recsys_ae.core.axes import Axis
from recsys_ae.core.losses import LossSum, cross_entropy, squared_error
from recsys_ae.core.sparse import SparseRows, entry_l2, one_hot, sampled_linear, sparse_linear, with_negatives
from recsys_ae.core.trainer import AlternatingObjective, Phase
from recsys_ae.models.neural import NeuralRanker, dropout_entries

FOLD_IN_USERS = 1024  # from so many users it is learned how a user's node follows from their history
FOLD_IN_L2 = 1.0
LOSSES = {"square": squared_error, "logistic": cross_entropy}


class Network(nn.Module):
    """x -> W' h(W^T x + V_u + b) + b', with W, W' [D, H] and a row of V [N, H] for each of N users.

    Rows carry the number of their user; for the number -1 the node V_u is found from W^T x, see `learn_fold_in`.
    """

    to_node: Tensor
    id_axes: Mapping[str, Axis] = {
        "input_weight": "inputs",
        "output_weight": "outputs",
        "output_bias": "outputs",
        "user_weight": "rows",
    }

    def __init__(self, width: int, n_users: int, hidden: int, mapping: str, generator: Generator | None) -> None:
        super().__init__()

        def weight(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(*shape, generator=generator) * (2 / sum(shape)) ** 0.5)

        self.input_weight, self.output_weight, self.user_weight = (weight(n, hidden) for n in (width, width, n_users))
        self.input_bias, self.output_bias = nn.Parameter(torch.zeros(hidden)), nn.Parameter(torch.zeros(width))
        self.register_buffer("to_node", torch.zeros(hidden + 1, hidden))
        self._mapping = ACTIVATIONS.get(mapping)

    def projected(self, x: SparseRows) -> Tensor:
        """W^T x + b [B, H]"""
        return sparse_linear(x, self.input_weight, self.input_bias)

    def encode(self, x: SparseRows, users: SparseRows | None = None) -> Tensor:
        """The hidden layer [B, H]; `users` has a 1 at each row's number, [B, N], if all are known and gradients are wanted."""
        projected = self.projected(x)
        if users is not None:
            nodes = sparse_linear(users, self.user_weight, torch.zeros_like(self.input_bias))
        else:
            nodes = torch.where(x.row_ids[:, None] >= 0, self.user_weight[x.row_ids], _with_one(projected) @ self.to_node)
        code: Tensor = self._mapping(projected + nodes)
        return code

    def forward(self, x: SparseRows) -> Tensor:
        """Scores [B, D]: the outputs, or their logits."""
        return sampled_linear(self.encode(x), self.output_weight, self.output_bias)

    def wide_weights(self) -> list[nn.Parameter]:
        return [self.input_weight, self.output_weight, self.user_weight]


@torch.no_grad()
def learn_fold_in(network: Network, rows: SparseRows) -> None:
    """Set `to_node`: the ridge regression of users' nodes on what the network makes of their items."""
    some = rows[torch.arange(0, len(rows), max(1, len(rows) // FOLD_IN_USERS))]
    some = some.to(network.to_node.device)
    inputs = _with_one(network.projected(some))
    gram = inputs.T @ inputs + FOLD_IN_L2 * torch.eye(inputs.shape[1], device=inputs.device)
    network.to_node.copy_(torch.linalg.solve(gram, inputs.T @ network.user_weight[some.row_ids]))


def _with_one(x: Tensor) -> Tensor:
    """[B, H + 1]"""
    return torch.cat([x, x.new_ones(len(x), 1)], 1)


@dataclass(frozen=True)
class SampledOutputs:
    """The loss of each user's items, which shall be 1, and of items drawn for each of them, which shall be 0."""

    loss_name: Literal["square", "logistic"]
    dropout: float
    negatives: int
    l2: float

    def loss(self, module: Network, batch: SparseRows, generator: Generator) -> LossSum:
        at, weights = with_negatives(batch, self.negatives, generator)
        shown, users = dropout_entries(batch, self.dropout, generator), one_hot(batch.row_ids, len(module.user_weight))
        outputs = sampled_linear(module.encode(shown, users), module.output_weight, module.output_bias, at)
        found = LOSSES[self.loss_name](outputs, at.values, weights)
        if self.l2:
            charged = ((module.input_weight, shown), (module.output_weight, at), (module.user_weight, users))
            parts = [entry_l2(weight, rows, weight.new_full((rows.width,), self.l2)) for weight, rows in charged]
            found = LossSum(found.total + torch.stack(parts).sum(), found.count)
        return found

    def penalty(self, module: Network, batch: SparseRows) -> Tensor:
        return torch.zeros(())  # it is charged with the loss, whose drawn entries it needs


@dataclass
class CDAE(NeuralRanker[Network]):
    """Denoising autoencoder with a node for each user.

    Source: Wu et al. 2016, with its four variants: `mapping` identity or sigmoid of the hidden layer, and `loss` square or
    logistic (of sigmoid outputs). Outputs are computed for a user's items and for `negatives` drawn ones per item only, so
    that an epoch costs what the interactions cost. Deviates: rows are brought to length 1; Adam; scores of the logistic
    loss are logits; draws are from all items, those that the user has counting nothing.

    Works for any user. One who was not trained on gets a node from their history: a linear map of W^T x, learned by a ridge
    regression of the nodes of 1024 training users. Without any history that is the node of an average user.

    Attributes:
        hidden: H.
        mapping, loss: see above.
        negatives: items drawn for each interaction.
        l2: each entry, drawn ones included, adds l2 / 2 * (the squared vectors of its item); each row that of its user's node.
        Others: see `NeuralRanker`.
    """

    hidden: Annotated[int, Field(ge=1)] = 64
    mapping: Literal["identity", "sigmoid"] = "identity"
    loss: Literal["square", "logistic"] = "square"
    negatives: Annotated[int, Field(ge=1)] = 10
    l2: Annotated[float, Field(ge=0)] = 0.0
    learning_rate: Annotated[float, Field(gt=0)] = 3e-3
    of_users: ClassVar[bool] = True

    def _network(self, n_items: int, n_users: int, generator: Generator | None) -> Network:
        return Network(n_items, n_users, self.hidden, self.mapping, generator)

    def _objective(self, network: Network, rows: SparseRows) -> AlternatingObjective[Network, SparseRows]:
        def after(module: Network) -> None:
            learn_fold_in(module, rows)

        return AlternatingObjective([Phase(SampledOutputs(self.loss, self.dropout, self.negatives, self.l2), after=after)])
