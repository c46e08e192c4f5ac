"""Loading of the feature files that a card declares."""

import logging
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa

from recsys_ae.data.cards import PlantedCard, RatingsCard
from recsys_ae.data.content import TEXT, Content, raise_invalid, read_content, refuse
from recsys_ae.data.conversion import as_flags, as_ids, encoded, numbers_in_text, series_of
from recsys_ae.data.fetch import locate
from recsys_ae.data.layouts import FeatureDeclaration, FeatureFile, is_structured
from recsys_ae.data.reading import column_context, reading
from recsys_ae.data.text import undecoded
from recsys_ae.declaration import error_context
from recsys_ae.errors import ConfigError, DataError
from recsys_ae.features import LARGEST, Feature, FeatureTable
from recsys_ae.ids import IdMap, encode, id_index, spelling_hint
from recsys_ae.interactions import Interactions
from recsys_ae.split import Split
from recsys_ae.times import iso_dates

logger = logging.getLogger(__name__)
Side = Literal["users", "items"]


def load_features(
    card: RatingsCard | PlantedCard,
    folder: Path,
    side: Side,
    ids: IdMap,
    *,
    fit_ids: IdMap | None = None,
    features: tuple[Feature, ...] | None = None,
) -> FeatureTable:
    """The features of `ids` that a card declares for its users or items, fitted on `fit_ids`, or on all of `ids` if None.

    With the `features` of an earlier table, its encoding is used instead. Rows of other ids are dropped, and ids without a row
    get only missing values; the counts are logged.

    Raises:
        ConfigError: the card declares none for this side.
        DataError: a missing, altered or malformed file; see `read_features`.
    """
    if isinstance(card, PlantedCard) or side not in card.features:
        raise ConfigError(f"dataset {card.name!r} declares no features of its {side}; add them to its card")
    layout = card.features[side]
    path, frame = _read(card, folder, side, ids)
    with error_context(str(path)):
        kinds = {name: feature.kind for name, feature in layout.columns.items()}
        table = FeatureTable.from_frame(frame, features or kinds, ids=ids, fit_ids=fit_ids)
    dropped = frame["id"][ids.find(frame["id"]) < 0]
    n, hint = len(frame) - len(dropped), spelling_hint(dropped, ids)
    level = logging.WARNING if hint else logging.INFO
    logger.log(level, "%s: %d of %d %s have features, %d other rows dropped%s", path, n, len(ids), side, len(dropped), hint)
    return table


def load_all_features(card: RatingsCard, folder: Path, side: Side, fit_ids: IdMap) -> FeatureTable:
    """The features of all ids in a file that a card declares, fitted on those among `fit_ids`; see `load_features`."""
    path, frame = _read(card, folder, side, fit_ids)
    with error_context(str(path)):
        kinds = {name: feature.kind for name, feature in card.features[side].columns.items()}
        return FeatureTable.from_frame(frame, kinds, fit_ids=fit_ids)


def with_unrated(card: RatingsCard, folder: Path, data: Interactions, sides: Collection[Side]) -> Interactions:
    """The same events, with users and items that have features only, if they are on these sides and the card keeps them."""
    maps: dict[Side, IdMap] = {"users": data.users, "items": data.items}
    for side, known in maps.items():
        if side in sides and card.features[side].unrated == "keep":
            ids = id_index(known.values).append(id_index(_read(card, folder, side, known)[1]["id"]))
            maps[side] = encode(ids, None)[1]
    users, items = maps["users"], maps["items"]
    if users is data.users and items is data.items:
        return data
    log = data.stored_events
    log = replace(log, users=users.rows(data.users.values)[log.users], items=items.rows(data.items.values)[log.items])
    return Interactions.from_events(log, users, items, data.duplicates, data.scale)


def _read(card: RatingsCard, folder: Path, side: Side, ids: IdMap) -> tuple[Path, pd.DataFrame]:
    """The path and the content of a feature file, with ids of the same type as `ids`."""
    path = locate(card, [card.features[side].path], folder)
    return path, read_features(path, card.features[side], ids.kind)


def load_feature_tables(card: RatingsCard | PlantedCard, folder: Path, users: IdMap, items: IdMap) -> dict[str, Any]:
    """All feature tables that a card declares, by their names in `Interactions`; see `load_features`."""
    if isinstance(card, PlantedCard) or not card.features:
        raise ConfigError(f"dataset {card.name!r} declares no features")
    ids = {"users": users, "items": items}
    return {f"{side.removesuffix('s')}_features": load_features(card, folder, side, ids[side]) for side in card.features}


