"""What every recommender is, and what can be asked of any of them: `recommend` and `predict`.

N users and M items of a history, B rows of users, K list length.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, Self, runtime_checkable

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from recsys_ae.errors import ColdUserError, ConfigError, DataError, NotFittedError
from recsys_ae.ids import IdMap, Rows, shown
from recsys_ae.interactions import Interactions

Floats = NDArray[np.float32]
BATCH_USERS = 1024
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fitted:
    """Everything that fitting produced, and all of a model that is saved beside its parameters.

    Attributes:
        items: the catalogue; every history must have exactly these items.
        users: the training users, for models that keep something about each of them, else None.
        scale: range of predicted ratings.
        user_ids: the type of user ids in the training data, which histories and exported lists share.
        arrays: what was learned; `popularity`, float32 [M], is how many interactions each item had in training.
    """

    items: IdMap
    users: IdMap | None = None
    scale: tuple[float, float] | None = None
    user_ids: Literal["int", "str"] = "int"
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    @classmethod
    def on(
        cls,
        train: Interactions,
        arrays: Mapping[str, NDArray[Any]],
        *,
        users: IdMap | None = None,
        scale: tuple[float, float] | None = None,
    ) -> "Fitted":
        """What was learned from `train`."""
        popularity = np.bincount(train.matrix.indices, minlength=train.n_items).astype(np.float32)
        return cls(train.items, users, scale, train.users.kind, {**arrays, "popularity": popularity})


class Recommender(Protocol):
    """A model: a dataclass whose fields are its hyper-parameters, and `fitted`, which `fit` sets.

    Scores are a pure function of the fitted state and of the *history* given: the same model scores users it has never
    seen, or seen with fewer interactions, without being trained again. Each model documents what it can say about users
    and items that its training data did not contain.
    """

    fitted: Fitted | None

    @property
    def predicts_ratings(self) -> bool:
        """Whether scores are ratings; if so, the model is a `RatingPredictor`."""

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
        """Learn from `train` and return the model itself.

        Args:
            valid: interactions (same ids) on which early stopping judges.
            valid_history: what is known of users when `valid` is predicted, if that is more than `train`.
            warm_start: a fitted model of the same kind and sizes, whose parameters are the starting point; those of users and
                items that it does not know start afresh. Models in closed form have no starting point and ignore it.
        """

    def scores(self, history: Interactions, rows: Rows) -> Floats:
        """Scores of all items for the users at `rows` [B] of `history` -> float32 [B, M]; higher is better."""


@runtime_checkable
class RatingPredictor(Recommender, Protocol):
    """A recommender whose scores are ratings, and which can compute single ones cheaply."""

    def predict_rows(self, history: Interactions, user_rows: Rows, item_rows: Rows) -> Floats:
        """Predicted ratings of the pairs (user_rows[n], item_rows[n]) -> float32 [n], within the rating scale."""


@runtime_checkable
class KnowsUsers(Recommender, Protocol):
    """A recommender that has nothing to say about some users who have a history, because it was not trained on them."""

    def can_score(self, history: Interactions, rows: Rows) -> NDArray[np.bool_]:
        """bool [B]: whether the model can score the users at `rows`; `scores` raises `ColdUserError` for others."""


@runtime_checkable
class HasItemVectors(Recommender, Protocol):
    """A recommender in which each item has a vector, near those of items that go together with it."""

    def item_vectors(self) -> Floats:
        """float32 [M, H]"""


@runtime_checkable
class HasUserVectors(Recommender, Protocol):
    """A recommender in which each user has a vector, found from their history."""

    def user_vectors(self, history: Interactions, rows: Rows) -> Floats:
        """float32 [B, H]"""


@runtime_checkable
class LinearInHistory(Recommender, Protocol):
    """A recommender whose scores are sums of a weight for each item in the history, whatever its value."""

    def item_weights(self, rows: Rows) -> Floats:
        """float32 [B, M]: what having the item at `rows` [B] in the history adds to the score of each item."""


def fitted_state(model: Recommender, history: Interactions | None = None) -> Fitted:
    """What `model` has learned, after checking that `history`, if given, is about the same items.

    Raises:
        NotFittedError: `fit` or `load_model` has not been called.
        DataError: the history has other items.
    """
    if model.fitted is None:
        raise NotFittedError(f"{type(model).__name__} is not fitted; call fit() or load_model() first")
    if history is not None and history.items != model.fitted.items:
        raise DataError(
            f"the history has {history.n_items} items, the model was fitted on {len(model.fitted.items)} others; "
            "build the history with items=model.fitted.items"
        )
    return model.fitted


def warm_start_state(model: Recommender, warm_start: Recommender | None) -> Fitted | None:
    """What the model to start from has learned, None if there is none.

    Raises:
        ConfigError: it is of another kind.
        NotFittedError: it is not fitted.
    """
    if warm_start is None:
        return None
    if type(warm_start) is not type(model):
        kinds = type(model).__name__, type(warm_start).__name__
        raise ConfigError("{} cannot start from a {}; give a model of the same kind".format(*kinds))
    return fitted_state(warm_start)


def copy_matching_rows(new: Any, old: Any, new_ids: IdMap, old_ids: IdMap) -> None:
    """Overwrite the rows of `new` [n, ...] whose ids `old_ids` has too by their rows of `old` (arrays or tensors).

    Raises:
        ConfigError: the rows have another shape.
    """
    if new.shape[1:] != old.shape[1:]:
        raise ConfigError(f"the model to start from has other sizes: {tuple(old.shape[1:])}, here {tuple(new.shape[1:])}")
    rows = old_ids.find(new_ids.values)
    known = np.flatnonzero(rows >= 0)
    new[known] = old[rows[known]]


def rating_scale(train: Interactions) -> tuple[float, float]:
    """The declared scale of the ratings, or else the lowest and the highest one there is."""
    ratings = train.matrix.data
    return train.scale or (float(ratings.min()), float(ratings.max()))


def available_memory() -> int | None:
    """Bytes that a process can still get, None where the system does not tell (it does on Linux)."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")), None)


