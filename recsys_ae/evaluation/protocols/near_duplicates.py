"""Users with the same or nearly the same items, found exactly and without comparing all pairs.

Equal sets have equal hashes. Sets that differ in at most h items agree completely in at least one of h + 1 parts of the
catalogue, so only sets with the same items in one part are compared (the first level of PartEnum, Arasu et al. 2006). As a
deviation, candidates are first filtered by a 64-bit sketch of each set, before their common items are counted.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys_ae.digests import splitmix64

FEWEST = 5  # items of a user who is compared at all
NEAR = 9  # tenths: the Jaccard similarity of near-duplicates
BLOCK = 2**22  # entries of a matrix that are processed at a time

Mask = NDArray[np.bool_]
Words = NDArray[np.uint64]


def near_duplicates(items: csr_array) -> tuple[Mask, Mask]:
    """Which users have the same items as another user, and which have a Jaccard similarity of at least 0.9 with another.

    Args:
        items: [N, M], the items of each user as a canonical pattern of ones.

    Returns:
        bool [N] each; the first implies the second. Users with fewer than 5 items are in neither.
    """
    hashes = splitmix64(np.arange(items.shape[1], dtype=np.uint64))
    sizes = np.diff(items.indptr)
    rows = np.flatnonzero(sizes >= FEWEST)
    sums, sketches = _sums_and_sketches(items, rows, hashes)
    order = np.lexsort((rows, sums))
    rows, sums, sketches = rows[order], sums[order], sketches[order]
    again = np.zeros(len(rows), bool)  # whether a set is that of the row before
    at = np.flatnonzero((sums[1:] == sums[:-1]) & (sizes[rows[1:]] == sizes[rows[:-1]])) + 1
    again[at] = _n_shared(items, rows[at - 1], rows[at]) == sizes[rows[at]]
    first = np.flatnonzero(~again)
    near = _near(items[rows[first]], hashes, sketches[first])
    same, similar = np.zeros((2, items.shape[0]), bool)
    same[rows[at[again[at]]]] = same[rows[at[again[at]] - 1]] = True
    similar[rows] = near[np.cumsum(~again) - 1]
    return same, similar | same


def row_blocks(indptr: NDArray[np.integer]) -> Iterator[tuple[int, int]]:
    """Ranges of rows of a CSR matrix with about `BLOCK` entries each; a longer row has a range of its own."""
    ends, start = indptr.astype(np.int64), 0
    while start < len(ends) - 1:
        stop = max(start + 1, int(np.searchsorted(ends, ends[start] + BLOCK, "right")) - 1)
        yield start, stop
        start = stop


def _near(sets: csr_array, hashes: Words, sketches: Words) -> Mask:
    """bool [n]: which of n distinct sets have a near-duplicate among them.

    Sizes are divided into ranges in which the largest is 1 / 0.9 of the smallest, so that the sizes of near-duplicates are in
    the same range or in neighbouring ones.
    """
    sizes = np.diff(sets.indptr)
    near = np.zeros(len(sizes), bool)
    lowest = below = NEAR  # smaller sets are either equal or further apart
    while lowest <= sizes.max(initial=0):
        highest = lowest * 10 // NEAR
        if ((sizes >= lowest) & (sizes <= highest)).any():
            _join(sets, np.flatnonzero((sizes >= below) & (sizes <= highest)), hashes, sketches, near)
        below, lowest = lowest, highest + 1
    return near


def _difference(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """The most items in which near-duplicates can differ, given the sums of their sizes, int64 [n]."""
    return sizes * (10 - NEAR) // (10 + NEAR)


def _join(sets: csr_array, rows: NDArray[np.int64], hashes: Words, sketches: Words, near: Mask) -> None:
    """Mark in `near` the near-duplicates among `rows`."""
    sizes = np.diff(sets.indptr).astype(np.int64)
    n_parts = 1 + int(_difference(2 * sizes[rows].max()))
    keys = _part_keys(sets, rows, n_parts, hashes)
    order = np.argsort(keys, kind="stable")
    owner, keys = rows[order // n_parts], keys[order]
    starts = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]])
    group = np.repeat(np.arange(len(starts)), counts := np.diff(starts, append=len(keys)))
    left = np.flatnonzero(counts[group] > 1)
    start, count = starts[group[left]], counts[group[left]]
    step = 1
    while len(left):  # every set that has no near-duplicate yet with the next, the second next, ... of its group
        one, other = owner[left], owner[start + (left - start + step) % count]
        total = sizes[one] + sizes[other]
        likely = np.bitwise_count(sketches[one] ^ sketches[other]) <= _difference(total)
        pairs = np.unique(np.sort(np.stack([one[likely], other[likely]]), axis=0), axis=1)
        found = pairs[:, 19 * _n_shared(sets, *pairs) >= NEAR * sizes[pairs].sum(axis=0)]
        near[found] = True
        step += 1
        open_ = ~near[one] & (step < count)
        left, start, count = left[open_], start[open_], count[open_]


def _part_keys(sets: csr_array, rows: NDArray[np.int64], n_parts: int, hashes: Words) -> Words:
    """A hash of each set's items in each part of the catalogue, uint64 [n * n_parts]; parts have different keys."""
    part = (splitmix64(hashes) % np.uint64(n_parts)).astype(np.int64)
    keys = np.tile(splitmix64(np.arange(n_parts, dtype=np.uint64)), len(rows))
    chosen = sets[rows]
    for start, stop in row_blocks(chosen.indptr):
        begin, end = chosen.indptr[[start, stop]]
        items = chosen.indices[begin:end]
        at = np.repeat(np.arange(start, stop) * n_parts, np.diff(chosen.indptr[start : stop + 1])) + part[items]
        np.add.at(keys, at, hashes[items])
    return keys


def _sums_and_sketches(items: csr_array, rows: NDArray[np.int64], hashes: Words) -> tuple[Words, Words]:
    """For each of the `rows`, none of which is empty, the sum of the hashes of its items, and the parity of those of each bit.

    Two sets differ in at least as many items as their sketches in bits.
    """
    bits = np.uint64(1) << (hashes >> np.uint64(58))
    sums, sketches = np.empty((2, len(rows)), np.uint64)
    chosen = items[rows]
    for start, stop in row_blocks(chosen.indptr):
        begin, end = chosen.indptr[[start, stop]]
        own, first = chosen.indices[begin:end], chosen.indptr[start:stop] - begin
        sums[start:stop] = np.add.reduceat(hashes[own], first)
        sketches[start:stop] = np.bitwise_xor.reduceat(bits[own], first)
    return sums, sketches


def _n_shared(sets: csr_array, one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
    """The number of items that the sets `one` [n] and `other` [n] have in common, int64 [n]."""
    shared = np.zeros(len(one), np.int64)
    ends = np.r_[0, np.cumsum(np.diff(sets.indptr)[one])]
    for start, stop in row_blocks(ends):
        both = sets[one[start:stop]].multiply(sets[other[start:stop]])
        shared[start:stop] = np.diff(both.tocsr().indptr)
    return shared
