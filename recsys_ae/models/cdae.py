"""CDAE: the denoising autoencoder with a user node, trained on sampled outputs."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Generator, Tensor, nn
from torch.nn import functional

from recsys_ae.core.autoencoder import ACTIVATIONS, Autoencoder, glorot_normal
from recsys_ae.core.axes import Axis
from recsys_ae.core.corruption import Masking
from recsys_ae.core.losses import LossSum, cross_entropy
from recsys_ae.core.sampled_error import squared_error_at
from recsys_ae.core.sparse import SparseRows, entry_l2, one_hot, sampled_linear, sparse_linear, times, with_negatives
from recsys_ae.core.threads import by_rows
from recsys_ae.core.trainer import AlternatingObjective, Objective, Phase
from recsys_ae.models.neural import NeuralRanker
from recsys_ae.space import Range, Space

FOLD_IN_USERS = 1024  # training users from which the map from histories to user nodes is learned
FOLD_IN_L2 = 1.0


class Network(nn.Module):
    """x -> W' h(W^T x + V_u + b) + b', with W, W' [D, H] and a row of V [N, H] for each of N users.

    The `row_ids` of the input are user numbers; for -1, V_u is predicted from W^T x, see `learn_fold_in`.
    """

    to_node: Tensor
    id_axes: Mapping[str, Axis] = {**Autoencoder.id_axes, "user_weight": "rows"}

    def __init__(self, width: int, n_users: int, hidden: int, mapping: str, generator: Generator | None) -> None:
        super().__init__()
        weights = (nn.Parameter(glorot_normal((n, hidden), generator)) for n in (width, width, n_users))
        self.input_weight, self.output_weight, self.user_weight = weights
        self.input_bias, self.output_bias = nn.Parameter(torch.zeros(hidden)), nn.Parameter(torch.zeros(width))
        self.register_buffer("to_node", torch.zeros(hidden + 1, hidden))
        self._mapping = ACTIVATIONS.get(mapping)

    def projected(self, x: SparseRows) -> Tensor:
        """W^T x + b [B, H]"""
        return sparse_linear(x, self.input_weight, self.input_bias)

    def encode(self, x: SparseRows, users: SparseRows | None = None) -> Tensor:
        """The hidden layer [B, H]; in training, `users` [B, N] is the one-hot encoding of the user numbers."""
        projected = self.projected(x)
        if users is not None:
            nodes = times(users, self.user_weight)
        else:
            predicted = functional.pad(projected, (0, 1), value=1.0) @ self.to_node
            nodes = torch.where(x.row_ids[:, None] >= 0, self.user_weight[x.row_ids], predicted)
        return by_rows(self._mapping, projected + nodes)

    def forward(self, x: SparseRows) -> Tensor:
        """Scores [B, D]: the outputs, or their logits."""
        return sampled_linear(self.encode(x), self.output_weight, self.output_bias)


@torch.no_grad()
def learn_fold_in(network: Network, rows: SparseRows) -> None:
    """Set `to_node` by ridge regression of the nodes of training users on their projected histories."""
    some = rows[torch.arange(0, len(rows), max(1, len(rows) // FOLD_IN_USERS))].to(network.to_node.device)
    inputs = functional.pad(network.projected(some), (0, 1), value=1.0)
    gram = inputs.T @ inputs + FOLD_IN_L2 * torch.eye(inputs.shape[1], device=inputs.device)
    network.to_node.copy_(torch.linalg.solve(gram, inputs.T @ network.user_weight[some.row_ids]))


@dataclass(frozen=True)
class SampledOutputs(Objective[Network, SparseRows]):
    """Loss on the items of each history, with target 1, and on sampled negatives, with target 0."""

    loss_name: Literal["square", "logistic"]
    dropout: float
    negatives: int
    l2: float
    separable: ClassVar[bool] = True

    def loss(self, module: Network, batch: SparseRows, generator: Generator) -> LossSum:
        at, weights = with_negatives(batch, self.negatives, generator)
        shown, users = Masking(self.dropout)(batch, generator), one_hot(batch.row_ids, len(module.user_weight))
        code, weight, bias = module.encode(shown, users), module.output_weight, module.output_bias
        if self.loss_name == "square":
            found = squared_error_at(code, weight, bias, at, weights)
        else:
            found = cross_entropy(sampled_linear(code, weight, bias, at), at.values, weights)
        if self.l2:  # here and not in `penalty`, because it is charged for the sampled entries
            charged = ((module.input_weight, shown), (module.output_weight, at), (module.user_weight, users))
            parts = [entry_l2(weight, rows, weight.new_full((rows.width,), self.l2)) for weight, rows in charged]
            found = LossSum(found.total + torch.stack(parts).sum(), found.count)
        return found


@dataclass
class CDAE(NeuralRanker[Network]):
    """Denoising autoencoder with a node for each user.

    Source: Wu et al. 2016 with its four variants: `mapping`, the activation of the hidden layer, is identity or sigmoid, and
    `loss` is square or logistic (with sigmoid outputs). Outputs are computed for the items of a history and `negatives` sampled
    items for each of them, so that an epoch takes time proportional to the interactions. Deviations: inputs are l2-normalised;
    Adam; scores of the logistic loss are logits; negatives are drawn from all items, and those in the history have weight 0.

    Works for any user. The node of a new user is a linear function of W^T x, learned by ridge regression on the nodes of 1024
    training users. A user without a history gets the node of an average user.

    Attributes:
        hidden: H.
        mapping, loss: see above.
        negatives: items sampled per interaction.
        l2: each entry, sampled ones included, adds l2 / 2 * (squared vectors of its item), each user the same for their node.
        Others: see `NeuralRanker`.
    """

    hidden: Annotated[int, Field(ge=1)] = 64
    mapping: Literal["identity", "sigmoid"] = "identity"
    loss: Literal["square", "logistic"] = "square"
    negatives: Annotated[int, Field(ge=1)] = 10
    l2: Annotated[float, Field(ge=0)] = 0.0
    learning_rate: Annotated[float, Field(gt=0)] = 3e-3
    space: ClassVar[Space] = {
        "hidden": Range(low=32, high=512, log=True),
        "negatives": Range(low=3, high=50, log=True),
        "dropout": Range(low=0.1, high=0.9),
        "learning_rate": Range(low=0.0005, high=0.01, log=True),
    }
    of_users: ClassVar[bool] = True

    def _memory(self, n_users: int, n_items: int) -> int:
        drawn = 24 * self.negatives * min(self.batch_size, n_users)  # assuming one interaction per user
        return super()._memory(n_users, n_items) + drawn

    def _network(self, n_items: int, n_users: int, generator: Generator | None) -> Network:
        return Network(n_items, n_users, self.hidden, self.mapping, generator)

    def _objective(self, rows: SparseRows) -> AlternatingObjective[Network, SparseRows]:
        objective = SampledOutputs(self.loss, self.dropout, self.negatives, self.l2)
        return AlternatingObjective([Phase(objective, after=partial(learn_fold_in, rows=rows))])
