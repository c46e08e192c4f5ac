"""Similar items and similar users, by cosine similarity of vectors or by item-item weights."""

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from recsys_ae.errors import ConfigError
from recsys_ae.ids import IdMap, Rows
from recsys_ae.interactions import Interactions
from recsys_ae.models.base import BATCH_USERS, HasItemVectors, HasUserVectors, LinearInHistory, Recommender, fitted_state
from recsys_ae.ranking import Floats, top_k


def similar_items(model: Recommender, items: ArrayLike, k: int = 10) -> pd.DataFrame:
    """The `k` items most similar to each of `items` (external ids).

    By cosine similarity of item vectors; for models without vectors, by the weight of one item for the score of the other.
    Items unrelated to any other have no rows.

    Returns:
        Columns item_id, rank (int32, from 1), similar_id, similarity (float32).

    Raises:
        ConfigError: the model has neither, or k < 1.
        UnknownIdError: an item that the model does not know.
    """
    ids = fitted_state(model).ids["items"]
    rows = ids.rows(items)
    if isinstance(model, HasItemVectors):
        vectors = _unit(model.item_vectors())
        return _nearest(vectors[rows] @ vectors.T, rows, ids, k, "item")
    if isinstance(model, LinearInHistory):
        return _nearest(np.array(model.item_weights(rows)), rows, ids, k, "item")
    raise ConfigError(f"{type(model).__name__} has no representation of items to compare")


def similar_users(model: Recommender, history: Interactions, users: ArrayLike, k: int = 10) -> pd.DataFrame:
    """The `k` users of `history` most similar to each of `users` (external ids), by cosine similarity of their vectors.

    Returns:
        Columns user_id, rank (int32, from 1), similar_id, similarity (float32).

    Raises:
        ConfigError: the model has no user vectors, or k < 1.
        UnknownIdError: a user who is not in the history.
    """
    fitted_state(model, history)
    if not isinstance(model, HasUserVectors):
        raise ConfigError(f"{type(model).__name__} has no representation of users to compare")
    rows = history.users.rows(users)
    blocks = np.split(np.arange(history.n_users), range(BATCH_USERS, history.n_users, BATCH_USERS))
    vectors = np.concatenate([_unit(model.user_vectors(history, block)) for block in blocks])
    return _nearest(vectors[rows] @ vectors.T, rows, history.users, k, "user")


def _unit(vectors: Floats) -> Floats:
    """Rows scaled to length 1; rows of zeros become NaN."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, length, out=np.full_like(vectors, np.nan), where=length > 0)


def _nearest(similarities: Floats, rows: Rows, ids: IdMap, k: int, of: str) -> pd.DataFrame:
    """The `k` largest similarities [B, n] of each of `rows` to others, as a table; 0 and NaN mean unrelated."""
    if k < 1:
        raise ConfigError(f"k must be at least 1, got {k}")
    similarities[np.arange(len(rows)), rows] = -np.inf
    similarities[np.isnan(similarities) | (similarities == 0)] = -np.inf
    columns, values = top_k(similarities, min(k, len(ids)))
    row, place = np.nonzero(columns >= 0)
    found = {f"{of}_id": ids.values[rows[row]], "rank": (place + 1).astype(np.int32)}
    return pd.DataFrame({**found, "similar_id": ids.values[columns[row, place]], "similarity": values[row, place]})
