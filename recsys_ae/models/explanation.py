"""Explanations: what each item in a user's history contributes to the score of a recommended item."""

from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from recsys_ae.errors import ConfigError
from recsys_ae.ids import IdMap, Rows
from recsys_ae.interactions import Interactions
from recsys_ae.models.base import BATCH_USERS, Floats, LinearInHistory, Recommender, fitted_state


def explain(model: Recommender, history: Interactions, user: Any, item: Any) -> pd.DataFrame:
    """Contributions of the items in a user's history to the score of `item`, largest first.

    For linear autoencoders and neighbourhood models the contributions are their weights, which add up to the score exactly.
    For all other models a contribution is the drop of the score when the item is left out of the history (leave-one-out);
    these need not add up.

    Args:
        user, item: external ids; the item may be in the history already.

    Returns:
        Columns item_id, contribution (float32); a row for each item in the history.

    Raises:
        UnknownIdError: a user or item that is not in the history.
        ConfigError: the score does not depend on the history, as with models that know users only from training.
    """
    fitted_state(model, history)
    row, target = int(history.users.rows([user])[0]), int(history.items.rows([item])[0])
    own = history.matrix[[row]].indices.astype(np.int64)
    if isinstance(model, LinearInHistory):
        contributions = _column(model, own, target)
    else:
        contributions = _left_out(model, history, row, target)
        if len(contributions) and not contributions.any():
            raise ConfigError(f"{type(model).__name__} does not use the history for this score, so it explains nothing")
    order = np.lexsort((own, -contributions))
    return pd.DataFrame({"item_id": history.items.values[own[order]], "contribution": contributions[order]})


def _column(model: LinearInHistory, rows: Rows, target: int) -> Floats:
    parts = [model.item_weights(rows[start : start + BATCH_USERS])[:, target] for start in range(0, len(rows), BATCH_USERS)]
    return np.concatenate(parts) if parts else np.empty(0, np.float32)


def _left_out(model: Recommender, history: Interactions, row: int, target: int) -> Floats:
    """The score with the whole history minus the score without each of its items, float32 [n].

    The user keeps their id, so that what the model learned about them in training still applies.
    """
    own = history.matrix[[row]]
    users = IdMap(history.users.values[[row]])

    own_features = None if history.user_features is None else history.user_features.align(users)

    def score(matrix: csr_array) -> float:
        alone = Interactions(
            matrix, users, history.items, scale=history.scale, user_features=own_features, item_features=history.item_features
        )
        return float(model.scores(alone, np.array([0]))[0, target])

    whole = score(own)
    return np.array([whole - score(_without(own, place)) for place in range(own.nnz)], np.float32)


def _without(row: csr_array, place: int) -> csr_array:
    """A row [1, M] without one of its entries."""
    keep = np.arange(row.nnz) != place
    return csr_array((row.data[keep], row.indices[keep], np.array([0, keep.sum()])), shape=row.shape)
