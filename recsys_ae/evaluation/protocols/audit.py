"""Audit of a split: properties of the data that limit what metrics on it mean, for any model; as text, see `audit_lines`.

`known` data is the history before the audited part, see `Split.history`; `tested` data is that part. Shares are fractions.
"""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys_ae.errors import DataError
from recsys_ae.evaluation.metrics.exposure import gini_coefficient
from recsys_ae.evaluation.protocols.near_duplicates import FEWEST, near_duplicates, row_blocks
from recsys_ae.evaluation.protocols.protocol import content_digest
from recsys_ae.evaluation.relevance import liked
from recsys_ae.ids import Rows
from recsys_ae.interactions import Interactions, ones
from recsys_ae.split import Split, check_split

HEAVY = 0.2  # share of a part that its heaviest users are counted up to
NOWHERE = np.iinfo(np.int64).max  # rank of an item that a list cannot hold


@dataclass(frozen=True)
class Timing:
    """Findings about times.

    Attributes:
        later: share of the known events that are later than the first tested event.
        users_with_later: users with a known event that is later than their own first tested event.
        tied: share of the tested events that have the same time as a known event of their user.
        tied_in_all: share of all events that have the same time as another event of their user.
    """

    later: float
    users_with_later: int
    tied: float
    tied_in_all: float


@dataclass(frozen=True)
class Popularity:
    """Findings about the popularity of tested pairs, by the number of training pairs of each item.

    Attributes:
        head_items: the number of most popular items that make up 20 % of the training pairs.
        head: share of the tested pairs that are on these items.
        top_hundredth, top_tenth: share of the tested pairs that are on the most popular 1 % and 10 % of the training items.
        gini: Gini coefficient of the number of tested pairs of each item of the catalogue: 0 if all have the same, near 1 if
            one has all.
        hits_10, hits_100: share of the relevant pairs that are among the 10 and the 100 most popular items that their user does
            not know yet or, where repeats are wanted, of all items; 0 if no pair is relevant.
    """

    head_items: int
    head: float
    top_hundredth: float
    top_tenth: float
    gini: float
    hits_10: float
    hits_100: float


@dataclass(frozen=True)
class RatingShift:
    """Mean ratings of the training part and of the tested pairs, and the standard deviation in the training part."""

    train_mean: float
    tested_mean: float
    train_std: float

    @property
    def in_deviations(self) -> float:
        """The difference in standard deviations of the training part."""
        return (self.tested_mean - self.train_mean) / self.train_std


@dataclass(frozen=True)
class Heaviest:
    """The fewest users of a part who together have at least `HEAVY` of its pairs or, with `predict: next`, of its events.

    Attributes:
        users: how many they are.
        of: how many users the part has.
        share: of the pairs or events that they have.
    """

    users: int
    of: int
    share: float


@dataclass(frozen=True)
class Audit:
    """Findings about one part of a split, as plain values.

    Attributes:
        part: `valid` or `test`.
        digest: content hash of the part as in `Protocol`, by which `looks` are counted.
        users, pairs, events: of the part.
        median_pairs: median number of tested pairs of a user.
        single_users: users with a single relevant pair.
        repeats: tested pairs that are known already.
        repeats_wanted: whether these count as relevant, see `Split`.
        next_events: whether each event is predicted from all earlier ones, see `Split`.
        cold_users, cold_user_pairs: users without known events, and their share of the tested pairs.
        cold_items, cold_item_pairs: items without training pairs, and their share of the tested pairs.
        compared_users: users with at least 5 items, known and tested together, who are checked for near-duplicates.
        same_users: those of them who have exactly the same items as another user.
        near_users: those of them who have a Jaccard similarity of at least 0.9 with another user, `same_users` included.
        popularity: see `Popularity`.
        timing: None if the data has no times.
        ratings: None if all training ratings are equal, or sums, which are larger in longer parts.
        looks: number of other models that were tested on this part before; None if unknown.
        relevant_users, relevant_pairs: users with relevant pairs, and those pairs, see `audit`; None in old reports.
        heaviest: by part, of the audited one and, if that is the test part, of a validation part; empty in old reports.
    """

    part: Literal["valid", "test"]
    digest: str
    users: int
    pairs: int
    events: int
    median_pairs: float
    single_users: int
    repeats: int
    repeats_wanted: bool
    next_events: bool
    cold_users: int
    cold_user_pairs: float
    cold_items: int
    cold_item_pairs: float
    compared_users: int
    same_users: int
    near_users: int
    popularity: Popularity
    timing: Timing | None
    ratings: RatingShift | None
    looks: int | None = None
    relevant_users: int | None = None
    relevant_pairs: int | None = None
    heaviest: dict[str, Heaviest] = field(default_factory=dict)


