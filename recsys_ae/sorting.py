"""Stable orders of small numbers and within groups, several times faster than a sort of everything.

They borrow two compiled loops of SciPy's sparse matrices: grouping by row, a counting sort, and sorting each row.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array

Positions = NDArray[Any]  # int32 [n], or int64 if n does not fit


def index_type(n: int) -> type[np.signedinteger[Any]]:
    """The smaller of int32 and int64 that holds numbers up to n."""
    return np.int32 if n <= np.iinfo(np.int32).max else np.int64


def is_increasing(numbers: NDArray[Any]) -> bool:
    """Whether every number [n] is larger than the one before."""
    return bool((numbers[1:] > numbers[:-1]).all())


def by_group(groups: NDArray[Any], n_groups: int) -> tuple[Positions, Positions]:
    """Positions [n] that sort members by their group (0 to G - 1), stably; and where each group begins, [G + 1]."""
    at = np.arange(len(groups), dtype=index_type(len(groups)))
    rows = _grouped(groups, n_groups, at, len(at), np.empty(len(at), np.int8))
    return rows.indices, rows.indptr


def by_pair(groups: NDArray[Any], n_groups: int, keys: NDArray[Any], n_keys: int) -> tuple[Positions, Positions, Positions]:
    """Positions [n] that sort members by their group and their key (0 to K - 1), stably.

    Returns:
        The positions; where each group begins, [G + 1]; and the keys in the new order, [n].
    """
    rows = _grouped(groups, n_groups, keys, n_keys, np.arange(len(groups), dtype=index_type(len(groups))))
    rows.has_sorted_indices = False
    rows.sort_indices()
    return _in_runs(rows.indptr, rows.indices, rows.data), rows.indptr, rows.indices


def within_groups(starts: NDArray[Any], keys: NDArray[Any], ties: NDArray[Any] | None = None) -> Positions:
    """Positions [n] that sort the members of each group by their keys; the groups stay where they are.

    Args:
        starts: [G + 1]; the members of group g are those from starts[g] to starts[g + 1].
        keys: integers [n].
        ties: integers [n], different among equal keys of a group, which they order; None: by position.
    """
    if not len(keys):
        return np.empty(0, np.int32)
    at, sorted_keys = _sorted_rows(starts, keys, np.arange(len(keys), dtype=index_type(len(keys))))
    return _in_runs(starts, sorted_keys, at, ties)


def ranks(starts: NDArray[Any], keys: NDArray[Any]) -> Positions:
    """The rank (from 0) of each member [n] among those of its group, by its key; see `within_groups`."""
    at = within_groups(starts, keys)
    rank = np.empty_like(at)
    rank[at] = np.arange(len(at), dtype=at.dtype) - np.repeat(starts[:-1], np.diff(starts))
    return rank


def random_ranks(starts: NDArray[Any], rng: np.random.Generator) -> Positions:
    """The members of each group [n] numbered from 0 at random, by float64 draws."""
    return ranks(starts, (rng.random(int(starts[-1])) * 2.0**53).astype(np.int64))  # of which draws are multiples


def begins(starts: NDArray[Any], keys: NDArray[Any]) -> NDArray[np.bool_]:
    """bool [n]: where runs of equal keys begin; each group is sorted by key, see `within_groups`."""
    new = np.empty(len(keys), bool)
    new[1:] = keys[1:] != keys[:-1]
    new[starts[:-1][np.diff(starts) > 0]] = True
    return new


def _grouped(groups: NDArray[Any], n_groups: int, keys: NDArray[Any], n_keys: int, values: NDArray[Any]) -> csr_array:
    """Keys and values by group, stably."""
    kind = index_type(max(len(groups), n_groups, n_keys))
    entries = coo_array((values, (groups.astype(kind, copy=False), keys.astype(kind, copy=False))), shape=(n_groups, n_keys))
    entries.has_canonical_format = True  # so that repeated pairs are kept
    return entries.tocsr()


def _sorted_rows(starts: NDArray[Any], keys: NDArray[Any], values: Positions) -> tuple[Positions, NDArray[Any]]:
    """The values and keys of each group, by key; equal keys in no particular order. The values are sorted in place."""
    low = int(keys.min())
    shifted = keys - low
    rows = csr_array((values, shifted, starts), shape=(len(starts) - 1, int(shifted.max()) + 1))
    rows.has_sorted_indices = False
    rows.sort_indices()
    return rows.data, rows.indices


def _in_runs(starts: NDArray[Any], keys: NDArray[Any], at: Positions, ties: NDArray[Any] | None = None) -> Positions:
    """The positions `at` with those of equal keys in a group in order, by `ties` if given."""
    new = begins(starts, keys)
    if new.all():
        return at
    runs = np.append(np.flatnonzero(new), len(keys))
    return _sorted_rows(runs, at if ties is None else ties[at], at)[0]
