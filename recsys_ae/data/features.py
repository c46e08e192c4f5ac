"""From the feature files that a card declares to feature tables of users and items."""

import csv
import logging
import re
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from recsys_ae.data.cards import FeatureDeclaration, FeatureFile, PlantedCard, RatingsCard
from recsys_ae.data.fetch import locate
from recsys_ae.data.reading import reading
from recsys_ae.declaration import error_context
from recsys_ae.errors import ConfigError, DataError, did_you_mean
from recsys_ae.features import FeatureTable
from recsys_ae.ids import IdMap, shown

# The Python engine is the only one that tells a short line from empty fields.
AS_TEXT: Any = {"engine": "python", "header": None, "dtype": str, "na_filter": False, "skip_blank_lines": False}
AS_STORED: Any = {"ignore_metadata": True, "integer_object_nulls": True}
INTEGER = re.compile("0|-?[1-9][0-9]{0,18}")

logger = logging.getLogger(__name__)


def load_features(
    card: RatingsCard | PlantedCard, folder: Path, side: Literal["users", "items"], ids: IdMap, *, fit_ids: IdMap | None = None
) -> FeatureTable:
    """The features of `ids` that a card declares for its users or items, fitted on `fit_ids`, or on all of `ids` if None.

    Rows of other ids are dropped, ids without a row get missing values only; the counts are logged.

    Raises:
        ConfigError: the card declares none for this side.
        DataError: a missing, altered or malformed file; see `read_features`.
    """
    if isinstance(card, PlantedCard) or side not in card.features:
        raise ConfigError(f"dataset {card.name!r} declares no features of its {side}")
    layout = card.features[side]
    path = locate(card, [layout.path], folder)
    frame = read_features(path, layout, ids.kind)
    with error_context(str(path)):
        kinds = {name: feature.kind for name, feature in layout.columns.items()}
        table = FeatureTable.from_frame(frame, kinds, ids=ids, fit_ids=fit_ids)
    found = int((ids.find(frame["id"]) >= 0).sum())
    logger.info("%s: %d of %d %s have features, %d other rows dropped", path, found, len(ids), side, len(frame) - found)
    return table


def load_feature_tables(card: RatingsCard | PlantedCard, folder: Path, users: IdMap, items: IdMap) -> dict[str, Any]:
    """All feature tables that a card declares, by their names in `Interactions`; see `load_features`."""
    if isinstance(card, PlantedCard) or not card.features:
        raise ConfigError(f"dataset {card.name!r} declares no features")
    ids = {"users": users, "items": items}
    return {f"{side.removesuffix('s')}_features": load_features(card, folder, side, ids[side]) for side in card.features}


def read_features(path: Path, layout: FeatureFile, id_kind: Literal["int", "str"]) -> pd.DataFrame:
    """The features in a file as `FeatureTable.from_frame` takes them: a column `id`, and one for each feature.

    In text files quotes are special only between commas or semicolons, and an empty field is a missing value.

    Raises:
        DataError: no such file or column, no rows, or an invalid line (a row in Parquet), with its number and content.
    """
    is_parquet = layout.path.endswith(".parquet")
    where = f"{path}, {'row' if is_parquet else 'line'}"
    with reading(path):
        raw = pq.read_table(path).to_pandas(**AS_STORED) if is_parquet else _read_text(path, layout)
        raw.index += 1
        for name in layout.places():
            if (count := list(raw).count(name)) != 1:
                raise DataError(f"expected one column {name!r}, found {count}; {did_you_mean(str(name), map(str, raw))}")
        if not len(raw):
            raise DataError("there is no data: the file has no rows")
    ids = raw[layout.id]
    _refuse([not _is_id(value, id_kind) for value in ids], ids, where, "not an integer" if id_kind == "int" else "not an id")
    ids = ids.astype("int64" if id_kind == "int" else "str")
    _refuse(ids.duplicated(), ids, where, "an id that occurs before")
    return pd.DataFrame({"id": ids} | {name: _values(raw, feature, where) for name, feature in layout.columns.items()})


def _read_text(path: Path, layout: FeatureFile) -> pd.DataFrame:
    """All fields as text, by line number from 0; the columns are named, or numbered from 1."""
    mark = layout.separator
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if mark in (",", ";") else csv.QUOTE_NONE
    pattern = mark if len(mark) == 1 else re.escape(mark)
    try:
        frame = pd.read_csv(path, sep=pattern, quoting=quoting, encoding=layout.encoding, **AS_TEXT)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, LookupError) as error:
        raise DataError(f"cannot be read: {error}") from None
    frame = frame[(frame.fillna("") != "").any(axis=1)]  # without blank lines
    if (short := frame.isna().any(axis=1)).any():
        fields = frame[short].iloc[0].dropna()
        line = mark.join(fields)
        raise DataError(f"{path}, line {fields.name + 1}: expected {frame.shape[1]} fields, got {len(fields)}: {line!r}")
    names = frame.iloc[0].to_list() if layout.header and len(frame) else range(1, frame.shape[1] + 1)
    return frame.iloc[int(layout.header) :].set_axis(names, axis=1)


def _is_id(value: Any, kind: str) -> bool:
    if kind == "str":
        return isinstance(value, (str, int)) and value != ""
    return INTEGER.fullmatch(str(value)) is not None and -(2**63) <= int(value) < 2**63


def _values(raw: pd.DataFrame, feature: FeatureDeclaration, where: str) -> pd.Series:
    """The values of a feature in the types that its kind is encoded from."""
    if feature.flags:
        flags = raw[list(feature.flags.values())].astype(str).replace({"True": "1", "False": "0"})
        for name, column in flags.items():
            _refuse(~column.isin(["0", "1"]), raw[name], where, "neither 0 nor 1")
        labels = np.array(list(feature.flags), dtype=object)
        return pd.Series([list(labels[row]) for row in flags.to_numpy() == "1"], index=raw.index, dtype=object)
    column = raw[feature.column]
    if feature.pattern:
        column = column.astype("str").str.extract(feature.pattern, expand=False).fillna("")
    as_text = pd.api.types.infer_dtype(column) in ("string", "empty")
    if as_text:
        column = column.where(column != "")
    if feature.kind == "numeric" and column.dtype.kind in "Obuif":
        numbers = pd.to_numeric(column, errors="coerce")
        _refuse(~np.isfinite(numbers) & column.notna(), column, where, "not a finite number")
        return numbers
    if feature.kind == "date" and (as_text or pd.api.types.infer_dtype(column) == "date"):
        dates = pd.to_datetime(column, format=feature.format or "ISO8601", errors="coerce", utc=True)
        _refuse(dates.isna() & column.notna(), column, where, f"not a date ({feature.format or 'ISO 8601'})")
        return dates
    if feature.kind == "multi_label" and feature.separator:
        return column.map(lambda text: [label for label in text.split(feature.separator) if label], na_action="ignore")
    return column


def _refuse(bad: Any, column: pd.Series, where: str, problem: str) -> None:
    """Raise a `DataError` about the first value of `column` at which `bad` is true."""
    if (at := np.flatnonzero(np.asarray(bad, bool))).size:
        raise DataError(f"{where} {column.index[at[0]]}: {column.name!r} {shown(column.iloc[at[0]])} is {problem}")
