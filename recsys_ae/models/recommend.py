"""Top-k lists and predictions of any recommender, with external ids in and out.

Shapes: N users and M items of a history, B users in a block, K list length.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from recsys_ae.errors import ColdUserError, ConfigError, DataError, quoted
from recsys_ae.ids import IdMap, Rows, shown
from recsys_ae.interactions import Interactions
from recsys_ae.models.base import (
    Floats,
    KnowsUsers,
    Recommender,
    check_counts,
    finite_predictions,
    finite_scores,
    fitted_state,
    users_per_block,
)
from recsys_ae.models.factors import ScoresByFactors, finite_product
from recsys_ae.models.rules import Rules, pattern
from recsys_ae.ranking import Scores, row_of_entry, top_k_and_ties

Cold = Literal["error", "popular", "skip"]


@dataclass(frozen=True, repr=False)
class TopK:
    """Ranked lists of at most K items for B users.

    Attributes:
        users: external ids [B].
        item_rows: int64 [B, K], rows of `items`, best first; -1 where a user's list is shorter than K.
        scores: float32 [B, K]; NaN in those places.
        tied: bool csr_array [B, M], items beyond a list that tie with its last, see `top_k_and_ties`; None unless asked for.
    """

    users: NDArray[Any]
    item_rows: Rows
    scores: Floats
    items: IdMap
    tied: csr_array | None = None

    def __repr__(self) -> str:
        return f"TopK({len(self.users)} users, at most {self.item_rows.shape[1]} of {len(self.items)} items each)"

    def to_frame(self) -> pd.DataFrame:
        """Columns user_id, rank (int32, from 1), item_id, score; a row per recommendation, no padding."""
        user, place = np.nonzero(self.item_rows >= 0)
        items, scores = self.items.values[self.item_rows[user, place]], self.scores[user, place]
        ranks = (place + 1).astype(np.int32)
        return pd.DataFrame({"user_id": self.users[user], "rank": ranks, "item_id": items, "score": scores})


def recommend(
    model: Recommender,
    history: Interactions,
    users: ArrayLike | None = None,
    k: int = 10,
    *,
    exclude_seen: bool = True,
    rules: Rules | None = None,
    cold: Cold = "popular",
) -> TopK:
    """The best `k` items for each user, highest score first, ties in the order of the items.

    Args:
        history: decides both the scores and which items are seen.
        users: external ids of users of the history; all of them if None.
        exclude_seen: leave out the items in the user's history.
        rules: which items may be recommended, and how many of a category; see `Rules.of`.
        cold: what to do with users the model cannot score (see `scorable`): recommend the most popular items of the training
            data (`popular`), return an empty list (`skip`), or raise an error (`error`).

    Returns:
        For each user exactly min(k, number of items that remain) items, and fewer only under a cap on categories; K is min(k,
        number of items).

    Raises:
        UnknownIdError: a user who is not in the history.
        ColdUserError: the model cannot score one of the users, and `cold` is `error`.
        ConfigError: k < 1.
        DataError: the history or the rules have other items than the model.
        TrainingError: a score is NaN or inf; -inf is the score of an item that the model cannot score.
    """
    fitted_state(model, history)
    rows = np.arange(history.n_users) if users is None else history.users.rows(users)
    blocks = list(recommend_blocks(model, history, rows, k, exclude_seen=exclude_seen, rules=rules, cold=cold))
    if not blocks:
        return TopK(history.users.values[:0], np.empty((0, 0), np.int64), np.empty((0, 0), np.float32), history.items)
    return TopK(
        users=np.concatenate([block.users for block in blocks]),
        item_rows=np.concatenate([block.item_rows for block in blocks]),
        scores=np.concatenate([block.scores for block in blocks]),
        items=history.items,
    )


def predict(model: Recommender, history: Interactions, users: ArrayLike, items: ArrayLike) -> Floats:
    """Predicted ratings of the pairs of external ids (users[n], items[n]) -> float32 [n].

    Raises:
        ConfigError: the model ranks but does not predict ratings, or there are not as many items as users.
        UnknownIdError: a user or item that is not in the history.
    """
    fitted_state(model, history)
    user_rows, item_rows = history.users.rows(users), history.items.rows(items)
    if len(user_rows) != len(item_rows):
        raise ConfigError(f"predict needs as many users as items, got {len(user_rows)} and {len(item_rows)}")
    return finite_predictions(model, history, user_rows, item_rows)


def recommend_blocks(
    model: Recommender,
    history: Interactions,
    rows: Rows,
    k: int,
    *,
    exclude_seen: bool = True,
    rules: Rules | None = None,
    candidates: csr_array | None = None,
    cold: Cold = "popular",
    batch_users: int | None = None,
    seen: Interactions | None = None,
    wanted: csr_array | None = None,
) -> Iterator[TopK]:
    """`recommend` for the users at `rows` of `history` in blocks, with memory for one block of scores.

    Args:
        batch_users: users per block; `users_per_block` if None.
        candidates: bool [B, M], the items that may be recommended in each of the rows, which may repeat a user; all if None.
        seen: what `exclude_seen` excludes, with the ids of the history; the history if None.
        wanted: csr_array [B, M], items of each user that `TopK.tied` must have if they tie with the last of the list; without
            caps on categories.

    Raises:
        DataError: `seen` has other users or items than the history.
    """
    batch_users = users_per_block(history.n_items) if batch_users is None else batch_users
    check_counts(k=k, batch_users=batch_users)
    check_seen(seen, history)
    popularity = fitted_state(model, history).arrays["popularity"]
    rules = Rules(history.items) if rules is None else rules
    rules.check(history.items)
    known, ids = scorable(model, history, rows, cold), history.users.values
    length, seen = min(k, history.n_items), history if seen is None else seen
    for start in range(0, len(rows), batch_users):
        at = slice(start, start + batch_users)
        block, users = rows[at], ids[rows[at]]
        among, known_items = None if candidates is None else candidates[at], seen.matrix[block] if exclude_seen else None
        allowed = rules.allowed(users, among, known_items)
        lists, values = np.full((len(block), length), -1), np.full((len(block), length), np.nan, np.float32)
        ties = [(np.empty(0, np.int64), np.empty(0, np.int64))]
        for part, scores in _scored(model, history, block, known[at], popularity if cold == "popular" else None):
            if wanted is None:
                lists[part], values[part] = rules.top_k(scores, length, allowed[part])
            else:
                lists[part], values[part], beyond = top_k_and_ties(scores, length, wanted[at][part], allowed[part])
                ties.append((part[row_of_entry(beyond)], beyond.indices))
        tied = None
        if wanted is not None:
            tied_rows, tied_items = (np.concatenate(side) for side in zip(*ties, strict=True))
            tied = pattern(tied_rows, tied_items, (len(block), history.n_items))
        yield TopK(users, lists, values, history.items, tied)


def _scored(
    model: Recommender, history: Interactions, rows: Rows, known: NDArray[np.bool_], popularity: Floats | None
) -> Iterator[tuple[Rows, Scores]]:
    """Places among the rows [B], and their scores [n, M]: of the users that the model knows, and of the others the popularity.

    Without `popularity`, the others are left out.
    """
    by_model, others = np.flatnonzero(known), np.flatnonzero(~known)
    if len(by_model) and isinstance(model, ScoresByFactors):
        yield by_model, finite_product(model, history, rows[by_model])
    elif len(by_model):
        yield by_model, np.require(finite_scores(model, history, rows[by_model]), np.float32, ["C", "W"])  # not read-only
    if len(others) and popularity is not None:
        yield others, np.tile(popularity, (len(others), 1))


def check_seen(seen: Interactions | None, history: Interactions) -> None:
    """Raise `DataError` unless `seen`, if there is any, has the users and items of the history, in the same order."""
    if seen is not None and (seen.users != history.users or seen.items != history.items):
        raise DataError("`seen` has other users or items than the history; build both with the same ids")


def scorable(model: Recommender, history: Interactions, rows: Rows, cold: Cold) -> NDArray[np.bool_]:
    """bool [B]: users the model can score: those with a history, unless the model says otherwise (see `KnowsUsers`).

    Raises:
        ConfigError: `cold` is no policy.
        ColdUserError: there are other users, and `cold` is `error`.
    """
    if cold not in get_args(Cold):
        raise ConfigError(f"cold must be one of {', '.join(get_args(Cold))}, got {quoted(cold)}")
    known = model.can_score(history, rows) if isinstance(model, KnowsUsers) else np.diff(history.matrix.indptr)[rows] > 0
    if cold == "error":
        check_scorable(known, history, rows)
    return known


def check_scorable(known: NDArray[np.bool_], history: Interactions, rows: Rows) -> None:
    """Raise `ColdUserError` unless all the users at `rows` [B] are `known` [B]."""
    if not known.all():
        first = history.users.values[rows[np.flatnonzero(~known)[0]]]
        raise ColdUserError(
            f"the model cannot score user {shown(first)} ({int((~known).sum())} of {len(rows)} users), who has no history "
            "or was not in its training data; set cold to popular or skip, or fit it again"
        )
