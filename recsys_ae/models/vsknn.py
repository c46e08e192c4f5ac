"""VS-KNN: the items of the most similar recent sessions."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numba
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from recsys_ae.core.kernels.sessions import Queries, Sessions, neighbour_scores
from recsys_ae.fitted import Fitted
from recsys_ae.ids import Rows
from recsys_ae.interactions import Interactions
from recsys_ae.models.base import FitContext, Floats, Recommender, checked_rows, fitted_on, fitted_state
from recsys_ae.models.recency import DAY, decays
from recsys_ae.sequences import ranges
from recsys_ae.space import Range, Space


@dataclass
class VSKNN(Recommender):
    """The items of the training sessions that are most similar to the current session.

    The weight of an item of the current session is exp(-d / position_decay), where d events follow it (its last occurrence
    counts), times its rarity. Of the `sample_size` most recent training sessions that share an item with the current one, the
    `neighbours` most similar count (ties go to the more recent). The similarity is the sum of the weights of the shared items
    times exp(-age / time_decay), where the age is that of the session's last event at the end of the training data. Each event
    of a neighbour adds to the score of its item the similarity times exp(-d / distance_decay) times the item's rarity, where d
    is its distance in events from the most recent shared item (its last occurrence in the neighbour). The rarity of an item is
    1 + idf * log(S / n) if n of S training sessions have it.

    Every neighbour shares an item with the current session by construction, which is no evidence that people come back to that
    item. The last event of a shared item therefore counts only min(1, repeat_weight * r) as much, where r is the share of
    training events that repeat the event before; earlier events of the item count in full.

    Items that are in no neighbour rank by popularity below all others, with negative scores. Works for any user; without a
    session the scores are the popularity alone.

    Source: Ludewig & Jannach 2018 (VS-KNN), with the exponential decays of Garg et al. 2019 (STAN), which have no effect at
    large values. Deviations: similarities are not divided by the lengths of the sessions, which ranked worse; every event of a
    repeated item in a neighbour counts; the weight of repeats is an addition; decays below 1e-6 are 0.

    Memory: 12 to 20 bytes per training event; while scoring, 16 bytes per training session and thread.

    Attributes:
        neighbours, sample_size: see above, in sessions.
        position_decay, distance_decay: see above, in events.
        time_decay: see above, in days.
        idf, repeat_weight: see above.
    """

    neighbours: Annotated[int, Field(ge=1)] = 500
    sample_size: Annotated[int, Field(ge=1)] = 2000
    position_decay: Annotated[float, Field(gt=0)] = 1.0
    distance_decay: Annotated[float, Field(gt=0)] = 3.0
    time_decay: Annotated[float, Field(gt=0)] = 30.0
    idf: Annotated[float, Field(ge=0)] = 0.5
    repeat_weight: Annotated[float, Field(ge=0)] = 4.0
    space: ClassVar[Space] = {
        "neighbours": Range(low=50, high=2000, log=True),
        "sample_size": Range(low=500, high=10000, log=True),
        "position_decay": Range(low=0.2, high=10, log=True),
        "distance_decay": Range(low=0.5, high=20, log=True),
        "time_decay": Range(low=3, high=300, log=True),
        "idf": Range(low=0, high=2),
        "repeat_weight": Range(low=0.2, high=10, log=True),
    }
    needs: ClassVar[frozenset[str]] = frozenset({"order"})

    def _fit(self, train: Interactions, context: FitContext) -> Fitted:
        sequences = train.sequences
        ends = sequences.session_ends()
        by_end = np.argsort(ends, kind="stable")
        events, starts = ranges(sequences.session_starts[by_end], sequences.session_starts[by_end + 1])
        items, again = sequences.items[events].astype(np.int32), sequences.comes_again()[events]
        visits = np.flatnonzero(~again)  # one event for each pair of session and item
        visits = visits[np.argsort(items[visits], kind="stable")]
        session = np.searchsorted(starts, visits, side="right") - 1
        return fitted_on(
            train,
            {
                "items": items,
                "starts": starts,
                "again": again,
                "repeat_share": np.array([sequences.repeat_share()]),
                "ages": (ends.max() - ends[by_end]) / DAY,
                "visits": session.astype(np.int32),
                "places": (visits - starts[session]).astype(np.int32),
                "visit_starts": np.r_[0, np.cumsum(np.bincount(items[visits], minlength=train.n_items))],
            },
        )

    def scores(self, history: Interactions, rows: Rows) -> Floats:
        rows = checked_rows(history, rows)
        arrays = fitted_state(self, history).arrays
        n_sessions = np.diff(arrays["visit_starts"])
        rarity = 1 + self.idf * np.log(len(arrays["ages"]) / n_sessions.clip(min=1))
        weights = np.exp(-arrays["ages"] / self.time_decay)
        places = (arrays[name] for name in ("visits", "places", "visit_starts"))
        sessions = Sessions(arrays["items"], arrays["starts"], arrays["again"], weights, *places)
        by_distance = decays(self.distance_decay, int(np.diff(arrays["starts"]).max(initial=0)))
        found = np.zeros((len(rows), history.n_items), np.float32)
        once = min(1.0, self.repeat_weight * float(arrays["repeat_share"][0]))
        queries = self._queries(history, rows, rarity)
        neighbour_scores(
            queries, sessions, self.sample_size, self.neighbours, by_distance, once, numba.get_num_threads(), found
        )
        found *= rarity.astype(np.float32)
        popularity = arrays["popularity"]
        return np.where(found > 0, found, popularity / (popularity.max() + 1) - 1)

    def _queries(self, history: Interactions, rows: Rows, rarity: NDArray[np.float64]) -> Queries:
        """The different items of the current sessions that are recent enough to count."""
        current = history.sequences[rows].last_sessions()
        left, user = current.left_in_session(), current.user_of_event()
        by_position = decays(self.position_decay, int(left.max(initial=0)) + 1)
        order = np.lexsort((left, user))
        order = order[left[order] < len(by_position)]
        pairs = user[order] * history.n_items + current.items[order]
        order = order[np.sort(np.unique(pairs, return_index=True)[1])]
        items = current.items[order]
        starts = np.r_[0, np.cumsum(np.bincount(user[order], minlength=len(rows)))]
        return Queries(items, by_position[left[order]] * rarity[items], starts)
