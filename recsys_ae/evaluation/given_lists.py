"""Evaluation of recommendation lists from any system."""

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from recsys_ae.errors import ConfigError, DataError
from recsys_ae.evaluation.list_truth import ListTruth, distinct
from recsys_ae.evaluation.listed import SIDES, GivenLists, Listed, PartByPart
from recsys_ae.evaluation.metrics import Metric, parse_metrics
from recsys_ae.evaluation.metrics.catalogue import Catalogue
from recsys_ae.evaluation.overlap import id_maps, ids_in
from recsys_ae.evaluation.relevance import relevant_pairs
from recsys_ae.evaluation.report import Report
from recsys_ae.evaluation.segments import Segment, item_groups, parse_segments, user_groups
from recsys_ae.evaluation.tally import Tally
from recsys_ae.features import FeatureTable
from recsys_ae.frames import Frame, read_frame
from recsys_ae.ids import IdMap, among
from recsys_ae.interactions import Interactions
from recsys_ae.models.base import check_counts
from recsys_ae.ranking import entry_keys
from recsys_ae.split import Repeats, check_repeats

NO_LISTS = pd.DataFrame({"user_id": [], "rank": [], "item_id": []}, dtype=np.int64)


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
    options: dict[str, Any] = {"relevant_at": relevant_at, "history": history, "repeats": repeats, "without_list": without_list}
    options |= {"segments": segments, "user_features": user_features, "item_features": item_features}
    lists = PartByPart({"the lists": recommendations})
    return evaluate_given_lists(lists, truth, metrics, list_length=list_length, **options)


def evaluate_given_lists(
    lists: GivenLists,
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
    """Evaluate lists in parts, with the values of `evaluate_recommendations` for all of their rows, to the last bit.

    For the other arguments and the errors see there; a user in two parts is a `DataError`.
    """
    parsed = _list_metrics(metrics, list_length)
    check_repeats(repeats)
    tables, listed = _tables(truth, history, rated=relevant_at is not None), lists.listed
    users, items = _id_maps(tables, listed)
    rated = "rating" if "rating" in tables["the truth"] else None
    pairs = Interactions.from_frame(tables["the truth"], rating=rated, users=users, items=items, duplicates="max")
    seen, catalogue = _history(tables["the history"], users, items, item_features)
    repeated = among(pairs.keys(), entry_keys(seen))
    relevant = relevant_pairs(pairs, relevant_at, repeated & (repeats == "excluded"))
    if not len(relevant):
        raise DataError(f"none of the {len(pairs)} pairs of the truth is relevant ({int(repeated.sum())} are in the history)")
    shares = listed.shares(users)
    has_list, is_relevant = np.zeros(len(users), bool), np.diff(relevant.matrix.indptr) > 0
    for at in shares.values():
        has_list[at] = True
    rows = np.flatnonzero(is_relevant & has_list if without_list == "skip" else is_relevant)
    grouped = _segments(segments, history)
    asked = ListTruth(
        parsed,
        users,
        np.arange(len(users)),
        items,
        relevant.matrix,
        None if history is None else seen,
        catalogue,
        item_groups(grouped, catalogue),
        excludes_seen=repeats == "excluded",
        scored=listed.scored,
    )
    tally = Tally(parsed, item_groups=asked.item_groups, scored=asked.scored)
    for measured in lists.measured(asked, shares):
        tally.take(measured)
    if without_list == "zero":
        tally.take(asked.of_users(np.flatnonzero(is_relevant & ~has_list)).measured(NO_LISTS))
    counts = {"users_evaluated": len(rows), "users_skipped": len(users) - len(rows), "relevant": len(relevant), "ratings": 0}
    counts["users_without_list"] = int((is_relevant & ~has_list).sum())
    if history is not None:
        counts["repeats"] = int(repeated.sum())
    groups = user_groups(grouped, np.diff(seen.indptr), user_features and user_features.align(users), np.arange(len(users)))
    return tally.report(users.values, rows, counts, groups)


def _tables(truth: Frame, history: Frame | None, *, rated: bool) -> dict[str, pd.DataFrame]:
    """Truth and history by name; without a history, its table is empty."""
    pair, rating = {"user": "user_id", "item": "item_id"}, "rating" if rated else None
    before = pd.DataFrame(columns=list(pair.values())) if history is None else read_frame(history, pair, "the history")
    tables = {
        "the truth": read_frame(truth, {**pair, "rating": rating}, "the truth", optional=[] if rating else ["rating"]),
        "the history": before,
    }
    if not len(tables["the truth"]):
        raise DataError("the truth has no relevant pairs: it has no rows")
    return tables


def _id_maps(tables: dict[str, pd.DataFrame], listed: Listed) -> tuple[IdMap, IdMap]:
    """The users of the truth, and the items of truth, lists and history."""
    maps = []
    for side in SIDES:
        truth, *before = ids_in(tables, side).items()
        lists = [("the lists", listed.ids(side))] if listed.rows else []
        maps.append(id_maps(dict([truth, *lists, *before]), side))
    return maps[0][0], maps[1][1]


def _history(pairs: pd.DataFrame, users: IdMap, items: IdMap, features: FeatureTable | None) -> tuple[csr_array, Catalogue]:
    """The history [U, M] of these users, and the catalogue, which counts the pairs of all users."""
    of_items = None if features is None else features.align(items)
    user, item = users.find(pairs["user_id"]), items.rows(pairs["item_id"])
    ours = user >= 0
    seen = distinct(user[ours], item[ours], (len(users), len(items)))
    if not len(pairs):
        return seen, Catalogue(features=of_items)
    everyone = pd.factorize(pairs["user_id"], sort=True)[0]
    history = distinct(everyone, item, (everyone.max() + 1, len(items)))
    return seen, Catalogue(np.bincount(history.indices, minlength=len(items)), of_items, history)


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
