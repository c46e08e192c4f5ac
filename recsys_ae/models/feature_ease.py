"""EASE with item features, in closed form: features stacked under the interactions, added as a model, or as a prior."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_array, vstack

from recsys_ae.core.linear import CHUNK, regression_map
from recsys_ae.errors import ConfigError
from recsys_ae.fitted import Fitted
from recsys_ae.ids import Rows
from recsys_ae.interactions import Interactions
from recsys_ae.models.base import FitContext, Floats, fitted_on, item_counts
from recsys_ae.models.costs import announce
from recsys_ae.models.ease import DENSE_WAY_OUT, DenseLinear, bounded_diagonal, inverse_gram, inversion_seconds
from recsys_ae.models.popularity_share import PopularityShare
from recsys_ae.models.weighting import item_factors, weighted_rows
from recsys_ae.ranking import row_of_entry
from recsys_ae.space import Range, Space

WEIGHTS = {"stacked": 30.0, "added": 0.2, "prior": 100.0}


@dataclass
class FeatureEASE(PopularityShare, DenseLinear):
    """`EASE` with item features: scores x B, with x [M] binary and a zero diagonal in B [M, M]. Works for any user.

    F [M, K] holds the features of the items, each row scaled to length 1, so that an item with many labels counts no more than
    another, and numbers, which a feature table standardises, are on the scale of labels. X, P = (X^T X + diag(l))^-1, l and
    `user_exponent` are those of EASE. With w standing for `weight`:

    - `stacked`: EASE on [X; sqrt(w) F^T], where features are further users: X^T X + w F F^T in place of X^T X. Dropout is of
      interactions only. Source: Jeunen et al. 2020 (CEASE).
    - `added`: (1 - w) EASE(X) + w S, where S is EASE on F^T with `features_l2`. Source: the same (Add-EASE).
    - `prior`: adds w |B - S|^2 to the loss of EASE(X). Setting the derivative to 0, with multipliers u for the diagonal, gives
      (X^T X + diag(l + w)) B = X^T X + w S - diag(u). So, with P = (X^T X + diag(l + w))^-1,
      B = I + w P S - P diag(v), where v = l + w + u; from B_jj = 0 follows v_j = (1 + w (P S)_jj) / P_jj.
      Source: Moon et al. 2025 (L3AE), whose features are embeddings of texts.

    Deviation: of items without interactions, the columns of B would be about 0 (`stacked`, `prior`) or not comparable with
    those of others (`added`). Instead, they are predicted from the features by a ridge regression of the other items' columns
    on their features. So a new item scores like an average item with the same features: it can be ranked among new items (see
    `candidates` in `recommend`), but comes after popular ones.

    Memory: 10 M^2 bytes while fitting (`stacked` 6 M^2, with more features than items at least 20 M^2), 4 M^2 afterwards.

    Attributes:
        combine: how features are used, see above.
        weight: w; by default 30 interactions (`stacked`), a share of 0.2 (`added`) or 100 interactions (`prior`).
        features_l2: regularisation of the regressions on features: of S, and of the columns of items without interactions.
        popularity: see `PopularityShare`.
        Others: see `DenseLinear`. All defaults were chosen on validation parts of MovieLens 1M and 100K.
    """

    item_exponent: float = 0.0
    combine: Literal["stacked", "added", "prior"] = "stacked"
    weight: Annotated[float, Field(ge=0)] | None = None
    features_l2: Annotated[float, Field(gt=0)] = 10.0
    space: ClassVar[Space] = {**DenseLinear.space, "features_l2": Range(low=0.5, high=500, log=True)}
    closed_form: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset({"item_features"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.combine == "added" and self.weight is not None and self.weight > 1:
            raise ConfigError(f"feature_ease with combine: added needs a weight from 0 to 1, a share, got {self.weight:g}")

    def _learn(self, train: Interactions, context: FitContext) -> Fitted:
        assert train.item_features is not None  # see `needs`
        features = unit_rows(train.item_features.matrix)
        self._announce(*features.shape)
        x = weighted_rows(train, self.user_exponent)
        ridge, weight = self._ridge(x), WEIGHTS[self.combine] if self.weight is None else self.weight
        if self.combine == "stacked":
            stacked = vstack([x, features.T * np.float32(weight**0.5)], format="csr")
            weights = bounded_diagonal(inverse_gram(stacked, ridge), ridge)
        else:
            of_features = feature_weights(features, self.features_l2)
            if self.combine == "added":
                weights = bounded_diagonal(inverse_gram(x, ridge), ridge)
                weights *= 1 - weight
                of_features *= weight
                weights += of_features
            else:
                weights = with_prior(inverse_gram(x, ridge + np.float32(weight)), of_features, weight)
        weights *= item_factors(train, self.item_exponent)
        predict_cold_columns(weights, features, item_counts(train) == 0, self.features_l2)
        return fitted_on(train, {"weights": weights})

    def _learned_scores(self, history: Interactions, rows: Rows) -> Floats:
        return DenseLinear.scores(self, history, rows)

    def _announce(self, m: int, k: int) -> None:
        inversions = 2 if k > m or self.combine == "prior" else 1  # of the features, and the product P S
        bytes_per_pair = 20 if k > m else 6 if self.combine == "stacked" else 10
        announce(f"feature_ease on {m} items", bytes_per_pair * m**2, inversions * inversion_seconds(m), DENSE_WAY_OUT)


def unit_rows(features: csr_array) -> csr_array:
    """Features [M, K], each row scaled to length 1; rows of zeros stay."""
    rows = row_of_entry(features)
    lengths = np.sqrt(np.bincount(rows, features.data.astype(np.float64) ** 2, features.shape[0]))
    scaled = (features.data / np.maximum(lengths, 1e-12)[rows]).astype(np.float32)
    return csr_array((scaled, features.indices, features.indptr), shape=features.shape)


def feature_weights(features: csr_array, l2: float) -> Floats:
    """S [M, M], EASE on the transposed features F [M, K]: S_ij = H_ij / (1 - H_jj), S_jj = 0, where H = F (F^T F + l2)^-1 F^T.

    This is EASE's B, because its P = (F F^T + l2)^-1 equals (I - H) / l2.
    """
    weights = regression_map(features, features, l2)
    diagonal = np.diag_indices(len(weights))
    weights /= 1 - weights[diagonal]
    weights[diagonal] = 0
    return weights


def with_prior(inverse: Floats, prior: Floats, weight: float) -> Floats:
    """B [M, M] from P = (X^T X + diag(l + w))^-1, S and w, in the memory of S; see `FeatureEASE`."""
    diagonal = inverse.diagonal().copy()
    for start in range(0, len(prior), CHUNK):
        part = slice(start, start + CHUNK)
        product = np.float32(weight) * (inverse @ prior[:, part])
        own = np.diagonal(product[part])
        prior[:, part] = product - inverse[:, part] * ((1 + own) / diagonal[part])
    prior[np.diag_indices(len(prior))] = 0
    return prior


def predict_cold_columns(weights: Floats, features: csr_array, cold: NDArray[np.bool_], l2: float) -> None:
    """Replace the columns of `cold` items (bool [M]), those without interactions; see `FeatureEASE`."""
    new, known = np.flatnonzero(cold), np.flatnonzero(~cold)
    if not len(new):
        return
    by_features = regression_map(features[known], features[new], l2)
    for start in range(0, len(weights), CHUNK):  # so that the known columns are never copied whole
        rows = slice(start, start + CHUNK)
        weights[rows, new] = weights[rows, known] @ by_features
    weights[new, new] = 0
