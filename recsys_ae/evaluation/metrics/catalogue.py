"""What is known of the items that are ranked."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, hstack

from recsys_ae.errors import ConfigError
from recsys_ae.features import FeatureTable, LabelFeature
from recsys_ae.interactions import ones

Rows = NDArray[np.int64]
Values = NDArray[np.float64]


class Directions(NamedTuple):
    """Vectors of the items divided by their lengths: `units` [M, D], sparse or dense, and their `squares` [M], 1 or 0."""

    units: csr_array | Values
    squares: Values

    @classmethod
    def of(cls, vectors: csr_array | Values) -> "Directions":
        """Of vectors float64 [M, D]; a zero vector remains one."""
        lengths = np.sqrt((vectors * vectors).sum(axis=1))
        inverse = np.divide(1, lengths, out=np.zeros(len(lengths)), where=lengths > 0)
        if isinstance(vectors, csr_array):
            data = vectors.data * np.repeat(inverse, np.diff(vectors.indptr))
            units = csr_array((data, vectors.indices, vectors.indptr), vectors.shape)
            return cls(units, (units * units).sum(axis=1))
        return cls(vectors * inverse[:, None], (lengths > 0).astype(np.float64))


@dataclass(frozen=True, eq=False, repr=False)
class Catalogue:
    """What is known of all M items.

    Attributes:
        item_counts: int64 [M], number of users with each item in the history; empty if the history is unknown.
        features: features of the items [M], or None.
        history: csr_array [N, M], the history of all users, whether they have lists or not; None if it is unknown.
        vectors: float64 [M, D], vectors of the items for `vector_diversity`, or None.
    """

    item_counts: Rows = field(default_factory=lambda: np.empty(0, np.int64))
    features: FeatureTable | None = None
    history: csr_array | None = None
    vectors: Values | None = None

    @property
    def users_of_items(self) -> Rows:
        """int64 [M], number of users of each item; `ConfigError` if the history is unknown."""
        if not len(self.item_counts):
            raise ConfigError("the popularity of items needs the history, in which it is counted; give the history (--history)")
        return self.item_counts

    @cached_property
    def more_popular(self) -> Rows:
        """int64 [M], number of items that have more users than each."""
        return np.searchsorted(np.sort(-self.users_of_items), -self.users_of_items, side="left")

    @cached_property
    def audiences(self) -> Directions:
        """Of 0/1 vectors [M, N] of the users who have each item in the history."""
        if self.history is None:
            raise ConfigError("audience_diversity needs the history; give the history (--history)")
        return Directions.of(ones(self.history).T.tocsr().astype(np.float64))

    @cached_property
    def feature_directions(self) -> Directions:
        """Of the encoded features, without the columns that say that a value is missing."""
        table = self._features("feature_diversity")
        kept = [place for place, name in enumerate(table.columns) if not name.endswith(":missing")]
        return Directions.of(table.matrix[:, kept].astype(np.float64))

    @cached_property
    def vector_directions(self) -> Directions:
        """Of the given vectors."""
        if self.vectors is None:
            raise ConfigError("vector_diversity needs vectors of the items; give evaluate(..., item_vectors=...)")
        return Directions.of(self.vectors)

    @cached_property
    def categories(self) -> csr_array:
        """float64 csr_array [M, G]: the labels of each item in all features that have labels, each feature adding up to 1."""
        table, blocks, start = self._features("miscalibration"), [], 0
        for feature in table.features:
            if isinstance(feature, LabelFeature):
                known = len(feature.columns) - 1  # without the last one, which is of missing values
                labels = table.matrix[:, start : start + known].astype(np.float64)
                labels.data /= np.repeat(np.diff(labels.indptr), np.diff(labels.indptr))
                blocks.append(labels)
            start += len(feature.columns)
        if not blocks:
            raise ConfigError("miscalibration needs a feature of items of the kind category or multi_label, but there is none")
        return hstack(blocks, format="csr")

    def _features(self, metric: str) -> FeatureTable:
        if self.features is None:
            way_out = "declare features.items in the card of the dataset, or give a FeatureTable in Python"
            raise ConfigError(f"{metric} needs features of the items, but there are none; {way_out}")
        return self.features
