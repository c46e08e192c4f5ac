"""Features of users and items in fitted models: kept with the model by `fitted_on`, and read from histories.

A fitted model keeps the features of its training users and items, so that a loaded model needs no feature files, and so that
new users are encoded as the others were.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys_ae.errors import DataError
from recsys_ae.features import FeatureTable
from recsys_ae.fitted import Fitted
from recsys_ae.ids import Rows
from recsys_ae.interactions import Interactions


def stored_features(fitted: Fitted, name: str) -> FeatureTable | None:
    """The feature table `name` (`user_features` or `item_features`) that `fitted_on` has added; None if it has not."""
    if name not in fitted.meta:
        return None
    ids = fitted.ids[f"{name.removesuffix('_features')}s"]
    return FeatureTable.from_arrays(ids, fitted.arrays, fitted.meta[name], f"{name}.")


def user_features(known: FeatureTable, history: Interactions, rows: Rows) -> csr_array:
    """Features of the users at `rows` [B] of a history, float32 [B, F], as those of the training users are encoded.

    They are the history's own or, if it has none, those that were `known` in training; other users' count as missing.
    """
    own = history.user_features
    if own is None:
        return known.of(history.users.values[rows])
    if own.features != known.features:
        raise DataError(
            "the features of the history's users are encoded in another way than those of the training data; make them with "
            "FeatureTable.from_frame(frame, train.user_features.features)"
        )
    return own.matrix[rows]


def described(known: FeatureTable, matrix: csr_array) -> NDArray[np.bool_]:
    """bool [n]: which rows of features [n, F], encoded as `known`, have a value of any feature."""
    last = np.cumsum([len(one.columns) for one in known.features]) - 1  # the column that says a feature is missing
    missing = np.zeros(matrix.shape[1], np.float32)
    missing[last] = 1
    return (matrix != 0).astype(np.float32) @ missing < len(last)
