"""Features of users and items in fitted models: kept with the model by `fitted_on`, and read from histories.

A fitted model keeps the features of its training users and items, so that a loaded model needs no feature files, and the
features of new users are encoded in the same way.
"""

from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, hstack

from recsys_ae.errors import DataError
from recsys_ae.features import FeatureTable, ScaledFeature
from recsys_ae.fitted import Fitted
from recsys_ae.ids import Rows
from recsys_ae.interactions import Interactions

Features = Literal["available", "both", "users", "items", "none"]  # available: whichever the training data has
FEATURE_TABLES = {
    "both": frozenset({"user_features", "item_features"}),
    "users": frozenset({"user_features"}),
    "items": frozenset({"item_features"}),
    "none": frozenset[str](),
}
TENTHS = 10


def feature_needs(features: Features) -> frozenset[str]:
    """What the training data must have for a model that uses the features of these sides, see `Recommender.needs`."""
    return FEATURE_TABLES["none" if features == "available" else features]


def used_features(model: Any, train: Interactions) -> frozenset[str]:
    """The feature tables of the training data that a model uses: those it needs or, with `available`, all there are."""
    if getattr(model, "features", None) != "available":
        return frozenset(model.needs)
    return frozenset(name for name in FEATURE_TABLES["both"] if getattr(train, name) is not None)


def stored_features(fitted: Fitted, name: str) -> FeatureTable | None:
    """The feature table `name` (`user_features` or `item_features`) that `fitted_on` has added; None if it has not."""
    if name not in fitted.meta:
        return None
    ids = fitted.ids[f"{name.removesuffix('_features')}s"]
    return FeatureTable.from_arrays(ids, fitted.arrays, fitted.meta[name], f"{name}.")


def user_features(known: FeatureTable, history: Interactions, rows: Rows) -> csr_array:
    """Features of the users at `rows` [B] of a history, float32 [B, F], as those of the training users are encoded.

    They are those of the history or, if it has none, those `known` in training; then those of all other users are missing.
    """
    own = history.user_features
    if own is None:
        return known.of(history.users.values[rows])
    if own.features != known.features:
        raise DataError(
            "the user features of the history are encoded differently from those of the training data; make them with "
            "FeatureTable.from_frame(frame, train.user_features.features)"
        )
    return own.matrix[rows]


def has_features(known: FeatureTable, matrix: csr_array) -> NDArray[np.bool_]:
    """bool [n]: which rows of features [n, F], encoded as `known`, have a value of any feature."""
    last = np.cumsum([len(one.columns) for one in known.features]) - 1  # the column that says a feature is missing
    missing = np.zeros(matrix.shape[1], np.float32)
    missing[last] = 1
    return (matrix != 0).astype(np.float32) @ missing < len(last)


class SideFeatures:
    """The features of users or items as inputs of a model: as they are encoded, with numbers and dates also binned into tenths.

    Numbers and dates have a 0/1 column for each tenth (by decile) of the values of the training users or items, so that models
    that are linear in their inputs can follow any curve. Missing values are in none of them.
    """

    def __init__(self, known: FeatureTable, trained: NDArray[np.bool_]) -> None:
        self.known = known
        ends = np.cumsum([len(one.columns) for one in known.features])
        scaled = [int(end) - 2 for one, end in zip(known.features, ends, strict=True) if isinstance(one, ScaledFeature)]
        self._edges: dict[int, NDArray[np.float32]] = {}  # between the tenths, by column
        for column in scaled:
            values, missing = _column(known.matrix, column), _column(known.matrix, column + 1) != 0
            known_values = values[trained & ~missing]
            shares = np.arange(1, TENTHS) / TENTHS
            edges = np.quantile(known_values, shares) if len(known_values) else np.zeros(len(shares))
            self._edges[column] = edges.astype(np.float32)  # where equal, tenths stay empty: the width is fixed

    @classmethod
    def of(cls, fitted: Fitted, side: Literal["user", "item"]) -> "SideFeatures | None":
        """The features that a model was fitted with; None if it uses none of this side."""
        known = stored_features(fitted, f"{side}_features")
        return None if known is None else cls(known, fitted.arrays["trained_users" if side == "user" else "rated_items"])

    @cached_property
    def matrix(self) -> csr_array:
        """Of all training users or items, float32 [n, F]."""
        return self._inputs(self.known.matrix)

    def of_users(self, history: Interactions, rows: Rows) -> csr_array:
        """Of the users at `rows` [B] of a history, see `user_features`, float32 [B, F]."""
        return self._inputs(user_features(self.known, history, rows))

    def has_features(self) -> NDArray[np.bool_]:
        """bool [n]: which training users or items have a value of any feature."""
        return has_features(self.known, self.known.matrix)

    def users_have_features(self, history: Interactions, rows: Rows) -> NDArray[np.bool_]:
        """bool [B]: which of the users at `rows` of a history have a value of any feature."""
        return has_features(self.known, user_features(self.known, history, rows))

    def _inputs(self, matrix: csr_array) -> csr_array:
        parts = [matrix]
        for column, edges in self._edges.items():
            tenth = np.searchsorted(edges, _column(matrix, column), side="right")
            known = np.flatnonzero(_column(matrix, column + 1) == 0)
            shape = (matrix.shape[0], TENTHS)
            parts.append(csr_array((np.ones(len(known), np.float32), (known, tenth[known])), shape=shape))
        return csr_array(hstack(parts, format="csr"))


def _column(matrix: csr_array, column: int) -> NDArray[np.float32]:
    """One column [n] of a sparse matrix."""
    values: NDArray[np.float32] = matrix[:, [column]].toarray()[:, 0]
    return values
