"""Loading of interactions, and of the splits published with them, from dataset cards and files."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray

from recsys_ae.data.adjacency import read_adjacency
from recsys_ae.data.cards import GivenSplit, PlantedCard, RatingsCard
from recsys_ae.data.conversion import NO_FLAG, Scale, as_flags
from recsys_ae.data.detection import guess_table
from recsys_ae.data.features import load_feature_tables
from recsys_ae.data.fetch import locate, locate_table
from recsys_ae.data.k_core import k_core
from recsys_ae.data.layouts import Table
from recsys_ae.data.matlab import read_masked
from recsys_ae.data.matrices import read_npz
from recsys_ae.data.planted import PLANTED, Process
from recsys_ae.data.reading import column_context, reading
from recsys_ae.data.skipped import SkippedLines
from recsys_ae.data.tables import IdTypes, read_table
from recsys_ae.declaration import error_context
from recsys_ae.errors import ConfigError, DataError, UnknownIdError, counted, did_you_mean, quoted
from recsys_ae.events import Duplicates, read_events
from recsys_ae.files import path_of
from recsys_ae.ids import IdMap, Rows, encode, id_index, shown, spelling_hint
from recsys_ae.interactions import Interactions
from recsys_ae.split import Predict, Repeats, Split

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ratings:
    """A loaded dataset: its interactions and, if they were generated, the process behind them."""

    interactions: Interactions
    process: Process | None = None


def load_ratings(
    card: RatingsCard | PlantedCard, folder: Path, *, features: bool = False, skipped: SkippedLines | None = None
) -> Ratings:
    """All ratings of a dataset, on request with its feature tables; `folder` is that of its card.

    Repeated pairs are merged, then users and items outside the card's `k_core` are left out. Lines skipped
    under `bad_lines: skip` are added to `skipped`.

    Raises:
        ConfigError: features of a card that declares none.
        DataError: missing, altered or malformed files.
    """
    if isinstance(card, PlantedCard):
        with error_context(f"dataset {card.name!r}"):
            ratings = Ratings(*PLANTED[card.kind](**card.arguments))
        features = features and card.kind != "planted-features"  # which come with their tables
    else:
        frame = _whole(card, folder, skipped)
        options = {"duplicates": card.duplicates, "scale": card.scale, **columns_of(frame)}
        with error_context(f"dataset {card.name!r}"):
            data = Interactions.from_frame(frame, **options)
            data = data if card.session_gap is None else data.with_sessions(card.session_gap)
            ratings = Ratings(data if card.k_core is None else k_core(data, card.k_core))
    if not features:
        return ratings
    data = ratings.interactions
    return replace(
        ratings, interactions=replace(data, **load_feature_tables(card, folder, data.users, data.items), merged=True)
    )


def load_given_split(
    card: RatingsCard | PlantedCard,
    folder: Path,
    name: str,
    *,
    repeats: Repeats = "excluded",
    predict: Predict = "all",
    features: bool = False,
    skipped: SkippedLines | None = None,
) -> Split:
    """The split `name` of the card, without a validation part, on request with feature tables; see `load_ratings`.

    Raises:
        ConfigError: the card has no such split, or no features.
        DataError: missing, altered or malformed files.
    """
    splits = {} if isinstance(card, PlantedCard) else card.splits
    if isinstance(card, PlantedCard) or name not in splits:
        hint = did_you_mean(name, splits) if splits else "its card declares none"
        raise ConfigError(f"dataset {card.name!r} has no split {name!r}; {hint}")
    train, test = _split_frames(card, folder, splits[name], skipped)
    options = {"duplicates": card.duplicates, "scale": card.scale, **columns_of(train)}
    with error_context(f"dataset {card.name!r}"):
        split = Split.from_frames(train, test, repeats=repeats, predict=predict, **options)
        if not len(split.test):
            raise DataError(f"the test part of split {name!r} is empty; there is nothing to evaluate")
        split = split if card.session_gap is None else split.with_sessions(card.session_gap)
    tables = load_feature_tables(card, folder, split.train.users, split.train.items) if features else {}
    parts = {part: replace(getattr(split, part), **tables, merged=True) for part in ("train", "valid", "test")}
    return replace(split, params={"name": name}, **parts)


def read_interactions(
    path: Path | str,
    *,
    duplicates: Duplicates = "error",
    scale: Scale = None,
    ids: IdTypes | None = None,
    skipped: SkippedLines | None = None,
    **layout: Any,
) -> Interactions:
    """Interactions from a file without a card; see `guess_table` for what is recognised and `read_table` for errors.

    Args:
        layout: known properties of the file, by the keys of a file in a card: `columns`, `separator`, `header`, `quote`,
            `encoding`, `decimal`, `time_unit`, `date_format`, `bad_lines`, `skip_at_most`.
        skipped: the lines skipped under `bad_lines: skip` are added to it.
    """
    path = path_of(path)
    tables = {"the table": read_table(path, guess_table(path, **layout), ids, scale, skipped=skipped)}
    columns = {"user": "user_id", "item": "item_id", **columns_of(tables["the table"])}
    (log,), users, items = read_events(tables, columns, columns.pop("time_unit"), None, None, scale)
    return Interactions.from_events(log, users, items, duplicates, scale)


def read_history(
    path: Path,
    items: IdMap,
    *,
    table: Table | None = None,
    user_ids: str | None = None,
    skip_unknown: bool = False,
    users: pd.Series | None = None,
    skipped: SkippedLines | None = None,
    scale: Scale = None,
    duplicates: Duplicates = "last",
) -> tuple[Interactions, int]:
    """Histories for a model that knows `items`.

    Args:
        table: the file's layout; inferred if None, see `guess_table`.
        user_ids: type of the user ids, "int" or "str"; inferred if None.
        skip_unknown: leave out events with other items instead of raising. Users who have only such events stay, without a
            history.
        users: ids of users who get a row even if the file does not have them.
        skipped: the lines skipped under `bad_lines: skip` are added to it.
        scale: the lowest and the highest possible rating; ratings outside are errors.
        duplicates: how repeated pairs are merged.

    Returns:
        The interactions, and the number of events left out because of their items.

    Raises:
        UnknownIdError: an item that is not among `items`.
        DataError: as for `read_table`, or nothing is left.
    """
    kinds = {"item": items.kind} | ({"user": user_ids} if user_ids else {})
    frame = read_table(path, table or guess_table(path), kinds, scale, skipped=skipped)
    unknown = items.find(frame["item_id"]) < 0
    n_unknown, hint = int(unknown.sum()), spelling_hint(frame["item_id"][unknown], items)
    if n_unknown and not skip_unknown:
        first, count = shown(frame["item_id"][unknown].iloc[0]), counted(n_unknown, "such row")
        raise UnknownIdError(f"{path}: the model does not know item {first} ({count}){hint}; --skip-unknown leaves them out")
    if hint:
        logger.warning("%s: left out %s with items that the model does not know%s", path, counted(n_unknown, "row"), hint)
    if unknown.all():
        raise DataError(f"{path}: the model knows none of the items; check that their ids are written as in training")
    known = id_index(frame["user_id"])
    codes, rows = encode(known if users is None else known.append(id_index(users)), None)
    if users is not None:
        _check_spelling(path, rows, codes[: len(known)])
    options = {"duplicates": duplicates, "scale": scale, "users": rows, "items": items, **columns_of(frame)}
    return Interactions.from_frame(frame[~unknown], **options), n_unknown


def _check_spelling(path: Path, users: IdMap, present: Rows) -> None:
    """Warn if users without a row in this file seem to be there under another spelling of their ids."""
    missing = np.ones(len(users), bool)
    missing[present] = False
    if missing.any() and (hint := spelling_hint(pd.Index(users.values[missing]), users.of(np.flatnonzero(~missing)))):
        logger.warning("%s has no history for %s%s", path, counted(int(missing.sum()), "requested user"), hint)


def _whole(card: RatingsCard, folder: Path, skipped: SkippedLines | None) -> pd.DataFrame:
    """All ratings of a card: its file or, if it has none, both parts of its first split."""
    if card.files:
        return _read(card, folder, card.files, skipped)
    return pd.concat(_split_frames(card, folder, next(iter(card.splits.values())), skipped), ignore_index=True)


def _split_frames(
    card: RatingsCard, folder: Path, split: GivenSplit, skipped: SkippedLines | None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    if split.format != "table":
        return _published_frames(card, folder, split)
    if split.train and split.test:
        layouts = [card.files[0].model_copy(update={"path": path}) for path in (split.train, split.test)]
        train, test = (_read(card, folder, [layout], skipped) for layout in layouts)
        return train, test
    frame = _read(card, folder, card.files, skipped)
    if split.shuffle is not None:
        flags = split.shuffle.flags(len(frame))
    else:
        path = locate(card, [str(split.flags)], folder, download=False)
        flags = _read_flags(path, str(split.column), len(frame))
    return frame[~flags], frame[flags]


def _published_frames(card: RatingsCard, folder: Path, split: GivenSplit) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The parts of a split in one of the formats of publications."""
    paths = [locate(card, [name], folder) for name in (split.train, split.test, split.file) if name is not None]
    if split.format == "adjacency":
        train, test = (read_adjacency(path, card.ids) for path in paths)
        return train, test
    if split.format == "matlab":
        both = read_masked(paths[0], str(split.matrix), str(split.train_mask), str(split.test_mask))
    else:
        both = read_npz(paths[0]), read_npz(paths[1])
    shapes = [" x ".join(map(str, entries.shape)) for entries in both]
    if shapes[0] != shapes[1]:
        raise DataError(f"{paths[1]} has {shapes[1]} users and items, but {paths[0]} has {shapes[0]}; both need all of them")
    with error_context(str(paths[0])):
        train = both[0].frame()
    with error_context(str(paths[-1])):
        return train, both[1].frame()


