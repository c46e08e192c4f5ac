"""A closer look at the data and the tested recommenders of a run, for its page.

Its cost does not grow with the product of users and items: models list items only for a sample of the test users, and
predict only a sample of the test pairs.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys_ae.errors import RecsysError
from recsys_ae.evaluation.candidates import Candidates
from recsys_ae.evaluation.evaluator import evaluate
from recsys_ae.evaluation.relevance import relevant_pairs
from recsys_ae.experiment.rating_data import counts_events
from recsys_ae.ids import Rows
from recsys_ae.interactions import Interactions
from recsys_ae.models.base import Floats, LinearInHistory, Recommender, finite_predictions, item_counts, rating_scale
from recsys_ae.models.inspection import contributions, item_constants
from recsys_ae.models.recommend import Cold, recommend, scorable
from recsys_ae.reporting.html.facts import CloserLook, Depths, Errors, Explained, Explorer, Listed, ShownUser, TrainingData
from recsys_ae.split import Split

SHOWN, MEASURED, PAIRS = 30, 1000, 50_000  # users in the explorer; users, and pairs, on which models are measured
K, HISTORY, REASONS = 10, 60, 3  # of a list; items of a history; items that explain another
SCORINGS = 100  # of a model, to explain its lists by leaving items out
LENGTHS = (1, 2, 5, 10, 20, 50, 100)
FAMILIES = ("ndcg", "recall", "precision", "hit_rate")
BEYOND = ("coverage@10", "novelty@10")
BINS = 40  # of errors
ROWS, COLUMNS, POINTS = 32, 64, 50  # cells of the picture of the data; points of the curve of popularity
PART = 2**20  # interactions counted at a time
RATINGS = 20  # different ratings that are counted


def look_closer(
    models: Iterable[tuple[str, Recommender]],
    split: Split,
    *,
    relevant_at: float | None,
    cold: Cold,
    candidates: Candidates | None,
    titles: Mapping[Any, str],
) -> CloserLook:
    """What the page of a run shows beside its report.

    Args:
        models: the tested models by label, of which only one has to be in memory at a time.
        relevant_at, cold, candidates: as they were evaluated.
        titles: of items, by external id.
    """
    look = _Look(split, relevant_at, cold, candidates)
    for label, model in models:
        look.add(label, model)
    return CloserLook(training_data(split.train), look.depths(), look.errors(), look.explorer(titles))


@dataclass
class _Look:
    """What is collected model by model."""

    split: Split
    relevant_at: float | None
    cold: Cold
    candidates: Candidates | None
    metrics: dict[str, dict[str, float | None]] = field(default_factory=dict)
    shares: dict[str, list[float]] = field(default_factory=dict)
    lists: dict[str, Rows] = field(default_factory=dict)  # item rows [B, K]
    why: dict[str, list[list[list[tuple[int, float]]] | None]] = field(default_factory=dict)
    explained: dict[str, Explained] = field(default_factory=dict)
    constants: dict[str, Floats] = field(default_factory=dict)  # of all items, see `Listed`

    def add(self, label: str, model: Recommender) -> None:
        self._measure(label, model)
        if model.predicts_ratings and self.split.predict == "all":
            self._predict(label, model)
        if len(self.shown):
            self._list(label, model)

    @cached_property
    def history(self) -> Interactions:
        return self.split.history("test")

    @cached_property
    def relevant(self) -> Interactions:
        test = self.split.test
        repeated = test.shared_with(self.history) & (self.split.repeats == "excluded") & (self.split.predict == "all")
        return relevant_pairs(test, self.relevant_at, repeated)

    @cached_property
    def drawn(self) -> Rows:
        """The users with something relevant, in random order."""
        rows = np.flatnonzero(np.diff(self.relevant.matrix.indptr))
        return np.random.default_rng(0).permutation(rows)

    @cached_property
    def shown(self) -> Rows:
        return np.sort(self.drawn[:SHOWN])

    @cached_property
    def measured(self) -> Split:
        """The split with the test part of some users."""
        if len(self.drawn) <= MEASURED:
            return self.split
        keep = np.isin(self.split.test.user_rows(), self.drawn[:MEASURED])
        return replace(self.split, test=self.split.test.filter(keep))

    @cached_property
    def lengths(self) -> list[int]:
        return [k for k in LENGTHS if k <= self.history.n_items]

    def _measure(self, label: str, model: Recommender) -> None:
        names = [f"{family}@{k}" for family in FAMILIES for k in self.lengths]
        options: dict[str, Any] = {"relevant_at": self.relevant_at, "cold": self.cold, "candidates": self.candidates}
        found = evaluate(model, self.measured, [*names, *BEYOND], **options).metrics
        self.metrics[label] = {name.removeprefix("sampled_"): value for name, value in found.items()}

    def _predict(self, label: str, model: Recommender) -> None:
        test = self.split.test
        at = np.sort(np.random.default_rng(0).permutation(len(test))[:PAIRS])
        predicted = finite_predictions(model, self.history, test.user_rows()[at], test.item_rows()[at])
        counts = np.histogram(np.clip(predicted - test.matrix.data[at], self.edges[0], self.edges[-1]), self.edges)[0]
        self.shares[label] = [_short(share) for share in counts / len(at)]

    @cached_property
    def edges(self) -> NDArray[np.float64]:
        low, high = rating_scale(self.split.train)
        return np.linspace(low - high, high - low, BINS + 1)

    def _list(self, label: str, model: Recommender) -> None:
        users, seen = self.history.users.values[self.shown], self.split.repeats == "excluded"
        found = recommend(model, self.history, users, K, exclude_seen=seen, cold=self.cold).item_rows
        self.lists[label] = found
        left, linear = SCORINGS, isinstance(model, LinearInHistory)
        known = scorable(model, self.history, self.shown, "popular")
        self.why[label] = reasons = []
        obstacles: set[Explained] = set()
        for row, targets, can in zip(self.shown, found, known, strict=True):
            cost = 0 if linear else len(self._own(row)) + 1
            tried = can and cost <= left
            reasons.append(self._reasons(model, int(row), targets[targets >= 0]) if tried else None)
            obstacles.add("indivisible" if tried else "costly" if can else "cold")
            left -= cost if tried else 0
        self.explained[label] = _explained(reasons, linear, obstacles)
        self.constants[label] = item_constants(model, self.history)

    def _own(self, row: int) -> Rows:
        """The items in the history of a user."""
        start, end = self.history.matrix.indptr[row : row + 2]
        return self.history.matrix.indices[start:end]

    def _reasons(self, model: Recommender, row: int, targets: Rows) -> list[list[tuple[int, float]]] | None:
        """For each target, the items of the history with the largest contributions above 0."""
        try:
            found = contributions(model, self.history, row, targets)
        except RecsysError:  # such as a user who cannot be scored without a part of the history
            return None
        own, reasons = self._own(row), []
        for column in np.where(np.isfinite(found), found, 0).T:
            best = np.argsort(-column, kind="stable")[:REASONS]
            reasons.append([(int(own[place]), _short(column[place])) for place in best if column[place] > 0])
        return reasons

    def depths(self) -> Depths | None:
        if not len(self.drawn):
            return None
        labels, lengths = list(self.metrics), self.lengths
        values = {
            family: {label: [self.metrics[label][f"{family}@{k}"] for k in lengths] for label in labels} for family in FAMILIES
        }
        beyond = {name: {label: self.metrics[label][name] for label in labels} for name in BEYOND}
        return Depths(min(len(self.drawn), MEASURED), len(self.drawn), lengths, values, beyond)

    def errors(self) -> Errors | None:
        test = len(self.split.test)
        if not self.shares or self.edges[-1] == 0:  # nothing to predict if all ratings are equal
            return None
        return Errors(min(test, PAIRS), test, [_short(edge) for edge in self.edges], self.shares)

    def explorer(self, titles: Mapping[Any, str]) -> Explorer | None:
        if not len(self.shown):
            return None
        places: dict[int, int] = {}

        def place(row: Any) -> int:
            return places.setdefault(int(row), len(places))

        users = []
        for at, row in enumerate(self.shown):
            lists = {}
            for label, found in self.lists.items():
                why, items = self.why[label][at], [place(item) for item in found[at] if item >= 0]
                reasons = None if why is None else [[(place(item), value) for item, value in one] for one in why]
                constants = [_short(self.constants[label][item]) for item in found[at] if item >= 0]
                reasons = reasons if self.explained[label] in ("weights", "left out") else None
                lists[label] = Listed(items, reasons, constants if reasons is not None and any(constants) else None)
            start, end = self.relevant.matrix.indptr[row : row + 2]
            relevant = [place(item) for item in self.relevant.matrix.indices[start:end]]
            history = [(place(item), rating) for item, rating in self._history(int(row))]
            known = len(self._own(int(row)))
            users.append(ShownUser(str(self.history.users.values[row]), known, history, relevant, lists))
        ids = self.history.items.values[np.array(list(places), np.int64)]
        named = [(str(one), titles.get(one)) for one in ids.tolist()]
        in_time = self.history.times is not None
        return Explorer(len(self.drawn), K, in_time, named, users, self.explained)

    def _history(self, row: int) -> list[tuple[int, float | None]]:
        """The items of a user and their ratings, latest first."""
        matrix, times = self.history.matrix, self.history.times
        at = np.arange(*matrix.indptr[row : row + 2])
        if times is not None:
            at = at[np.argsort(-times[at], kind="stable")]
        rated = self.history.rating_range is not None and self.history.rating_range[0] < self.history.rating_range[1]
        return [(int(matrix.indices[one]), _short(matrix.data[one]) if rated else None) for one in at[:HISTORY]]


def _explained(reasons: Sequence[list[list[tuple[int, float]]] | None], linear: bool, obstacles: set[Explained]) -> Explained:
    """How the lists of a model are explained or, if none is, why: `obstacles` are those to users without `reasons`."""
    known = [own for own in reasons if own is not None]
    if any(one for own in known for one in own):
        return "weights" if linear else "left out"
    first: tuple[Explained, ...] = ("indivisible", "costly", "cold")
    return "independent" if known else next(one for one in first if one in obstacles)


def training_data(train: Interactions) -> TrainingData:
    """Sizes, popularity and density of the training part."""
    of_users, of_items = np.diff(train.matrix.indptr), item_counts(train)
    users, items = int((of_users > 0).sum()), int((of_items > 0).sum())
    running = np.cumsum(np.sort(of_items)[::-1], dtype=np.float64) / len(train)
    ends = np.unique(np.linspace(1, train.n_items, POINTS).astype(np.int64))
    return TrainingData(
        users=users,
        items=items,
        interactions=len(train),
        density=len(train) / (users * items),
        tail=[(0.0, 0.0), *((_short(end / train.n_items), _short(running[end - 1])) for end in ends)],
        half=_short((np.searchsorted(running, 0.5) + 1) / train.n_items),
        grid=_grid(train, of_users, of_items),
        ratings=_ratings(train),
        counts=counts_events(train),
        median_user=float(np.median(of_users[of_users > 0])),
        median_item=float(np.median(of_items[of_items > 0])),
    )


def _grid(train: Interactions, of_users: Rows, of_items: Floats) -> list[list[float]]:
    """See `TrainingData.grid`."""
    user_cells, user_sizes = _cells(of_users, ROWS)
    item_cells, item_sizes = _cells(of_items, COLUMNS)
    counts, rows = np.zeros(len(user_sizes) * len(item_sizes), np.int64), train.user_rows()
    for start in range(0, len(train), PART):
        part = slice(start, start + PART)
        cells = user_cells[rows[part]] * len(item_sizes) + item_cells[train.matrix.indices[part]]
        counts += np.bincount(cells, minlength=len(counts))
    shares = counts.reshape(len(user_sizes), len(item_sizes)) / np.outer(user_sizes, item_sizes)
    return [[_short(share) for share in row] for row in shares]


def _cells(counts: Rows | Floats, most: int) -> tuple[Rows, Rows]:
    """The cell of each user or item [n], the most frequent ones first, and the sizes of the cells."""
    n = min(most, len(counts))
    cells = np.empty(len(counts), np.int64)
    cells[np.argsort(-counts, kind="stable")] = np.arange(len(counts)) * n // len(counts)
    return cells, np.bincount(cells, minlength=n)


def _ratings(train: Interactions) -> dict[str, int]:
    """See `TrainingData.ratings`."""
    found: dict[float, int] = {}
    for start in range(0, len(train), PART):
        for value, count in zip(*np.unique(train.matrix.data[start : start + PART], return_counts=True), strict=True):
            found[float(value)] = found.get(float(value), 0) + int(count)
        if len(found) > RATINGS:
            return {}
    return {f"{value:g}": found[value] for value in sorted(found)} if len(found) > 1 else {}


def _short(value: Any) -> float:
    """A number with four significant digits."""
    return float(f"{value:.4g}")
