"""SLIST: a linear session model in closed form."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from pydantic import Field
from scipy.sparse import csr_array

from recsys_ae.core.kernels.sessions import cut_products
from recsys_ae.core.linear import CHUNK, gram, invert
from recsys_ae.core.sparse import times
from recsys_ae.fitted import Fitted
from recsys_ae.ids import Rows
from recsys_ae.interactions import Interactions
from recsys_ae.models.base import FitContext, Floats, Recommender, checked_rows, fitted_on, fitted_state
from recsys_ae.models.costs import announce
from recsys_ae.models.ease import OPERATIONS
from recsys_ae.models.recency import DAY, decays
from recsys_ae.models.training import sparse_rows
from recsys_ae.space import Range, Space

WAY_OUT = "for that many items use vsknn, whose memory grows with the events"


@dataclass
class SLIST(Recommender):
    """Linear model of sessions in closed form: scores x B, where x [M] holds the current session, weighted by recency.

    B [M, M] minimises alpha |X - X B|^2 + (1 - alpha) |T - S B|^2 + l2 |B|^2. X has a row for each training session, with 1 for
    each of its items. S and T have a row for each place at which a session can be cut in two: the event d events before the
    cut adds exp(-d / position_decay) to its item in S, and the event d events after it in T. In all three, rows have the weight
    exp(-age / time_decay) of their session, where the age is that of its last event at the end of the training data. Inputs
    are dropped with probability p = `dropout`, as in a denoising autoencoder; in X, an item is predicted from the others only.
    The regularisation pulls B not to 0 but to repeat_weight * r on the diagonal, where r is the share of training events that
    repeat the event before. With G = alpha X'WX + (1 - alpha) S'WS and L = p / (1 - p) diag(G) + l2 I,

        B = (G + L)^-1 (alpha (X'WX - diag(X'WX)) + (1 - alpha) S'WT + repeat_weight r L).

    When scoring, the event that d events follow adds exp(-d / session_decay) to its item in x. Works for any user; without a
    session, all scores are 0. An item without training events can only predict itself.

    Source: Choi et al. 2021 (SLIST). Deviations: dropout and the treatment of repeats are additions, without which every item
    predicts itself, however rarely people come back to one; rows are not scaled to length 1, which ranked worse; repeated
    events of an item add up; decays below 1e-6 are 0.

    Memory: 9 M^2 bytes while fitting, 4 M^2 afterwards. Time: about 1.7 M^3 multiply-adds, and one step for each pair of events
    of a session that are at most about 14 position_decay apart. `fit` logs both, and raises an error before allocating anything
    if the memory is not available.

    Attributes:
        alpha: 1 for whole sessions alone (SLIS), 0 for their order alone (SLIT).
        dropout: p.
        l2: regularisation, in events.
        position_decay, session_decay: see above, in events.
        time_decay: see above, in days.
        repeat_weight: see above.
    """

    alpha: Annotated[float, Field(ge=0, le=1)] = 0.6
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.8
    l2: Annotated[float, Field(gt=0)] = 30.0
    position_decay: Annotated[float, Field(gt=0)] = 1.0
    session_decay: Annotated[float, Field(gt=0)] = 1.2
    time_decay: Annotated[float, Field(gt=0)] = 100.0
    repeat_weight: Annotated[float, Field(ge=0)] = 0.4
    space: ClassVar[Space] = {
        "alpha": Range(low=0, high=1),
        "dropout": Range(low=0, high=0.95),
        "l2": Range(low=3, high=300, log=True),
        "position_decay": Range(low=0.2, high=10, log=True),
        "session_decay": Range(low=0.2, high=10, log=True),
        "repeat_weight": Range(low=0.05, high=4, log=True),
    }
    needs: ClassVar[frozenset[str]] = frozenset({"order"})

    def _fit(self, train: Interactions, context: FitContext) -> Fitted:
        m = train.n_items
        announce(f"slist on {m} items", 9 * m**2, 2 * 1.7 * m**3 / OPERATIONS, WAY_OUT)
        sequences = train.sequences
        ends = sequences.session_ends()
        weights = np.exp((ends - ends.max()) / DAY / self.time_decay)
        session = sequences.session_of_event()
        x = csr_array((np.ones(len(session), np.float32), (session, sequences.items)), shape=(sequences.n_sessions, m))
        x.data = np.sqrt(self.alpha * np.repeat(weights, np.diff(x.indptr))).astype(np.float32)
        target, diagonal = gram(x), np.diag_indices(m)
        inverse = target.copy()
        target[diagonal] = 0
        by_item = np.argsort(sequences.items, kind="stable")
        item_starts = np.r_[0, np.cumsum(np.bincount(sequences.items, minlength=m))]
        powers = decays(self.position_decay, len(by_item))
        of_cuts = (1 - self.alpha) * weights
        cut_products(sequences.items, sequences.session_starts, session, by_item, item_starts, of_cuts, powers, inverse, target)
        ridge = self.l2 + self.dropout / (1 - self.dropout) * inverse[diagonal]
        inverse[diagonal] += ridge
        target[diagonal] += self.repeat_weight * sequences.repeat_share() * ridge
        invert(inverse)
        solve = torch.from_numpy(inverse)
        for start in range(0, m, CHUNK):  # in place, so that two matrices are enough
            target[:, start : start + CHUNK] = solve @ torch.from_numpy(target[:, start : start + CHUNK])
        return fitted_on(train, {"weights": target})

    def scores(self, history: Interactions, rows: Rows) -> Floats:
        rows = checked_rows(history, rows)
        weights = torch.from_numpy(fitted_state(self, history).arrays["weights"])
        current = history.sequences[rows].last_sessions()
        x = np.exp(-current.left_in_session() / self.session_decay).astype(np.float32)
        own = csr_array((x, current.items, current.event_starts), shape=(len(rows), history.n_items))
        return times(sparse_rows(own), weights).numpy()
