"""Evaluation of fitted models, and of recommendations in a file, by the same code.

Full ranking over the whole catalogue. Unless the split declares `repeats: wanted`, all items known before the evaluated part
are excluded from the lists as seen, and pairs that repeat them are not relevant. If the split declares `predict: next`, each
event is predicted from all earlier events of its user, and metrics are means over these events.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from numbers import Real
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys_ae import ranking
from recsys_ae.errors import ConfigError, DataError, TrainingError, quoted
from recsys_ae.evaluation.metrics import Metric, parse_metrics
from recsys_ae.evaluation.overlap import id_maps
from recsys_ae.evaluation.ranking import RankedLists
from recsys_ae.frames import Frame, ranks, read_frame
from recsys_ae.ids import IdMap, Rows, shown
from recsys_ae.interactions import Interactions
from recsys_ae.models.base import Recommender, check_counts, check_recommender, finite_predictions, users_per_block
from recsys_ae.models.recommend import Cold, recommend_blocks, scorable
from recsys_ae.next_events import NextEvents
from recsys_ae.split import Repeats, Split, check_repeats, check_split

Values = dict[str, NDArray[np.float64]]  # by ranking metric, [U]
BLOCK_PLACES, BLOCK_USERS = 1_000_000, 100_000  # limits of a block of lists from a file: places and users

logger = logging.getLogger(__name__)


@dataclass(frozen=True, repr=False)
class Report:
    """Result of an evaluation.

    Attributes:
        metrics: mean value by metric; None where the model gives no value (RMSE of a ranking model) or no user counts.
        users: external ids of the evaluated users [U], in the order of `per_user`; with `predict: next`, those of the predicted
            events, so that a user may be repeated.
        per_user: float64 [U] by ranking metric.
        counts: `users_evaluated`; `users_skipped` (nothing relevant, or cold and skipped); `relevant` pairs; `ratings`, the
            pairs behind RMSE and MAE; `repeats`, pairs that are already in the history (missing if that is unknown). For
            lists also `users_without_list`: evaluated users without a list, who have no hits. For a model also `events` of the
            part, and of the users with something relevant how many are `hot` (in the training part), `warm` (not in it, but
            scored from a history or from features) and `cold` (the model cannot score them). With `predict: next`, all
            but `users_evaluated`, `users_skipped` and `events` are numbers of predicted events.
    """

    metrics: dict[str, float | None]
    users: NDArray[Any]
    per_user: dict[str, NDArray[np.float64]]
    counts: dict[str, int]

    def __repr__(self) -> str:
        values = ", ".join(f"{name}: {'-' if value is None else f'{value:.4f}'}" for name, value in self.metrics.items())
        return f"Report({values}; {self.counts['users_evaluated']} users)"


def evaluate(
    model: Recommender,
    split: Split,
    metrics: str | Iterable[str],
    *,
    part: Literal["test", "valid"] = "test",
    relevant_at: float | None = None,
    cold: Cold = "popular",
    batch_users: int | None = None,
) -> Report:
    """Evaluate a fitted model on one part of a split.

    Rating metrics cover all pairs of the part, repeats included: a user may well rate an item again. Ranking metrics cover the
    users with a relevant item. Their lists come from the whole catalogue without the items in `split.history(part)`, so
    repeats are not relevant; with `repeats: wanted`, lists may contain them. With `predict: next`, both kinds of metrics cover
    the targets of `NextEvents`, each with a history of its own.

    Args:
        metrics: a name such as "ndcg@10", or several.
        relevant_at: lowest rating of a relevant item; None if all are relevant.
        cold: what cold users get, see `recommend`; with `skip` they do not count in ranking metrics.
        batch_users: users scored at a time, see `recommend_blocks`; does not affect the values.

    Raises:
        ConfigError: an unknown metric, part or policy, a `relevant_at` that is not finite, or `model` is not a `Recommender`.
        DataError: `split` is not a `Split`, or the part is empty.
        TrainingError: a score, a predicted rating or a metric is not finite.
        ColdUserError: there is a cold user, and `cold` is `error`.
    """
    parsed = parse_metrics(metrics)
    check_recommender(model)
    check_split(split)
    check_counts(batch_users=1 if batch_users is None else batch_users)
    history, truth = split.history(part), split.test if part == "test" else split.valid
    if not len(truth):
        raise DataError(f"the {part} part of the {split.protocol} split is empty; hold out more")
    if split.predict == "next":
        return _evaluate_next(model, split, parsed, part, relevant_at, cold, batch_users)
    repeated, exclude_seen = truth.shared_with(history), split.repeats == "excluded"
    relevant = _relevant(truth, relevant_at, repeated & exclude_seen)
    rows = np.flatnonzero(np.diff(relevant.matrix.indptr))
    known, trained = scorable(model, history, rows, cold), np.diff(split.train.matrix.indptr)[rows] > 0
    if cold == "skip":
        rows = rows[known]
    counts = {"users_evaluated": len(rows), "users_skipped": truth.n_users - len(rows), "relevant": len(relevant)}
    counts |= {"ratings": len(truth), "repeats": int(repeated.sum()), "events": truth.n_events} | _warmth(known, trained)
    blocks: Iterable[Values] = ()
    if k := max(metric.k or 0 for metric in parsed):
        popularity = np.bincount(history.matrix.indices, minlength=history.n_items)
        step = batch_users or users_per_block(history.n_items)
        lists = recommend_blocks(model, history, rows, k, exclude_seen=exclude_seen, cold=cold, batch_users=step)
        blocks = (
            _values(parsed, own.item_rows, own.scores, relevant.matrix[rows[start : start + step]], popularity)
            for start, own in zip(range(0, len(rows), step), lists, strict=True)
        )
    rating_values: dict[str, float | None] = {}
    if model.predicts_ratings and any(metric.k is None for metric in parsed):
        predicted = finite_predictions(model, history, truth.user_rows(), truth.item_rows())
        rating_values = _rating_values(parsed, predicted, truth.matrix.data)
    return _report(parsed, rating_values, blocks, truth.users.values[rows], counts)


def _evaluate_next(
    model: Recommender,
    split: Split,
    metrics: list[Metric],
    part: Literal["test", "valid"],
    relevant_at: float | None,
    cold: Cold,
    batch_users: int | None,
) -> Report:
    """`evaluate` for a split with `predict: next`."""
    targets = NextEvents.of(split, part)
    history, items, ratings = targets.known, targets.items, targets.log.ratings[targets.at]
    relevant = _liked(ratings, relevant_at)
    k, rates = max(metric.k or 0 for metric in metrics), any(metric.k is None for metric in metrics) and model.predicts_ratings
    popularity = np.bincount(history.matrix.indices, minlength=history.n_items)
    known, predicted, values, listed = np.ones(len(targets), bool), np.empty(len(targets), np.float32), [], []
    for block, before in targets.blocks(batch_users or users_per_block(history.n_items)):
        rows = np.arange(len(block))
        if rates:
            predicted[block] = finite_predictions(model, before, rows, items[block])
        known[block] = scorable(model, before, rows, cold)
        rows = rows[relevant[block] & (known[block] | (cold != "skip"))]
        if k and len(rows):
            options: dict[str, Any] = {"exclude_seen": split.repeats == "excluded", "cold": cold, "batch_users": len(rows)}
            (found,) = recommend_blocks(model, before, rows, k, **options)
            wanted = csr_array((np.ones(len(rows)), items[block[rows]], np.arange(len(rows) + 1)), (len(rows), history.n_items))
            values.append(_values(metrics, found.item_rows, found.scores, wanted, popularity))
        listed.append(block[rows])
    at = np.concatenate(listed)
    users, trained = targets.users, np.diff(split.train.matrix.indptr)[targets.users] > 0
    counts = {"users_evaluated": len(np.unique(users[at])), "users_skipped": history.n_users - len(np.unique(users[at]))}
    counts |= {"relevant": int(relevant.sum()), "ratings": len(targets), "repeats": targets.n_repeats}
    counts |= {"events": (split.test if part == "test" else split.valid).n_events} | _warmth(known[relevant], trained[relevant])
    rating_values = _rating_values(metrics, predicted, ratings) if rates else {}
    return _report(metrics, rating_values, values, history.users.values[users[at]], counts)


def _warmth(known: NDArray[np.bool_], trained: NDArray[np.bool_]) -> dict[str, int]:
    return {"hot": int((known & trained).sum()), "warm": int((known & ~trained).sum()), "cold": int((~known).sum())}


def _rating_values(
    metrics: Iterable[Metric], predicted: NDArray[np.float32], actual: NDArray[np.float32]
) -> dict[str, float | None]:
    return {metric.name: metric.compute(predicted, actual) for metric in metrics if metric.k is None}


def evaluate_recommendations(
    recommendations: Frame,
    truth: Frame,
    metrics: str | Iterable[str],
    *,
    list_length: int,
    relevant_at: float | None = None,
    history: Frame | None = None,
    repeats: Repeats = "excluded",
) -> Report:
    """Evaluate exported lists, with the same values as `evaluate` gives for their model if no pair of `truth` is repeated.

    Every user of `truth` with a relevant item counts; one without a list has no hits.

    Args:
        recommendations: columns user_id, rank (from 1), item_id and, if known, score.
        truth: columns user_id, item_id and, if `relevant_at` is given, rating; of repeated pairs the highest rating counts.
        metrics: a ranking metric, or several, of at most `list_length`, the length that the lists were meant to have.
        history: columns user_id, item_id: what was known when the lists were made; if None, repeats count as relevant.
        repeats: whether pairs of `truth` that are in `history` are relevant (`wanted`), or not because lists exclude them.

    Raises:
        ConfigError: a rating metric, one of longer lists, or one that needs the history without it; a missing column.
        DataError: not data frames, no relevant pairs in `truth`, no user or no item in common, ids of different types, an
            invalid rank, two items at one rank, or one item at two.
    """
    parsed = _list_metrics(metrics, list_length)
    check_repeats(repeats)
    pair, rating = {"user": "user_id", "item": "item_id"}, None if relevant_at is None else "rating"
    tables = {
        "the truth": read_frame(truth, {**pair, "rating": rating}, "the truth"),
        "the lists": read_frame(recommendations, {**pair, "rank": "rank"}, "the lists", optional=["score"]),
        "the history": pd.DataFrame(columns=list(pair.values()))
        if history is None
        else read_frame(history, pair, "the history"),
    }
    if not len(tables["the truth"]):
        raise DataError("the truth has no relevant pairs: it has no rows")
    users, items = id_maps(tables, "user")[0], id_maps(tables, "item")[1]
    pairs = Interactions.from_frame(tables["the truth"], rating=rating, users=users, items=items, duplicates="max")
    before = tables["the history"].drop_duplicates()
    user, item = users.find(before["user_id"]), items.rows(before["item_id"])
    popularity = np.bincount(item, minlength=len(items)) if len(before) else np.empty(0, np.int64)
    repeated = np.isin(pairs.keys(), (user * len(items) + item)[user >= 0])
    relevant = _relevant(pairs, relevant_at, repeated & (repeats == "excluded"))
    if not len(relevant):
        raise DataError(f"none of the {len(pairs)} pairs of the truth is relevant ({int(repeated.sum())} are in the history)")
    rows = np.flatnonzero(np.diff(relevant.matrix.indptr))
    blocks = _file_values(tables["the lists"], users, items, parsed, relevant, popularity)
    counts = {"users_evaluated": len(rows), "users_skipped": len(users) - len(rows), "relevant": len(relevant), "ratings": 0}
    counts["users_without_list"] = int((~np.isin(rows, users.find(tables["the lists"]["user_id"]))).sum())
    if history is not None:
        counts["repeats"] = int(repeated.sum())
    return _report(parsed, {}, blocks, users.values[rows], counts)


def _list_metrics(metrics: str | Iterable[str], list_length: int) -> list[Metric]:
    """The metrics; `ConfigError` if lists of `list_length` are not enough to compute them."""
    parsed = parse_metrics(metrics)
    check_counts(list_length=list_length)
    for metric in parsed:
        if metric.k is None:
            raise ConfigError(f"{metric.name} needs predicted ratings, which lists do not have; use metrics such as ndcg@10")
        if metric.k > list_length:
            raise ConfigError(f"{metric.name} needs lists of length {metric.k}, but these have {list_length}")
    return parsed


def _relevant(truth: Interactions, relevant_at: float | None, left_out: NDArray[np.bool_]) -> Interactions:
    """The pairs of `truth` rated at least `relevant_at`, without those `left_out` [nnz]."""
    return truth.filter(~left_out & _liked(truth.matrix.data, relevant_at))


def _liked(ratings: NDArray[np.float32], relevant_at: float | None) -> NDArray[np.bool_]:
    """bool [n]: which ratings are at least `relevant_at`."""
    if relevant_at is None:
        return np.ones(len(ratings), bool)
    if not (isinstance(relevant_at, Real) and isfinite(relevant_at)):
        raise ConfigError(f"relevant_at must be a finite number, got {quoted(relevant_at)}")
    if len(ratings) and relevant_at > (highest := ratings.max()):
        logger.warning("warning: nothing is relevant: relevant_at is %g, and the highest rating is %g", relevant_at, highest)
    return ratings >= relevant_at


def _file_values(
    recommendations: pd.DataFrame, users: IdMap, items: IdMap, metrics: list[Metric], relevant: Interactions, popularity: Rows
) -> Iterator[Values]:
    """The values of the lists of all users with relevant items, in blocks of bounded size."""
    k = max(metric.k or 0 for metric in metrics)
    place = np.minimum(ranks(recommendations), k + 1) - 1
    user, item = users.find(recommendations["user_id"]), items.rows(recommendations["item_id"])
    score: Any = recommendations.get("score", np.float32("nan"))
    if not pd.api.types.is_numeric_dtype(score):
        raise DataError(f"column 'score' of the lists must hold numbers, got {shown(score.iloc[0])}")
    if "score" in recommendations and (bad := ~np.isfinite(score.to_numpy(np.float64, na_value=np.nan))).any():
        row = int(bad.argmax())
        raise DataError(f"scores must be finite numbers, got {shown(score.iloc[row])} in row {row} of the lists")
    lists = pd.DataFrame({"user": user, "place": place, "item": item, "score": score})[(user >= 0) & (place < k)]
    for column, twice in (("place", "two items at one rank"), ("item", "one item twice")):
        if (repeated := lists.duplicated(["user", column]).to_numpy()).any():
            first = lists.iloc[int(repeated.argmax())]
            whose, which = shown(users.values[int(first["user"])]), shown(items.values[int(first["item"])])
            raise DataError(
                f"the lists have {twice} for user {whose}, such as {which} ({int(repeated.sum())} such rows); remove them"
            )
    n_relevant = np.diff(relevant.matrix.indptr)
    rows = np.flatnonzero(n_relevant)
    lists = lists[n_relevant[lists["user"]] > 0]
    length = np.ones(len(users), np.int64)
    np.maximum.at(length, lists["user"], lists["place"] + 1)
    at, shape = (lists["user"], lists["place"]), (len(users), int(length.max()))
    listed = csr_array((lists["item"] + 1, at), shape=shape)
    scored = csr_array((lists["score"], at), shape=shape)
    while len(rows):  # as many users as fit, given the longest of their lists; one long list must not widen other blocks
        width = np.maximum.accumulate(length[rows[:BLOCK_USERS]])
        n = max(1, int((width * np.arange(1, len(width) + 1) <= BLOCK_PLACES).sum()))
        block, rows, places = rows[:n], rows[n:], slice(int(width[n - 1]))
        found, scores = listed[block][:, places].toarray() - 1, scored[block][:, places].toarray()
        yield _values(metrics, found, np.where(found < 0, np.float32("nan"), scores), relevant.matrix[block], popularity)


def _values(
    metrics: Sequence[Metric], items: Rows, scores: NDArray[np.float32], relevant: csr_array, popularity: Rows
) -> Values:
    """The ranking metrics of lists [U, P] of users whose relevant items are stored in `relevant` [U, M]."""
    ranked = [(metric, metric.k) for metric in metrics if metric.k is not None]
    counts = np.diff(relevant.indptr).astype(np.int64)
    lists = RankedLists(max(k for _, k in ranked), items, scores, ranking.hits(items, relevant), counts, popularity)
    return {metric.name: metric.compute(lists.top(k)) for metric, k in ranked}


def _report(
    metrics: Sequence[Metric],
    rating_values: Mapping[str, float | None],
    blocks: Iterable[Values],
    users: NDArray[Any],
    counts: dict[str, int],
) -> Report:
    """The report on users whose ranking metrics come in `blocks`, so that only one block of lists is in memory."""
    own, ranked = list(blocks), [metric.name for metric in metrics if metric.k is not None]
    per_user = {name: np.concatenate([np.empty(0), *(block[name] for block in own)]) for name in ranked}
    means = {name: float(values.mean()) if len(values) else None for name, values in per_user.items()}
    found = {**{metric.name: None for metric in metrics}, **rating_values, **means}
    for name, value in found.items():
        if value is not None and not isfinite(value):
            way_out = "fit the model again with other parameters, or check your own metric"
            raise TrainingError(f"{name} is not finite; {way_out}")
    return Report({metric.name: found[metric.name] for metric in metrics}, users, per_user, counts)