def check_memory(what: str, needed: int, seconds: float, way_out: str) -> None:
    """Say what a fit is about to take, before it allocates anything.

    Raises:
        ConfigError: so many bytes are not free; the message ends with the `way_out`.
    """
    there = available_memory()
    if there is not None and needed > there:
        raise ConfigError(f"{what} needs {needed / 1e9:.1f} GB of memory, and {there / 1e9:.1f} GB are free; {way_out}")
    duration = f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"
    logger.info("%s: %.1f GB of memory, about %s", what, needed / 1e9, duration)


def clip(ratings: Floats, fitted: Fitted) -> Floats:
    """Predicted ratings brought into the scale."""
    return ratings if fitted.scale is None else np.clip(ratings, *fitted.scale)


@dataclass(frozen=True)
class TopK:
    """Ranked lists of at most K items for B users.

    Attributes:
        users: external ids [B].
        item_rows: int64 [B, K], best first; -1 where a user's list is shorter than K.
        scores: float32 [B, K]; NaN in those places.
        items: what `item_rows` are rows of.
    """

    users: NDArray[Any]
    item_rows: Rows
    scores: Floats
    items: IdMap

    def to_frame(self) -> pd.DataFrame:
        """Columns user_id, rank (int32, from 1), item_id, score; a row per recommendation, no padding."""
        user, place = np.nonzero(self.item_rows >= 0)
        return pd.DataFrame(
            {
                "user_id": self.users[user],
                "rank": (place + 1).astype(np.int32),
                "item_id": self.items.values[self.item_rows[user, place]],
                "score": self.scores[user, place],
            }
        )


Cold = Literal["error", "popular", "skip"]


