"""Shared by models trained by gradient: objective, penalty, validation, and weights as arrays."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import Generator, Tensor, nn

from recsys_ae.core.autoencoder import Autoencoder
from recsys_ae.core.axes import Axis, id_axes, inner_weights, wide_weights
from recsys_ae.core.corruption import Corruption
from recsys_ae.core.ensemble import Autoencoders, Ensemble
from recsys_ae.core.losses import LossSum
from recsys_ae.core.sparse import SparseRows, entry_l2
from recsys_ae.core.variational import VariationalAutoencoder
from recsys_ae.errors import ConfigError
from recsys_ae.ids import IdMap, Rows
from recsys_ae.interactions import Interactions
from recsys_ae.models.base import Floats, blocks_of, rating_scale
from recsys_ae.models.warm_start import copy_matching_rows
from recsys_ae.ranking import exclude, hits, ndcg, top_k

VALIDATION_LENGTH = 100
MAX_CLASSES = 100
L2_RATINGS, ADDED_RATINGS = 100, 25  # see `l2_of`
Penalty = Callable[[Any, SparseRows], Tensor]  # `Objective.penalty` of a module and a batch


@dataclass(frozen=True)
class ObservedError:
    """Squared error over the observed entries of a batch, plus a penalty.

    Attributes:
        corruption: applied to the input; the targets stay clean.
        row_bias: float32, added to all outputs of each row, by `row_ids`.
    """

    penalty: Penalty
    corruption: Corruption | None = None
    row_bias: Tensor | None = None
    sampled: ClassVar[bool] = True
    separable: ClassVar[bool] = True

    def loss(self, module: Autoencoder | Autoencoders, batch: SparseRows, generator: Generator) -> LossSum:
        x, targets = batch if self.corruption is None else self.corruption(batch, generator), batch
        if self.row_bias is not None:
            bias = self.row_bias.to(batch.values.device)[batch.row_ids][batch.row_of_entry()]
            targets = batch.with_values(batch.values - bias)
        return module.squared_error(x, targets)


def l2_of(n: Any, l2: float, exponent: float) -> Any:
    """Regularisation of a weight vector with `n` ratings (a number, an array or a tensor): l2 * ((n + 25) / 100)^exponent.

    The 25 ratings that are added keep the weights of those with very few near 0.
    """
    return l2 * ((n + ADDED_RATINGS) / L2_RATINGS) ** exponent


@dataclass(frozen=True)
class AutoencoderL2:
    """L2 penalty l2 / 2 * (sum of all squared weights, without biases), divided among the batches of the training rows.

    Wide weights are charged per entry, so that a batch touches only its own columns; inner weights by the batch's share of
    the rows.

    Attributes:
        n_rows: number of training rows.
        per_entry: float32 [D], the charge of a column's weights, divided by its number of entries.
    """

    l2: float
    n_rows: int
    per_entry: Tensor

    def __call__(self, module: Autoencoder | VariationalAutoencoder, batch: SparseRows) -> Tensor:
        if not self.l2:
            return torch.zeros(())
        parts = [entry_l2(weight, batch, self.per_entry.to(weight.device)) for weight in wide_weights(module)]
        share = len(batch) / self.n_rows
        parts += [share * self.l2 / 2 * weight.square().sum() for weight in inner_weights(module)]
        return torch.stack(parts).sum()


def autoencoder_l2(l2: float, rows: SparseRows, exponent: float = 0.0) -> AutoencoderL2:
    """The penalty on training `rows`; with an `exponent`, a column with n entries is charged as by `l2_of`."""
    counts = column_counts(rows).clamp(min=1)
    return AutoencoderL2(l2, len(rows), l2_of(counts, l2, exponent) / counts)


@dataclass(frozen=True)
class OutputBiasL2:
    """Penalty strength * |output bias - centre|^2 over the columns with ratings, divided among batches by their ratings.

    The strength is in ratings: like the bias of a `Biases`, that of a column with few ratings stays near its centre.

    Attributes:
        strength, centre: float32 [D].
        total: number of ratings.
    """

    strength: Tensor
    centre: Tensor
    total: int

    def __call__(self, module: Ensemble[Any], batch: SparseRows) -> Tensor:
        strength, centre = (part.to(batch.values.device) for part in (self.strength, self.centre))
        squares = [(strength * (network.output_bias - centre).square()).sum() for network in module.networks]
        return len(batch.columns) / self.total * torch.stack(squares).sum()


@dataclass(frozen=True)
class Penalties:
    """The sum of several penalties."""

    parts: tuple[Penalty, ...]

    def __call__(self, module: Any, batch: SparseRows) -> Tensor:
        return torch.stack([part(module, batch) for part in self.parts]).sum()


def column_counts(rows: SparseRows) -> Tensor:
    """Number of entries of each column, float32 [D]."""
    return torch.bincount(rows.columns, minlength=rows.width).float()


def sparse_rows(matrix: csr_array) -> SparseRows:
    """All rows of a matrix."""
    return SparseRows.from_arrays(matrix.indptr, matrix.indices, matrix.data, matrix.shape[1])


def observed_rows(matrix: csr_array) -> SparseRows:
    """The rows of a matrix that have entries, with their `row_ids`: the training rows."""
    rows = sparse_rows(matrix)
    row_ids = torch.nonzero(rows.lengths)[:, 0]
    return SparseRows(row_ids, torch.cat([rows.indptr[row_ids], rows.indptr[-1:]]), rows.columns, rows.values, rows.width)


def rating_classes(ratings: Floats, loss: str) -> int:
    """Number of distinct ratings, each of which is a class for a `loss`; 0 for the squared error.

    Raises:
        ConfigError: there are fewer than 2 or more than 100.
    """
    if loss == "squared_error":
        return 0
    classes = len(np.unique(ratings))
    if not 2 <= classes <= MAX_CLASSES:
        raise ConfigError(f"loss: {loss} needs 2 to {MAX_CLASSES} distinct ratings, got {classes}; use loss: squared_error")
    return classes


def rating_validation(
    predict_rows: Callable[[Interactions, Rows, Rows], Floats], history: Interactions, valid: Interactions | None
) -> Callable[[], float] | None:
    """RMSE on the ratings in `valid` given `history`, as a function of the current weights; None without `valid`.

    Predictions are clipped to the scale of `history`.
    """
    if valid is None:
        return None
    low, high = rating_scale(history)
    users, items, ratings = valid.user_rows(), valid.item_rows(), valid.matrix.data.astype(np.float64)
    return lambda: float(np.sqrt(np.mean((predict_rows(history, users, items).clip(low, high) - ratings) ** 2)))


def ranking_validation(
    scores: Callable[[Interactions, Rows], Floats], history: Interactions, valid: Interactions | None
) -> Callable[[], float] | None:
    """1 - NDCG@100 on `valid`, without the items in `history`, as a function of the current weights.

    The mean over users with interactions in `valid` that are not in `history`; None if there are none.
    """
    if valid is not None:
        valid = valid.filter(~valid.shared_with(history))
    if not valid:
        return None
    users = np.flatnonzero(np.diff(valid.matrix.indptr))

    def error() -> float:
        values = []
        for rows in blocks_of(users, history.n_items):
            block, relevant = scores(history, rows), valid.matrix[rows]
            exclude(block, history.matrix[rows])
            lists, _ = top_k(block, min(VALIDATION_LENGTH, history.n_items))
            values.append(ndcg(hits(lists, relevant), np.diff(relevant.indptr), VALIDATION_LENGTH))
        return float(1 - np.concatenate(values).mean())

    return error


@torch.no_grad()
def copy_matching_parameters(
    module: nn.Module, arrays: Mapping[str, NDArray[Any]], ids: Mapping[Axis, tuple[IdMap, IdMap]]
) -> None:
    """Copy the weights in `arrays` (see `weights_of`) to `module`, except for the rows of new ids.

    Args:
        ids: new and old ids of each axis, see `core.axes`.

    Raises:
        ConfigError: the other module has different parameters, or other sizes.
    """
    axes = id_axes(module)
    for name, weight in module.state_dict().items():
        before = arrays.get(f"module.{name}")
        if before is None:
            raise ConfigError(f"the model to start from has no {name}; use one with the same parameters")
        if name in axes:
            copy_matching_rows(weight, torch.from_numpy(before), *ids[axes[name]])
        elif weight.shape != before.shape:
            raise ConfigError(f"the model to start from has {name} of shape {before.shape}, not {tuple(weight.shape)}")
        else:
            weight.copy_(torch.from_numpy(before))


def weights_of(module: nn.Module) -> dict[str, NDArray[Any]]:
    """A copy of all weights of a module, for `Fitted.arrays`."""
    return {f"module.{name}": weight.detach().cpu().numpy().copy() for name, weight in module.state_dict().items()}


def load_weights(module: nn.Module, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Load weights returned by `weights_of`, and switch to evaluation mode."""
    module.load_state_dict({name: torch.from_numpy(arrays[f"module.{name}"]) for name in module.state_dict()})
    module.eval()
