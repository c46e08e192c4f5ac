"""Wide and deep learning of ratings: ids, features and their crosses, and who rated what."""

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_array
from torch import Generator, Tensor

from recsys_ae.core.axes import Axis, check_id_axes
from recsys_ae.core.entries import Entries, sampled_rows
from recsys_ae.core.losses import LossSum
from recsys_ae.core.memory import training_memory
from recsys_ae.core.sparse import unit_pattern
from recsys_ae.core.trainer import Objective, TrainConfig, fit
from recsys_ae.core.wide_deep import Coded, Known, LossName, WideDeepNetwork, crossed_terms, kept_ids
from recsys_ae.declaration import AnySizes, likely_cause
from recsys_ae.fitted import Fitted
from recsys_ae.ids import IdMap, Rows
from recsys_ae.interactions import Interactions
from recsys_ae.limits import check_memory
from recsys_ae.models import training
from recsys_ae.models.base import (
    FitContext,
    Floats,
    Recommender,
    checked_pairs,
    checked_rows,
    fitted_on,
    fitted_state,
    item_counts,
)
from recsys_ae.models.side_information import Features, feature_needs, stored_features, used_features
from recsys_ae.models.wide_deep_scorer import WideDeepScorer
from recsys_ae.space import Range, Space


@dataclass
class WideAndDeep(Recommender):
    """Wide and deep learning: linear terms and crosses of features, products of embeddings, and a perceptron, trained jointly.

    Source: Cheng et al. 2016, on observed ratings only; see `core.wide_deep` for the equations. The wide part has weights of
    the ids (biases), of the features and of all pairs of a user's and an item's feature. Embeddings of ids, of features and
    of who rated what are added up for each user and item (who rated what, as a vector of length 1, stands for the installed
    apps in the source; Koren 2008 uses it in SVD++). Deviation: the product of both embeddings is a further term, because a
    perceptron learns to multiply only with difficulty (Rendle et al. 2020).

    With `loss: squared_error` outputs are ratings. With the others, each distinct rating of the training data is a class, and
    predictions are expected ratings: `softmax` has a logit per class, in which the wide part has a learned slope; `ordinal`
    has learned increasing thresholds, see `core.ordinal`. Ratings are scaled to variance 1.

    Who can be scored: anyone with a history, or with features if those of users are used. Users without training ratings have
    their features, who they rated, and a vector of their own, fitted to their history with all else fixed (see
    `WideDeepScorer.fold_in`); items without training ratings have their features. For training users, of new ratings only the
    items have an effect before the next fit. Training and scoring run on the CPU. Scores are predicted ratings, not clipped to
    the scale; predictions are clipped.

    Attributes:
        features: whose features are used, see `HybridAutoencoder`.
        who: whether the items of a user and the users of an item are used.
        loss: see above.
        factors: size of the embeddings.
        hidden: sizes of the perceptron's layers (ReLU); empty for none.
        cold: share of the users, and of the items, of a batch that have only their features, so that these learn to predict
            alone; as many have no vector of their own. 0 on a side without features, or who.
        dropout: share of the hidden units dropped in training.
        l2: each rating adds l2 times the squares of the terms of its user's and item's sums, and of its cross.
        init_std: standard deviation of the initial embeddings of ids and features.
        sample: of who rated what, at most this many are drawn for a user or an item in a batch, so that a step costs what its
            ratings cost.
        epochs, batch_size, learning_rate, learning_rate_decay, patience: see `core.trainer.TrainConfig`; batches are of
            ratings.
    """

    features: Features = "available"
    who: bool = True
    loss: LossName = "squared_error"
    factors: Annotated[int, Field(ge=1)] = 32
    hidden: AnySizes = (64,)
    cold: Annotated[float, Field(ge=0, lt=0.5)] = 0.1
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    l2: Annotated[float, Field(ge=0)] = 0.03
    init_std: Annotated[float, Field(gt=0)] = 0.05
    sample: Annotated[int, Field(ge=1)] = 64
    epochs: Annotated[int, Field(ge=1)] = 30
    batch_size: Annotated[int, Field(ge=1)] = 2048
    learning_rate: Annotated[float, Field(gt=0)] = 3e-3
    learning_rate_decay: Annotated[float, Field(gt=0, le=1)] = 0.9
    patience: Annotated[int, Field(ge=0)] = 5
    space: ClassVar[Space] = {
        "factors": Range(low=8, high=128, log=True),
        "hidden": [[64], [128, 64]],
        "dropout": Range(low=0, high=0.8),
        "l2": Range(low=0.003, high=0.3, log=True),
        "learning_rate": Range(low=0.0005, high=0.02, log=True),
    }
    predicts_ratings: ClassVar[bool] = True
    validation_name: ClassVar[str] = "valid_rmse"

    @property
    def needs(self) -> frozenset[str]:
        return feature_needs(self.features)

    def _memory(self, n_users: int, n_items: int) -> int:
        return training_memory(lambda: self._network((n_users, n_items), (0, 0), 2, None))

    def _network(
        self, ids: tuple[int, int], features: tuple[int, int], classes: int, generator: Generator | None
    ) -> WideDeepNetwork:
        n_users, n_items = ids
        return WideDeepNetwork(
            (n_users, n_items if self.who else 0, features[0]),
            (n_items, n_users if self.who else 0, features[1]),
            factors=self.factors,
            hidden=self.hidden,
            loss=self.loss,
            classes=classes,
            init_std=self.init_std,
            generator=generator,
        )

    def _fit(self, train: Interactions, context: FitContext) -> Fitted:
        ratings = train.matrix.data
        mean, unit = ratings.mean(), ratings.std() or np.float32(1)
        level = {"mean": np.array([mean]), "unit": np.array([unit])}
        about = fitted_on(train, level, keep_users=True, keep_scale=True, features=used_features(self, train))
        entries = Entries(*map(torch.from_numpy, (train.user_rows(), train.item_rows(), (ratings - mean) / unit)))
        classes = training.rating_classes(ratings, self.loss)
        about = replace(about, meta={**about.meta, "classes": classes})
        users, items = (self._known(train.matrix, about, "user"), self._known(train.matrix.T.tocsr(), about, "item"))
        network = self._new_network(train, entries.value, (users, items), classes, context)

        def state() -> Fitted:
            codes = item_codes(network, items, torch.from_numpy(item_counts(train) > 0))
            return replace(about, arrays={**about.arrays, **training.weights_of(network), "item_codes": codes.numpy()})

        def predict(history: Interactions, users: Rows, items: Rows) -> Floats:
            return WideDeepScorer(network, state(), self.l2).predict_rows(history, users, items)

        valid = training.rating_validation(predict, context.history, context.valid)
        fit(
            network,
            EntryLoss(self, users, items),
            entries,
            TrainConfig.of(self, seed=context.seed),
            valid=valid,
            callbacks=context.callbacks,
        )
        return state()

    def _known(self, ratings: csr_array, about: Fitted, side: Literal["user", "item"]) -> Known:
        table = stored_features(about, f"{side}_features")
        features = None if table is None else training.sparse_rows(table.matrix)
        return Known(features, unit_pattern(training.sparse_rows(ratings)) if self.who else None)

    def _new_network(
        self, train: Interactions, values: Tensor, known: tuple[Known, Known], classes: int, context: FitContext
    ) -> WideDeepNetwork:
        widths = tuple(0 if one.features is None else one.features.width for one in known)
        ids = (train.n_users, train.n_items)
        needed = training_memory(lambda: self._network(ids, (widths[0], widths[1]), classes, None))
        check_memory("wide_deep with these features", needed, likely_cause(self))
        network = self._network(ids, (widths[0], widths[1]), classes, Generator().manual_seed(context.seed))
        network.start_from(values)
        if (before := context.before) is not None:
            check_id_axes(lambda n: self._network((n, n), (1, 1), 2, None))
            axes: dict[Axis, tuple[IdMap, IdMap]] = {
                "rows": (train.users, before.ids["users"]),
                "inputs": (train.items, before.ids["items"]),
            }
            own = {name: buffer.clone() for name, buffer in network.named_buffers()}
            training.copy_matching_parameters(network, before.arrays, axes)
            for name, buffer in network.named_buffers():  # the classes of ratings, in units of the new data
                buffer.copy_(own[name])
        return network

    def scores(self, history: Interactions, rows: Rows) -> Floats:
        return self._scorer(history).scores(history, checked_rows(history, rows))

    def predict_rows(self, history: Interactions, user_rows: Rows, item_rows: Rows) -> Floats:
        return self._scorer(history).predict_rows(history, *checked_pairs(history, user_rows, item_rows))

    def can_score(self, history: Interactions, rows: Rows) -> NDArray[np.bool_]:
        rows = checked_rows(history, rows)
        return self._scorer(history).can_score(history, rows)

    def item_vectors(self) -> Floats:
        return fitted_state(self).arrays["item_codes"][:, 1:]

    def user_vectors(self, history: Interactions, rows: Rows) -> Floats:
        return self._scorer(history).users(history, checked_rows(history, rows)).codes[:, 1:].numpy()

    def _scorer(self, *histories: Interactions) -> WideDeepScorer:
        return self.derived(self._restored, *histories)

    def _restored(self, fitted: Fitted) -> WideDeepScorer:
        tables = [stored_features(fitted, f"{side}_features") for side in ("user", "item")]
        widths = [0 if table is None else table.matrix.shape[1] for table in tables]
        ids = len(fitted.ids["users"]), len(fitted.ids["items"])
        network = self._network(ids, (widths[0], widths[1]), fitted.meta["classes"], None)
        training.load_weights(network, fitted.arrays)
        return WideDeepScorer(network, fitted, self.l2)


