"""Explanations: the contribution of each item in a user's history to the score of a recommended item."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys_ae.errors import ConfigError
from recsys_ae.ids import IdMap
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
        blocks = np.split(own, range(BATCH_USERS, len(own), BATCH_USERS))
        contributions = np.concatenate([model.item_weights(block)[:, target] for block in blocks])
    else:
        contributions = _left_out(model, history, row, target)
        if len(contributions) and not contributions.any():
            raise ConfigError(
                f"this score of {type(model).__name__} does not depend on the history, so there is nothing to explain"
            )
    order = np.lexsort((own, -contributions))
    return pd.DataFrame({"item_id": history.items.values[own[order]], "contribution": contributions[order]})


def _left_out(model: Recommender, history: Interactions, row: int, target: int) -> Floats:
    """The score from the whole history minus the score without each of its items, float32 [n].

    The user keeps their id, so that what the model learned about them in training still applies.
    """
    own, users = history.matrix[[row]], IdMap(history.users.values[[row]])
    own_features = None if history.user_features is None else history.user_features.align(users)

    def score(keep: NDArray[np.bool_]) -> float:
        matrix = csr_array((own.data[keep], own.indices[keep], np.array([0, keep.sum()])), shape=own.shape)
        alone = Interactions(
            matrix, users, history.items, scale=history.scale, user_features=own_features, item_features=history.item_features
        )
        return float(model.scores(alone, np.array([0]))[0, target])

    places = np.arange(own.nnz)
    whole = score(places >= 0)
    return np.array([whole - score(places != place) for place in places], np.float32)
