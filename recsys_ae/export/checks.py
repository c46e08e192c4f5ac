"""Checks of exported lists: what holds for all lists that this package makes."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recsys_ae.export.writing import list_bounds
from recsys_ae.ids import IdMap, Rows, shown
from recsys_ae.interactions import Interactions
from recsys_ae.models.rules import Rules
from recsys_ae.ranking import hits


@dataclass
class Check:
    """A check of the lists and its result.

    Attributes:
        detail: what is required, the first violation, or why it was not checked.
        wrong: number of violations; None if it was not checked.
    """

    name: str
    detail: str
    wrong: int | None = 0

    def fail(self, example: str, times: int = 1) -> None:
        """Count violations, of which `example` is the first."""
        if not self.wrong:
            self.detail, self.wrong = example, 0
        self.wrong += times

    def __str__(self) -> str:
        state = "not checked" if self.wrong is None else "FAILED" if self.wrong else "ok"
        more = f" ({self.wrong} such cases)" if self.wrong and self.wrong > 1 else ""
        return f"{state:<11}  {self.name:<8}  {self.detail}{more}"


@dataclass(frozen=True)
class Lists:
    """The lists in a file: N lists with R rows in all.

    Attributes:
        users: ids of their users, Arrow array [N].
        bounds: int64 [N + 1], the row where each list begins, and R.
    """

    file: str
    table: pa.Table
    users: pa.Array
    bounds: Rows

    @classmethod
    def of(cls, file: str, table: pa.Table) -> "Lists":
        """The lists in a table; adjacent rows of a user form a list."""
        ids = table["user_id"].combine_chunks()
        bounds = list_bounds(ids)
        return cls(file, table, ids.take(pa.array(bounds[:-1])), bounds)

    def __len__(self) -> int:
        return len(self.users)

    @cached_property
    def of_row(self) -> Rows:
        """int64 [R], the list of each row."""
        return np.repeat(np.arange(len(self)), np.diff(self.bounds))

    @cached_property
    def ranks(self) -> NDArray[np.int32]:
        """int32 [R]"""
        return np.asarray(self.table["rank"].to_numpy())

    def rows_of(self, numbers: Rows) -> pa.Table:
        """The rows of some of the lists."""
        return self.table.filter(pa.array(np.isin(self.of_row, numbers)))

    def named(self, row: int) -> str:
        """The list that a row belongs to, for messages."""
        return f"user {shown(self.users[int(self.of_row[row])].as_py())} in {self.file}"

    def check(self, k: int, checks: dict[str, Check]) -> None:
        """Check ranks, items and scores of lists of at most k items."""
        expected = np.arange(len(self.of_row)) - self.bounds[self.of_row] + 1
        wrong = (self.ranks != expected) | (expected > k)
        self._count(wrong, checks["ranks"], lambda at: f"rank {self.ranks[at]} in place {expected[at]}")
        codes = self.table["item_id"].combine_chunks().dictionary_encode()
        pairs = self.of_row * max(1, len(codes.dictionary)) + codes.indices.to_numpy()
        repeated = np.ones(len(pairs), bool)
        repeated[np.unique(pairs, return_index=True)[1]] = False
        self._count(repeated, checks["items"], lambda at: f"item {self._item(at)} twice")
        scores = self.table["score"].to_numpy()
        self._count(~np.isfinite(scores), checks["scores"], lambda at: f"the score {scores[at]}")
        rising = np.r_[False, (scores[1:] > scores[:-1]) & (self.of_row[1:] == self.of_row[:-1])][: len(scores)]
        self._count(rising, checks["scores"], lambda at: f"the score {scores[at]} after {scores[at - 1]}")

    def check_unseen(self, seen: Interactions, rules: Rules, check: Check) -> None:
        """Check that no list has an item that its user has seen, unless the item is repeatable."""
        users = seen.users.find(self._ids) if len(self) else np.empty(0, np.int64)
        lists, known = self._item_rows(seen.items), users[users >= 0]
        wrong = np.zeros(lists.shape, bool)
        wrong[users >= 0] = hits(lists[users >= 0], rules.not_repeatable(seen.matrix[known], seen.users.values[known]))
        self._count(wrong[self.of_row, self._place], check, lambda at: f"item {self._item(at)}, which the user has seen")

    def check_rules(self, rules: Rules, check: Check) -> None:
        """Check that the rules allow all listed items."""
        if len(self):
            wrong = rules.violations(self._item_rows(rules.items), self._ids)
            self._count(wrong[self.of_row, self._place], check, lambda at: f"item {self._item(at)} against the rules")

    @cached_property
    def _ids(self) -> NDArray[Any]:
        return np.asarray(self.users.to_numpy(zero_copy_only=False))

    @cached_property
    def _place(self) -> Rows:
        """int64 [R], of each row in its list, from 0."""
        return np.arange(len(self.of_row)) - self.bounds[self.of_row]

    def _item_rows(self, known: IdMap) -> Rows:
        """int64 [N, K], the items of each list; -1 where it is shorter, or the item is unknown."""
        items = self.table["item_id"].combine_chunks().dictionary_encode()
        of_code = known.find(items.dictionary.to_numpy(zero_copy_only=False)) if len(items) else np.empty(0, np.int64)
        lists = np.full((len(self), int(self._place.max(initial=-1)) + 1), -1)
        lists[self.of_row, self._place] = of_code[items.indices.to_numpy()]
        return lists

    def _item(self, row: int) -> str:
        return shown(self.table["item_id"][row].as_py())

    def _count(self, wrong: NDArray[np.bool_], check: Check, example: Callable[[int], str]) -> None:
        if n := int(np.count_nonzero(wrong)):
            first = int(wrong.argmax())
            check.fail(f"the list of {self.named(first)} has {example(first)}", n)
