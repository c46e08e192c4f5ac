"""What the networks that rank have in common: from a user's items to a number for every item, trained by gradient."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Generic, Self, TypeVar

import numpy as np
import torch
from pydantic import Field
from torch import Generator, Tensor, nn

from recsys_ae.core.axes import check_id_axes, output_vectors
from recsys_ae.core.corruption import Masking
from recsys_ae.core.devices import Device, device_named, device_of
from recsys_ae.core.sparse import SparseRows
from recsys_ae.core.trainer import AnyObjective, Callback, Precision, TrainConfig, fit
from recsys_ae.interactions import Interactions, Rows, ones
from recsys_ae.models.base import Fitted, Floats, Recommender, fitted_state, warm_start_state
from recsys_ae.models.factors import trained_rows
from recsys_ae.models.training import copy_matching_parameters, load_weights, observed_rows, ranking_validation, weights_of

N = TypeVar("N", bound=nn.Module)


@dataclass
class NeuralRanker(ABC, Generic[N]):
    """Fitting and scoring of a network whose input is a user's row of items, values of interactions being ignored.

    Attributes:
        dropout: share of the inputs hidden in training.
        epochs, batch_size, learning_rate, learning_rate_decay, patience, precision, device: see `core.trainer.TrainConfig`; a
            batch is of users, and patience is for 1 - NDCG@100. With a GPU, scores are computed there too.
    """

    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    epochs: Annotated[int, Field(ge=1)] = 100
    batch_size: Annotated[int, Field(ge=1)] = 256
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    learning_rate_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    patience: Annotated[int, Field(ge=0)] = 10
    precision: Precision = "auto"
    device: Device = "cpu"
    fitted: Fitted | None = field(default=None, init=False, repr=False)
    predicts_ratings: ClassVar[bool] = False
    of_users: ClassVar[bool] = False  # whether the network has parameters for each training user

    def __post_init__(self) -> None:
        self._built: tuple[Fitted, N] | None = None

    @abstractmethod
    def _network(self, n_items: int, n_users: int, generator: Generator | None) -> N:
        """A module with `forward(rows)` -> scores [B, n_items], `encode(rows)`, and `id_axes` (see `core.axes`)."""

    def _new_network(self, train: Interactions, generator: Generator, before: Fitted | None) -> N:
        """As training begins: with the weights that were fitted before, or drawn."""
        network = self._network(train.n_items, train.n_users, generator)
        if before is not None:
            check_id_axes(lambda n: self._network(n, n, None))
            items, users = (train.items, before.items), (train.users, before.users or train.users)
            copy_matching_parameters(network, before.arrays, {"inputs": items, "outputs": items, "rows": users})
        return network

    @abstractmethod
    def _objective(self, network: N, rows: SparseRows) -> AnyObjective[Any, SparseRows]:
        """What is minimised over these rows, which are as `l2_normalise` makes them."""

    def _in_training(self, network: N, rows: SparseRows) -> nn.Module:
        """The module that is trained: the network, and what it needs only meanwhile."""
        return network

    def _code(self, network: N, rows: SparseRows) -> Tensor:
        """[B, H]: what the network makes of each row, before it comes to items."""
        code: Tensor = network.encode(rows)  # type: ignore[operator]
        return code

    def fit(
        self,
        train: Interactions,
        *,
        valid: Interactions | None = None,
        valid_history: Interactions | None = None,
        seed: int = 0,
        callbacks: Sequence[Callback] = (),
        warm_start: Recommender | None = None,
    ) -> Self:
        network = self._new_network(train, Generator().manual_seed(seed), warm_start_state(self, warm_start))
        known = {"trained_users": np.diff(train.matrix.indptr) > 0} if self.of_users else {}
        about = Fitted.on(train, known, users=train.users if self.of_users else None)
        rows = l2_normalise(observed_rows(ones(train.matrix)))

        def scores(history: Interactions, rows: Rows) -> Floats:
            with torch.no_grad():
                outputs: Tensor = network(self._rows(about, history, rows).to(device_of(network)))
            return outputs.cpu().numpy()

        fit(
            self._in_training(network, rows),
            self._objective(network, rows),
            rows,
            TrainConfig(
                self.epochs,
                self.batch_size,
                "adam",
                self.learning_rate,
                self.learning_rate_decay,
                self.patience,
                seed,
                self.precision,
                device=self.device,
            ),
            valid=ranking_validation(scores, valid_history or train, valid),
            callbacks=callbacks,
        )
        self.fitted = replace(about, arrays={**about.arrays, **weights_of(network)})
        return self

    @torch.no_grad()
    def scores(self, history: Interactions, rows: Rows) -> Floats:
        network = self._fitted_network(history)
        scores: Tensor = network(self._rows(fitted_state(self), history, rows).to(device_of(network)))
        return scores.cpu().numpy()

    def item_vectors(self) -> Floats:
        return np.asarray(fitted_state(self).arrays[f"module.{output_vectors(self._fitted_network())}"])

    @torch.no_grad()
    def user_vectors(self, history: Interactions, rows: Rows) -> Floats:
        network = self._fitted_network(history)
        return self._code(network, self._rows(fitted_state(self), history, rows).to(device_of(network))).cpu().numpy()

    def _fitted_network(self, history: Interactions | None = None) -> N:
        """The network, rebuilt from the fitted arrays when they have changed."""
        fitted = fitted_state(self, history)
        if self._built is None or self._built[0] is not fitted:
            network = self._network(len(fitted.items), len(fitted.users or ()), Generator())
            load_weights(network, fitted.arrays)
            self._built = fitted, network.to(device_named(self.device, fallback=True))
        return self._built[1]

    def _rows(self, fitted: Fitted, history: Interactions, rows: Rows) -> SparseRows:
        """The users at `rows` as the network sees them; if `of_users`, with the numbers of their training rows, -1 for none."""
        seen = ones(history.matrix[rows])
        shown = SparseRows.from_arrays(seen.indptr, seen.indices, seen.data, seen.shape[1])
        if self.of_users:
            shown = replace(shown, row_ids=torch.from_numpy(trained_rows(fitted, history, rows)))
        return l2_normalise(shown)


def l2_normalise(rows: SparseRows) -> SparseRows:
    """Each row divided by its length; what an autoencoder with a multinomial likelihood is shown. An empty row stays empty."""
    at = rows.row_of_entry()
    length = rows.values.new_zeros(len(rows)).index_add_(0, at, rows.values.square()).sqrt()
    return rows.with_values(rows.values / length.clamp(min=1e-12)[at])


def dropout_entries(rows: SparseRows, dropout: float, generator: Generator) -> SparseRows:
    """Rows of which a share of the entries is hidden and the rest scaled up."""
    return Masking(dropout)(rows, generator)