def audit(
    split: Split, part: Literal["valid", "test"] = "test", *, relevant_at: float | None = None, looks: int | None = None
) -> Audit:
    """The findings about one part of a split.

    Time and memory are proportional to the data, apart from sorting.

    Args:
        relevant_at: as in `evaluate`: lowest rating of a relevant pair; None if all are relevant, apart from known pairs where
            repeats are not wanted.
        looks: the count of a tracker, see `Tracker.looks`.

    Raises:
        ConfigError: a `relevant_at` that is not finite.
        DataError: not a split, or an empty part.
    """
    check_split(split)
    known, tested = split.history(part), split.valid if part == "valid" else split.test
    if not len(tested):
        raise DataError(f"the {part} part is empty, so there is nothing to audit")
    parts = {part: tested} | ({"valid": split.valid} if part == "test" else {})
    per_user = np.diff(tested.matrix.indptr)
    users, items = per_user > 0, tested.matrix.indices
    cold = users & (np.diff(known.matrix.indptr) == 0)
    trained = np.bincount(split.train.matrix.indices, minlength=split.train.n_items)
    cold_items = (trained == 0)[items]
    repeated, place = _places(known, tested, trained, wanted=split.repeats == "wanted")
    relevant = liked(tested.matrix.data, relevant_at) & (place < NOWHERE)
    per_relevant = np.bincount(tested.user_rows()[relevant], minlength=tested.n_users)
    everything = ones(known.matrix, np.int8) + ones(tested.matrix, np.int8)
    everything.data[:] = 1  # also where a pair is in both
    same, near = near_duplicates(everything)
    return Audit(
        part=part,
        digest=content_digest(tested, ordered=split.predict == "next"),
        users=int(users.sum()),
        pairs=len(tested),
        events=tested.n_events,
        median_pairs=float(np.median(per_user[users])),
        single_users=int((per_relevant == 1).sum()),
        repeats=int(repeated.sum()),
        repeats_wanted=split.repeats == "wanted",
        next_events=split.predict == "next",
        cold_users=int(cold.sum()),
        cold_user_pairs=float(per_user[cold].sum() / len(tested)),
        cold_items=len(np.unique(items[cold_items])),
        cold_item_pairs=float(cold_items.mean()),
        compared_users=int((np.diff(everything.indptr) >= FEWEST).sum()),
        same_users=int(same.sum()),
        near_users=int(near.sum()),
        popularity=_popularity(trained, items, place[relevant]),
        timing=_timing(known, tested),
        ratings=None if split.train.duplicates == "sum" else _rating_shift(split.train.matrix.data, tested.matrix.data),
        looks=looks,
        relevant_users=int((per_relevant > 0).sum()),
        relevant_pairs=int(relevant.sum()),
        heaviest={name: _heaviest(data, split.predict == "next") for name, data in parts.items() if len(data)},
    )


def _heaviest(data: Interactions, of_events: bool) -> Heaviest:
    counts = np.bincount(data.stored_events.users if of_events else data.user_rows(), minlength=data.n_users)
    reached = np.cumsum(np.sort(counts)[::-1])
    last = int(np.searchsorted(reached, HEAVY * reached[-1]))
    return Heaviest(last + 1, int((counts > 0).sum()), float(reached[last] / reached[-1]))


