"""What the models that are trained by gradient have in common: their objective, their validation, their parameters."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import Generator, Tensor, nn

from recsys_ae.core.autoencoder import Autoencoder
from recsys_ae.core.axes import Axis, id_axes
from recsys_ae.core.corruption import Corruption
from recsys_ae.core.losses import LossSum, squared_error
from recsys_ae.core.sparse import SparseRows, entry_l2
from recsys_ae.core.variational import VariationalAutoencoder
from recsys_ae.errors import ConfigError
from recsys_ae.interactions import IdMap, Interactions, Rows
from recsys_ae.models.base import BATCH_USERS, Floats, copy_matching_rows, top_k

VALIDATION_PLACES = 100
RATINGS_PER_L2 = 100  # a vector with so many ratings is charged l2, whatever the exponent


@dataclass(frozen=True)
class ObservedError:
    """Squared error over the observed entries of a batch, plus a penalty.

    Attributes:
        predict: (corrupted batch, pattern) -> predictions [nnz] at the pattern.
        penalise: a batch's part of the penalty of an epoch.
        corruption: applied to what `predict` sees; the targets stay clean.
    """

    predict: Callable[[SparseRows, SparseRows], Tensor]
    penalise: Callable[[SparseRows], Tensor]
    corruption: Corruption | None = None
    sampled: ClassVar[bool] = True

    def loss(self, module: nn.Module, batch: SparseRows, generator: Generator) -> LossSum:
        shown = batch if self.corruption is None else self.corruption(batch, generator)
        return squared_error(self.predict(shown, batch), batch.values, torch.ones_like(batch.values))

    def penalty(self, module: nn.Module, batch: SparseRows) -> Tensor:
        return self.penalise(batch)


def l2_of(n: Any, l2: float, exponent: float) -> Any:
    """The regularisation of a weight vector that `n` ratings speak about (a number, an array or a tensor of them)."""
    return l2 * (n / RATINGS_PER_L2) ** exponent


def autoencoder_l2(
    module: Autoencoder | VariationalAutoencoder, l2: float, rows: SparseRows, exponent: float = 0.0
) -> Callable[[SparseRows], Tensor]:
    """l2 / 2 * (sum of all squared weights, biases apart), in parts for the batches of `rows`.

    Wide weights are charged where they have entries, so that a batch pays for its own columns only; inner weights by the
    share of rows. With an `exponent`, the weights of a column with n entries are charged l2 * (n / 100)^exponent.
    """
    if not l2:
        return lambda _: torch.zeros(())
    counts = column_counts(rows).clamp(min=1)
    strength = l2_of(counts, l2, exponent) / counts

    def penalise(batch: SparseRows) -> Tensor:
        parts = [entry_l2(weight, batch, strength.to(weight.device)) for weight in module.wide_weights()]
        share = len(batch) / len(rows)
        parts += [share * l2 / 2 * weight.square().sum() for weight in module.inner_weights()]
        return torch.stack(parts).sum()

    return penalise


def column_counts(rows: SparseRows) -> Tensor:
    """float32 [D]: how many entries each column has."""
    return torch.bincount(rows.columns, minlength=rows.width).float()


def observed_rows(matrix: csr_array) -> SparseRows:
    """The rows of a matrix that hold anything, for training; each keeps its number."""
    rows = SparseRows.from_arrays(matrix.indptr, matrix.indices, matrix.data, matrix.shape[1])
    return rows if rows.lengths.all() else rows[torch.nonzero(rows.lengths)[:, 0]]


def validation(
    predict_rows: Callable[[Interactions, Rows, Rows], Floats], history: Interactions, valid: Interactions | None
) -> Callable[[], float] | None:
    """The root mean squared error on `valid` when `history` is known, as a function of the present weights."""
    if valid is None or len(valid) == 0:
        return None
    users, items, ratings = valid.user_rows(), valid.item_rows(), valid.matrix.data.astype(np.float64)
    return lambda: float(np.sqrt(np.mean((predict_rows(history, users, items) - ratings) ** 2)))


def ranking_validation(
    scores: Callable[[Interactions, Rows], Floats], history: Interactions, valid: Interactions | None
) -> Callable[[], float] | None:
    """1 - NDCG@100 on `valid`, what is in `history` being left out, as a function of the present weights.

    The mean over users with something in `valid`; `evaluation` is not asked, because it builds on the models.
    """
    if valid is None or len(valid) == 0:
        return None
    users = np.flatnonzero(np.diff(valid.matrix.indptr))
    k = min(VALIDATION_PLACES, history.n_items)
    discount = 1 / np.log2(np.arange(2, k + 2))

    def error() -> float:
        gains = []
        for start in range(0, len(users), BATCH_USERS):
            rows = users[start : start + BATCH_USERS]
            block = scores(history, rows)
            seen, wanted = history.matrix[rows], valid.matrix[rows]
            block[np.repeat(np.arange(len(rows)), np.diff(seen.indptr)), seen.indices] = -np.inf
            best, _ = top_k(block, k)
            relevant = np.zeros(block.shape, bool)
            relevant[np.repeat(np.arange(len(rows)), np.diff(wanted.indptr)), wanted.indices] = True
            hits = np.take_along_axis(relevant, best, axis=1) & (best >= 0)
            ideal = np.cumsum(discount)[np.minimum(k, np.diff(wanted.indptr)) - 1]
            gains.append(hits @ discount / ideal)
        return float(1 - np.concatenate(gains).mean())

    return error


@torch.no_grad()
def copy_matching_parameters(
    module: nn.Module, arrays: Mapping[str, NDArray[Any]], ids: Mapping[Axis, tuple[IdMap, IdMap]]
) -> None:
    """Copy the weights of another module, as `weights_of` returns them, into this one; rows of new ids are left alone.

    Args:
        ids: new and old ids of each axis, see `core.axes`.

    Raises:
        ConfigError: the other module has different parameters, or other sizes.
    """
    axes = id_axes(module)
    for name, weight in module.state_dict().items():
        before = arrays.get(f"module.{name}")
        if before is None:
            raise ConfigError(f"the model to start from has no {name}; it was made with other parameters")
        if name in axes:
            copy_matching_rows(weight, torch.from_numpy(before), *ids[axes[name]])
        elif weight.shape != before.shape:
            raise ConfigError(f"the model to start from has other sizes: {name} is {before.shape}, here {tuple(weight.shape)}")
        else:
            weight.copy_(torch.from_numpy(before))


def weights_of(module: nn.Module) -> dict[str, NDArray[Any]]:
    """A copy of all weights of a module, for `Fitted.arrays`."""
    return {f"module.{name}": weight.detach().cpu().numpy().copy() for name, weight in module.state_dict().items()}


def load_weights(module: nn.Module, arrays: Any) -> None:
    """Put the weights that `weights_of` gave into a module."""
    module.load_state_dict({name: torch.from_numpy(arrays[f"module.{name}"]) for name in module.state_dict()})
    module.eval()
