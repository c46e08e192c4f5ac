"""Evaluation of fitted models, and of recommendations that already lie in a file, by the same code.

Full ranking over the whole catalogue, with everything known before the test part excluded as seen.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recsys_ae.errors import ConfigError, DataError
from recsys_ae.evaluation.metrics import Metric, parse_metrics
from recsys_ae.interactions import IdMap, Interactions, Rows, Split
from recsys_ae.models.base import BATCH_USERS, Recommender, rating_predictor
from recsys_ae.models.recommend import Cold, recommend_blocks, scorable


@dataclass(frozen=True)
class Report:
    """What an evaluation found.

    Attributes:
        metrics: mean value by metric; None where the model cannot say (a ranking model's RMSE) or nothing was counted.
        users: external ids of the evaluated users [U], in the order of `per_user`.
        per_user: float64 [U] by ranking metric.
        counts: `users_evaluated`; `users_skipped`, who have nothing relevant in the test part or were to be skipped as cold;
            `relevant`, the test interactions that count; `ratings`, the pairs behind RMSE and MAE. Of a model also the users
            with something relevant who are `hot`, seen in training; `warm`, with a history but not seen in training; and
            `cold`, of whom the model has nothing to go by, whatever else they are.
    """

    metrics: dict[str, float | None]
    users: NDArray[Any]
    per_user: dict[str, NDArray[np.float64]]
    counts: dict[str, int]


def evaluate(
    model: Recommender,
    split: Split,
    metrics: Iterable[str],
    *,
    part: Literal["test", "valid"] = "test",
    relevant_at: float | None = None,
    cold: Cold = "popular",
    batch_users: int = BATCH_USERS,
) -> Report:
    """Evaluate a fitted model on one part of a split.

    Rating metrics are over all observations of the part. Ranking metrics are over the users with a relevant item in the
    part: lists are made from the whole catalogue without what `split.history(part)` holds.

    Args:
        metrics: names such as "rmse" and "ndcg@10".
        relevant_at: only test items rated at least this count as relevant; all of them if None.
        cold: what cold users get, see `models.base.recommend`; with `skip` they do not count in ranking metrics.
        batch_users: users scored at a time; it has no influence on the values.

    Raises:
        ConfigError: an unknown metric.
        DataError: the part is empty.
        ColdUserError: there is a cold user, and `cold` is `error`.
    """
    parsed = parse_metrics(metrics)
    truth = split.test if part == "test" else split.valid
    if not len(truth):
        raise DataError(f"the {split.protocol} split has no {part} interactions to evaluate on")
    history = split.history(part)
    values = _rating_values(model, history, truth, [metric for metric in parsed if metric.k is None])
    relevant = truth if relevant_at is None else truth.filter(truth.matrix.data >= relevant_at)
    rows = np.flatnonzero(np.diff(relevant.matrix.indptr))
    known = scorable(model, history, rows)
    trained = np.diff(split.train.matrix.indptr)[rows] > 0
    kinds = {"hot": int((known & trained).sum()), "warm": int((known & ~trained).sum()), "cold": int((~known).sum())}
    if cold == "skip":
        rows = rows[known]
    ranking = [metric for metric in parsed if metric.k is not None]
    per_user: dict[str, NDArray[np.float64]] = {}
    if ranking:
        k = max(metric.k or 0 for metric in ranking)
        blocks = recommend_blocks(model, history, rows, k, cold=cold, batch_users=batch_users)
        lists = np.full((len(rows), k), -1)  # also where the catalogue is shorter than k
        for number, block in enumerate(blocks):
            start, width = number * batch_users, block.item_rows.shape[1]
            lists[start : start + len(block.users), :width] = block.item_rows
        per_user = _ranking_values(ranking, lists, rows, relevant)
    report = _report(
        parsed, values, per_user, history.users.values[rows], relevant, n_ratings=len(truth), n_users=truth.n_users
    )
    return replace(report, counts={**report.counts, **kinds})


def evaluate_recommendations(
    recommendations: pd.DataFrame,
    truth: pd.DataFrame,
    metrics: Iterable[str],
    *,
    list_length: int,
    relevant_at: float | None = None,
) -> Report:
    """Evaluate lists that were exported, with the same values as `evaluate` gives for the model that made them.

    Every user of `truth` with a relevant item counts; one for whom there is no list has no hits.

    Args:
        recommendations: columns user_id, rank (from 1), item_id.
        truth: columns user_id, item_id and, if `relevant_at` is given, rating; a pair that occurs twice counts once.
        metrics: ranking metrics of at most `list_length`.
        list_length: how long the lists were meant to be.

    Raises:
        ConfigError: a rating metric, or one that looks further than the lists go.
        DataError: nothing relevant in `truth`, ids of another type than in the lists, or two items at one rank.
    """
    parsed = parse_metrics(metrics)
    for metric in parsed:
        if metric.k is None:
            raise ConfigError(f"{metric.name} needs predicted ratings, a list of recommendations has none")
        if metric.k > list_length:
            raise ConfigError(f"{metric.name} looks at {metric.k} places, but the lists have only {list_length}")
    counted = truth if relevant_at is None else truth[truth["rating"] >= relevant_at]
    counted = counted[["user_id", "item_id"]].drop_duplicates()
    if not len(counted):
        raise DataError("the truth holds nothing relevant")
    users = IdMap(pd.factorize(truth["user_id"], sort=True)[1])
    known_items = IdMap(recommendations["item_id"].drop_duplicates())
    known_items.find(truth["item_id"])  # refuses ids of another type
    items = IdMap(pd.factorize(pd.concat([recommendations["item_id"], truth["item_id"]]), sort=True)[1])
    relevant = Interactions.from_frame(counted, rating=None, users=users, items=items)
    rows = np.flatnonzero(np.diff(relevant.matrix.indptr))
    lists = _lists(recommendations, users, items, list_length)[rows]
    per_user = _ranking_values(parsed, lists, rows, relevant)
    return _report(parsed, {}, per_user, users.values[rows], relevant, n_ratings=0, n_users=len(users))


def _lists(recommendations: pd.DataFrame, users: IdMap, items: IdMap, length: int) -> Rows:
    """int64 [users, length]: item rows by rank, -1 where a list has no item."""
    user = users.find(recommendations["user_id"])
    rank = recommendations["rank"]
    if not pd.api.types.is_integer_dtype(rank):
        raise DataError(f"ranks must be whole numbers, got {rank.dtype} such as {rank.iloc[0]!r}")
    place = rank.to_numpy(np.int64) - 1
    if len(place) and place.min() < 0:
        raise DataError(f"ranks count from 1, but there is a rank {place.min() + 1}")
    wanted = (user >= 0) & (place < length)
    user, place = user[wanted], place[wanted]
    if len(np.unique(user * length + place)) < len(user):
        raise DataError("the recommendations have two items of one user at the same rank")
    item = items.rows(recommendations["item_id"])[wanted]
    if len(np.unique(user * len(items) + item)) < len(user):
        raise DataError("the recommendations have an item twice in the list of one user")
    lists = np.full((len(users), length), -1)
    lists[user, place] = item
    return lists


def _rating_values(
    model: Recommender, history: Interactions, truth: Interactions, metrics: Sequence[Metric]
) -> dict[str, float | None]:
    if not metrics or not model.predicts_ratings:
        return {metric.name: None for metric in metrics}
    predicted = rating_predictor(model).predict_rows(history, truth.user_rows(), truth.item_rows())
    return {metric.name: metric.compute(predicted, truth.matrix.data) for metric in metrics}


def _ranking_values(
    metrics: Sequence[Metric], lists: Rows, rows: Rows, relevant: Interactions
) -> dict[str, NDArray[np.float64]]:
    """Values per user; `lists` [U, K] are those of the users at `rows` of `relevant`."""
    keys = relevant.keys()
    asked = np.where(lists >= 0, rows[:, None] * relevant.n_items + lists, -1)
    place = np.minimum(np.searchsorted(keys, asked), max(len(keys) - 1, 0))
    hits = keys[place] == asked if len(keys) else np.zeros(lists.shape, bool)
    counts = np.diff(relevant.matrix.indptr)[rows].astype(np.int64)
    return {metric.name: metric.compute(hits[:, : metric.k], counts) for metric in metrics}


def _report(
    metrics: Sequence[Metric],
    rating_values: dict[str, float | None],
    per_user: dict[str, NDArray[np.float64]],
    users: NDArray[Any],
    relevant: Interactions,
    *,
    n_ratings: int,
    n_users: int,
) -> Report:
    means = {name: float(values.mean()) if len(values) else None for name, values in per_user.items()}
    found = {**rating_values, **means}
    counts = {
        "users_evaluated": len(users),
        "users_skipped": n_users - len(users),
        "relevant": len(relevant),
        "ratings": n_ratings,
    }
    return Report({metric.name: found[metric.name] for metric in metrics}, users, per_user, counts)
