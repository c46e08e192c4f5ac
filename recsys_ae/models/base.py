"""The interface of recommenders: fitting, scores from histories, and optional abilities.

Shapes: a history has N users and M items; B users are scored; vectors have H units.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, Self, TypeVar, cast, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from recsys_ae.declaration import Parameterised, check_seed, likely_cause
from recsys_ae.errors import ConfigError, DataError, NotFittedError, TrainingError, described, quoted
from recsys_ae.fitted import Fitted
from recsys_ae.ids import Rows
from recsys_ae.interactions import Interactions, check_interactions
from recsys_ae.limits import check_finite, check_memory, limits
from recsys_ae.models.warm_start import check_features
from recsys_ae.space import Space

T = TypeVar("T")
Floats = NDArray[np.float32]
REFIT = "fit the model again, with other parameters"
BATCH_USERS = 1024
ROW_MULTIPLE = 16  # blocks of a multiple of this many rows were found to round alike
PART = 2**20  # interactions counted at a time
BLOCK_SCORES = 2**24  # in memory at a time; limits the users per block if there are more than 16,384 items


@dataclass(frozen=True, repr=False)
class FitContext:
    """The arguments of `Recommender.fit` apart from the training data."""

    valid: Interactions | None  # None if empty
    history: Interactions  # `valid_history`, or the training data
    seed: int
    callbacks: Sequence[Any]
    before: Fitted | None  # state of the fitted model to start from


@dataclass
class Recommender(Parameterised, ABC):
    """A model: a dataclass of hyper-parameters, whose learned state is `fitted`, set by `fit`.

    Scores are a pure function of the fitted state and a *history*, so that a model can score users it was not trained on, or
    whose history has changed. Each model documents how it treats users and items without training data.

    Attributes:
        predicts_ratings: whether scores are ratings; if so, the model is a `RatingPredictor`.
        needs: what the training data must have beside ratings: any of "order", "user_features" and "item_features".
        validation_name: name of the validation value that early stopping minimises.
        space: the search space, around the defaults.
    """

    fitted: Fitted | None = field(default=None, init=False, repr=False)
    _derived: tuple[Fitted, Any] | None = field(default=None, init=False, repr=False, compare=False)
    validation_name: ClassVar[str] = "none"
    space: ClassVar[Space] = {}

    @property
    def predicts_ratings(self) -> bool:
        return False

    @property
    def needs(self) -> frozenset[str]:
        return frozenset()

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
            valid: interactions (same ids) for early stopping; ignored by models in closed form.
            valid_history: history from which `valid` is predicted; `train` if None.
            seed: seed of all random numbers.
            callbacks: training hooks, see `core.trainer.Callback`.
            warm_start: fitted model of the same class and sizes to start from; users and items it does not know start from
                random parameters. Ignored by models in closed form.

        Raises:
            DataError: `train` is not an `Interactions`, or lacks what the model needs.
            ConfigError: parameters that do not fit the data or the memory, or a `warm_start` of another class or features.
            NotFittedError: `warm_start` is not fitted.
            TrainingError: the loss or a learned parameter is not finite, or equations have no solution in floating point.
        """
        check_interactions(train, "train")
        for name, part in {"valid": valid, "valid_history": valid_history}.items():
            if part is not None:
                check_interactions(part, name)
                if part.users != train.users or part.items != train.items:
                    raise DataError(f"{name} has other users or items than train; use the same ids for both, as a Split does")
        kind = type(self).__name__
        optional = {"order": train.times, "user_features": train.user_features, "item_features": train.item_features}
        names = {"order": "times", "user_features": "features of users", "item_features": "features of items"}
        if missing := sorted(names[need] for need in self.needs if optional[need] is None):
            other = 'use features="available"' if hasattr(self, "features") else "choose another model"
            raise DataError(f"{kind} needs training data with {' and '.join(missing)}; declare them, or {other}")
        if warm_start is not None and type(warm_start) is not type(self):
            raise ConfigError(f"{kind} cannot start from a {type(warm_start).__name__}; use a fitted {kind}")
        before = None if warm_start is None else fitted_state(warm_start)
        check_features(self, before, train)
        check_seed(seed)
        way_out = likely_cause(self)
        check_memory(kind, self._memory(train.n_users, train.n_items), way_out)
        with limits(kind, way_out):
            known = train if valid_history is None else valid_history
            fitted = self._fit(train, FitContext(valid or None, known, seed, callbacks, before))
        check_finite(kind, fitted.arrays, way_out)
        self.fitted = fitted
        return self

    def _memory(self, n_users: int, n_items: int) -> int:
        """Bytes that the parameters take while they are fitted; 0 if their number is limited by the data."""
        return 0

    @abstractmethod
    def _fit(self, train: Interactions, context: FitContext) -> Fitted:
        """The state learned from `train`."""

    @abstractmethod
    def scores(self, history: Interactions, rows: Rows) -> Floats:
        """Scores of all items for the users at `rows` [B] of `history` -> float32 [B, M]; higher is better.

        The caller may overwrite them, unless the array is read-only.
        """

    def derived(self, build: Callable[[Fitted], T], *histories: Interactions) -> T:
        """What `build`, the same in all calls, makes of the fitted state: made once for each state, and not pickled."""
        fitted, known = fitted_state(self, *histories), self._derived
        if known is None or known[0] is not fitted:
            known = self._derived = fitted, build(fitted)
        return cast(T, known[1])

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_derived": None}


