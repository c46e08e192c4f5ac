"""Similar items and similar users, by cosine similarity of vectors or by item-item weights."""

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from recsys_ae.errors import ConfigError
from recsys_ae.ids import IdMap, Rows
from recsys_ae.interactions import Interactions
from recsys_ae.models.base import (
    BATCH_USERS,
    Floats,
    HasItemVectors,
    HasUserVectors,
    LinearInHistory,
    Recommender,
    fitted_state,
    items_of,
)
from recsys_ae.ranking import top_k


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
    fitted = fitted_state(model)
    rows = items_of(fitted).rows(items)
    if isinstance(model, HasItemVectors):
        vectors = _unit(model.item_vectors())
        found = [vectors[part] @ vectors.T for part in _parts(rows)]
    elif isinstance(model, LinearInHistory):
        found = [np.array(model.item_weights(part)) for part in _parts(rows)]
    else:
        raise ConfigError(f"{type(model).__name__} has no representation of items to compare")
    return _nearest(
        np.concatenate(found) if found else np.empty((0, len(items_of(fitted))), np.float32), rows, items_of(fitted), k, "item"
    )


def similar_users(model: Recommender, history: Interactions, users: ArrayLike, k: int = 10) -> pd.DataFrame:
    """The `k` users of `history` most similar to each of `users` (external ids), by the cosine of their vectors.

    Returns:
        Columns user_id, rank (int32, from 1), similar_id, similarity (float32).

    Raises:
        ConfigError: the model has no vectors of users, or k < 1.
        UnknownIdError: a user who is not in the history.
    """
    fitted_state(model, history)
    if not isinstance(model, HasUserVectors):
        raise ConfigError(f"{type(model).__name__} has no representation of users to compare")
    rows = history.users.rows(users)
    everyone = np.concatenate([_unit(model.user_vectors(history, part)) for part in _parts(np.arange(history.n_users))])
    return _nearest(everyone[rows] @ everyone.T, rows, history.users, k, "user")


def _parts(rows: Rows) -> list[Rows]:
    return [rows[start : start + BATCH_USERS] for start in range(0, len(rows), BATCH_USERS)]


def _unit(vectors: Floats) -> Floats:
    """Rows scaled to length 1; a row of zeros, about which nothing is known, becomes NaN."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, length, out=np.full_like(vectors, np.nan), where=length > 0)


def _nearest(similarities: Floats, rows: Rows, ids: IdMap, k: int, of: str) -> pd.DataFrame:
    """The largest of similarities [B, n] to others; 0 and NaN mean none."""
    if k < 1:
        raise ConfigError(f"k must be at least 1, got {k}")
    similarities[np.arange(len(rows)), rows] = -np.inf
    similarities[np.isnan(similarities) | (similarities == 0)] = -np.inf
    columns, values = top_k(similarities, min(k, len(ids)))
    row, place = np.nonzero(columns >= 0)
    return pd.DataFrame(
        {
            f"{of}_id": ids.values[rows[row]],
            "rank": (place + 1).astype(np.int32),
            "similar_id": ids.values[columns[row, place]],
            "similarity": values[row, place],
        }
    )