def scorable(model: Recommender, history: Interactions, rows: Rows) -> NDArray[np.bool_]:
    """bool [B]: of whom the model has anything to go by: users with a history and, if it has to be, a part in the training."""
    has_history = np.diff(history.matrix.indptr)[rows] > 0
    return has_history & model.can_score(history, rows) if isinstance(model, KnowsUsers) else has_history


def recommend(
    model: Recommender,
    history: Interactions,
    users: ArrayLike | None = None,
    k: int = 10,
    *,
    exclude_seen: bool = True,
    candidates: ArrayLike | None = None,
    exclude: ArrayLike | None = None,
    cold: Cold = "popular",
) -> TopK:
    """The best `k` items for each user, highest score first, equal scores by item row.

    Args:
        history: what the users have done so far; decides both the scores and what counts as seen.
        users: external ids of users of the history; all of them if None.
        exclude_seen: leave out the items in the user's history.
        candidates: external ids of the only items that may be recommended.
        exclude: external ids of items that may not.
        cold: what users get of whom the model has nothing to go by, see `covered`: the most popular items of the training
            data (`popular`), an empty list (`skip`), or nobody gets anything (`error`).

    Returns:
        For each user exactly min(k, number of items that remain) items; K is min(k, number of items).

    Raises:
        UnknownIdError: a user or item that is not in the history.
        ColdUserError: there is such a user, and `cold` is `error`.
        ConfigError: k < 1.
    """
    rows = np.arange(history.n_users) if users is None else history.users.rows(users)
    allowed = allowed_items(history.items, candidates, exclude)
    blocks = list(recommend_blocks(model, history, rows, k, exclude_seen=exclude_seen, allowed=allowed, cold=cold))
    return TopK(
        users=np.concatenate([block.users for block in blocks]) if blocks else history.users.values[:0],
        item_rows=np.concatenate([block.item_rows for block in blocks]) if blocks else np.empty((0, 0), np.int64),
        scores=np.concatenate([block.scores for block in blocks]) if blocks else np.empty((0, 0), np.float32),
        items=history.items,
    )


def predict(model: Recommender, history: Interactions, users: ArrayLike, items: ArrayLike) -> Floats:
    """Predicted ratings of the pairs of external ids (users[n], items[n]) -> float32 [n].

    Raises:
        ConfigError: the model ranks but does not predict ratings.
        UnknownIdError: a user or item that is not in the history.
    """
    return rating_predictor(model).predict_rows(history, history.users.rows(users), history.items.rows(items))


def rating_predictor(model: Recommender) -> RatingPredictor:
    """`model` itself, or `ConfigError` if it does not predict ratings."""
    if not model.predicts_ratings or not isinstance(model, RatingPredictor):
        raise ConfigError(f"{type(model).__name__} ranks items, but does not predict ratings")
    return model


def recommend_blocks(
    model: Recommender,
    history: Interactions,
    rows: Rows,
    k: int,
    *,
    exclude_seen: bool = True,
    allowed: NDArray[np.bool_] | None = None,
    cold: Cold = "popular",
    batch_users: int = BATCH_USERS,
) -> Iterator[TopK]:
    """`recommend` for the users at `rows` of `history`, `batch_users` at a time: memory is one block of scores.

    Args:
        allowed: bool [M], the items that may be recommended; all if None.
    """
    if k < 1 or batch_users < 1:
        raise ConfigError(f"k and batch_users must be at least 1, got {k} and {batch_users}")
    fitted_state(model, history)
    known = scorable(model, history, rows)
    if cold == "error":
        check_scorable(known, history, rows)
    k = min(k, history.n_items)
    for start in range(0, len(rows), batch_users):
        block = rows[start : start + batch_users]
        scores = _block_scores(model, history, block, known[start : start + batch_users], cold)
        if allowed is not None:
            scores[:, ~allowed] = -np.inf
        if exclude_seen:
            seen = history.matrix[block]
            scores[np.repeat(np.arange(len(block)), np.diff(seen.indptr)), seen.indices] = -np.inf
        item_rows, best = top_k(scores, k)
        yield TopK(history.users.values[block], item_rows, best, history.items)