def _read_flags(path: Path, column: str, length: int) -> NDArray[np.bool_]:
    """A column of flags in a Parquet file, bool [length]."""
    with reading(path):
        with pq.ParquetFile(path) as file:
            if column not in (names := file.schema_arrow.names):
                raise DataError(f"there is no column {column!r}; {did_you_mean(column, names)}")
            stored = file.read(columns=[column])[column]
        with column_context(column):
            flags = as_flags(stored, typed=True)
        if flags.bad.any():
            row = int(flags.bad.argmax())
            raise DataError(f"{path}, row {row + 1}: {column} {quoted(stored[row].as_py())} is {NO_FLAG}")
        if len(stored) != length:
            raise DataError(
                f"column {column!r} has {len(stored)} rows, but the ratings have {length}; flags need one row per rating"
            )
    marks: NDArray[np.bool_] = flags.values
    return marks


def _read(card: RatingsCard, folder: Path, tables: list[Table], skipped: SkippedLines | None) -> pd.DataFrame:
    """The first of the tables whose file exists."""
    path, table = locate_table(card, tables, folder)
    return read_table(path, table, card.ids, card.scale, skipped=skipped)


def columns_of(frame: pd.DataFrame) -> dict[str, Any]:
    """The options of `Interactions.from_frame` for a frame from `read_table`."""
    return {role: role if role in frame else None for role in ("rating", "time", "session")} | {"time_unit": "us"}