@dataclass(frozen=True)
class EntryLoss(Objective[WideDeepNetwork, Entries]):
    """The loss of single ratings, with a penalty: each adds l2 times the squares of all terms of its user's and item's sums.

    Users and items are encoded once per batch. Of both, a share of `cold` have only their features in a batch, and as many lack
    their id. The penalty is part of the loss, because it is of vectors that the loss needs.
    """

    model: WideAndDeep
    users: Known
    items: Known

    def loss(self, module: WideDeepNetwork, batch: Entries, generator: Generator) -> LossSum:
        of_row, row, row_penalty, row_ids = self._encoded(module, batch.row, "rows", generator)
        of_column, column, column_penalty, _ = self._encoded(module, batch.column, "columns", generator)
        rows, columns = of_row.at(row), of_column.at(column)
        score = rows.wide + columns.wide + (rows.factors * columns.factors).sum(1)
        penalty = row_penalty + column_penalty
        if self.users.features is not None and self.items.features is not None:
            cross = crossed_terms(module.crossed(self.users.features[row_ids]), row, self.items.features[batch.column])
            score, penalty = score + cross, penalty + cross.square().sum()
        outputs = module(score, rows.first + columns.first, self.model.dropout, generator)
        found = module.loss(outputs, batch.value)
        return LossSum(found.total + self.model.l2 * penalty, found.count)

    def _encoded(
        self, module: WideDeepNetwork, ids: Tensor, side: Literal["rows", "columns"], generator: Generator
    ) -> tuple[Coded, Tensor, Tensor, Tensor]:
        """The distinct ids [U] encoded, the place of each entry's [n], their penalty, and the distinct ids."""
        known = self.users if side == "rows" else self.items
        part = module.rows if side == "rows" else module.columns
        distinct, place, count = torch.unique(ids, return_inverse=True, return_counts=True)
        drawn = torch.rand(len(distinct), generator=generator)
        cold, new = (self.model.cold if source is not None else 0.0 for source in (known.features, known.who))
        who = None if known.who is None else sampled_rows(known.who, distinct, self.model.sample, generator)
        if who is not None:
            who = who.with_values(who.values * (drawn >= cold)[who.row_of_entry()])
        features = None if known.features is None else known.features[distinct]
        vectors = part(kept_ids(distinct, drawn >= cold + new, len(part.of_ids)), who, features)
        penalty = torch.stack([(vector.square().sum(1) * count).sum() for vector in vectors]).sum()
        return module.coded(torch.stack(vectors).sum(0), side), place, penalty, distinct


@torch.no_grad()
def item_codes(network: WideDeepNetwork, items: Known, rated: Tensor) -> Tensor:
    """Vectors of all items [M, 1 + K]; those that are not `rated` (bool [M]) have only features."""
    ids = kept_ids(torch.arange(len(rated)), rated, len(rated))
    return torch.stack(network.columns(ids, items.who, items.features)).sum(0)