def check_scorable(known: NDArray[np.bool_], history: Interactions, rows: Rows) -> None:
    """Raise `ColdUserError` if any of the users at `rows` [B] is not `known` [B]."""
    if not known.all():
        first = history.users.values[rows[np.flatnonzero(~known)[0]]]
        raise ColdUserError(
            f"the model has nothing to go by for user {shown(first)} ({int((~known).sum())} of {len(rows)} users): no history, "
            "or no part in the training of a model that needs it; use cold: popular or skip, or fit again"
        )


def _block_scores(model: Recommender, history: Interactions, block: Rows, known: NDArray[np.bool_], cold: Cold) -> Floats:
    """[B, M], NaN being -inf; of those who are not `known` [B], the popularity of items, or -inf everywhere."""
    if known.all():
        scores = np.array(model.scores(history, block), np.float32)  # a copy: what is excluded is written into it
    else:
        scores = np.empty((len(block), history.n_items), np.float32)
        scores[known] = model.scores(history, block[known])
        scores[~known] = fitted_state(model).arrays["popularity"] if cold == "popular" else -np.inf
    scores[np.isnan(scores)] = -np.inf
    return scores


def allowed_items(items: IdMap, candidates: ArrayLike | None, exclude: ArrayLike | None) -> NDArray[np.bool_] | None:
    """bool [M]: the items left by lists of external ids, or None when all of them are."""
    if candidates is None and exclude is None:
        return None
    allowed = np.ones(len(items), bool)
    if candidates is not None:
        allowed[:] = False
        allowed[items.rows(candidates)] = True
    if exclude is not None:
        allowed[items.rows(exclude)] = False
    return allowed


def top_k(scores: Floats, k: int) -> tuple[Rows, Floats]:
    """Columns and values of the `k` highest entries of each row, equal ones by column, -inf left out.

    Args:
        scores: float32 [B, M], without NaN.

    Returns:
        int64 [B, k] padded with -1, float32 [B, k] padded with NaN.
    """
    n_rows, n_columns = scores.shape
    width = min(k, n_columns)
    columns = _largest(scores, width)
    values = np.take_along_axis(scores, columns, axis=1)
    order = np.lexsort((columns, -values), axis=1)
    columns, values = np.take_along_axis(columns, order, axis=1), np.take_along_axis(values, order, axis=1)
    left_out = np.isneginf(values)
    columns[left_out], values[left_out] = -1, np.nan
    padded_columns, padded_values = np.full((n_rows, k), -1), np.full((n_rows, k), np.nan, np.float32)
    padded_columns[:, :width], padded_values[:, :width] = columns, values
    return padded_columns, padded_values


def _largest(scores: Floats, width: int) -> Rows:
    """Columns of the `width` largest entries of each row, in no order; of entries that tie, the leftmost."""
    n_rows, n_columns = scores.shape
    if width == n_columns:
        return np.tile(np.arange(n_columns), (n_rows, 1))
    parted = np.argpartition(scores, (n_columns - width - 1, n_columns - width), axis=1)
    chosen = parted[:, n_columns - width :]
    threshold = np.take_along_axis(scores, parted[:, [n_columns - width]], axis=1)
    below = np.take_along_axis(scores, parted[:, [n_columns - width - 1]], axis=1)
    for row in np.flatnonzero((threshold == below)[:, 0]):  # the cut goes through a tie: partition chose arbitrarily
        above = np.flatnonzero(scores[row] > threshold[row])
        equal = np.flatnonzero(scores[row] == threshold[row])
        chosen[row] = np.r_[above, equal[: width - len(above)]]
    return chosen
