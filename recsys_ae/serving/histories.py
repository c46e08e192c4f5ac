"""The histories of many users, kept beside a served model: each user's events, oldest first, in two Parquet files."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from recsys_ae.errors import DataError
from recsys_ae.events import Events, Ratings
from recsys_ae.ids import IdMap, Rows
from recsys_ae.interactions import Interactions
from recsys_ae.parquet import read_parquet, write_parquet
from recsys_ae.sequences import ranges


@dataclass(frozen=True, eq=False, repr=False)
class Histories:
    """E events of N users. Of their times only the order is kept, because no model scores by more.

    Attributes:
        users: ids of the users.
        starts: int64 [N + 1]; the events of user u are those from starts[u] to starts[u + 1], oldest first.
        items: int64 [E], item rows.
        ratings: float32 [E].
        sessions: int64 [E], session numbers, or None.
    """

    users: IdMap
    starts: Rows
    items: Rows
    ratings: Ratings
    sessions: Rows | None = None

    @classmethod
    def of(cls, data: Interactions) -> "Histories":
        """The events of all users of `data`."""
        log = data.log
        ordered = log[np.argsort(log.users, kind="stable")]
        starts = np.r_[0, np.cumsum(np.bincount(log.users, minlength=data.n_users))]
        return cls(data.users, starts, ordered.items, ordered.ratings, ordered.sessions)

    def __repr__(self) -> str:
        return f"Histories({len(self.users)} users, {len(self.items)} events)"

    def __getitem__(self, rows: Rows) -> Events:
        """The events of the users at `rows` [B], who become users 0 to B - 1; by user, oldest first."""
        at, starts = ranges(self.starts[rows], self.starts[rows + 1])
        sessions = None if self.sessions is None else self.sessions[at]
        return Events(np.repeat(np.arange(len(rows)), np.diff(starts)), self.items[at], self.ratings[at], sessions=sessions)

    def write(self, folder: Path, name: str) -> None:
        """Write `NAME-users.parquet` (id, events) and `NAME-events.parquet` (item, rating, session)."""
        users = pa.table({"id": self.users.values, "events": np.diff(self.starts)})
        columns = {"item": self.items.astype(np.int32), "rating": self.ratings, "session": self.sessions}
        events = pa.table({key: column for key, column in columns.items() if column is not None})
        for path, table in zip(_paths(folder, name), (users, events), strict=True):
            write_parquet(table.schema, [table], path)

    @classmethod
    def read(cls, folder: Path, name: str) -> "Histories":
        """What `write` wrote; `DataError` if it is damaged."""
        users, events = map(read_parquet, _paths(folder, name))
        try:
            starts = np.r_[0, np.cumsum(users["events"].to_numpy())]
            items = events["item"].to_numpy().astype(np.int64)
            sessions = events["session"].to_numpy() if "session" in events.column_names else None
            return cls(IdMap(users["id"].to_pandas()), starts, items, events["rating"].to_numpy(), sessions)
        except KeyError as error:
            raise DataError(f"{folder} is damaged: the history {name} has no column {error}; log the model again") from None


def _paths(folder: Path, name: str) -> tuple[Path, Path]:
    return folder / f"{name}-users.parquet", folder / f"{name}-events.parquet"