@runtime_checkable
class RatingPredictor(Protocol):
    """A recommender whose scores are ratings, and which can predict single ratings cheaply."""

    def predict_rows(self, history: Interactions, user_rows: Rows, item_rows: Rows) -> Floats:
        """Scores of the pairs (user_rows[n], item_rows[n]) -> float32 [n]; `finite_predictions` clips them to the scale."""


@runtime_checkable
class KnowsUsers(Protocol):
    """A recommender that decides which users it can score; all others can score exactly the users with a history."""

    def can_score(self, history: Interactions, rows: Rows) -> NDArray[np.bool_]:
        """bool [B]: which of the users at `rows` can be scored; `scores` raises `ColdUserError` for the others."""


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
    """A recommender whose scores are linear in the binary history, apart from a constant of each item."""

    def item_weights(self, rows: Rows) -> Floats:
        """float32 [B, M]: what each of the items at `rows` [B], if in the history, adds to the scores of all items."""


def users_per_block(n_items: int) -> int:
    """Number of users scored at a time: a block has at most `BLOCK_SCORES` scores, or a single user."""
    return min(BATCH_USERS, max(1, BLOCK_SCORES // n_items))


def blocks_of(rows: Rows, n_items: int) -> list[Rows]:
    """The rows in blocks of `users_per_block`."""
    step = users_per_block(n_items)
    return [rows[start : start + step] for start in range(0, len(rows), step)]


def finite_scores(model: Recommender, history: Interactions, rows: Rows) -> Floats:
    """`model.scores`, checked for NaN and inf; -inf marks items that the model cannot score.

    Products with few rows, and functions of the numbers that do not fill a vector of the processor, round differently. So a
    block is filled up with repeated rows, and the scores of a user do not depend on the others in it.

    Raises:
        TrainingError: a score is NaN or inf, or the equations for a score have no solution in floating point.
    """
    kind = type(model).__name__
    with limits(f"scoring with {kind}", REFIT):
        scores = model.scores(history, np.resize(rows, -(-len(rows) // ROW_MULTIPLE) * ROW_MULTIPLE))[: len(rows)]
    if not scores.max(initial=-np.inf) < np.inf:  # NaN is not
        raise TrainingError(f"{kind} returned scores that are NaN or infinite; {REFIT}")
    return scores


def finite_predictions(model: Recommender, history: Interactions, user_rows: Rows, item_rows: Rows) -> Floats:
    """Predicted ratings of the pairs (user_rows[n], item_rows[n]), clipped to the scale and checked for finite numbers."""
    predictor, kind = rating_predictor(model), type(model).__name__
    with limits(f"predicting with {kind}", REFIT):
        ratings = predictor.predict_rows(history, user_rows, item_rows)
    if not np.isfinite(ratings).all():
        raise TrainingError(f"{kind} predicted ratings that are NaN or infinite; {REFIT}")
    return np.clip(ratings, *fitted_state(model).meta["scale"])


def check_recommender(model: object) -> None:
    """Raise `ConfigError` unless `model` is an instance with the methods of a `Recommender`."""
    if isinstance(model, type):
        raise ConfigError(f"expected a fitted model, got the class {model.__name__}; call {model.__name__}().fit(train) first")
    if not hasattr(type(model), "scores"):
        raise ConfigError(f"expected a fitted model, got {described(model)}; fit one, or load it with load_model(folder)")


def check_counts(**counts: int) -> None:
    """Raise `ConfigError` unless all the named numbers are whole and at least 1."""
    for name, count in counts.items():
        if not isinstance(count, int | np.integer) or isinstance(count, bool) or count < 1:
            raise ConfigError(f"{name} must be a whole number of at least 1, got {quoted(count)}")


def fitted_state(model: Recommender, *histories: Interactions) -> Fitted:
    """The fitted state of `model`, after checking that `histories` fit it.

    Raises:
        ConfigError: `model` is not a `Recommender`.
        NotFittedError: neither `fit` nor `load_model` has been called.
        DataError: a history that is not an `Interactions`, or has other items or ratings on another scale.
    """
    check_recommender(model)
    if model.fitted is None:
        raise NotFittedError(f"{type(model).__name__} is not fitted; call fit() or load_model() first")
    items, accepted = model.fitted.ids["items"], model.fitted.meta.get("accepted")
    for history in histories:
        check_interactions(history, "a history")
        if history.items != items:
            raise DataError(
                f"the history has other items ({history.n_items}) than the model was fitted on ({len(items)}); "
                'build the history with items=model.fitted.ids["items"]'
            )
        if accepted is None or history.rating_range is None:
            continue
        (low, high), (lowest, highest) = accepted, history.rating_range
        if lowest < np.float32(low) or highest > np.float32(high):
            raise DataError(
                f"the history has ratings from {lowest:g} to {highest:g}, but {type(model).__name__} accepts {low:g} to "
                f"{high:g}, given its training data; use ratings on the same scale"
            )
    return model.fitted


def checked_rows(history: Interactions, rows: ArrayLike) -> Rows:
    """Row numbers of users of `history` as an int64 array [B]; `DataError` unless there are such users."""
    check_interactions(history, "a history")
    return _in_range("rows", rows, history.n_users, "recommend")


def checked_pairs(history: Interactions, user_rows: ArrayLike, item_rows: ArrayLike) -> tuple[Rows, Rows]:
    """Row numbers of users and items of `history` as int64 arrays [n]; `DataError` unless there are such users and items."""
    return checked_rows(history, user_rows), _in_range("rows of items", item_rows, history.n_items, "predict")


def checked_items(model: Recommender, rows: ArrayLike) -> Rows:
    """Row numbers of items of a fitted model as an int64 array [B]; `DataError` unless there are such items."""
    return _in_range("rows of items", rows, len(fitted_state(model).ids["items"]), "similar_items")


def _in_range(what: str, rows: ArrayLike, n: int, by_id: str) -> Rows:
    found = np.asarray(rows)
    if found.ndim != 1 or (len(found) and found.dtype.kind not in "iu"):
        raise DataError(f"{what} must be a list of whole numbers, got {described(rows)} of {found.dtype}; {by_id} takes ids")
    if len(found) and not 0 <= found.min() <= found.max() < n:
        raise DataError(f"{what} are from 0 to {n - 1}, got {found.min()} to {found.max()}; {by_id} takes ids")
    return found.astype(np.int64, copy=False)


def item_counts(train: Interactions) -> Floats:
    """Number of interactions of each item, float32 [M]."""
    counts = np.zeros(train.n_items, np.int64)
    for start in range(0, len(train), PART):  # each of which is copied
        counts += np.bincount(train.matrix.indices[start : start + PART], minlength=train.n_items)
    return counts.astype(np.float32)


def fitted_on(
    train: Interactions,
    arrays: Mapping[str, NDArray[Any]],
    *,
    keep_users: bool = False,
    keep_scale: bool = False,
    features: Collection[str] = (),
) -> Fitted:
    """The state of a recommender that learned `arrays` from `train`.

    Args:
        keep_users: add the ids of the users, and the array `trained_users`, bool [N]: which of them have interactions.
        keep_scale: add the scale of the ratings (their range if none is declared), to which predictions are clipped, and
            the accepted ratings of histories: the declared scale, or the observed range widened by ten times its width.
        features: names of feature tables to add, `user_features` (needs `keep_users`) and `item_features`; see
            `models.side_information`.

    Returns:
        `arrays` and the `popularity` of items (see `item_counts`), the ids of the items, the type of the user ids, and
        whether there are sessions.
    """
    own, ids = {**arrays, "popularity": item_counts(train)}, {"items": train.items}
    if keep_users:
        own["trained_users"], ids["users"] = np.diff(train.matrix.indptr) > 0, train.users
    scale = list(rating_scale(train)) if keep_scale else None
    sessions = train.events is not None and train.events.sessions is not None
    meta: dict[str, Any] = {"scale": scale, "user_ids": train.users.kind, "sessions": sessions}
    if scale is not None:
        margin = 0.0 if train.scale else 10 * (scale[1] - scale[0] or abs(scale[0]) or 1.0)
        meta["accepted"] = [scale[0] - margin, scale[1] + margin]
    for name in sorted(features):  # a set has another order in each process, and digests depend on it
        table, meta[name] = getattr(train, name).to_arrays(f"{name}.")
        own |= table
    return Fitted(own, ids, meta)


def rating_scale(train: Interactions) -> tuple[float, float]:
    """The declared scale of the ratings, or their range."""
    return train.scale or (float(train.matrix.data.min()), float(train.matrix.data.max()))


def rating_predictor(model: Recommender) -> RatingPredictor:
    """`model` as a `RatingPredictor`; raises `ConfigError` if it does not predict ratings."""
    if not model.predicts_ratings:
        raise ConfigError(f"{type(model).__name__} does not predict ratings; use a rating model such as autorec")
    return cast(RatingPredictor, model)
