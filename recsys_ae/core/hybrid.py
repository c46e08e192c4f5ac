"""An autoencoder of sparse rows in which rows and columns have side information.

B rows in the batch, N rows in all, D columns, F features of a row, G of a column, E units before the output, K factors.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from recsys_ae.core.attributes import attribute_products
from recsys_ae.core.autoencoder import ACTIVATIONS
from recsys_ae.core.axes import Axis
from recsys_ae.core.ensemble import Ensemble, scaled
from recsys_ae.core.ordinal import Ordinal
from recsys_ae.core.sparse import SparseRows, sampled_linear, sparse_linear, times


@dataclass(frozen=True, eq=False)
class Attributes:
    """Constant side information of D columns.

    Attributes:
        who: [D, N], the rows with an entry in each column, each with 1 / sqrt(their number), or None.
        features: [D, G], or None.
    """

    who: SparseRows | None = None
    features: SparseRows | None = None

    def to(self, device: torch.device) -> "Attributes":
        """The same side information on a device."""
        return Attributes(*(part if part is None else part.to(device) for part in (self.who, self.features)))


class HybridNetwork(nn.Module):
    """Rows of ratings and features -> hidden layers -> outputs, whose weights depend on attributes of the columns.

    With inputs x [D] of a row and its features f [F]:

        z_1 = x V + f A_1 + b_1;  h_1 = act(z_1);  z_2 = h_1 B_2 + f A_2 + b_2;  ...
        the code's z is first multiplied by 1 + f C (FiLM)
        output of column c = (W_c + a_c P) . [h, f A_out] + d_c + a'_c,  where a_c = who_c Y + features_c Q  [K]

    and a'_c is linear in the same attributes. So the features are joined to the input of every layer, the output's included
    (Strub et al. 2016), and a column without ratings is described by its attributes alone. As in `core.autoencoder`, the
    decoder mirrors the encoder's sizes, and weights with a row for each column are stored [D, H].

    Args:
        columns, rows: D and N.
        hidden: sizes of the encoder's layers, the last being the code.
        who: whether it matters which rows have an entry in a column; if not, there is no Y.
        row_features, column_features: F and G, 0 for none.
        factors: K, and the size of f A_out.
        film: whether features modulate the code.
        initial: standard deviation of the initial weights; biases and C start at 0.
    """

    id_axes: Mapping[str, Axis] = {
        "input_weight": "inputs",
        **dict.fromkeys(("output_weight", "output_bias"), "outputs"),
        **dict.fromkeys(("who_factors", "who_bias"), "rows"),
    }

    def __init__(
        self,
        columns: int,
        rows: int,
        hidden: Sequence[int],
        *,
        who: bool,
        row_features: int,
        column_features: int,
        factors: int,
        film: bool = False,
        activation: str = "sigmoid",
        initial: float = 0.03,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        self._activation = ACTIVATIONS.get(activation)
        self._code = len(hidden) - 1

        def weight(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(*shape, generator=generator).mul_(initial))

        def zeros(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.zeros(*shape))

        sizes = [*hidden, *reversed(hidden[:-1])]
        last = sizes[-1] + (factors if row_features else 0)
        self.input_weight = weight(columns, sizes[0])
        self.biases = nn.ParameterList([zeros(size) for size in sizes])
        self.inner_weights = nn.ParameterList([weight(*pair) for pair in pairwise(sizes)])
        self.output_weight, self.output_bias = weight(columns, last), zeros(columns)
        self.feature_weights = nn.ParameterList(
            [weight(row_features, size) for size in ([*sizes, factors] if row_features else [])]
        )
        self.film_weight = zeros(row_features, hidden[-1]) if film and row_features else None
        self.who_factors = weight(rows, factors) if who else None
        self.who_bias = zeros(rows) if who else None
        self.feature_factors = weight(column_features, factors) if column_features else None
        self.feature_bias = zeros(column_features) if column_features else None
        self.projection = weight(factors, last) if who or column_features else None

    def encode(self, x: SparseRows, features: SparseRows | None = None) -> Tensor:
        """[B, D] -> [B, E]: the input of the output layer."""
        z = sparse_linear(x, self.input_weight, self.biases[0])
        hidden = z
        for layer, bias in enumerate(self.biases):
            if layer:
                z = functional.linear(hidden, self.inner_weights[layer - 1].T, bias)
            if features is not None:
                z = z + times(features, self.feature_weights[layer])
                if layer == self._code and self.film_weight is not None:
                    z = z * (1 + times(features, self.film_weight))
            hidden = self._activation(z)
        return hidden if features is None else torch.cat([hidden, times(features, self.feature_weights[-1])], 1)

    def who_table(self, hidden: Tensor) -> Tensor:
        """What each row n adds to the outputs of the columns in which it has an entry, [B, N]."""
        return self._products(hidden, self.who_factors, self.who_bias)

    def feature_table(self, hidden: Tensor) -> Tensor:
        """What each feature adds to the outputs of the columns that have it, [B, G]."""
        return self._products(hidden, self.feature_factors, self.feature_bias)

    def with_attributes(self, weight: Tensor, bias: Tensor, attributes: Attributes) -> tuple[Tensor, Tensor]:
        """Weights [D, E] and biases [D] of columns, plus what their attributes add."""
        known = (
            (attributes.who, self.who_factors, self.who_bias),
            (attributes.features, self.feature_factors, self.feature_bias),
        )
        for sides, factors, biases in known:
            if sides is not None and factors is not None and biases is not None and self.projection is not None:
                weight = weight + times(sides, factors) @ self.projection
                bias = bias + times(sides, biases[:, None])[:, 0]
        return weight, bias

    def _products(self, hidden: Tensor, factors: Tensor | None, bias: Tensor | None) -> Tensor:
        assert factors is not None  # there are attributes
        assert bias is not None
        assert self.projection is not None
        return torch.addmm(bias, hidden @ self.projection.T, factors.T)


class HybridEnsemble(Ensemble[HybridNetwork]):
    """Hybrid networks that are trained together.

    Args:
        classes: number of distinct values, if outputs are those of `core.ordinal`, else 0; all networks share the thresholds,
            so that the mean of their outputs is one of the same kind.
    """

    def __init__(self, networks: Sequence[HybridNetwork], classes: int = 0) -> None:
        super().__init__(networks)
        self.ordinal = Ordinal(classes) if classes else None

    def hidden(self, x: SparseRows, features: SparseRows | None = None) -> list[Tensor]:
        """Inputs of the networks' output layers, S times [B, E]."""
        x = scaled(x)
        return [network.encode(x, features) for network in self.networks]

    def decode(
        self, hidden: list[Tensor], at: SparseRows, attributes: Attributes, cold: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        """Outputs of all networks at the pattern of `at`, [S, nnz].

        Args:
            cold: which columns have only features (bool [D]), and the constants that replace their biases (float32 [D]).
        """
        both = list(zip(self.networks, hidden, strict=True))
        out = torch.stack([sampled_linear(own, network.output_weight, network.output_bias, at) for network, own in both])
        if attributes.who is not None:
            tables = torch.stack([network.who_table(own) for network, own in both])
            out = out + attribute_products(tables, attributes.who, at)
        if cold is not None:
            out = torch.where(cold[0][at.columns], cold[1][at.columns], out)
        if attributes.features is None:
            return out
        tables = torch.stack([network.feature_table(own) for network, own in both])
        return out + attribute_products(tables, attributes.features, at)


def by_knowledge(features: SparseRows, cold: Tensor) -> SparseRows:
    """[B, F] -> [B, 2 F]: the features of rows that are `cold` (bool [B]) in the second half, all others in the first."""
    columns = features.columns + features.width * cold[features.row_of_entry()]
    return SparseRows(features.row_ids, features.indptr, columns, features.values, 2 * features.width)
