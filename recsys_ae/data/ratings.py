"""From a dataset card to interactions, and to the splits that were published with the data."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from recsys_ae.data.cards import GivenSplit, PlantedCard, RatingsCard, Table
from recsys_ae.data.features import load_feature_tables
from recsys_ae.data.fetch import locate
from recsys_ae.data.reading import reading
from recsys_ae.data.synthetic import planted_ratings
from recsys_ae.data.tables import IdTypes, Scale, guess_table, read_table
from recsys_ae.declaration import error_context
from recsys_ae.errors import ConfigError, DataError, UnknownIdError, did_you_mean
from recsys_ae.events import Duplicates
from recsys_ae.files import path_of
from recsys_ae.ids import IdMap, encode, id_index, shown
from recsys_ae.interactions import Interactions
from recsys_ae.split import Repeats, Split


@dataclass(frozen=True)
class Ratings:
    """A loaded dataset: its interactions and, if they were generated, their noise floor."""

    interactions: Interactions
    noise_floor: Callable[[Interactions], float] | None = None


def load_ratings(card: RatingsCard | PlantedCard, folder: Path, *, features: bool = False) -> Ratings:
    """All ratings of a dataset, on request with its feature tables; `folder` is that of its card.

    Raises:
        ConfigError: features of a card that declares none.
        DataError: missing, altered or malformed files.
    """
    if isinstance(card, PlantedCard):
        sizes = (card.users, card.items, card.ratings)
        ratings = Ratings(*planted_ratings(*sizes, factors=card.factors, noise=card.noise, seed=card.seed))
    else:
        frame = _read(card, folder, card.files)
        options = {"duplicates": card.duplicates, "scale": card.scale, **_columns_of(frame)}
        with error_context(f"dataset {card.name!r}"):
            ratings = Ratings(Interactions.from_frame(frame, **options))
    if not features:
        return ratings
    data = ratings.interactions
    return replace(ratings, interactions=replace(data, **load_feature_tables(card, folder, data.users, data.items)))


def load_given_split(
    card: RatingsCard | PlantedCard, folder: Path, name: str, *, repeats: Repeats = "excluded", features: bool = False
) -> Split:
    """The split called `name` on the card, without a validation part, on request with feature tables.

    Raises:
        ConfigError: the card has no such split, or no features.
        DataError: missing, altered or malformed files.
    """
    splits = {} if isinstance(card, PlantedCard) else card.splits
    if isinstance(card, PlantedCard) or name not in splits:
        hint = did_you_mean(name, splits) if splits else "it has none"
        raise ConfigError(f"dataset {card.name!r} has no split {name!r}; {hint}")
    train, test = _split_frames(card, folder, splits[name])
    options = {"duplicates": card.duplicates, "scale": card.scale, **_columns_of(train)}
    with error_context(f"dataset {card.name!r}"):
        split = Split.from_frames(train, test, repeats=repeats, **options)
    tables = load_feature_tables(card, folder, split.train.users, split.train.items) if features else {}
    parts = {part: replace(getattr(split, part), **tables) for part in ("train", "valid", "test")}
    return replace(split, params={"name": name}, **parts)


def read_interactions(
    path: Path | str, *, duplicates: Duplicates = "error", scale: Scale = None, ids: IdTypes | None = None
) -> Interactions:
    """Interactions from a file without a card; see `guess_table` for what is recognised and `read_table` for errors."""
    path = path_of(path)
    frame = read_table(path, guess_table(path), ids, scale)
    return Interactions.from_frame(frame, duplicates=duplicates, scale=scale, **_columns_of(frame))


def read_history(
    path: Path, items: IdMap, *, table: Table | None = None, user_ids: str | None = None, skip_unknown: bool = False
) -> tuple[Interactions, int]:
    """Histories for a model that knows `items`; of repeated events the last one counts.

    Args:
        table: the file's layout; inferred if None, see `guess_table`.
        user_ids: type of the user ids, "int" or "str"; inferred if None.
        skip_unknown: leave out events with other items instead of raising. Users who have only such events stay, without a
            history.

    Returns:
        The interactions, and the number of events left out.

    Raises:
        UnknownIdError: an item that is not among `items`.
        DataError: as for `read_table`, or nothing is left.
    """
    kinds = {"item": items.kind} | ({"user": user_ids} if user_ids else {})
    frame = read_table(path, table or guess_table(path), kinds)
    unknown = items.find(frame["item_id"]) < 0
    skipped = int(unknown.sum())
    if skipped and not skip_unknown:
        first = shown(frame["item_id"][unknown].iloc[0])
        raise UnknownIdError(
            f"{path}: the model does not know item {first} ({skipped} such rows); --skip-unknown leaves them out"
        )
    if unknown.all():
        raise DataError(f"{path}: the model knows none of the items")
    users = encode(id_index(frame["user_id"]), None)[1]
    options = {"duplicates": "last", "users": users, "items": items, **_columns_of(frame)}
    return Interactions.from_frame(frame[~unknown], **options), skipped


def _split_frames(card: RatingsCard, folder: Path, split: GivenSplit) -> tuple[pd.DataFrame, pd.DataFrame]:
    if split.train and split.test:
        layouts = [card.files[0].model_copy(update={"path": path}) for path in (split.train, split.test)]
        train, test = (_read(card, folder, [layout]) for layout in layouts)
        return train, test
    frame = _read(card, folder, card.files)
    path = locate(card, [str(split.flags)], folder, download=False)
    with reading(path):
        if split.column not in (names := pq.read_schema(path).names):
            raise DataError(f"no column {split.column!r}; {did_you_mean(str(split.column), names)}")
        flags = pq.read_table(path, columns=[split.column])[split.column].to_numpy().astype(bool)
        if len(flags) != len(frame):
            raise DataError(f"column {split.column!r} has {len(flags)} rows, the ratings it marks have {len(frame)}")
    return frame[~flags], frame[flags]


def _read(card: RatingsCard, folder: Path, tables: list[Table]) -> pd.DataFrame:
    """The first of the tables whose file exists."""
    path = locate(card, [table.path for table in tables], folder)
    table = next(table for table in tables if path.as_posix().endswith(table.path))
    return read_table(path, table, card.ids, card.scale)


def _columns_of(frame: pd.DataFrame) -> dict[str, Any]:
    """What `Interactions.from_frame` must be passed for a frame from `read_table`."""
    return {role: role if role in frame else None for role in ("rating", "time")} | {"time_unit": "us"}
