"""Inspection of fitted models: similar items and users, and what each item of a history contributes to a score."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from recsys_ae.errors import ConfigError
from recsys_ae.events import Events
from recsys_ae.ids import IdMap, Rows
from recsys_ae.interactions import Interactions
from recsys_ae.models.base import (
    HasItemVectors,
    HasUserVectors,
    LinearInHistory,
    Recommender,
    blocks_of,
    check_counts,
    fitted_state,
)
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
    check_counts(k=k)
    rows = ids.rows(items)
    if isinstance(model, HasItemVectors):
        vectors = _unit(model.item_vectors())
        return _nearest(lambda block: vectors[block] @ vectors.T, rows, ids, k, "item")
    if isinstance(model, LinearInHistory):
        weights = model.item_weights
        return _nearest(lambda block: np.array(weights(block)), rows, ids, k, "item")
    raise ConfigError(f"{type(model).__name__} has no item vectors or weights to compare; use a model such as elsa or ease")


def similar_users(model: Recommender, history: Interactions, users: ArrayLike, k: int = 10) -> pd.DataFrame:
    """The `k` users of `history` most similar to each of `users` (external ids), by cosine similarity of their vectors.

    Returns:
        Columns user_id, rank (int32, from 1), similar_id, similarity (float32).

    Raises:
        ConfigError: the model has no user vectors, or k < 1.
        UnknownIdError: a user who is not in the history.
    """
    fitted_state(model, history)
    check_counts(k=k)
    if not isinstance(model, HasUserVectors):
        raise ConfigError(f"{type(model).__name__} has no user vectors to compare; use a model such as elsa or als")
    rows = history.users.rows(users)
    everyone = blocks_of(np.arange(history.n_users), history.n_items)
    vectors = np.concatenate([_unit(model.user_vectors(history, block)) for block in everyone])
    return _nearest(lambda block: vectors[block] @ vectors.T, rows, history.users, k, "user")


def explain(model: Recommender, history: Interactions, user: Any, item: Any) -> pd.DataFrame:
    """Contributions of the items in a user's history to the score of `item`, largest first.

    For linear autoencoders and neighbourhood models the contributions are their weights, and add up to the score exactly. The
    part of the score that does not depend on the history (EASE's intercept, added popularity) is in a last row without an item.
    For all other models a contribution is the drop of the score when the item is left out of the history (leave-one-out);
    these need not add up.

    Args:
        user, item: external ids; the item may be in the history already.

    Returns:
        Columns item_id, contribution (float32); a row for each item in the history, and that last row unless it is 0.

    Raises:
        UnknownIdError: a user or item that is not in the history.
        ConfigError: the score does not depend on the history, as with models that know users only from training.
    """
    fitted_state(model, history)
    row = int(history.users.rows([user])[0])
    own = history.matrix[[row]].indices.astype(np.int64)
    target = history.items.rows([item])
    found = contributions(model, history, row, target)[:, 0]
    if not isinstance(model, LinearInHistory) and len(found) and not found.any():
        raise ConfigError(f"the history does not affect this score of {type(model).__name__}, so there is nothing to explain")
    order = np.lexsort((own, -found))
    items, values = pd.Series(history.items.values[own[order]]), pd.Series(found[order])
    if (constant := item_constants(model, history)[target]).any():
        missing = pd.Series([pd.NA], dtype="Int64" if history.items.kind == "int" else items.dtype)
        items = pd.concat([items.astype(missing.dtype), missing], ignore_index=True)
        values = pd.concat([values, pd.Series(constant)], ignore_index=True)
    return pd.DataFrame({"item_id": items, "contribution": values})


def contributions(model: Recommender, history: Interactions, row: int, targets: Rows) -> Floats:
    """What each of the n items in the history of the user at `row`, in their order, adds to the scores of the items `targets`.

    float32 [n, T]; see `explain`. All targets together cost as much as one: of linear models the weights of n items, of others
    n + 1 scorings of the user.
    """
    if not isinstance(model, LinearInHistory):
        return _left_out(model, history, row, targets)
    own = history.matrix[[row]].indices.astype(np.int64)
    weights = [model.item_weights(block)[:, targets] for block in blocks_of(own, history.n_items)]
    return np.concatenate([np.zeros((0, len(targets)), np.float32), *weights])


def item_constants(model: Recommender, history: Interactions) -> Floats:
    """The part of each item's score that does not depend on the history, float32 [M]; 0 if the model is not linear in it."""
    if not isinstance(model, LinearInHistory):
        return np.zeros(history.n_items, np.float32)
    rows, ratings = np.empty(0, np.int64), np.empty(0, np.float32)
    nothing = Events(rows, rows, ratings, None if history.times is None else rows)
    found = model.scores(_of_one_user(history, 0, nothing), np.array([0]))[0]
    return np.where(np.isfinite(found), found, np.float32(0))


def _unit(vectors: Floats) -> Floats:
    """Rows scaled to length 1; rows of zeros become NaN."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, length, out=np.full_like(vectors, np.nan), where=length > 0)


def _nearest(similarities: Callable[[Rows], Floats], rows: Rows, ids: IdMap, k: int, of: str) -> pd.DataFrame:
    """The `k` largest similarities of each of `rows` to others, as a table; 0 and NaN mean unrelated.

    Args:
        similarities: maps some rows [B] to their similarities to all n, [B, n].
    """
    tables = []
    for block in blocks_of(rows, len(ids)) or [rows]:
        found = similarities(block)
        found[np.arange(len(block)), block] = -np.inf
        found[np.isnan(found) | (found == 0)] = -np.inf
        columns, values = top_k(found, min(k, len(ids)))
        row, place = np.nonzero(columns >= 0)
        names = {f"{of}_id": ids.values[block[row]], "rank": (place + 1).astype(np.int32)}
        similar = {"similar_id": ids.values[columns[row, place]], "similarity": values[row, place]}
        tables.append(pd.DataFrame({**names, **similar}))
    return pd.concat(tables, ignore_index=True)


def _left_out(model: Recommender, history: Interactions, row: int, targets: Rows) -> Floats:
    """The scores from the whole history minus the scores without each of its items, float32 [n, T]."""
    log = history.stored_events
    log = log[log.users == row]
    alone = _of_one_user(history, row, replace(log, users=np.zeros_like(log.users)))

    def scores(keep: NDArray[np.bool_]) -> Floats:
        return model.scores(alone.filter(keep), np.array([0]))[0, targets]

    places = np.arange(len(alone))
    whole = scores(places >= 0)
    return np.array([whole - scores(places != place) for place in places], np.float32).reshape(-1, len(targets))


def _of_one_user(history: Interactions, row: int, log: Events) -> Interactions:
    """The events `log` as the whole history, of the user at `row`, so that the work is not proportional to all users.

    The user keeps their id, so that parameters of this user that the model has learned still apply.
    """
    users = IdMap(history.users.values[[row]])
    own = None if history.user_features is None else history.user_features.align(users)
    alone = Interactions.from_events(log, users, history.items, history.duplicates, history.scale)
    return replace(alone, user_features=own, item_features=history.item_features)
