"""What a recommender is: parameters, a fitted state, scores from histories; and what it may offer beside scores.

N users and M items of a history, B users asked about, H units.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, Self, cast, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from recsys_ae.declaration import Parameterised
from recsys_ae.errors import ConfigError, DataError, NotFittedError
from recsys_ae.fitted import Fitted
from recsys_ae.ids import IdMap, Rows
from recsys_ae.interactions import Interactions

Floats = NDArray[np.float32]
Scale = tuple[float, float]
BATCH_USERS = 1024


@dataclass(frozen=True)
class FitContext:
    """What `Recommender.fit` was given beside the training data.

    Attributes:
        valid: interactions for early stopping, None if there are none.
        history: what is known of users when `valid` is predicted.
        seed: of everything random.
        callbacks: training hooks, see `core.trainer.Callback`.
        before: state of the fitted model to start from.
    """

    valid: Interactions | None
    history: Interactions
    seed: int
    callbacks: Sequence[Any]
    before: Fitted | None


@dataclass
class Recommender(Parameterised, ABC):
    """A model: a dataclass whose fields are its hyper-parameters, and `fitted`, which `fit` sets.

    Scores are a pure function of the fitted state and of the *history* given: the same model scores users it has never
    seen, or seen with fewer interactions, without being trained again. Each model documents what it can say about users
    and items that its training data did not contain.

    Attributes:
        predicts_ratings: whether scores are ratings; if so, the model is a `RatingPredictor`.
        needs: what the training data must have beside ratings, of "order", "user_features" and "item_features".
        validation_name: what early stopping minimises on validation data.
    """

    fitted: Fitted | None = field(default=None, init=False, repr=False)
    needs: ClassVar[frozenset[str]] = frozenset()
    validation_name: ClassVar[str] = "none"

    @property
    def predicts_ratings(self) -> bool:
        return False

    def fit(
        self,
        train: Interactions,
        *,
        valid: Interactions | None = None,
        valid_history: Interactions | None = None,
        seed: int = 0,
        callbacks: Sequence[Any] = (),
        warm_start: "Recommender | None" = None,
    ) -> Self:
        """Fit the model to `train` and return the model itself.

        Args:
            train: interactions of N users and M items; see `Interactions.from_frame`.
            valid: interactions (same ids) for early stopping. Models in closed form ignore it.
            valid_history: what is known of users when `valid` is predicted, if that is more than `train`.
            seed: of everything random.
            callbacks: training hooks, see `core.trainer.Callback`.
            warm_start: a fitted model of the same kind and sizes, whose parameters are the starting point; those of users and
                items that it does not know are drawn anew. Models in closed form ignore it.

        Raises:
            DataError: `train` is not an `Interactions`, or lacks what the model needs.
            ConfigError: parameters that do not fit the data, or `warm_start` is another kind of model.
            NotFittedError: `warm_start` is not fitted.
            TrainingError: the loss is no longer finite.
        """
        for part in (train, valid, valid_history):
            check_interactions(part)
        self._check_needs(train)
        given = valid if valid is not None and len(valid) else None
        before = None if warm_start is None else self._state_of(warm_start)
        self.fitted = self._fit(train, FitContext(given, valid_history or train, seed, callbacks, before))
        return self

    @abstractmethod
    def _fit(self, train: Interactions, context: FitContext) -> Fitted:
        """What is learned from `train`."""

    @abstractmethod
    def scores(self, history: Interactions, rows: Rows) -> Floats:
        """Scores of all items for the users at `rows` [B] of `history` -> float32 [B, M]; higher is better."""

    def _check_needs(self, train: Interactions) -> None:
        if missing := sorted(need for need in self.needs if not _has(train, need)):
            raise DataError(f"{type(self).__name__} needs {' and '.join(missing)}, which the training data does not have")

    def _state_of(self, warm_start: "Recommender") -> Fitted:
        if type(warm_start) is not type(self):
            kinds = type(self).__name__, type(warm_start).__name__
            raise ConfigError("{} cannot start from a {}; give a model of the same kind".format(*kinds))
        return fitted_state(warm_start)


@runtime_checkable
class RatingPredictor(Protocol):
    """A recommender whose scores are ratings, and which predicts single ones cheaply."""

    def predict_rows(self, history: Interactions, user_rows: Rows, item_rows: Rows) -> Floats:
        """Predicted ratings of the pairs (user_rows[n], item_rows[n]) -> float32 [n], within the rating scale."""


@runtime_checkable
class KnowsUsers(Protocol):
    """A recommender that can score only some users, even with a history: those it was trained on."""

    def can_score(self, history: Interactions, rows: Rows) -> NDArray[np.bool_]:
        """bool [B]: whether the model can score the users at `rows`; `scores` raises `ColdUserError` for others."""


@runtime_checkable
class HasItemVectors(Protocol):
    """A recommender with a vector for each item."""

    def item_vectors(self) -> Floats:
        """Item vectors, float32 [M, H]."""


@runtime_checkable
class HasUserVectors(Protocol):
    """A recommender that maps each user's history to a vector."""

    def user_vectors(self, history: Interactions, rows: Rows) -> Floats:
        """Vectors of the users at `rows` of `history`, float32 [B, H]."""


