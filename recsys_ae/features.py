"""Feature tables: side information about users or items, encoded as numeric columns.

A fitted feature gives the same columns for any ids; a `FeatureTable` holds those of an `IdMap`.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal, Self, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_array, hstack, vstack

from recsys_ae.digests import digest_of
from recsys_ae.errors import ConfigError, DataError, described, did_you_mean
from recsys_ae.frames import Frame, plain, read_frame
from recsys_ae.ids import IdMap, Rows, id_index, shown, spelling_hint

Kind = Literal["numeric", "date", "category", "multi_label"]
PARTS = ("data", "indices", "indptr")
LARGEST = 1e30  # raw number, because squares of raw numbers are summed


@dataclass(frozen=True)
class ScaledFeature:
    """A fitted number or date: a column of (value - mean) / std, dates in days, and one that is 1 where the value is missing.

    Missing values are encoded as the mean, 0. `std` is the population's, and 1 if all known values are equal; the mean of no
    known values is 0.
    """

    name: str
    kind: Kind
    mean: float
    std: float

    @property
    def columns(self) -> tuple[str, ...]:
        return self.name, f"{self.name}:missing"

    def encode(self, values: pd.Series) -> csr_array:
        """float32 [n, 2]; a known value is stored even where it is 0 after scaling."""
        numbers = _numbers(values, self.kind)
        missing = np.isnan(numbers)
        with np.errstate(over="ignore"):  # the table rejects what is not finite
            data = np.where(missing, 1, (numbers - self.mean) / self.std).astype(np.float32)
        return csr_array((data, (np.arange(len(data)), missing.astype(np.int32))), shape=(len(data), 2))


@dataclass(frozen=True)
class LabelFeature:
    """A fitted category or set of labels: a 0/1 column for each label seen in fitting, one for all others, one for no value."""

    name: str
    kind: Kind
    labels: tuple[str, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        return *(f"{self.name}={label}" for label in self.labels), f"{self.name}:unknown", f"{self.name}:missing"

    def encode(self, values: pd.Series) -> csr_array:
        """float32 [n, labels + 2] of ones."""
        rows, labels, missing = _labels(values, self.kind)
        codes = pd.Index(self.labels, dtype=object).get_indexer(pd.Index(labels, dtype=object))
        codes[codes < 0] = len(self.labels)
        at = np.r_[rows, missing], np.r_[codes, np.full(len(missing), len(self.labels) + 1)]
        encoded = csr_array((np.ones(len(at[0]), np.float32), at), shape=(len(values), len(self.labels) + 2))
        encoded.data[:] = 1  # several unknown labels of one id were summed
        return encoded


Feature = ScaledFeature | LabelFeature


@dataclass(frozen=True, eq=False, repr=False)
class FeatureTable:
    """The encoded features of n users or items.

    Attributes:
        ids: ids of the rows.
        matrix: csr_array [n, F] float32 in canonical form.
        features: what the columns mean, in order; `from_frame` can apply them to other ids.

    Raises:
        DataError: shapes that disagree, or a value that is not finite.
    """

    ids: IdMap
    matrix: csr_array
    features: tuple[Feature, ...]

    def __post_init__(self) -> None:
        matrix, expected = self.matrix, (len(self.ids), len(self.columns))
        if not (isinstance(matrix, csr_array) and matrix.dtype == np.float32 and matrix.has_canonical_format):
            raise DataError("a feature matrix must be a float32 csr_array with sorted, unique columns in each row")
        if matrix.shape != expected:
            raise DataError(f"the feature matrix has shape {matrix.shape}, but its ids and columns have {expected}")
        if not (finite := np.isfinite(matrix.data)).all():
            row, at = (int(index[np.argmin(finite)]) for index in matrix.tocoo().coords)
            raise DataError(f"{list(self.columns)[at]!r} of {shown(self.ids.values[row])} is not a finite number after scaling")

    @classmethod
    def from_frame(
        cls,
        frame: Frame,
        features: Mapping[str, Kind] | tuple[Feature, ...],
        *,
        id_column: str = "id",
        ids: IdMap | None = None,
        fit_ids: IdMap | None = None,
    ) -> Self:
        """The features in `frame`, a data frame of any library with one row per id.

        Numeric columns hold numbers, dates datetimes, categories text or integers, multi-label columns lists of text or of
        integers. None, NaN, NaT and an empty category are missing values; an empty list means that there are no labels.

        Args:
            features: column -> kind, to fit; or the `features` of another table, to apply.
            ids: ids of the table, in its order; rows of other ids are dropped. None: those of `frame`.
            fit_ids: ids to fit on, such as those of the training part. None: those of the table.

        Raises:
            ConfigError: no features, no such column, an unknown kind, or a name with `=` or `:`, which stand in names of
                encoded columns.
            DataError: not a data frame, values of another type, an id that is missing or repeated, or no id in common.
        """
        if not features:
            raise ConfigError("a feature table needs at least one feature")
        if not isinstance(features, Mapping | tuple) or not all(isinstance(one, str | Feature) for one in features):
            raise ConfigError(f"features must map columns to kinds, or be the `features` of a table, got {described(features)}")
        for name, map_ in (("ids", ids), ("fit_ids", fit_ids)):
            if not isinstance(map_, IdMap | None):
                raise DataError(f"{name} must be an IdMap, got {described(map_)}")
        names = list(features) if isinstance(features, Mapping) else [one.name for one in features]
        frame = read_frame(frame, {name: name for name in [id_column, *names]}, "the feature table")
        own = IdMap(id_index(frame[id_column], f"column {id_column!r} of the feature table"))
        fitted_on = (fit_ids or ids or own).find(own.values) >= 0
        if not fitted_on.any() or (ids is not None and (ids.find(own.values) < 0).all()):
            hint = spelling_hint(pd.Index(own.values), ids or fit_ids or own)
            raise DataError(
                f"none of the ids is among the {len(own)} ids with features; check that they are written alike{hint}"
            )
        if isinstance(features, Mapping):
            features = tuple(_fit(frame[name][fitted_on], kind) for name, kind in features.items())
        matrix = hstack([one.encode(frame[one.name]) for one in features], format="csr")
        table = cls(own, matrix, features)
        return table if ids is None else table.align(ids)

    @cached_property
    def columns(self) -> dict[str, Kind]:
        """Name -> kind of the F columns, in order."""
        return {name: one.kind for one in self.features for name in one.columns}

    def __repr__(self) -> str:
        return f"FeatureTable({len(self.ids)} ids, {len(self.features)} features in {len(self.columns)} columns)"

    def align(self, ids: IdMap) -> Self:
        """The features of `ids`, in their order; ids that are not in this table get missing values only."""
        return type(self)(ids, self.of(ids.values), self.features)

    def of(self, ids: NDArray[Any]) -> csr_array:
        """The features of external ids [n], float32 [n, F]; ids that are not in this table get missing values only."""
        return self._with_missing[self.ids.find(ids)]  # -1, not found, is the last row

    @cached_property
    def _with_missing(self) -> csr_array:
        """The matrix, and a last row with only missing values."""
        at = np.cumsum([len(one.columns) for one in self.features]) - 1  # the last column of each feature
        missing = csr_array((np.ones(len(at), np.float32), at, np.array([0, len(at)])), shape=(1, len(self.columns)))
        return vstack([self.matrix, missing], format="csr")

    def to_frame(self) -> pd.DataFrame:
        """The encoded values by id and column name, as a sparse data frame."""
        sparse: Any = pd.DataFrame.sparse
        return sparse.from_spmatrix(self.matrix, index=self.ids.values, columns=list(self.columns))

    @cached_property
    def digest(self) -> str:
        """Content hash (32 hex digits) over ids, features and values; the same on every platform."""
        arrays, description = self.to_arrays()
        values = [arrays[part].astype("<f4" if part == "data" else "<i8").tobytes() for part in PARTS]
        return digest_of([self.ids.digest, json.dumps(description, sort_keys=True), *values])

    def to_arrays(self, prefix: str = "") -> tuple[dict[str, NDArray[Any]], list[dict[str, Any]]]:
        """All but the ids: arrays whose names begin with `prefix`, and the features as values that JSON has."""
        return {prefix + part: getattr(self.matrix, part) for part in PARTS}, [asdict(one) for one in self.features]

    @classmethod
    def from_arrays(
        cls, ids: IdMap, arrays: Mapping[str, NDArray[Any]], description: Iterable[Mapping[str, Any]], prefix: str = ""
    ) -> Self:
        """The inverse of `to_arrays`, also after `description` was written as JSON and read back."""
        features = tuple(
            LabelFeature(one["name"], one["kind"], tuple(one["labels"])) if "labels" in one else ScaledFeature(**one)
            for one in description
        )
        shape = (len(ids), sum(len(one.columns) for one in features))
        return cls(ids, csr_array(tuple(arrays[prefix + part] for part in PARTS), shape=shape), features)


def check_features(side: Literal["user", "item"], table: object, ids: IdMap) -> None:
    """Raise `DataError` unless `table` is None or a `FeatureTable` of `ids`, those of this side."""
    if table is not None and not isinstance(table, FeatureTable):
        raise DataError(f"{side}_features must be a FeatureTable, got {described(table)}; FeatureTable.from_frame makes one")
    if table is not None and table.ids != ids:
        raise DataError(f"{side}_features have other ids than the {side}s; call FeatureTable.align first")


def _fit(values: pd.Series, kind: Kind) -> Feature:
    name = str(values.name)
    if kind not in get_args(Kind):
        raise ConfigError(f"feature {name!r}: unknown kind {kind!r}; {did_you_mean(kind, get_args(Kind))}")
    if set(name) & set("=:"):
        raise ConfigError(f"a feature's name must not contain '=' or ':', got {name!r}")
    if kind in ("category", "multi_label"):
        return LabelFeature(name, kind, tuple(sorted(set(_labels(values, kind)[1]))))
    numbers = _numbers(values, kind)
    known = numbers[~np.isnan(numbers)]
    count = max(len(known), 1)
    mean = math.fsum(known) / count  # fsum does not depend on the order of the rows or the platform
    return ScaledFeature(name, kind, mean, math.sqrt(math.fsum((known - mean) ** 2) / count) or 1.0)


def _numbers(values: pd.Series, kind: Kind) -> NDArray[np.float64]:
    """Values of a numeric feature, or days since 1970 of a date, with NaN where there is none."""
    if kind == "date":
        if not pd.api.types.is_datetime64_any_dtype(values):
            raise DataError(f"feature {values.name!r} must hold dates (see pandas.to_datetime), got {values.dtype}")
        seconds = values.to_numpy("datetime64[s]")
        return np.where(np.isnat(seconds), np.nan, seconds.astype(np.int64) / 86_400)
    values = plain(values)
    if not pd.api.types.is_numeric_dtype(values):
        raise DataError(f"feature {values.name!r} must hold numbers, got {values.dtype}")
    numbers = values.to_numpy(np.float64, na_value=np.nan)
    if (bad := np.abs(numbers) > LARGEST).any():
        raise DataError(f"feature {values.name!r} must hold numbers up to {LARGEST:g}, got {numbers[bad][0]:g}")
    return numbers


def _labels(values: pd.Series, kind: Kind) -> tuple[Rows, NDArray[Any], Rows]:
    """Row and text of each label, and the rows without a value."""
    column = values.astype(object).reset_index(drop=True)
    missing = column.isna() | (column == "" if kind == "category" else False)
    given = column[~missing]
    if kind == "multi_label":
        for value in given:
            if isinstance(value, str) or not pd.api.types.is_list_like(value):
                raise DataError(f"feature {values.name!r} must hold lists of labels, got {value!r}")
        given = given.explode().dropna()  # an empty list leaves a missing value
    if (inferred := pd.api.types.infer_dtype(given)) not in ("string", "integer", "boolean", "empty"):
        raise DataError(f"labels of feature {values.name!r} must be all text or all integers, got {inferred} values")
    return given.index.to_numpy(np.int64), given.map(str).to_numpy(object), np.flatnonzero(missing)
