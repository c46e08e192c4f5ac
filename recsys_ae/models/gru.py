"""Recurrent networks over sessions, which rank the next item or predict its rating."""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Generic, Literal, TypeVar

import numpy as np
import torch
from pydantic import Field
from torch import Generator, Tensor

from recsys_ae.core.axes import check_id_axes
from recsys_ae.core.devices import Device, device_named, device_of
from recsys_ae.core.limits import training_memory
from recsys_ae.core.session_heads import ColumnValue, ColumnValueError, NextColumn, NextColumnError, RankingLoss
from recsys_ae.core.sessions import Hierarchy, MemoryKind, SessionBatch, SessionNetwork
from recsys_ae.core.sparse import SparseRows
from recsys_ae.core.trainer import Objective, Precision, TrainConfig, fit
from recsys_ae.errors import DataError
from recsys_ae.fitted import Fitted
from recsys_ae.ids import Rows
from recsys_ae.interactions import Interactions
from recsys_ae.models import training
from recsys_ae.models.base import FitContext, Floats, Recommender, checked_rows, clip, fitted_on, fitted_state, item_counts
from recsys_ae.sequences import Sequences

SCORED_EVENTS = 2**15  # of histories, in memory at a time
LIST_LENGTH = 20  # of the validation value of a ranking
H = TypeVar("H", NextColumn, ColumnValue)


@dataclass
class SessionNetworkModel(Recommender, Generic[H]):
    """Fitting and scoring of a gated recurrent unit over sessions, and one over the sessions of a user.

    Sources: Hidasi et al. 2016 (`hierarchy: none`, every session by itself) and Quadrana et al. 2017 (`init`, the state of the
    user is the initial state of a session; `all`, it also enters the gates at every event). Deviations: the initial state of a
    user's first session is learned; gates are those of `torch.nn.GRU`; the embedding of the last event is added to the state;
    Adam; sessions are never cut, and gradients flow through all sessions of a user.

    Works for any user with a history, as no parameter belongs to a user. The next event is taken to be in the last session of
    the history. Items without training data have random vectors, unless `item_features` tell about them.

    Attributes:
        hidden: H, the size of states and embeddings.
        hierarchy: see above. It makes no difference to users with one session.
        user_state: what reads the sessions of a user: `gru`, or `attention`, see `core.sessions.AttentionMemory`.
        input: an item is an input of the gates itself (`one_hot`), by an `embedding`, or by one `shared` with the output.
        item_features: whether the features of an item are joined to its input, and with `shared` to its output.
        dropout: share of the units of embeddings and states that are dropped in training.
        batch_events: events per batch, on average, of whole users, or of whole sessions with `hierarchy: none`.
        epochs, learning_rate, learning_rate_decay, patience, precision, device: see `core.trainer.TrainConfig`.
    """

    hidden: Annotated[int, Field(ge=1)] = 100
    hierarchy: Hierarchy = "init"
    user_state: MemoryKind = "gru"
    input: Literal["one_hot", "embedding", "shared"] = "shared"
    item_features: bool = False
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.25
    epochs: Annotated[int, Field(ge=1)] = 20
    batch_events: Annotated[int, Field(ge=1)] = 512
    learning_rate: Annotated[float, Field(gt=0)] = 3e-3
    learning_rate_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    patience: Annotated[int, Field(ge=0)] = 5
    precision: Precision = "auto"
    device: Device = "cpu"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._built: tuple[Fitted, H] | None = None

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"order", "item_features"} if self.item_features else {"order"})

    def _memory(self, n_users: int, n_items: int) -> int:
        return training_memory(lambda: self._network(n_items, None, None))

    @abstractmethod
    def _network(self, n_items: int, features: SparseRows | None, generator: Generator | None) -> H:
        """The network, with random weights."""

    @abstractmethod
    def _objective(self, train: Interactions) -> Objective[H, SessionBatch]:
        """What is minimised."""

    @abstractmethod
    def _validation(self, network: H, about: Fitted, known: Sequences, asked: NDArray[np.bool_]) -> Callable[[], float] | None:
        """The validation value at the events that are `asked` [E], as a function of the current weights; None if there are none."""

    def _sessions(self, n_items: int, features: SparseRows | None, generator: Generator | None) -> SessionNetwork:
        return SessionNetwork(
            n_items,
            self.hidden,
            hierarchy=self.hierarchy,
            memory=self.user_state,
            one_hot_input=self.input == "one_hot",
            valued=self.predicts_ratings,
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
        rows = rows[torch.nonzero(self._examples(rows))[:, 0]]
        if not len(rows):
            raise DataError("...")
        batch_size = max(1, round(self.batch_events * len(rows) / len(rows.columns)))
        config = TrainConfig.of(self, seed=context.seed, batch_size=batch_size)
        valid = None if context.valid is None else self._validation(network, about, *joined(context.history, context.valid))
        fit(network, self._objective(train), rows, config, valid=valid, callbacks=context.callbacks)
        return replace(about, arrays={**about.arrays, **training.weights_of(network)})
