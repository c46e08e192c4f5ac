"""Top-k lists and predictions of any recommender, with external ids in and out.

N users and M items of a history, B users in a block, K list length.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from recsys_ae.errors import ColdUserError, ConfigError
from recsys_ae.ids import IdMap, Rows, shown
from recsys_ae.interactions import Interactions
from recsys_ae.models.base import BATCH_USERS, Floats, KnowsUsers, Recommender, fitted_state, rating_predictor
from recsys_ae.ranking import exclude as exclude_entries, top_k

Cold = Literal["error", "popular", "skip"]


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
        cold: what users get whom the model cannot score, see `scorable`: the most popular items of the training data
            (`popular`), an empty list (`skip`), or nobody gets anything (`error`).

    Returns:
        For each user exactly min(k, number of items that remain) items; K is min(k, number of items).

    Raises:
        UnknownIdError: a user or item that is not in the history.
        ColdUserError: there is a user whom the model cannot score, and `cold` is `error`.
        ConfigError: k < 1.
    """
    fitted_state(model, history)
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
    fitted_state(model, history)
    return rating_predictor(model).predict_rows(history, history.users.rows(users), history.items.rows(items))


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
            exclude_entries(scores, history.matrix[block])
        item_rows, best = top_k(scores, k)
        yield TopK(history.users.values[block], item_rows, best, history.items)


def scorable(model: Recommender, history: Interactions, rows: Rows) -> NDArray[np.bool_]:
    """bool [B]: users the model can score: those with a history and, if the model requires it, seen in training."""
    has_history = np.diff(history.matrix.indptr)[rows] > 0
    return has_history & model.can_score(history, rows) if isinstance(model, KnowsUsers) else has_history


def check_scorable(known: NDArray[np.bool_], history: Interactions, rows: Rows) -> None:
    """Raise `ColdUserError` unless all the users at `rows` [B] are `known` [B]."""
    if not known.all():
        first = history.users.values[rows[np.flatnonzero(~known)[0]]]
        raise ColdUserError(
            f"the model cannot score user {shown(first)} ({int((~known).sum())} of {len(rows)} users): no history, or not "
            "in the training data of a model that requires it; use cold: popular or skip, or fit again"
        )


def allowed_items(items: IdMap, candidates: ArrayLike | None, exclude: ArrayLike | None) -> NDArray[np.bool_] | None:
    """bool [M]: the items that may be recommended, given lists of external ids; None when all of them may."""
    if candidates is None and exclude is None:
        return None
    allowed = np.ones(len(items), bool)
    if candidates is not None:
        allowed[:] = False
        allowed[items.rows(candidates)] = True
    if exclude is not None:
        allowed[items.rows(exclude)] = False
    return allowed


def _block_scores(model: Recommender, history: Interactions, block: Rows, known: NDArray[np.bool_], cold: Cold) -> Floats:
    """[B, M], NaN replaced by -inf; users who are not `known` [B] get the popularity of items, or -inf everywhere."""
    if known.all():
        scores = np.array(model.scores(history, block), np.float32)  # a copy: exclusions are written into it
    else:
        scores = np.empty((len(block), history.n_items), np.float32)
        if known.any():
            scores[known] = model.scores(history, block[known])
        scores[~known] = fitted_state(model).arrays["popularity"] if cold == "popular" else -np.inf
    scores[np.isnan(scores)] = -np.inf
    return scores
