"""From a dataset card to interactions, and to the splits that came with the data."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from recsys_ae.data.cards import GivenSplit, PlantedCard, RatingsCard, Table
from recsys_ae.data.features import load_feature_tables
from recsys_ae.data.fetch import locate
from recsys_ae.data.synthetic import planted_ratings
from recsys_ae.data.tables import IdTypes, guess_table, read_table
from recsys_ae.errors import ConfigError, DataError, UnknownIdError, did_you_mean
from recsys_ae.events import Duplicates
from recsys_ae.ids import IdMap, shown
from recsys_ae.interactions import Interactions
from recsys_ae.split import Repeats, Split

NoiseFloor = Callable[[Interactions], float]


@dataclass(frozen=True)
class Ratings:
    """A loaded dataset: its interactions and, if they were generated, their noise floor."""

    interactions: Interactions
    noise_floor: NoiseFloor | None = None


def load_ratings(card: RatingsCard | PlantedCard, folder: Path, *, features: bool = False) -> Ratings:
    """All ratings of a dataset, on request with its feature tables; `folder` is where its card lies.

    Raises:
        ConfigError: features of a card that declares none.
        DataError: missing, altered or malformed files.
    """
    if isinstance(card, PlantedCard):
        sizes = (card.users, card.items, card.ratings)
        ratings = Ratings(*planted_ratings(*sizes, factors=card.factors, noise=card.noise, seed=card.seed))
    else:
        frame = _read_main(card, folder)
        with _naming(card):
            ratings = Ratings(_from_frame(frame, card.duplicates, card.scale))
    if not features:
        return ratings
    data = ratings.interactions
    return replace(ratings, interactions=replace(data, **load_feature_tables(card, folder, data.users, data.items)))


def load_given_split(
    card: RatingsCard | PlantedCard, folder: Path, name: str, *, repeats: Repeats = "excluded", features: bool = False
) -> Split:
    """The split called `name` on the card, without a validation part; see `Split` for `repeats`.

    With `features` its parts have the feature tables of the card.

    Raises:
        ConfigError: the card has no such split, or no features.
        DataError: missing, altered or malformed files.
    """
    splits = {} if isinstance(card, PlantedCard) else card.splits
    if name not in splits or isinstance(card, PlantedCard):
        raise ConfigError(
            f"dataset {card.name!r} has no split {name!r}; {did_you_mean(name, splits) if splits else 'it has none'}"
        )
    train, test = _split_frames(card, folder, splits[name])
    with _naming(card):
        split = Split.from_frames(
            train, test, repeats=repeats, duplicates=card.duplicates, scale=card.scale, **_columns_of(train)
        )
    tables = load_feature_tables(card, folder, split.train.users, split.train.items) if features else {}
    parts = {part: replace(getattr(split, part), **tables) for part in ("train", "valid", "test")}
    return replace(split, params={"name": name}, **parts)


def read_interactions(
    path: Path | str,
    *,
    duplicates: Duplicates = "error",
    scale: tuple[float, float] | None = None,
    ids: IdTypes | None = None,
) -> Interactions:
    """Interactions from a file without a card; see `guess_table` for what is recognised and `read_table` for errors."""
    table = guess_table(Path(path))
    frame = read_table(Path(path), table, ids, scale)
    return _from_frame(frame, duplicates, scale)


def read_history(
    path: Path, items: IdMap, *, table: Table | None = None, user_ids: str | None = None, skip_unknown: bool = False
) -> tuple[Interactions, int]:
    """Histories for a model that knows `items`; of repeated events the last one counts.

    Args:
        table: the file's layout; inferred if None, see `guess_table`.
        user_ids: type of the user ids, "int" or "str"; inferred if None.
        skip_unknown: leave out events with other items instead of raising.

    Returns:
        The interactions, and the number of events left out.

    Raises:
        UnknownIdError: an item that is not among `items`.
        DataError: as for `read_table`, or nothing is left.
    """
    kinds = {"item": items.kind} | ({"user": user_ids} if user_ids else {})
    frame = read_table(path, table or guess_table(path), kinds)
    unknown = items.find(frame["item_id"]) < 0
    if unknown.any() and not skip_unknown:
        first = frame["item_id"][unknown].iloc[0]
        raise UnknownIdError(
            f"{path}: the model does not know item {shown(first)} ({int(unknown.sum())} such rows); "
            "--skip-unknown leaves them out"
        )
    if unknown.all():
        raise DataError(f"{path}: the model knows none of the items")
    return _from_frame(frame[~unknown], "last", None, items=items), int(unknown.sum())


def _split_frames(card: RatingsCard, folder: Path, split: GivenSplit) -> tuple[pd.DataFrame, pd.DataFrame]:
    if split.train and split.test:
        layout = card.files[0]
        train, test = (
            read_table(locate(card, [path], folder), layout.model_copy(update={"path": path}), card.ids, card.scale)
            for path in (split.train, split.test)
        )
        return train, test
    frame = _read_main(card, folder)
    path = locate(card, [str(split.flags)], folder, download=False)
    if split.column not in (names := pq.read_schema(path).names):
        raise DataError(f"{path}: no column {split.column!r}; {did_you_mean(str(split.column), names)}")
    flags = pq.read_table(path, columns=[split.column])[split.column].to_numpy().astype(bool)
    if len(flags) != len(frame):
        raise DataError(f"{path} has {len(flags)} rows, the ratings it marks have {len(frame)}")
    return frame[~flags], frame[flags]


def _read_main(card: RatingsCard, folder: Path) -> pd.DataFrame:
    path = locate(card, [table.path for table in card.files], folder)
    table = next(table for table in card.files if path.as_posix().endswith(table.path))
    return read_table(path, table, card.ids, card.scale)


@contextmanager
def _naming(card: RatingsCard) -> Iterator[None]:
    """Put the name of the dataset before the message of a `DataError`."""
    try:
        yield
    except DataError as error:
        raise DataError(f"dataset {card.name!r}: {error}") from None


def _from_frame(
    frame: pd.DataFrame, duplicates: Duplicates, scale: tuple[float, float] | None, items: IdMap | None = None
) -> Interactions:
    return Interactions.from_frame(frame, duplicates=duplicates, scale=scale, items=items, **_columns_of(frame))


def _columns_of(frame: pd.DataFrame) -> dict[str, Any]:
    """What `Interactions.from_frame` has to know of a frame that `read_table` returned."""
    return {
        "rating": "rating" if "rating" in frame else None,
        "time": "time" if "time" in frame else None,
        "time_unit": "us",
    }
