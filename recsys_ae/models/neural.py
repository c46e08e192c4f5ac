"""What the networks that rank have in common: from a user's items to a number for every item, trained by gradient."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Self

import torch
from pydantic import Field
from torch import Generator, Tensor, nn

from recsys_ae.core.corruption import Masking
from recsys_ae.core.sparse import SparseRows
from recsys_ae.core.trainer import AnyObjective, Callback, Precision, TrainConfig, fit
from recsys_ae.interactions import Interactions, Rows, ones
from recsys_ae.models.base import Fitted, Floats, fitted_state
from recsys_ae.models.training import load_weights, observed_rows, ranking_validation, weights_of


@dataclass
class NeuralRanker(ABC):
    """Fitting and scoring of a network whose input is a user's row of items, values of interactions being ignored.

    Attributes:
        dropout: share of the inputs hidden in training.
        epochs, batch_size, learning_rate, decay, patience, precision: see `core.trainer.TrainConfig`; a batch is of
            users, and patience is for 1 - NDCG@100.
    """

    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    epochs: Annotated[int, Field(ge=1)] = 100
    batch_size: Annotated[int, Field(ge=1)] = 256
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    patience: Annotated[int, Field(ge=0)] = 10
    precision: Precision = "float32"
    fitted: Fitted | None = field(default=None, init=False, repr=False)
    predicts_ratings: ClassVar[bool] = False

    def __post_init__(self) -> None:
        self._built: tuple[Fitted, nn.Module] | None = None

    @abstractmethod
    def _network(self, width: int, generator: Generator | None) -> nn.Module:
        """Rows [B, width] -> scores [B, width]."""

    @abstractmethod
    def _objective(self) -> AnyObjective:
        """What is minimised."""

    def _in_training(self, network: nn.Module) -> nn.Module:
        """The module that is trained: the network, and what it needs only meanwhile."""
        return network

    def fit(
        self,
        train: Interactions,
        *,
        valid: Interactions | None = None,
        valid_history: Interactions | None = None,
        seed: int = 0,
        callbacks: Sequence[Callback] = (),
    ) -> Self:
        network = self._network(train.n_items, Generator().manual_seed(seed))
        fit(
            self._in_training(network),
            self._objective(),
            observed_rows(ones(train.matrix)),
            TrainConfig(
                self.epochs, self.batch_size, "adam", self.learning_rate, self.decay, self.patience, seed, self.precision
            ),
            valid=ranking_validation(lambda history, rows: _outputs(network, history, rows), valid_history or train, valid),
            callbacks=callbacks,
        )
        self.fitted = Fitted(train.items, user_ids=train.users.kind, arrays=weights_of(network))
        return self

    def scores(self, history: Interactions, rows: Rows) -> Floats:
        fitted = fitted_state(self, history)
        if self._built is None or self._built[0] is not fitted:
            network = self._network(len(fitted.items), None)
            load_weights(network, fitted.arrays)
            self._built = fitted, network
        return _outputs(self._built[1], history, rows)


def unit_rows(rows: SparseRows) -> SparseRows:
    """Each row divided by its length; what an autoencoder with a multinomial likelihood is shown. An empty row stays empty."""
    at = rows.row_of_entry()
    length = rows.values.new_zeros(len(rows)).index_add_(0, at, rows.values.square()).sqrt()
    return rows.with_values(rows.values / length.clamp(min=1e-12)[at])


def hide(rows: SparseRows, dropout: float, generator: Generator) -> SparseRows:
    """Unit rows of which a share is hidden and the rest scaled up."""
    shown = Masking(dropout)(unit_rows(rows), generator)
    assert isinstance(shown, SparseRows)
    return shown


def _outputs(network: nn.Module, history: Interactions, rows: Rows) -> Floats:
    seen = ones(history.matrix[rows])
    with torch.no_grad():
        outputs: Tensor = network(unit_rows(SparseRows.from_arrays(seen.indptr, seen.indices, seen.data, seen.shape[1])))
    return outputs.numpy()