@runtime_checkable
class LinearInHistory(Protocol):
    """A recommender whose scores are sums of a weight for each item in the history, whatever its value."""

    def item_weights(self, rows: Rows) -> Floats:
        """float32 [B, M]: what having the item at `rows` [B] in the history adds to the score of each item."""


def check_interactions(data: object, what: str = "fit") -> None:
    """Raise `DataError` with a way out if `data` is something other than `Interactions` or None."""
    if not isinstance(data, Interactions | None):
        raise DataError(
            f"{what} takes Interactions, got {type(data).__name__}; make them with "
            "Interactions.from_frame(frame, user=..., item=..., rating=...) or read_interactions(path)"
        )


def _has(train: Interactions, need: str) -> bool:
    return train.times is not None if need == "order" else getattr(train, need) is not None


def fitted_state(model: Recommender, history: Interactions | None = None) -> Fitted:
    """What `model` has learned, after checking that `history`, if given, has the same items.

    Raises:
        NotFittedError: `fit` or `load_model` has not been called.
        DataError: the history is not an `Interactions`, or has other items.
    """
    if model.fitted is None:
        raise NotFittedError(f"{type(model).__name__} is not fitted; call fit() or load_model() first")
    if history is not None:
        check_interactions(history, "a history")
        if history.items != items_of(model.fitted):
            raise DataError(
                f"the history has {history.n_items} items, the model was fitted on {len(items_of(model.fitted))} others; "
                'build the history with items=model.fitted.ids["items"]'
            )
    return model.fitted


def fitted_on(
    train: Interactions, arrays: Mapping[str, NDArray[Any]], *, keep_users: bool = False, scale: Scale | None = None
) -> Fitted:
    """The state of a recommender that learned `arrays` from `train`.

    Args:
        keep_users: whether the arrays hold something for each training user.
        scale: range of predicted ratings.

    Returns:
        `arrays` and `popularity`, float32 [M], the number of training interactions of each item; the ids of the items and,
        if they are kept, of the users; the scale, and the type of user ids, which histories and lists share.
    """
    popularity = np.bincount(train.matrix.indices, minlength=train.n_items).astype(np.float32)
    ids = {"items": train.items, **({"users": train.users} if keep_users else {})}
    meta = {"scale": None if scale is None else list(scale), "user_ids": train.users.kind}
    return Fitted({**arrays, "popularity": popularity}, ids, meta)


def items_of(fitted: Fitted) -> IdMap:
    """The catalogue; every history must have exactly these items."""
    return fitted.ids["items"]


def scale_of(fitted: Fitted) -> Scale | None:
    """Range of predicted ratings, None if the model predicts none."""
    scale = fitted.meta["scale"]
    return None if scale is None else (scale[0], scale[1])


def rating_scale(train: Interactions) -> Scale:
    """The declared scale of the ratings, or else their range."""
    ratings = train.matrix.data
    return train.scale or (float(ratings.min()), float(ratings.max()))


def clip(ratings: Floats, fitted: Fitted) -> Floats:
    """Predicted ratings, clipped to the scale."""
    scale = scale_of(fitted)
    return ratings if scale is None else np.clip(ratings, *scale)


def rating_predictor(model: Recommender) -> RatingPredictor:
    """`model` itself, or `ConfigError` if it does not predict ratings."""
    if not model.predicts_ratings:
        raise ConfigError(f"{type(model).__name__} ranks items, but does not predict ratings")
    return cast(RatingPredictor, model)


def copy_matching_rows(new: Any, old: Any, new_ids: IdMap, old_ids: IdMap) -> None:
    """Overwrite the rows of `new` [n, ...] whose ids are also in `old_ids` with their rows of `old` (arrays or tensors).

    Raises:
        ConfigError: the rows have another shape.
    """
    if new.shape[1:] != old.shape[1:]:
        raise ConfigError(f"the model to start from has other sizes: {tuple(old.shape[1:])}, here {tuple(new.shape[1:])}")
    rows = old_ids.find(new_ids.values)
    known = np.flatnonzero(rows >= 0)
    new[known] = old[rows[known]]
