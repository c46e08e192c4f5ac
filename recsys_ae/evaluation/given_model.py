"""Evaluation of a fitted model on a truth and a history of any origin."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recsys_ae.errors import UnknownIdError
from recsys_ae.evaluation.evaluator import evaluate
from recsys_ae.evaluation.overlap import id_maps, ids_in
from recsys_ae.evaluation.report import Report
from recsys_ae.features import FeatureTable
from recsys_ae.fitted import Fitted
from recsys_ae.ids import IdMap, Rows, shown
from recsys_ae.interactions import Interactions
from recsys_ae.models.base import FitContext, Floats, Recommender, finite_predictions, finite_scores, fitted_state
from recsys_ae.models.recommend import Cold, scorable
from recsys_ae.split import Repeats, Split


def evaluate_model(
    model: Recommender,
    known: Interactions,
    truth: pd.DataFrame,
    metrics: str | Iterable[str],
    *,
    history: pd.DataFrame,
    relevant_at: float | None = None,
    repeats: Repeats = "excluded",
    cold: Cold = "popular",
    segments: str | Iterable[str] = (),
    user_features: FeatureTable | None = None,
    item_features: FeatureTable | None = None,
) -> Report:
    """Evaluate the lists that a model makes from a history, with the same values as `evaluate_recommendations` gives for them.

    Items that the model does not know may be relevant, but are not in its lists.

    Args:
        known: the history as the model reads it, with a row for every user of the truth, possibly empty.
        truth, history: columns user_id, item_id and, if known, rating; of repeated pairs of the truth the highest counts.
        cold: policy for users whom the model cannot score, see `recommend`; with `skip` they do not count in ranking metrics.
        segments, user_features, item_features: as for `evaluate_recommendations`; the model uses its own features.

    Raises:
        ConfigError, TrainingError, ColdUserError: as for `evaluate`.
        DataError: ids of different types, or no item of the truth is known to the model or in the history.
        UnknownIdError: a rating metric, and an item of the truth that the model does not know.
    """
    items = fitted_state(model, known).ids["items"]
    tables = {"the truth": truth, "the model": pd.DataFrame({"item_id": items.values}), "the history": history}
    n_users = len(id_maps(ids_in({what: tables[what] for what in ("the truth", "the history")}, "user"), "user")[0])
    every = id_maps(ids_in(tables, "item"), "item")[1].values
    unknown = every[items.find(every) < 0]
    columns: dict[str, Any] = {"users": known.users, "items": items}
    before = known
    if len(unknown):
        columns["items"] = IdMap(np.concatenate([items.values, unknown]))  # behind the others, so that ties do not change
        before = Interactions.from_frame(history, rating=_rating(history), duplicates="last", **columns)
    if len(unknown) or user_features or item_features:
        features = user_features and user_features.align(known.users), item_features and item_features.align(columns["items"])
        before = replace(before, user_features=features[0], item_features=features[1], merged=True)
        model = _WithUnknownItems(model, known, columns["items"])
    asked = Interactions.from_frame(truth, rating=_rating(truth), duplicates="max", **columns)
    split = Split(before, before.filter(np.zeros(len(before), bool)), asked, repeats=repeats)
    report = evaluate(model, split, metrics, relevant_at=relevant_at, cold=cold, segments=segments)
    counts = {key: number for key, number in report.counts.items() if key not in ("hot", "warm", "events")}
    return replace(report, counts={**counts, "users_skipped": n_users - counts["users_evaluated"]})


def _rating(table: pd.DataFrame) -> str | None:
    return "rating" if "rating" in table else None


class _WithUnknownItems(Recommender):
    """A fitted model over a catalogue whose first items are its own; the others, unknown to it, have the score -inf."""

    def __init__(self, model: Recommender, known: Interactions, items: IdMap) -> None:
        """Scores come from the histories in `known`, which the histories passed to `scores` must agree with."""
        self.model, self.known, self.items = model, known, items
        popularity = np.full(len(items), -np.inf, np.float32)
        popularity[: known.n_items] = fitted_state(model, known).arrays["popularity"]
        self.fitted = Fitted({"popularity": popularity}, {"items": items})

    @property
    def predicts_ratings(self) -> bool:
        return self.model.predicts_ratings

    def _fit(self, train: Interactions, context: FitContext) -> Fitted:
        raise NotImplementedError

    def can_score(self, history: Interactions, rows: Rows) -> NDArray[np.bool_]:
        return scorable(self.model, self.known, rows, "skip")

    def scores(self, history: Interactions, rows: Rows) -> Floats:
        scores = np.full((len(rows), len(self.items)), -np.inf, np.float32)
        scores[:, : self.known.n_items] = finite_scores(self.model, self.known, rows)
        return scores

    def predict_rows(self, history: Interactions, user_rows: Rows, item_rows: Rows) -> Floats:
        if (beyond := item_rows >= self.known.n_items).any():
            first = shown(self.items.values[item_rows[beyond.argmax()]])
            raise UnknownIdError(
                f"the model cannot predict ratings of item {first}, which it does not know ({int(beyond.sum())} such pairs in "
                "the truth); remove them, or ask for ranking metrics only"
            )
        return finite_predictions(self.model, self.known, user_rows, item_rows)
