"""The result of an evaluation."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

USER, RATINGS, SEGMENT = "user_id", "ratings", "segment:"  # columns of `Report.to_frame`; the last is a prefix
UNDEFINED = "undefined:"  # prefix of counts of users without a value of a metric
COUNTING = "users:"  # prefix of numbers of users who count in a metric, in a group of a segment
Segments = dict[str, dict[str, dict[str, float | None]]]  # segment -> group -> metric -> value


@dataclass(frozen=True, repr=False)
class Report:
    """Result of an evaluation.

    Attributes:
        metrics: value by metric; None where the model gives no value (RMSE of a ranking model) or no user counts.
        users: external ids [U] of the users in `per_user`; with `predict: next`, those of the predicted events, so that a user
            may be repeated.
        per_user: float64 [U] by metric with values per user, NaN for users who do not count in it. The `rmse` and `mae` of a
            user are those of the user's pairs, whose number is in `ratings`. Values for a group of items are under the names of
            metric, segment and group, as in `ndcg@10|item_popularity=head`, NaN for users without a relevant item in it.
        counts: `users_evaluated`, those with ranking metrics; `users_skipped` (nothing relevant, or cold and skipped);
            `relevant` pairs; `ratings`, the pairs behind RMSE and MAE; `repeats`, pairs already in the history (missing if
            that is unknown). For lists also `users_without_list`: evaluated users without a list, who have no hits. For
            a model also `events` of the part, and of the users with something relevant how many are `hot` (in the training
            part), `warm` (not in it, but scored from a history or from features) and `cold` (the model cannot score them).
            `users_tied` are those whose accuracy depends on the order of items with equal scores (missing if lists have no
            scores), `undefined:METRIC` those who count in others but have no value of this one. With `predict: next`, all but
            `users_evaluated`, `users_skipped` and `events` are numbers of predicted events.
        ties: by metric of accuracy of lists, without those that weight by propensities, the lowest and the highest mean over
            all orders of items with equal scores; empty if the lists have no scores.
        groups: the group of each user [U], by segment of users (see `evaluation.segments`).
        segments: by segment and group the value of each metric and, under `users:METRIC`, the number of users who count in it.
    """

    metrics: dict[str, float | None]
    users: NDArray[Any]
    per_user: dict[str, NDArray[np.float64]]
    counts: dict[str, int]
    ties: dict[str, tuple[float, float]] = field(default_factory=dict)
    groups: dict[str, pd.Categorical] = field(default_factory=dict)
    segments: Segments = field(default_factory=dict)

    def __repr__(self) -> str:
        values = ", ".join(f"{name}: {'-' if value is None else f'{value:.4f}'}" for name, value in self.metrics.items())
        return f"Report({values}; {self.counts['users_evaluated']} users)"

    def to_frame(self) -> pd.DataFrame:
        """The values per user: column user_id, one for each key of `per_user`, and one `segment:NAME` for each of `groups`."""
        groups = {f"{SEGMENT}{name}": labels for name, labels in self.groups.items()}
        return pd.DataFrame({USER: self.users, **self.per_user, **groups})
