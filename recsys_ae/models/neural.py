"""Rankers by neural network: from the items of a user's history to a score for every item."""

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Generic, TypeVar

import numpy as np
import torch
from pydantic import Field
from torch import Generator, Tensor, nn

from recsys_ae.core.axes import check_id_axes, output_vectors
from recsys_ae.core.devices import Device, device_named, device_of
from recsys_ae.core.memory import training_memory
from recsys_ae.core.sparse import SparseRows
from recsys_ae.core.stored import UnitRows
from recsys_ae.core.trainer import AnyObjective, Precision, TrainConfig, fit
from recsys_ae.fitted import Fitted
from recsys_ae.ids import Rows
from recsys_ae.interactions import Interactions, ones
from recsys_ae.models import training
from recsys_ae.models.base import FitContext, Floats, checked_rows, fitted_on, fitted_state
from recsys_ae.models.factors import trained_rows
from recsys_ae.models.popularity_share import PopularityShare

N = TypeVar("N", bound=nn.Module)


@dataclass
class NeuralRanker(PopularityShare, Generic[N]):
    """Fitting and scoring of a network whose input is the l2-normalised binary history of a user.

    Attributes:
        dropout: share of the inputs dropped in training.
        popularity: see `PopularityShare`.
        epochs, batch_size, learning_rate, learning_rate_decay, patience, precision, device: see `core.trainer.TrainConfig`;
            batches are of users, and the validation value is 1 - NDCG@100. With a GPU, scores are also computed there.
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

    def _memory(self, n_users: int, n_items: int) -> int:
        return training_memory(lambda: self._network(n_items, n_users, None))

    @abstractmethod
    def _network(self, n_items: int, n_users: int, generator: Generator | None) -> N:
        """A module with `forward(rows)` -> scores [B, n_items], `encode(rows)`, and `id_axes` (see `core.axes`)."""

    @abstractmethod
    def _objective(self, rows: SparseRows) -> AnyObjective[Any, SparseRows]:
        """The objective on these training rows, which are l2-normalised."""

    def _new_network(self, train: Interactions, generator: Generator, before: Fitted | None) -> N:
        """The network before training: random weights, or those fitted before."""
        network = self._network(train.n_items, train.n_users, generator)
        if before is not None:
            check_id_axes(lambda n: self._network(n, n, None))
            items, users = (train.items, before.ids["items"]), (train.users, before.ids.get("users", train.users))
            training.copy_matching_parameters(network, before.arrays, {"inputs": items, "outputs": items, "rows": users})
        return network

    def _in_training(self, network: N, rows: SparseRows) -> nn.Module:
        """The module to train: the network, or one that wraps it for training only."""
        return network

    def _code(self, network: N, rows: SparseRows) -> Tensor:
        """User vectors [B, H]."""
        return network.encode(rows)  # type: ignore[operator]

    def _learn(self, train: Interactions, context: FitContext) -> Fitted:
        network = self._new_network(train, Generator().manual_seed(context.seed), context.before)
        about = fitted_on(train, {}, keep_users=self.of_users)
        rows = UnitRows.of_pattern(train.matrix.indptr, train.matrix.indices, train.n_items)
        module, objective = self._in_training(network, rows), self._objective(rows)
        config = TrainConfig.of(self, seed=context.seed)
        valid = training.ranking_validation(lambda *users: self._scores(network, about, *users), context.history, context.valid)
        fit(module, objective, rows, config, valid=valid, callbacks=context.callbacks)
        return replace(about, arrays={**about.arrays, **training.weights_of(network)})

    def _learned_scores(self, history: Interactions, rows: Rows) -> Floats:
        rows = checked_rows(history, rows)
        return self._scores(self._fitted_network(history), fitted_state(self), history, rows)

    def item_vectors(self) -> Floats:
        return fitted_state(self).arrays[f"module.{output_vectors(self._fitted_network())}"]

    @torch.no_grad()
    def user_vectors(self, history: Interactions, rows: Rows) -> Floats:
        rows, network = checked_rows(history, rows), self._fitted_network(history)
        return self._code(network, self._rows(fitted_state(self), history, rows).to(device_of(network))).cpu().numpy()

    def _fitted_network(self, *histories: Interactions) -> N:
        return self.derived(self._restored, *histories)

    def _restored(self, fitted: Fitted) -> N:
        network = self._network(len(fitted.ids["items"]), len(fitted.ids.get("users", ())), Generator())
        training.load_weights(network, fitted.arrays)
        return network.to(device_named(self.device, fallback=True))

    @torch.no_grad()
    def _scores(self, network: N, fitted: Fitted, history: Interactions, rows: Rows) -> Floats:
        return network(self._rows(fitted, history, rows).to(device_of(network))).cpu().numpy()

    def _rows(self, fitted: Fitted, history: Interactions, rows: Rows) -> SparseRows:
        """Network inputs of the users at `rows`; if `of_users`, their `row_ids` are training rows, -1 for new users."""
        seen = training.sparse_rows(ones(history.matrix[rows]))
        if self.of_users:
            seen = replace(seen, row_ids=torch.from_numpy(trained_rows(fitted, history, rows)))
        return l2_normalise(seen)


@dataclass
class SoftmaxRanker(NeuralRanker[N]):
    """A network whose outputs are the logits of a softmax over all items.

    Attributes:
        item_exponent: a; the likelihood of an item with n interactions is multiplied by n^a in scores and validation. Positive
            values rank popular items higher; 0 as published. 0.1 raised NDCG@10 slightly with the variational models, within
            the spread of seeds on most datasets, and did not raise NDCG@100 (docs/reproduce.md).
        Others: see `NeuralRanker`.
    """

    item_exponent: float = 0.0

    def _scores(self, network: N, fitted: Fitted, history: Interactions, rows: Rows) -> Floats:
        logits = super()._scores(network, fitted, history, rows)
        if not self.item_exponent:
            return logits
        return logits + np.float32(self.item_exponent) * np.log(np.maximum(fitted.arrays["popularity"], 1))


def l2_normalise(rows: SparseRows) -> SparseRows:
    """Each row scaled to length 1, as autoencoders with a multinomial likelihood expect; empty rows stay empty."""
    at = rows.row_of_entry()
    length = rows.values.new_zeros(len(rows)).index_add_(0, at, rows.values.square()).sqrt()
    return rows.with_values(rows.values / length.clamp(min=1e-12)[at])
