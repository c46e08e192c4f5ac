"""Evaluation of lists, whatever system made them."""

from collections.abc import Iterable, Iterator
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys_ae.errors import ConfigError, DataError
from recsys_ae.evaluation.metrics import Metric, parse_metrics
from recsys_ae.evaluation.metrics.catalogue import Catalogue
from recsys_ae.evaluation.metrics.lists import RankedLists
from recsys_ae.evaluation.overlap import id_maps
from recsys_ae.evaluation.relevance import relevant_pairs
from recsys_ae.evaluation.report import Report
from recsys_ae.evaluation.segments import Segment, item_groups, parse_segments, user_groups
from recsys_ae.evaluation.tally import Tally
from recsys_ae.features import FeatureTable
from recsys_ae.frames import Frame, ranks, read_frame
from recsys_ae.ids import IdMap, Rows, among, shown
from recsys_ae.interactions import Interactions, ones
from recsys_ae.models.base import check_counts
from recsys_ae.split import Repeats, check_repeats

BLOCK_PLACES, BLOCK_USERS = 100_000, 10_000  # limits of a block of lists: places and users


def evaluate_recommendations(
    recommendations: Frame,
    truth: Frame,
    metrics: str | Iterable[str],
    *,
    list_length: int,
    relevant_at: float | None = None,
    history: Frame | None = None,
    repeats: Repeats = "excluded",
    without_list: Literal["zero", "skip"] = "zero",
    segments: str | Iterable[str] = (),
    user_features: FeatureTable | None = None,
    item_features: FeatureTable | None = None,
) -> Report:
    """Evaluate lists of any origin, with the same values as `evaluate` gives for their model if no pair of `truth` is repeated.

    Every user of `truth` with a relevant item counts.

    Args:
        recommendations: columns user_id, rank (from 1), item_id and, if known, score.
        truth: columns user_id, item_id and, if known, rating (`relevant_at` needs it); of repeated pairs the highest counts.
        metrics: a ranking metric, or several, of at most `list_length`, the length that the lists were meant to have.
        history: columns user_id, item_id: what was known when the lists were made; if None, repeats count as relevant.
        repeats: whether pairs of `truth` that are in `history` are relevant (`wanted`), or not because lists exclude them.
        without_list: whether users without a list have no hits (`zero`) or do not count (`skip`).
        segments: groups to report separately, such as "history_length" and "item_popularity", see `evaluation.segments`.
        user_features, item_features: tables of any users and items, for segments and metrics that need them.

    Raises:
        ConfigError: a rating metric, one of longer lists, or a metric or segment that needs the history or features without
            them; a missing column.
        DataError: not data frames, no relevant pairs in `truth`, no user or no item in common, ids of different types, an
            invalid rank, two items at one rank, or one item at two.
    """
    parsed = _list_metrics(metrics, list_length)
    check_repeats(repeats)
    tables = _tables(recommendations, truth, history, rated=relevant_at is not None)
    users, items = id_maps(tables, "user")[0], id_maps(tables, "item")[1]
    rated = "rating" if "rating" in tables["the truth"] else None
    pairs = Interactions.from_frame(tables["the truth"], rating=rated, users=users, items=items, duplicates="max")
    seen, catalogue = _history(tables["the history"], users, items, item_features)
    repeated = among(pairs.keys(), np.repeat(np.arange(len(users)), np.diff(seen.indptr)) * len(items) + seen.indices)
    relevant = relevant_pairs(pairs, relevant_at, repeated & (repeats == "excluded"))
    if not len(relevant):
        raise DataError(f"none of the {len(pairs)} pairs of the truth is relevant ({int(repeated.sum())} are in the history)")
    rows = np.flatnonzero(np.diff(relevant.matrix.indptr))
    listed = np.bincount(users.find(tables["the lists"]["user_id"]) + 1, minlength=len(users) + 1)[1:][rows] > 0
    rows = rows[listed] if without_list == "skip" else rows
    grouped = _segments(segments, history)
    tally = Tally(parsed, item_groups=item_groups(grouped, catalogue), scored="score" in tables["the lists"])
    for block, found, scores, tied in _blocks(tables["the lists"], tally.k, users, items, rows):
        wanted = relevant.matrix[block]
        known: dict[str, Any] = {"seen": None if history is None else seen[block], "excludes_seen": repeats == "excluded"}
        tally.add(RankedLists.of(found, wanted, tally.k, scores=scores, catalogue=catalogue, tied=tied, **known))
    counts = {"users_evaluated": len(rows), "users_skipped": len(users) - len(rows), "relevant": len(relevant), "ratings": 0}
    counts["users_without_list"] = int((~listed).sum())
    if history is not None:
        counts["repeats"] = int(repeated.sum())
    groups = user_groups(grouped, np.diff(seen.indptr), user_features and user_features.align(users), np.arange(len(users)))
    return tally.report(users.values, rows, counts, groups)