def _places(
    known: Interactions, tested: Interactions, trained: Rows, *, wanted: bool
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """For each tested pair, whether it is known, and its place from 0 in the user's list of most popular items.

    The list holds all items if `wanted`, else those that the user does not know, so that a known pair is at `NOWHERE`. Equally
    popular items are in the order of their rows.

    Args:
        trained: int64 [M], popularity of the items.
        wanted: whether lists may hold known items.
    """
    n_items = len(trained)
    rank = np.empty(n_items, np.int64)
    rank[np.argsort(-trained, kind="stable")] = np.arange(n_items)
    repeated, place = np.zeros(len(tested), bool), rank[tested.matrix.indices]
    for start, stop in row_blocks(known.matrix.indptr.astype(np.int64) + tested.matrix.indptr):
        (before, own), (asked, within) = (_keys(data.matrix, start, stop, rank) for data in (known, tested))
        before.sort()
        found, at = _among(before, asked)
        repeated[within] = found
        if not wanted:
            first = known.matrix.indptr[start + asked // n_items] - own.start
            place[within] = np.where(found, NOWHERE, place[within] - (at - first))
    return repeated, place


def _keys(matrix: csr_array, start: int, stop: int, rank: Rows) -> tuple[Rows, slice]:
    """The pairs of users `start` to `stop` as numbers that grow with the user, then the rank of the item; and their places."""
    within = slice(int(matrix.indptr[start]), int(matrix.indptr[stop]))
    users = np.repeat(np.arange(stop - start), np.diff(matrix.indptr[start : stop + 1]))
    return users * len(rank) + rank[matrix.indices[within]], within


def _among(ordered: Rows, asked: Rows) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Which of the `asked` numbers [n] are among the `ordered` ones, and how many of these are smaller than each."""
    at = np.searchsorted(ordered, asked)
    found = ordered[np.minimum(at, len(ordered) - 1)] == asked if len(ordered) else np.zeros(len(asked), bool)
    return found, at


def _popularity(trained: Rows, items: NDArray[np.integer], place: Rows) -> Popularity:
    """See `Popularity`.

    Args:
        trained: int64 [M], training pairs of each item.
        items: [n], of the tested pairs.
        place: int64 [r], of the relevant pairs.
    """
    tested = np.bincount(items, minlength=len(trained))
    order, n_trained = np.argsort(-trained, kind="stable"), int((trained > 0).sum())
    reached = np.cumsum(trained[order])
    head = int(np.searchsorted(reached, 0.2 * reached[-1])) + 1
    covered = np.cumsum(tested[order]) / len(items)
    hundredth, tenth = (covered[-(-n_trained // part) - 1] for part in (100, 10))
    hits = ((place < length).sum() / max(len(place), 1) for length in (10, 100))
    return Popularity(head, *map(float, (covered[head - 1], hundredth, tenth, gini_coefficient(tested), *hits)))


def _timing(known: Interactions, tested: Interactions) -> Timing | None:
    if known.times is None or tested.times is None:
        return None
    (starts, times), (own_starts, own_times) = map(_times_by_user, (known, tested))
    users_with_later = tied = tied_in_all = 0
    for start, stop in row_blocks(starts + own_starts):
        users, before = _slice(starts, times, start, stop)
        own_users, asked = _slice(own_starts, own_times, start, stop)
        first = np.full(stop - start, NOWHERE)
        np.minimum.at(first, own_users, asked)
        users_with_later += int((np.bincount(users[before > first[users]]) > 0).sum())
        moments = _moments(np.r_[users, own_users], np.r_[before, asked])
        tied += int(_among(np.sort(moments[: len(users)]), moments[len(users) :])[0].sum())
        moments.sort()
        equal = moments[1:] == moments[:-1]
        tied_in_all += int((np.r_[equal, False] | np.r_[False, equal]).sum())
    later = int((times > own_times.min()).sum()) / max(len(times), 1)
    return Timing(later, users_with_later, tied / len(own_times), tied_in_all / (len(times) + len(own_times)))


def _times_by_user(data: Interactions) -> tuple[Rows, Rows]:
    """The CSR pointers of the users [N + 1], and where each user begins (CSR pointers, [N + 1])."""
    assert data.times is not None
    if data.events is None:
        return data.matrix.indptr.astype(np.int64), data.times
    assert data.events.times is not None
    starts = np.r_[0, np.cumsum(np.bincount(data.events.users, minlength=data.n_users))]
    return starts, data.events.times[np.argsort(data.events.users, kind="stable")]


def _slice(starts: Rows, times: Rows, start: int, stop: int) -> tuple[Rows, Rows]:
    """The events of users `start` to `stop`: the user of each, counted from `start`, and its time."""
    users = np.repeat(np.arange(stop - start), np.diff(starts[start : stop + 1]))
    return users, times[starts[start] : starts[stop]]


def _moments(users: Rows, times: Rows) -> Rows:
    """Each user and time as one number, int64 [E]."""
    times = times - times.min(initial=NOWHERE)
    if not (times % 10**6).any():
        times //= 10**6  # whole seconds, so that the product below fits into 64 bits
    if (int(users.max(initial=0)) + 1) * (int(times.max(initial=0)) + 1) >= 2**63:
        times = np.unique(times, return_inverse=True)[1]
    return users * (times.max(initial=0) + 1) + times


def _rating_shift(train: NDArray[np.float32], tested: NDArray[np.float32]) -> RatingShift | None:
    if train.min() == train.max():
        return None
    return RatingShift(*(float(value) for value in (train.mean(dtype=float), tested.mean(dtype=float), train.std(dtype=float))))
