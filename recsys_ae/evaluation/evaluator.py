"""Evaluation of fitted models, and of recommendations in a file, by the same code.

Full ranking over the whole catalogue. Unless the split declares repeats as wanted, everything known before the test part is
excluded as seen, and test pairs that are already known are not relevant.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recsys_ae import ranking
from recsys_ae.errors import ConfigError, DataError
from recsys_ae.evaluation.metrics import Metric, parse_metrics
from recsys_ae.evaluation.ranking import RankedLists
from recsys_ae.ids import IdMap, Rows
from recsys_ae.interactions import Interactions
from recsys_ae.models.base import BATCH_USERS, Recommender, rating_predictor
from recsys_ae.models.recommend import Cold, recommend_blocks, scorable
from recsys_ae.split import Repeats, Split

BLOCK_PLACES = 4_000_000  # places of lists from a file that are judged at a time
PerUser = dict[str, NDArray[np.float64]]


@dataclass(frozen=True, repr=False)
class Report:
    """What an evaluation found.

    Attributes:
        metrics: mean value by metric; None where the model gives no value (RMSE of a ranking model) or no user counts.
        users: external ids of the evaluated users [U], in the order of `per_user`.
        per_user: float64 [U] by ranking metric.
        counts: `users_evaluated`; `users_skipped`, who have nothing relevant in the test part or were skipped as cold;
            `relevant`, the test pairs that count; `ratings`, the pairs behind RMSE and MAE; `repeats`, the test pairs that
            are already in the history (missing if the history is unknown). For a model also `events`, the events of the
            test part, and how many of the users with something relevant are `hot` (in the training part), `warm` (with a
            history, but not in the training part) and `cold` (the model cannot score them).
    """

    metrics: dict[str, float | None]
    users: NDArray[Any]
    per_user: PerUser
    counts: dict[str, int]

    def __repr__(self) -> str:
        values = ", ".join(f"{name}: {'-' if value is None else f'{value:.4f}'}" for name, value in self.metrics.items())
        return f"Report({values}; {self.counts['users_evaluated']} users)"


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

    Rating metrics are over all pairs of the part, repeats included: a user may well rate an item again. Ranking metrics are
    over the users with a relevant item in the part. Their lists are made from the whole catalogue without the items in
    `split.history(part)`, so repeats are not relevant; with `repeats: wanted` lists keep these items, and repeats are relevant.

    Args:
        metrics: names such as "rmse" and "ndcg@10".
        relevant_at: only test items rated at least this count as relevant; all of them if None.
        cold: what cold users get, see `recommend`; with `skip` they do not count in ranking metrics.
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
    repeated = truth.shared_with(history)
    exclude_seen = split.repeats == "excluded"
    relevant = _relevant(truth, relevant_at, repeated & exclude_seen)
    rows = np.flatnonzero(np.diff(relevant.matrix.indptr))
    known = scorable(model, history, rows)
    trained = np.diff(split.train.matrix.indptr)[rows] > 0
    kinds = {"hot": int((known & trained).sum()), "warm": int((known & ~trained).sum()), "cold": int((~known).sum())}
    if cold == "skip":
        rows = rows[known]
    rankings = [metric for metric in parsed if metric.k is not None]
    per_user: PerUser = {}
    if rankings:
        k = max(metric.k or 0 for metric in rankings)
        counts = np.bincount(history.matrix.indices, minlength=history.n_items)
        blocks = recommend_blocks(model, history, rows, k, exclude_seen=exclude_seen, cold=cold, batch_users=batch_users)
        judged = (
            _judged(k, block.item_rows, block.scores, relevant, rows[start : start + batch_users], counts)
            for start, block in zip(range(0, len(rows), batch_users), blocks, strict=True)
        )
        per_user = _per_user(rankings, judged)
    report = _report(parsed, values, per_user, history.users.values[rows], len(relevant), truth.n_users)
    more = {"ratings": len(truth), "repeats": int(repeated.sum()), "events": truth.n_events, **kinds}
    return replace(report, counts={**report.counts, **more})


def evaluate_recommendations(
    recommendations: pd.DataFrame,
    truth: pd.DataFrame,
    metrics: Iterable[str],
    *,
    list_length: int,
    relevant_at: float | None = None,
    history: pd.DataFrame | None = None,
    repeats: Repeats = "excluded",
) -> Report:
    """Evaluate exported lists, with the same values as `evaluate` gives for the model that made them.

    Every user of `truth` with a relevant item counts; one without a list has no hits.

    Args:
        recommendations: columns user_id, rank (from 1), item_id and, if known, score.
        truth: columns user_id, item_id and, if `relevant_at` is given, rating; of repeated pairs the highest rating counts.
        metrics: ranking metrics of at most `list_length`.
        list_length: the length that the lists were meant to have.
        history: columns user_id, item_id: what was known when the lists were made. None if unknown: then repeats cannot
            be told apart and count as relevant.
        repeats: whether pairs of `truth` that are in `history` are relevant (`wanted`) or not, because the lists exclude
            them (`excluded`).

    Raises:
        ConfigError: a rating metric, one that looks further than the lists go, or one that needs the history without it.
        DataError: nothing relevant in `truth`, ids of another type than in the lists, or two items at one rank.
    """
    parsed = parse_metrics(metrics)
    for metric in parsed:
        if metric.k is None:
            raise ConfigError(f"{metric.name} needs predicted ratings, a list of recommendations has none")
        if metric.k > list_length:
            raise ConfigError(f"{metric.name} looks at {metric.k} places, but the lists have only {list_length}")
    if not len(truth):
        raise DataError("the truth holds nothing relevant")
    users = IdMap(pd.factorize(truth["user_id"], sort=True)[1])
    known_items = IdMap(recommendations["item_id"].drop_duplicates())
    known_items.find(truth["item_id"])  # refuses ids of another type
    frames = [recommendations, truth] if history is None else [recommendations, truth, history]
    items = IdMap(pd.factorize(pd.concat([frame["item_id"] for frame in frames]), sort=True)[1])
    rating = None if relevant_at is None else "rating"
    pairs = Interactions.from_frame(truth, rating=rating, users=users, items=items, duplicates="max")
    counts, repeated = np.empty(0, np.int64), np.zeros(len(pairs), bool)
    if history is not None and len(history):
        before = history[["user_id", "item_id"]].drop_duplicates()
        user, item = users.find(before["user_id"]), items.rows(before["item_id"])
        counts = np.bincount(item, minlength=len(items))
        repeated = np.isin(pairs.keys(), (user * len(items) + item)[user >= 0])
    relevant = _relevant(pairs, relevant_at, repeated & (repeats == "excluded"))
    if not len(relevant):
        raise DataError("the truth holds nothing relevant")
    rows = np.flatnonzero(np.diff(relevant.matrix.indptr))
    k = max(metric.k or 0 for metric in parsed)
    blocks = _blocks(_listed(recommendations, users, items, k), relevant, rows, k, counts)
    report = _report(parsed, {}, _per_user(parsed, blocks), users.values[rows], len(relevant), len(users))
    more = {} if history is None else {"repeats": int(repeated.sum())}
    return replace(report, counts={**report.counts, "ratings": 0, **more})


def _relevant(truth: Interactions, relevant_at: float | None, left_out: NDArray[np.bool_]) -> Interactions:
    """The pairs of `truth` rated at least `relevant_at`, without those `left_out` [nnz]."""
    return truth.filter(~left_out if relevant_at is None else ~left_out & (truth.matrix.data >= relevant_at))


def _listed(recommendations: pd.DataFrame, users: IdMap, items: IdMap, k: int) -> pd.DataFrame:
    """The first `k` places of the lists, as columns user and item (their rows), place (from 0) and score, by user row."""
    rank = recommendations["rank"]
    if not pd.api.types.is_integer_dtype(rank):
        raise DataError(f"ranks must be whole numbers, got {rank.dtype} such as {rank.iloc[0]!r}")
    place = rank.to_numpy(np.int64) - 1
    if len(place) and place.min() < 0:
        raise DataError(f"ranks count from 1, but there is a rank {place.min() + 1}")
    user, item = users.find(recommendations["user_id"]), items.rows(recommendations["item_id"])
    score = recommendations["score"].to_numpy(np.float32) if "score" in recommendations else np.float32("nan")
    listed = pd.DataFrame({"user": user, "place": place, "item": item, "score": score})
    listed = listed[(user >= 0) & (place < k)].sort_values("user", kind="stable")
    if listed.duplicated(["user", "place"]).any():
        raise DataError("the recommendations have two items of one user at the same rank")
    if listed.duplicated(["user", "item"]).any():
        raise DataError("the recommendations have an item twice in the list of one user")
    return listed


def _blocks(listed: pd.DataFrame, relevant: Interactions, rows: Rows, k: int, counts: Rows) -> Iterator[RankedLists]:
    """What `_listed` gives, as lists of the users at `rows` of `relevant`, in blocks of bounded size."""
    listed = listed[np.isin(listed["user"], rows)]
    longest = max(listed["place"].max() + 1 if len(listed) else 0, np.diff(relevant.matrix.indptr).max())
    width = int(min(k, longest))  # a list as long as a perfect one, for NDCG
    step = max(1, BLOCK_PLACES // width)
    for start in range(0, len(rows), step):
        block = rows[start : start + step]
        own = listed[slice(*np.searchsorted(listed["user"], [block[0], block[-1] + 1]))]
        at = np.searchsorted(block, own["user"]), own["place"].to_numpy()
        lists, scores = np.full((len(block), width), -1), np.full((len(block), width), np.nan, np.float32)
        lists[at], scores[at] = own["item"], own["score"]
        yield _judged(k, lists, scores, relevant, block, counts)


def _judged(k: int, lists: Rows, scores: NDArray[np.float32], relevant: Interactions, rows: Rows, counts: Rows) -> RankedLists:
    """Lists [U, K'] of the users at `rows` of `relevant`."""
    own = relevant.matrix[rows]
    return RankedLists(k, lists, scores, ranking.hits(lists, own), np.diff(own.indptr).astype(np.int64), counts)


def _per_user(metrics: Sequence[Metric], blocks: Iterable[RankedLists]) -> PerUser:
    """Values by metric, block after block: memory is one block of lists."""
    found: dict[str, list[NDArray[np.float64]]] = {metric.name: [] for metric in metrics}
    for block in blocks:
        for metric in metrics:
            found[metric.name].append(metric.compute(block.top(metric.k or 0)))
    return {name: np.concatenate(values) if values else np.empty(0) for name, values in found.items()}


def _rating_values(
    model: Recommender, history: Interactions, truth: Interactions, metrics: Sequence[Metric]
) -> dict[str, float | None]:
    if not metrics or not model.predicts_ratings:
        return {metric.name: None for metric in metrics}
    predicted = rating_predictor(model).predict_rows(history, truth.user_rows(), truth.item_rows())
    return {metric.name: metric.compute(predicted, truth.matrix.data) for metric in metrics}


def _report(
    metrics: Sequence[Metric],
    rating_values: dict[str, float | None],
    per_user: PerUser,
    users: NDArray[Any],
    n_relevant: int,
    n_users: int,
) -> Report:
    means = {name: float(values.mean()) if len(values) else None for name, values in per_user.items()}
    found = {**rating_values, **means}
    counts = {"users_evaluated": len(users), "users_skipped": n_users - len(users), "relevant": n_relevant}
    return Report({metric.name: found[metric.name] for metric in metrics}, users, per_user, counts)