def with_features(card: RatingsCard, folder: Path, split: Split, sides: Collection[Side]) -> Split:
    """`split` with the feature tables of these sides, fitted on the users or items of its training part.

    So means and labels do not depend on ids that occur only in the other parts.
    """
    train, tables = split.train, dict[str, Any]()
    for side in sides:
        ids, rows = (train.users, train.user_rows()) if side == "users" else (train.items, train.item_rows())
        seen = IdMap(ids.values[np.unique(rows)])
        tables[f"{side.removesuffix('s')}_features"] = load_features(card, folder, side, ids, fit_ids=seen)
    parts: dict[str, Any] = {name: replace(part, **tables, merged=True) for name, part in split.parts().items()}
    return replace(split, **parts)


def read_features(path: Path, layout: FeatureFile, id_kind: Literal["int", "str"]) -> pd.DataFrame:
    """The features in a file as `FeatureTable.from_frame` takes them: a column `id`, and one for each feature.

    In text files an empty field is a missing value.

    Raises:
        DataError: no such file or column, no rows, or an invalid line (a row in Parquet), with its number and content.
    """
    with reading(path):
        content = read_content(path, layout, dict.fromkeys(layout.places(), TEXT))
        raise_invalid(content)
        if not len(content.columns[layout.id]):
            raise DataError("there is no data: the file has no rows")
        if not (typed := is_structured(path.name)):
            for name, column in content.columns.items():
                codes, distinct = encoded(column)
                refuse(content, name, undecoded(distinct)[codes], "not text in the declared encoding")
        with column_context(layout.id):
            ids = as_ids(content.columns[layout.id], id_kind, typed=typed)
        refuse(content, layout.id, ids.bad, ids.why)
        own = series_of(ids.values)
        refuse(content, layout.id, own.duplicated(), "a repeated id; each id may have one row")
        values = {name: _values(content, feature, layout.decimal, typed) for name, feature in layout.columns.items()}
    return pd.DataFrame({"id": own} | values)


def _values(content: Content, feature: FeatureDeclaration, decimal: str, typed: bool) -> pd.Series:
    """The values of a feature in the types that its kind is encoded from."""
    if feature.flags:
        flags = []
        for flag in feature.flags.values():
            flags.append(as_flags(content.columns[flag], typed=typed))
            refuse(content, flag, flags[-1].bad, flags[-1].why)
        labels = np.array(list(feature.flags), dtype=object)
        return pd.Series([list(labels[row]) for row in np.column_stack([one.values for one in flags])], dtype=object)
    place: Any = feature.column
    column = content.columns[place].to_pandas(integer_object_nulls=True)
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype)
    if feature.pattern:
        column = column.astype("str").str.extract(feature.pattern, expand=False).fillna("")
    as_text = pd.api.types.infer_dtype(column) in ("string", "empty")
    if as_text:
        column = column.where(column != "")
    if feature.kind == "numeric" and column.dtype.kind in "Obuif":
        numbers = _numbers(column, decimal) if as_text else pd.to_numeric(column, errors="coerce")
        refuse(content, place, ~np.isfinite(numbers) & column.notna(), "not a finite number")
        refuse(content, place, np.abs(numbers) > LARGEST, f"too large, the limit is {LARGEST:g} in size")
        return numbers
    if feature.kind == "date" and (as_text or pd.api.types.infer_dtype(column) == "date"):
        dates = (
            pd.to_datetime(column, format=feature.format, utc=True, errors="coerce") if feature.format else iso_dates(column)
        )
        refuse(content, place, dates.isna() & column.notna(), f"not a date in the format {feature.format or 'ISO 8601'}")
        return dates
    if feature.kind == "multi_label" and feature.separator:
        refuse(content, place, column.notna() & (not as_text), f"not text with labels separated by {feature.separator!r}")
        return column.map(lambda text: [label for label in text.split(feature.separator) if label], na_action="ignore")
    return column


def _numbers(column: pd.Series, decimal: str) -> pd.Series:
    """Text as numbers, NaN where it is not one."""
    texts = pa.array(column.fillna(""), pa.string())
    return pd.Series(numbers_in_text(texts, decimal), index=column.index)
