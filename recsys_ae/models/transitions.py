"""Session models that only count: the items of the session, and which item follows which."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import coo_array, csr_array

from recsys_ae.fitted import Fitted
from recsys_ae.ids import Rows
from recsys_ae.interactions import Interactions
from recsys_ae.models.base import FitContext, Floats, Recommender, checked_rows, fitted_on, fitted_state, item_counts
from recsys_ae.models.factors import SparseItemWeights
from recsys_ae.ranking import row_of_entry
from recsys_ae.sequences import Sequences
from recsys_ae.space import Range, Space


@dataclass
class SessionPopularity(Recommender):
    """The items of the current session by how often they occur in it; ties, and all other items, by popularity.

    Scores are the number of occurrences plus a number below 1 that grows with the popularity in the training data. Works for
    any user; without a session it ranks like `Popularity`.

    Source: Hidasi et al. 2016 (S-POP).
    """

    needs: ClassVar[frozenset[str]] = frozenset({"order"})

    def _fit(self, train: Interactions, context: FitContext) -> Fitted:
        return fitted_on(train, {})

    def scores(self, history: Interactions, rows: Rows) -> Floats:
        rows = checked_rows(history, rows)
        popularity = fitted_state(self, history).arrays["popularity"]
        current = history.sequences[rows].last_sessions()
        found = np.tile(popularity / (popularity.max() + 1), (len(rows), 1))
        np.add.at(found, (current.user_of_event(), current.items), 1)
        return found


class _Transitions(SparseItemWeights):
    """Scores are the weights from the last item of the current session to all items, plus smoothing * share of popularity."""

    smoothing: float
    needs: ClassVar[frozenset[str]] = frozenset({"order"})

    @abstractmethod
    def _weights(self, train: Interactions) -> csr_array: ...

    def scores(self, history: Interactions, rows: Rows) -> Floats:
        rows = checked_rows(history, rows)
        weights, popularity = self._learned(history), fitted_state(self).arrays["popularity"]
        current = history.sequences[rows].last_sessions()
        found = np.tile((self.smoothing / popularity.sum() * popularity).astype(np.float32), (len(rows), 1))
        after = weights[current.items[current.session_starts[1:] - 1]]
        found[np.repeat(current.user_of_session(), np.diff(after.indptr)), after.indices] += after.data
        return found


@dataclass
class MarkovChain(_Transitions):
    """How often each item came directly after the last item of the current session in training; it may be the same item.

    Each item's share of the popularity, times `smoothing`, is added. If that is below 1, it only decides ties and ranks the
    items that never came next. Works for any user; without a session the scores are the popularity alone.

    Source: Ludewig & Jannach 2018 (MC). Deviations: counts are smoothed, and not divided by their sum, which would not change
    the order.

    Attributes:
        smoothing: see above, in events.
    """

    smoothing: Annotated[float, Field(ge=0)] = 0.5
    space: ClassVar[Space] = {"smoothing": Range(low=0.01, high=10, log=True)}

    def _weights(self, train: Interactions) -> csr_array:
        return transitions(train.sequences, np.ones(1), train.n_items)


@dataclass
class SequentialRules(_Transitions):
    """Weights of the rules "after the last item of the current session, also j", for all items j.

    Whenever j comes d <= `steps` events after i in a session, the weight of the rule i -> j grows by 1 / d; i and j may be the
    same. Each item keeps its `neighbours` heaviest rules (ties go to the more popular item, then to the first). Each item's
    share of the popularity, times `smoothing`, is added. If that is below 1 / steps, it only decides ties and ranks the items
    without a rule. Works for any user; without a session the scores are the popularity alone.

    Source: Ludewig & Jannach 2018 (SR). Deviations: weights are smoothed, and not divided by the number of events, which would
    not change the order.

    Memory: 12 bytes per rule; while fitting, an item has a rule for each item that came after it.

    Attributes:
        steps: largest distance, in events.
        neighbours: rules kept per item.
        smoothing: see above.
    """

    steps: Annotated[int, Field(ge=1)] = 10
    neighbours: Annotated[int, Field(ge=1)] = 100
    smoothing: Annotated[float, Field(ge=0)] = 0.05
    space: ClassVar[Space] = {
        "steps": Range(low=1, high=30, log=True),
        "neighbours": Range(low=20, high=500, log=True),
        "smoothing": Range(low=0.005, high=1, log=True),
    }

    def _weights(self, train: Interactions) -> csr_array:
        longest = int(np.diff(train.sequences.session_starts).max(initial=1))
        rules = transitions(train.sequences, 1 / np.arange(1, min(self.steps, longest) + 1), train.n_items)
        return heaviest(rules, self.neighbours, item_counts(train))


def transitions(sequences: Sequences, by_distance: NDArray[np.float64], n_items: int) -> csr_array:
    """float64 [M, M]: in row i and column j, the sum of by_distance[d - 1] over all i with j d events later in the session."""
    total = csr_array((n_items, n_items))
    session = sequences.session_of_event()
    for d, weight in enumerate(by_distance, start=1):
        together = session[d:] == session[:-d]
        if not together.any():
            break
        pairs = sequences.items[:-d][together], sequences.items[d:][together]
        total = total + coo_array((np.full(len(pairs[0]), weight), pairs), shape=total.shape).tocsr()
    return total


def heaviest(weights: csr_array, k: int, preferred: Floats) -> csr_array:
    """The k largest weights of each row; ties go to the column with the larger `preferred` [M], then to the first."""
    row = row_of_entry(weights)
    order = np.lexsort((weights.indices, -preferred[weights.indices], -weights.data, row))
    keep = np.sort(order[np.arange(len(order)) - weights.indptr[row] < k])  # lexsort keeps rows together, so row is sorted
    indptr = np.r_[0, np.cumsum(np.bincount(row[keep], minlength=weights.shape[0]))]
    return csr_array((weights.data[keep], weights.indices[keep], indptr), shape=weights.shape)
