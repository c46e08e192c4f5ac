"""Business rules: which items lists may contain, for everyone and for single users, and how many of a category.

M items, U users with items of their own, B users in a block.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from recsys_ae.digests import digest_of
from recsys_ae.errors import ConfigError, DataError, UnknownIdError, described
from recsys_ae.frames import Frame, is_frame, read_frame
from recsys_ae.ids import IdMap, Rows, among, encode, id_index, shown, spelling_hint
from recsys_ae.interactions import ones
from recsys_ae.models.base import Floats, check_counts
from recsys_ae.models.categories import CappedCategories
from recsys_ae.ranking import EVERYTHING, Allowed, Product, Scores, entry_keys, hits, top_k


@dataclass(frozen=True, eq=False)
class ItemSets:
    """A set of items for everyone, and sets of items for single users; either may be missing.

    Attributes:
        shared: bool [M], the items for everyone, or None.
        users: ids of the users with items of their own, or None.
        own: bool csr_array [U + 1, M] in canonical form, their items; the last row is empty and stands for all other users.
    """

    shared: NDArray[np.bool_] | None = None
    users: IdMap | None = None
    own: csr_array | None = None

    @classmethod
    def of_rows(cls, n_items: int, shared: Rows | None, pairs: tuple[pd.Series, Rows] | None) -> Self:
        """The sets of item rows for everyone, and of pairs: user ids [n] and item rows [n]."""
        everyone = None
        if shared is not None:
            everyone = np.zeros(n_items, bool)
            everyone[shared] = True
        if pairs is None:
            return cls(everyone)
        rows, users = encode(id_index(pairs[0], "user_id"), None)
        return cls(everyone, users, pattern(rows, pairs[1], (len(users) + 1, n_items)))

    def own_of(self, ids: NDArray[Any]) -> csr_array | None:
        """The own items of users [B], bool csr_array [B, M]; None if no user has any."""
        return None if self.users is None or self.own is None else self.own[self.users.find(ids)]

    def counts(self) -> dict[str, int]:
        """The number of items for everyone, and of users with their own items and their pairs, if there are such sets."""
        shared = {} if self.shared is None else {"items": int(self.shared.sum())}
        return shared | ({} if self.users is None or self.own is None else {"users": len(self.users), "pairs": self.own.nnz})

    def content(self) -> Iterator[str | bytes]:
        """What the digest is computed from."""
        yield "-" if self.shared is None else self.shared.tobytes()
        if self.users is not None and self.own is not None:
            yield self.users.digest
            yield from _bytes(self.own)


@dataclass(frozen=True, eq=False)
class Rules:
    """What lists may contain, for a model with these items.

    Attributes:
        items: ids of the items of the model.
        candidates: the only items that may be listed. If there are candidates for everyone and for single users, a user gets
            those in both sets; if there are any for single users, all other users get no list.
        blocked: items that may not be listed.
        repeatable: items that may be listed even if the user has seen them.
        categories: categories of the items, and how many items of each a list may contain.
    """

    items: IdMap
    candidates: ItemSets | None = None
    blocked: ItemSets | None = None
    repeatable: ItemSets | None = None
    categories: CappedCategories | None = None

    @classmethod
    def of(
        cls,
        items: IdMap,
        *,
        candidates: ArrayLike | Frame | None = None,
        blocked: ArrayLike | Frame | None = None,
        repeatable: ArrayLike | Frame | None = None,
        categories: Frame | None = None,
        cap: int | None = None,
        skip_unknown: bool = False,
    ) -> Self:
        """Rules in external ids, for histories with these `items`.

        Args:
            candidates, blocked, repeatable: a list of item ids, or a data frame of any library with the column item_id and,
                for pairs, user_id.
            categories: a data frame with the columns item_id and category; an item in several rows has several categories.
            cap: how many items of a category a list may contain.
            skip_unknown: leave out items that are not among `items` instead of raising.

        Raises:
            ConfigError: `cap` without `categories` or vice versa, `cap` below 1, or a frame without the column item_id.
            UnknownIdError: an item that is not among `items`.
            DataError: ids that are missing or of another type than those of `items`.
        """
        if not isinstance(items, IdMap):
            raise DataError(f"items must be an IdMap, such as history.items, got {described(items)}")
        given = {"candidates": candidates, "blocked": blocked, "repeatable": repeatable}
        way_out = None if skip_unknown else "skip_unknown=True leaves them out"
        sets = {what: _sets(items, value, what, way_out) for what, value in given.items() if value is not None}
        capped = None
        if categories is not None:
            frame = read_frame(categories, {"item": "item_id", "category": "category"}, "the table of categories")
            rows = item_rows(items, frame["item_id"], "categories", way_out)
            capped = capped_categories(len(items), rows[rows >= 0], frame["category"][rows >= 0], cap)
        elif cap is not None:
            raise ConfigError("a cap needs categories; give them, or remove the cap")
        return cls(items, **sets, categories=capped)

    def check(self, items: IdMap) -> None:
        """Raise `DataError` unless the rules are about these items."""
        if self.items != items:
            raise DataError("the rules are about other items than the history; build them with Rules.of(history.items, ...)")

    def allowed(self, ids: NDArray[Any], candidates: csr_array | None = None, seen: csr_array | None = None) -> Allowed:
        """What may be listed for the users [B].

        Args:
            candidates: bool csr_array [B, M], further candidates, to which the list is limited.
            seen: csr_array [B, M], what the users have seen and may not be listed unless it is repeatable.
        """
        shared, excluded = None, None if seen is None else self.not_repeatable(seen, ids)
        if self.candidates is not None:
            shared = self.candidates.shared
            if (own := self.candidates.own_of(ids)) is not None:
                candidates = own if candidates is None else own.multiply(candidates).tocsr()
        if self.blocked is not None:
            if self.blocked.shared is not None:
                shared = ~self.blocked.shared if shared is None else shared & ~self.blocked.shared
            if (own := self.blocked.own_of(ids)) is not None:
                excluded = own if excluded is None else own + ones(excluded, bool)
        return Allowed(shared, candidates, excluded)

    def not_repeatable(self, seen: csr_array, ids: NDArray[Any]) -> csr_array:
        """The entries of `seen` [B, M] that are not repeatable for the users [B]."""
        if self.repeatable is None:
            return seen
        again = np.zeros(seen.nnz, bool)
        if self.repeatable.shared is not None:
            again |= self.repeatable.shared[seen.indices]
        if (own := self.repeatable.own_of(ids)) is not None:
            again |= among(entry_keys(seen), entry_keys(own))
        return csr_array((seen.data[~again], seen.indices[~again], np.r_[0, np.cumsum(~again)][seen.indptr]), seen.shape)

    def top_k(self, scores: Scores, k: int, allowed: Allowed = EVERYTHING) -> tuple[Rows, Floats]:
        """The best items under the caps, as from `ranking.top_k`; may overwrite the scores."""
        if self.categories is None:
            return top_k(scores, k, allowed)
        block = scores.to_array() if isinstance(scores, Product) else scores
        allowed.restrict(block)
        return self.categories.top_k(block, k)

    def violations(self, lists: Rows, ids: NDArray[Any]) -> NDArray[np.bool_]:
        """bool [B, K]: which items of `lists` (int64 [B, K], -1 for none) are forbidden for the users [B]."""
        wrong = np.zeros(lists.shape, bool)
        if (candidates := self.candidates) is not None:
            if candidates.shared is not None:
                wrong |= ~candidates.shared[lists]
            if (own := candidates.own_of(ids)) is not None:
                wrong |= ~hits(lists, own)
        if (blocked := self.blocked) is not None:
            if blocked.shared is not None:
                wrong |= blocked.shared[lists]
            if (own := blocked.own_of(ids)) is not None:
                wrong |= hits(lists, own)
        if self.categories is not None:
            wrong |= self.categories.over_cap(lists)
        return wrong & (lists >= 0)

    @property
    def counts(self) -> dict[str, Any]:
        """The sizes of the rules: of each `ItemSets`, of categories and their items, and the cap; empty without rules."""
        found: dict[str, Any] = {name: sets.counts() for name, sets in self._sets}
        if self.categories is None:
            return found
        matrix = self.categories.matrix
        items = int((np.diff(matrix.indptr) > 0).sum())
        return found | {"categories": {"items": items, "categories": matrix.shape[1], "cap": self.categories.cap}}

    @cached_property
    def digest(self) -> str:
        """Content hash (32 hex digits), which does not depend on the order in which the rules were given."""
        return digest_of(self._content())

    @property
    def _sets(self) -> list[tuple[str, ItemSets]]:
        named = [(name, getattr(self, name)) for name in ("candidates", "blocked", "repeatable")]
        return [(name, sets) for name, sets in named if sets is not None]

    def _content(self) -> Iterator[str | bytes]:
        yield self.items.digest
        for name, sets in self._sets:
            yield name
            yield from sets.content()
        if self.categories is not None:
            yield f"categories {self.categories.cap}"
            yield from _bytes(self.categories.matrix)


def item_rows(items: IdMap, ids: pd.Series | pd.Index, what: str, way_out: str | None) -> Rows:
    """The rows of item ids, int64 [n].

    Args:
        way_out: ends the error about unknown items; if None, their rows are -1.

    Raises:
        UnknownIdError: an item that is not among `items`, if there is a `way_out`.
        DataError: ids that are missing or of another type than those of `items`.
    """
    index = id_index(ids, f"column item_id of {what}")
    rows = items.find(index)
    if way_out is not None and (unknown := np.flatnonzero(rows < 0)).size:
        first, count = shown(index[unknown[0]]), f"such items in {len(unknown)} of {len(rows)} rows"
        raise UnknownIdError(
            f"{what}: the model does not know item {first} ({count}){spelling_hint(index[unknown], items)}; {way_out}"
        )
    return rows


def capped_categories(n_items: int, rows: Rows, labels: pd.Series, cap: int | None) -> CappedCategories:
    """The categories with these labels [n], integers or text, of the items at these rows [n].

    Raises:
        ConfigError: no cap, or one below 1.
        DataError: a label that is missing or of another type.
    """
    if cap is None:
        raise ConfigError(
            "categories need a cap: how many items of each a list may contain; give one, or remove the categories"
        )
    check_counts(cap=cap)
    codes, distinct = encode(id_index(labels, "the column category"), None)
    return CappedCategories(pattern(rows, codes, (n_items, max(len(distinct), 1))), cap)


def pattern(rows: Rows, columns: Rows, shape: tuple[int, int]) -> csr_array:
    """A bool csr_array in canonical form with these entries [n], which may have duplicates."""
    keys = np.unique(rows * shape[1] + columns)
    kind = np.int32 if max(*shape, len(keys)) < np.iinfo(np.int32).max else np.int64
    indptr = np.searchsorted(keys, shape[1] * np.arange(shape[0] + 1)).astype(kind)
    return csr_array((np.ones(len(keys), bool), (keys % shape[1]).astype(kind), indptr), shape)


def _sets(items: IdMap, given: ArrayLike | Frame, what: str, way_out: str | None) -> ItemSets:
    """The sets of items given by an argument of `Rules.of`."""
    if is_frame(given):
        frame = read_frame(given, {"item": "item_id"}, f"the table of {what}", optional=["user_id"])
    else:
        frame = pd.DataFrame({"item_id": id_index(given, what)})
    rows = item_rows(items, frame["item_id"], what, way_out)
    known = rows >= 0
    if "user_id" in frame:
        return ItemSets.of_rows(len(items), None, (frame["user_id"][known], rows[known]))
    return ItemSets.of_rows(len(items), rows[known], None)


def _bytes(matrix: csr_array) -> Iterator[str | bytes]:
    yield repr(matrix.shape)
    for array in (matrix.indptr, matrix.indices):
        yield array.astype("<i8").tobytes()
