"""Lists as Arrow tables: the one place where exported lists are made, wherever they are written."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from recsys_ae.ids import IdMap, Rows
from recsys_ae.interactions import Interactions
from recsys_ae.models.base import Recommender
from recsys_ae.models.recommend import Cold, TopK, recommend_blocks
from recsys_ae.models.rules import Rules


@dataclass(frozen=True)
class BlockScorer:
    """Top-k lists of users of a history, as `recommend` makes them; for the attributes see `recommend_blocks`.

    A list depends only on its user and the attributes, not on the other users of the same block. Scorers can be pickled, to be
    sent to other processes.
    """

    model: Recommender
    history: Interactions
    k: int
    rules: Rules
    exclude_seen: bool = True
    seen: Interactions | None = None
    cold: Cold = "popular"
    batch_users: int | None = None

    @cached_property
    def schema(self) -> pa.Schema:
        """The schema of every table: user_id and item_id in the ids' own type, rank int32 from 1, score float32."""
        users, items = (pa.int64() if ids.kind == "int" else pa.string() for ids in (self.history.users, self.history.items))
        return pa.schema([("user_id", users), ("rank", pa.int32()), ("item_id", items), ("score", pa.float32())])

    def table(self, rows: Rows) -> pa.Table:
        """The lists of the users at `rows` [B] of the history, in that order, best item first.

        Memory holds one block of scores (see `users_per_block`) beside the table.
        """
        return pa.Table.from_batches(list(self._batches(rows)), self.schema).combine_chunks()

    def _batches(self, rows: Rows) -> Iterator[pa.RecordBatch]:
        blocks = recommend_blocks(
            self.model,
            self.history,
            rows,
            self.k,
            exclude_seen=self.exclude_seen,
            rules=self.rules,
            cold=self.cold,
            batch_users=self.batch_users,
            seen=self.seen,
        )
        done = 0
        for block in blocks:
            yield self._batch(rows[done : done + len(block.item_rows)], block)
            done += len(block.item_rows)

    def _batch(self, rows: Rows, block: TopK) -> pa.RecordBatch:
        listed = block.item_rows >= 0
        ranks = np.broadcast_to(np.arange(1, listed.shape[1] + 1, dtype=np.int32), listed.shape)
        users = self._users.take(pa.array(np.repeat(rows, np.count_nonzero(listed, axis=1))))
        items = self._items.take(pa.array(block.item_rows[listed]))
        columns = [users, pa.array(ranks[listed]), items, pa.array(block.scores[listed])]
        return pa.record_batch([one.cast(kind) for one, kind in zip(columns, self.schema.types, strict=True)], self.schema)

    @cached_property
    def _users(self) -> pa.Array:
        return arrow_ids(self.history.users)

    @cached_property
    def _items(self) -> pa.Array:
        return arrow_ids(self.history.items)


def arrow_ids(ids: IdMap) -> pa.Array:
    """All ids in row order: int64, or large_string, because string is limited to 2 GiB."""
    return pa.array(ids.values, pa.int64() if ids.kind == "int" else pa.large_string())
