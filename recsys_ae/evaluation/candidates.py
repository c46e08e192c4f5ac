"""Sampled evaluation: each user's relevant items are ranked among a few sampled items instead of the whole catalogue.

Values are not comparable with those of full ranking, and may order models differently (Krichene and Rendle 2020), so the names
of their metrics begin with `sampled_`. The candidates are drawn once and kept in a file, so that all models rank the same ones.
"""

import logging
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys_ae.declaration import check_seed
from recsys_ae.digests import digest_of
from recsys_ae.errors import DataError, counted, quoted
from recsys_ae.files import whole_file
from recsys_ae.ids import IdMap, Rows, among, id_index
from recsys_ae.models.base import check_counts
from recsys_ae.parquet import read_parquet, write_parquet
from recsys_ae.ranking import entry_keys
from recsys_ae.split import Split

COLUMNS = ["user_id", "item_id"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False, repr=False)
class Candidates:
    """Items that each user's relevant items are ranked among.

    Attributes:
        users, items: ids of the rows and columns.
        matrix: bool csr_array [N, M] of the sampled items, none of which the user has in any part of the data.
    """

    users: IdMap
    items: IdMap
    matrix: csr_array

    @classmethod
    def sample(cls, split: Split, part: Literal["valid", "test"], n: int, *, seed: int = 0) -> "Candidates":
        """For each user of a part, `n` different items drawn uniformly from those that the user has in no part of the data.

        A user with fewer of such items gets all of them. This is the protocol of He et al. 2017 (NCF) with n = 100.

        Raises:
            ConfigError: n < 1, or an invalid seed.
        """
        check_counts(n=n)
        check_seed(seed)
        asked, whole = split.test if part == "test" else split.valid, split.everything.matrix
        users = np.flatnonzero(np.diff(asked.matrix.indptr))
        drawn = _draw(whole[users], n, np.random.default_rng(seed))
        counts = np.zeros(asked.n_users, np.int64)
        counts[users] = (drawn >= 0).sum(axis=1)
        if len(users) and counts.max() < n:
            logger.warning("no user has %d items to sample, so that candidates are all unknown items; lower n", n)
        matrix = csr_array((np.ones(counts.sum(), bool), drawn[drawn >= 0], np.r_[0, counts.cumsum()]), asked.matrix.shape)
        matrix.sort_indices()
        return cls(asked.users, asked.items, matrix)

    @classmethod
    def read(cls, path: Path, users: IdMap, items: IdMap) -> "Candidates":
        """The candidates in a Parquet file with the columns user_id and item_id; users who are not in `users` are ignored.

        Raises:
            DataError: no such file, other columns, a pair that occurs twice, or an item that is not in `items`.
        """
        table = read_parquet(path)
        if missing := [name for name in COLUMNS if name not in table.column_names]:
            raise DataError(f"{path}: a file of candidates has the columns user_id and item_id, but {missing[0]} is missing")
        frame = table.select(COLUMNS).to_pandas()
        rows = users.find(id_index(frame["user_id"], f"column 'user_id' of {path}"))
        columns = items.find(id_index(frame["item_id"], f"column 'item_id' of {path}"))
        if (unknown := columns < 0).any():
            first = frame["item_id"].iloc[int(unknown.argmax())]
            raise DataError(
                f"{path}: candidate {quoted(first)} is not an item of the data ({counted(int(unknown.sum()), 'such row')})"
            )
        rows, columns = rows[rows >= 0], columns[rows >= 0]
        matrix = csr_array((np.ones(len(rows), np.int64), (rows, columns)), (len(users), len(items)))
        if len(matrix.data) and matrix.data.max() > 1:
            raise DataError(f"{path}: some candidates are given twice for one user; remove repeated rows")
        return cls(users, items, matrix.astype(bool))

    def write(self, path: Path) -> None:
        """Write a Parquet file for `read`."""
        rows, columns = self.matrix.nonzero()
        table = pa.table({"user_id": self.users.values[rows], "item_id": self.items.values[columns]})
        with whole_file(path) as draft:
            write_parquet(table.schema, [table], draft)

    def of(self, rows: Rows) -> csr_array:
        """bool csr_array [B, M]: the candidates of the users at `rows`."""
        return self.matrix[rows]

    @cached_property
    def digest(self) -> str:
        """Content hash (32 hex digits)."""
        parts = [self.matrix.indptr.astype("<i8").tobytes(), self.matrix.indices.astype("<i8").tobytes()]
        return digest_of([self.users.digest + self.items.digest, *parts])


def _draw(known: csr_array, n: int, rng: np.random.Generator) -> Rows:
    """int64 [U, n]: different items of each row that are not stored in `known` [U, M]; -1 where there are not enough."""
    n_users, n_items = known.shape
    drawn, left = np.full((n_users, n), -1), n_items - np.diff(known.indptr)
    few = left <= 2 * n  # rejection would draw most items in vain
    for user in np.flatnonzero(few):
        others = np.setdiff1d(np.arange(n_items), known.indices[known.indptr[user] : known.indptr[user + 1]])
        chosen = rng.permutation(others)[:n]
        drawn[user, : len(chosen)] = chosen
    users = np.flatnonzero(~few)
    keys = np.sort(entry_keys(known))
    missing = np.zeros((n_users, n), bool)
    missing[users] = True
    while missing.any():  # redraw known and repeated items; on average, less than half of them are rejected again
        at, place = np.nonzero(missing)
        drawn[at, place] = rng.integers(n_items, size=len(at))
        missing[users] = _rejected(drawn[users], users, keys, n_items)
    return drawn


def _rejected(drawn: Rows, users: Rows, keys: Rows, n_items: int) -> NDArray[np.bool_]:
    """bool [U, n]: which of the drawn items are in `keys` (user * n_items + item, sorted), or earlier in their row."""
    asked = users[:, None] * n_items + drawn
    known = among(asked.ravel(), keys).reshape(asked.shape)
    order = np.argsort(drawn, axis=1, kind="stable")
    ordered = np.take_along_axis(drawn, order, axis=1)
    again = np.zeros(drawn.shape, bool)
    np.put_along_axis(again, order[:, 1:], ordered[:, 1:] == ordered[:, :-1], axis=1)
    return known | again
