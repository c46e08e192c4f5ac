"""Networks of the same shape that are trained together, side by side.

S networks have weights and losses of their own and see the same batches in the same order. Their outputs are averaged. As an
output is linear in the last hidden layers of all networks, an ensemble scores like one network with S * H of these units.
"""

from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar, cast

import torch
from torch import Tensor, nn

from recsys_ae.core.autoencoder import Autoencoder
from recsys_ae.core.axes import Axis
from recsys_ae.core.losses import LossSum
from recsys_ae.core.sparse import SparseRows

N = TypeVar("N", bound=nn.Module)
TYPICAL = 50  # entries of a row whose inputs are not scaled


class Ensemble(nn.Module, Generic[N]):
    """S networks."""

    id_axes: Mapping[str, Axis] = {}  # none of its own: it has those of its networks, and is trained like each of them

    def __init__(self, networks: Sequence[N]) -> None:
        super().__init__()
        self._networks = nn.ModuleList(networks)

    @property
    def networks(self) -> list[N]:
        return cast(list[N], list(self._networks))


class Autoencoders(Ensemble[Autoencoder]):
    """Autoencoders of the same rows.

    Args:
        scale_inputs: see `scaled`.
    """

    def __init__(self, networks: Sequence[Autoencoder], scale_inputs: bool) -> None:
        super().__init__(networks)
        self._scale_inputs = scale_inputs

    def hidden(self, x: SparseRows) -> list[Tensor]:
        """Inputs of the networks' output layers, S times [B, H]."""
        x = scaled(x) if self._scale_inputs else x
        return [network.last_hidden(network.encode(x)) for network in self.networks]

    def squared_error(self, x: SparseRows, at: SparseRows) -> LossSum:
        """Squared error of all networks for `x`, at the pattern of `at`, whose values are the targets; added up."""
        x = scaled(x) if self._scale_inputs else x
        found = [network.squared_error(x, at) for network in self.networks]
        return LossSum(torch.stack([one.total for one in found]).sum(), torch.stack([one.count for one in found]).sum())


def scaled(x: SparseRows) -> SparseRows:
    """Inputs of a row with n entries, multiplied by sqrt(50 / n): rows with many entries do not drown the hidden layer."""
    return x.with_values(x.values * (TYPICAL / x.lengths.clamp(min=1).float()).sqrt()[x.row_of_entry()])


def output_terms(weights: Sequence[Tensor], biases: Sequence[Tensor]) -> Tensor:
    """[D, S * H + 1]: the mean of S outputs as a product with [h_1, ..., h_S, 1]; weights [D, H] and biases [D] are of each."""
    return torch.cat([*weights, torch.stack(list(biases)).sum(0)[:, None]], 1) / len(weights)
