"""What the networks that rank have in common: from a user's items to a number for every item, trained by gradient."""

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Generic, TypeVar

import numpy as np
import torch
from pydantic import Field
from torch import Generator, Tensor, nn

from recsys_ae.core.axes import check_id_axes, output_vectors
from recsys_ae.core.corruption import Masking
from recsys_ae.core.devices import Device, device_named, device_of
from recsys_ae.core.sparse import SparseRows
from recsys_ae.core.trainer import AnyObjective, Precision, fit
from recsys_ae.fitted import Fitted
from recsys_ae.ids import Rows
from recsys_ae.interactions import Interactions, ones
from recsys_ae.models.base import FitContext, Floats, Recommender, fitted_on, fitted_state
from recsys_ae.models.factors import trained_rows
from recsys_ae.models.training import (
    copy_matching_parameters,
    load_weights,
    observed_rows,
    ranking_validation,
    train_config,
    weights_of,
)

N = TypeVar("N", bound=nn.Module)


@dataclass
class NeuralRanker(Recommender, Generic[N]):
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
    validation_name: ClassVar[str] = "valid_1_minus_ndcg_100"
    of_users: ClassVar[bool] = False  # whether the network has parameters for each training user

    def __post_init__(self) -> None:
        super().__post_init__()
        self._built: tuple[Fitted, N] | None = None

    @abstractmethod
    def _network(self, n_items: int, n_users: int, generator: Generator | None) -> N:
        """A module with `forward(rows)` -> scores [B, n_items], `encode(rows)`, and `id_axes` (see `core.axes`)."""

    def _new_network(self, train: Interactions, generator: Generator, before: Fitted | None) -> N:
        """As training begins: with the weights that were fitted before, or drawn."""
        network = self._network(train.n_items, train.n_users, generator)
        if before is not None:
            check_id_axes(lambda n: self._network(n, n, None))
            items = train.items, before.ids["items"]
            users = train.users, before.ids.get("users", train.users)
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

    def _fit(self, train: Interactions, context: FitContext) -> Fitted:
        network = self._new_network(train, Generator().manual_seed(context.seed), context.before)
        known = {"trained_users": np.diff(train.matrix.indptr) > 0} if self.of_users else {}
        about = fitted_on(train, known, keep_users=self.of_users)
        rows = l2_normalise(observed_rows(ones(train.matrix)))

        def scores(history: Interactions, rows: Rows) -> Floats:
            with torch.no_grad():
                outputs: Tensor = network(self._rows(about, history, rows).to(device_of(network)))
            return outputs.cpu().numpy()

        fit(
            self._in_training(network, rows),
            self._objective(network, rows),
            rows,
            train_config(self, context.seed),
            valid=ranking_validation(scores, context.history, context.valid),
            callbacks=context.callbacks,
        )
        return replace(about, arrays={**about.arrays, **weights_of(network)})

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
            network = self._network(len(fitted.ids["items"]), len(fitted.ids.get("users", ())), Generator())
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