def _tables(recommendations: Frame, truth: Frame, history: Frame | None, *, rated: bool) -> dict[str, pd.DataFrame]:
    """The three tables by name; without a history, its table is empty."""
    pair, rating = {"user": "user_id", "item": "item_id"}, "rating" if rated else None
    before = pd.DataFrame(columns=list(pair.values())) if history is None else read_frame(history, pair, "the history")
    tables = {
        "the truth": read_frame(truth, {**pair, "rating": rating}, "the truth", optional=[] if rating else ["rating"]),
        "the lists": read_frame(recommendations, {**pair, "rank": "rank"}, "the lists", optional=["score"]),
        "the history": before,
    }
    if not len(tables["the truth"]):
        raise DataError("the truth has no relevant pairs: it has no rows")
    return tables


def _history(pairs: pd.DataFrame, users: IdMap, items: IdMap, features: FeatureTable | None) -> tuple[csr_array, Catalogue]:
    """The history [U, M] of these users, and what the pairs of all users and the features say of the items."""
    of_items = None if features is None else features.align(items)
    user, item = users.find(pairs["user_id"]), items.rows(pairs["item_id"])
    ours = user >= 0
    seen = _distinct(user[ours], item[ours], (len(users), len(items)))
    if not len(pairs):
        return seen, Catalogue(features=of_items)
    everyone = pd.factorize(pairs["user_id"], sort=True)[0]
    history = _distinct(everyone, item, (everyone.max() + 1, len(items)))
    return seen, Catalogue(np.bincount(history.indices, minlength=len(items)), of_items, history)


def _distinct(rows: Rows, columns: Rows, shape: tuple[int, int]) -> csr_array:
    """Ones at these places, which may repeat."""
    return ones(csr_array((np.ones(len(rows), np.float32), (rows, columns)), shape))


def _segments(names: str | Iterable[str], history: Frame | None) -> list[Segment]:
    """The segments; `ConfigError` if one needs the history without it."""
    parsed = parse_segments(names)
    if history is None and (computed := next((one.name for one in parsed if one.column is None), None)):
        raise ConfigError(f"segment {computed} needs the history; give the history (--history)")
    return parsed


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


def _blocks(
    recommendations: pd.DataFrame, k: int, users: IdMap, items: IdMap, rows: Rows
) -> Iterator[tuple[Rows, Rows, NDArray[np.float32], csr_array]]:
    """The users at `rows` in blocks [U] of bounded size, with items and scores at each rank [U, at most k], and `_beyond`."""
    place = np.minimum(ranks(recommendations), k + 1) - 1
    user, item = users.find(recommendations["user_id"]), items.rows(recommendations["item_id"])
    score: Any = recommendations.get("score", np.float32("nan"))
    if not pd.api.types.is_numeric_dtype(score):
        raise DataError(f"column 'score' of the lists must hold numbers, got {shown(score.iloc[0])}")
    if "score" in recommendations and (bad := ~np.isfinite(score.to_numpy(np.float64, na_value=np.nan))).any():
        row = int(bad.argmax())
        raise DataError(f"scores must be finite numbers, got {shown(score.iloc[row])} in row {row} of the lists")
    lists = pd.DataFrame({"user": user, "place": place, "item": item, "score": score})
    del user, place, item, score  # lists are long, so that no copy is kept
    lists = _kept(lists, lists["user"] >= 0)
    beyond, lists = _beyond(lists, k, (len(users), len(items))), _kept(lists, lists["place"] < k)
    for column, n, twice in (("place", k, "two items at one rank"), ("item", len(items), "one item twice")):
        keys = np.sort(lists["user"].to_numpy() * n + lists[column].to_numpy())
        if (keys[1:] == keys[:-1]).any():
            repeated = lists.duplicated(["user", column]).to_numpy()
            first = lists.iloc[int(repeated.argmax())]
            whose, which = shown(users.values[int(first["user"])]), shown(items.values[int(first["item"])])
            raise DataError(
                f"the lists have {twice} for user {whose}, such as {which} ({int(repeated.sum())} such rows); remove them"
            )
    lists = _kept(lists, np.isin(np.arange(len(users)), rows)[lists["user"]])
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
        yield block, found, np.where(found < 0, np.float32("nan"), scores), beyond[block]


def _kept(lists: pd.DataFrame, mask: Any) -> pd.DataFrame:
    """The rows of a mask [n], without a copy if these are all."""
    return lists if mask.all() else lists[mask]


def _beyond(lists: pd.DataFrame, k: int, shape: tuple[int, int]) -> csr_array:
    """bool [U, M]: the items after place k whose score is that of place k."""
    last = np.full(shape[0], np.nan)
    at_the_end, after = lists[lists["place"] == k - 1], lists[lists["place"] >= k]
    last[at_the_end["user"]] = at_the_end["score"]
    after = after[after["score"].to_numpy() == last[after["user"]]]
    return csr_array((np.ones(len(after), bool), (after["user"], after["item"])), shape)
