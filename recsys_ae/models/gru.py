"""Recurrent networks over sessions, which rank the next items or predict their ratings."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, ClassVar, Generic, Literal, TypeVar

import numpy as np
import torch
from pydantic import Field
from torch import Generator, Tensor

from recsys_ae.core.axes import check_id_axes
from recsys_ae.core.devices import Device, device_named, device_of
from recsys_ae.core.memory import training_memory
from recsys_ae.core.session_heads import ColumnValue, ColumnValueError, NextColumn, NextColumnError, RankingLoss
from recsys_ae.core.sessions import Hierarchy, MemoryKind, SessionBatch, SessionNetwork
from recsys_ae.core.sparse import SparseRows
from recsys_ae.core.trainer import Objective, Precision, TrainConfig, fit
from recsys_ae.errors import DataError
from recsys_ae.fitted import Fitted
from recsys_ae.ids import Rows
from recsys_ae.interactions import Interactions
from recsys_ae.models import training
from recsys_ae.models.base import (
    FitContext,
    Floats,
    Recommender,
    checked_pairs,
    checked_rows,
    fitted_on,
    fitted_state,
    users_per_block,
)
from recsys_ae.models.factors import pair_batches
from recsys_ae.models.side_information import stored_features
from recsys_ae.sequences import Sequences
from recsys_ae.space import Range, Space

BLOCK_EVENTS = 2**15  # of histories, in memory at a time
LIST_LENGTH = 20  # of the validation value of a ranking
H = TypeVar("H", NextColumn, ColumnValue)


@dataclass
class SessionNetworkModel(Recommender, Generic[H]):
    """Fitting and scoring of a gated recurrent unit over the events of a session, with another over the sessions of a user.

    Sources: Hidasi et al. 2016 (`hierarchy: none`, every session by itself) and Quadrana et al. 2017 (`init`, the state of the
    user is the initial state of a session; `all`, it also enters the gates at every event). Deviations: the initial state of a
    user's first session is learned; the embedding of the last event, times a learned number, is added to the state; gates are
    those of `torch.nn.GRU`; Adam; sessions are never cut, and gradients go through all sessions of a user.

    Works for any user with a history, as no parameter belongs to a user. The next event is taken to be in the last session of
    the history. Items without training data have random vectors, to which `item_features` add those of their features.

    Attributes:
        hidden: H, the size of states and embeddings.
        hierarchy: see above. It makes no difference to users with one session.
        user_state: how a user's sessions are summarised: by a `gru`, or by `attention`, see `core.sessions.AttentionMemory`.
        input: how an item enters the gates: directly (`one_hot`), by an `embedding`, or by one `shared` with the output.
        item_features: whether the features of an item are added to its input and, with `shared`, to its output.
        dropout: share of the units of embeddings and states that are dropped in training.
        batch_events: events per batch, on average, of whole users, or of whole sessions with `hierarchy: none`.
        epochs, learning_rate, learning_rate_decay, patience, precision, device: see `core.trainer.TrainConfig`. On CPUs,
            bfloat16 pays off only with many items: its products are compiled for every new number of events in a batch.
    """

    hidden: Annotated[int, Field(ge=1)] = 100
    hierarchy: Hierarchy = "all"
    user_state: MemoryKind = "gru"
    input: Literal["one_hot", "embedding", "shared"] = "shared"
    item_features: bool = False
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    epochs: Annotated[int, Field(ge=1)] = 12
    batch_events: Annotated[int, Field(ge=1)] = 1024
    learning_rate: Annotated[float, Field(gt=0)] = 5e-3
    learning_rate_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    patience: Annotated[int, Field(ge=0)] = 5
    precision: Precision = "float32"
    device: Device = "cpu"
    space: ClassVar[Space] = {
        "hidden": Range(low=32, high=256, log=True),
        "dropout": Range(low=0, high=0.6),
        "learning_rate": Range(low=0.001, high=0.02, log=True),
    }

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"order", "item_features"} if self.item_features else {"order"})

    @property
    def _reads_ratings(self) -> bool:
        return True

    def _memory(self, n_users: int, n_items: int) -> int:
        return training_memory(lambda: self._network(n_items, None, None))

    @abstractmethod
    def _network(self, n_items: int, features: SparseRows | None, generator: Generator | None) -> H:
        """The network, with random weights."""

    @abstractmethod
    def _objective(self, train: Interactions) -> Objective[H, SessionBatch]:
        """What is minimised in training."""

    @abstractmethod
    def _predicted(self, rows: SessionBatch) -> Tensor:
        """bool [E]: which events are predicted in training."""

    @abstractmethod
    def _losses(self, about: Fitted, network: H, states: Tensor, rows: SessionBatch, at: Tensor) -> Tensor:
        """The validation loss of each event at `at` [T], given the `states` [T, H] before them."""

    def _validation_value(self, mean_loss: float) -> float:
        """The validation value, from the mean of these losses."""
        return mean_loss

    def _sessions(self, n_items: int, features: SparseRows | None, generator: Generator | None) -> SessionNetwork:
        return SessionNetwork(
            n_items,
            self.hidden,
            hierarchy=self.hierarchy,
            memory=self.user_state,
            one_hot_input=self.input == "one_hot",
            valued=self._reads_ratings,
            features=features,
            dropout=self.dropout,
            generator=generator,
        )

    def _fit(self, train: Interactions, context: FitContext) -> Fitted:
        about = self._about(train)
        network = self._network(train.n_items, features_in(about), Generator().manual_seed(context.seed))
        if (before := context.before) is not None:
            check_id_axes(lambda n: self._network(n, None, None))
            items = train.items, before.ids["items"]
            training.copy_matching_parameters(network, before.arrays, {"inputs": items, "outputs": items})
        rows = self._batch(about, train.sequences)
        rows = rows.apart() if self.hierarchy == "none" else rows
        used = torch.bincount(rows.sequence_of_event()[self._predicted(rows)], minlength=len(rows))
        rows = rows[torch.nonzero(used)[:, 0]]
        if not len(rows):
            raise DataError(f"{type(self).__name__} learns from sessions of at least two events, but there are none")
        batch_size = max(1, round(self.batch_events * len(rows) / len(rows.columns)))
        config = TrainConfig.of(self, seed=context.seed, batch_size=batch_size)
        valid = None if context.valid is None else self._validation(network, about, context.history, context.valid)
        fit(network, self._objective(train), rows, config, valid=valid, callbacks=context.callbacks)
        return replace(about, arrays={**about.arrays, **training.weights_of(network)})

    def _about(self, train: Interactions) -> Fitted:
        """The fitted state before training: mean and deviation of the ratings, features, popularity and ids."""
        ratings = train.matrix.data.astype(np.float64)
        known = {"mean": np.array([ratings.mean()]), "unit": np.array([ratings.std() or 1.0])}
        features = ["item_features"] if self.item_features else []
        return fitted_on(train, known, keep_scale=self.predicts_ratings, features=features)

    def _batch(self, fitted: Fitted, sequences: Sequences) -> SessionBatch:
        """The sequences as tensors, with scaled ratings."""
        values = ((sequences.ratings - fitted.arrays["mean"]) / fitted.arrays["unit"]).astype(np.float32)
        arrays = (sequences.items, values, sequences.session_starts, sequences.user_starts)
        return SessionBatch(*map(torch.from_numpy, arrays))

    def _validation(self, network: H, about: Fitted, history: Interactions, valid: Interactions) -> Callable[[], float] | None:
        """The validation value over the events of `valid` except the first of each session, each given all earlier events.

        None if there are no such events.
        """
        before = history.stored_events
        log = before.union(valid.stored_events, history.n_items)
        order = log.by_time(history.n_items)
        sequences = Sequences.of_log(log[order], history.n_users)
        parts = []
        for rows in blocks_of_events(sequences, np.flatnonzero(np.diff(valid.matrix.indptr))):
            batch = self._batch(about, part := sequences[rows])
            asked = batch.follows() & torch.from_numpy(order[part.at] >= len(before))
            parts.append((batch, torch.nonzero(asked)[:, 0]))

        def loss() -> float:
            found = [self._losses_in(about, network, rows, at).double() for rows, at in parts]
            return self._validation_value(float(torch.cat(found).mean()))

        return loss if any(len(at) for _, at in parts) else None

    def _losses_in(self, about: Fitted, network: H, rows: SessionBatch, at: Tensor) -> Tensor:
        device = device_of(network)
        rows, at = rows.to(device), at.to(device)
        return self._losses(about, network, network.sessions(rows).before(rows)[at], rows, at).cpu()

    @torch.no_grad()
    def scores(self, history: Interactions, rows: Rows) -> Floats:
        network = self._fitted_network(history)
        found: Floats = network(self._states(network, history, checked_rows(history, rows))).cpu().numpy()
        return found

    def user_vectors(self, history: Interactions, rows: Rows) -> Floats:
        network = self._fitted_network(history)
        return self._states(network, history, checked_rows(history, rows)).cpu().numpy()

    @torch.no_grad()
    def item_vectors(self) -> Floats:
        return self._fitted_network().output_vectors().cpu().numpy()

    def _fitted_network(self, *histories: Interactions) -> H:
        return self.derived(self._restored, *histories)

    def _restored(self, fitted: Fitted) -> H:
        network = self._network(len(fitted.ids["items"]), features_in(fitted), Generator())
        training.load_weights(network, fitted.arrays)
        return network.to(device_named(self.device, fallback=True))

    @torch.no_grad()
    def _states(self, network: H, history: Interactions, rows: Rows) -> Tensor:
        """The states of users after their histories, [B, H]."""
        sequences = history.sequences[rows]
        sequences = sequences.last_sessions() if self.hierarchy == "none" else sequences
        states = [network.output_bias.new_zeros(0, self.hidden)]
        for block in blocks_of_events(sequences, np.arange(len(rows))):
            batch = self._batch(fitted_state(self), sequences[block]).to(device_of(network))
            states.append(network.sessions.last_states(batch))
        return torch.cat(states)


@dataclass
class SessionGRU(SessionNetworkModel[NextColumn]):
    """Recurrent network that ranks the next item of a session; `SessionNetworkModel` describes it, with sources.

    Trained on every event except the first of each session. The validation value is 1 - MRR@20 over such events of the
    validation part, each predicted from all events before it, by rank among all items.

    Attributes:
        ratings: whether the network also reads the observed ratings, which makes no difference if all are equal.
        loss, negatives: see `core.session_heads.NextColumnError`. With many items, sampling saves time and memory.
        negatives_exponent: items are drawn in proportion to popularity^this.
        Others: see `SessionNetworkModel`.
    """

    ratings: bool = True
    loss: RankingLoss = "cross_entropy"
    negatives: Annotated[int, Field(ge=0)] = 0
    negatives_exponent: Annotated[float, Field(ge=0, le=1)] = 0.5
    validation_name: ClassVar[str] = f"valid_1_minus_mrr_{LIST_LENGTH}"

    @property
    def _reads_ratings(self) -> bool:
        return self.ratings

    def _memory(self, n_users: int, n_items: int) -> int:
        scored = n_items if self.loss == "cross_entropy" and not self.negatives else self.negatives
        return super()._memory(n_users, n_items) + 8 * self.batch_events * scored

    def _network(self, n_items: int, features: SparseRows | None, generator: Generator | None) -> NextColumn:
        return NextColumn(self._sessions(n_items, features, generator), self.input == "shared", generator)

    def _objective(self, train: Interactions) -> NextColumnError:
        counts = np.bincount(train.stored_events.items, minlength=train.n_items)
        weights = np.maximum(counts, 1.0) ** self.negatives_exponent  # an item that is never drawn would keep its first score
        return NextColumnError(self.loss, self.negatives, torch.from_numpy(weights / weights.sum()))

    def _predicted(self, rows: SessionBatch) -> Tensor:
        return rows.follows()

    def _losses(self, about: Fitted, network: NextColumn, states: Tensor, rows: SessionBatch, at: Tensor) -> Tensor:
        """1 - 1 / rank, or 1 from rank 21 on; items with the same score as the target rank before it."""
        losses = [states.new_zeros(0)]
        step = users_per_block(len(network.output_bias))
        for block, targets in zip(states.split(step), rows.columns[at].split(step), strict=True):
            scores = network(block)
            ranks = (scores >= scores.gather(1, targets[:, None])).sum(1)
            losses.append(1 - torch.where(ranks <= LIST_LENGTH, 1 / ranks, 0))
        return torch.cat(losses)


@dataclass
class RatingGRU(SessionNetworkModel[ColumnValue]):
    """Recurrent network that predicts the rating of a session's next event, from its item and all earlier events.

    See `SessionNetworkModel` for the network, which reads the ratings too; `core.session_heads.ColumnValue` maps the state
    before an event and its item to a rating. Trained by squared error on the ratings of all events; the validation value is the
    RMSE over the events of the validation part but the first of their sessions, each predicted from all events before it.
    Scores are predicted ratings, not clipped to the scale; predictions are clipped. Internally, ratings have mean 0 and
    variance 1.
    """

    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    epochs: Annotated[int, Field(ge=1)] = 8
    learning_rate_decay: Annotated[float, Field(gt=0, le=1)] = 0.8
    predicts_ratings: ClassVar[bool] = True
    validation_name: ClassVar[str] = "valid_rmse"

    def _network(self, n_items: int, features: SparseRows | None, generator: Generator | None) -> ColumnValue:
        return ColumnValue(self._sessions(n_items, features, generator), self.input == "shared", generator)

    def _objective(self, train: Interactions) -> ColumnValueError:
        return ColumnValueError()

    def _predicted(self, rows: SessionBatch) -> Tensor:
        return torch.ones_like(rows.columns, dtype=torch.bool)

    def _losses(self, about: Fitted, network: ColumnValue, states: Tensor, rows: SessionBatch, at: Tensor) -> Tensor:
        """The squared errors of the predictions."""
        (mean,), (unit,) = about.arrays["mean"], about.arrays["unit"]
        low, high = ((bound - mean) / unit for bound in about.meta["scale"])
        return (unit * (network.at(states, rows.columns[at]).clamp(low, high) - rows.values[at])).square()

    def _validation_value(self, mean_loss: float) -> float:
        return mean_loss**0.5

    def scores(self, history: Interactions, rows: Rows) -> Floats:
        return self._ratings(super().scores(history, rows))

    @torch.no_grad()
    def predict_rows(self, history: Interactions, user_rows: Rows, item_rows: Rows) -> Floats:
        user_rows, item_rows = checked_pairs(history, user_rows, item_rows)
        network = self._fitted_network(history)
        values = np.empty(len(user_rows), np.float32)
        for states, pairs, user in pair_batches(user_rows, partial(self._states, network, history)):
            items = torch.from_numpy(item_rows[pairs]).to(states.device)
            values[pairs] = network.at(states[torch.from_numpy(user)], items).cpu().numpy()
        return self._ratings(values)

    def _ratings(self, values: Floats) -> Floats:
        arrays = fitted_state(self).arrays
        return (arrays["mean"] + arrays["unit"] * values).astype(np.float32)


def blocks_of_events(sequences: Sequences, rows: Rows) -> list[Rows]:
    """The rows in blocks of about `BLOCK_EVENTS` events, or of a single user."""
    events = np.diff(sequences.event_starts)[rows]
    blocks = np.cumsum(events) // BLOCK_EVENTS
    return np.split(rows, np.flatnonzero(np.diff(blocks)) + 1) if len(rows) else []


def features_in(fitted: Fitted) -> SparseRows | None:
    """The features of the items [M, F] that a model was fitted with."""
    table = stored_features(fitted, "item_features")
    return None if table is None else training.sparse_rows(table.matrix)
