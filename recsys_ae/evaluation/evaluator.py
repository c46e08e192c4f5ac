"""Evaluation of fitted models.

Full ranking over the whole catalogue. Unless the split declares `repeats: wanted`, all items known before the evaluated part
are excluded from the lists as seen, and pairs that repeat them are not relevant. If the split declares `predict: next`, each
event is predicted from all earlier events of its user, and metrics are means over these events.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from recsys_ae.errors import ConfigError, DataError
from recsys_ae.evaluation.candidates import Candidates
from recsys_ae.evaluation.metrics import SAMPLED, Metric, as_sampled, parse_metrics
from recsys_ae.evaluation.metrics.catalogue import Catalogue
from recsys_ae.evaluation.metrics.lists import RankedLists
from recsys_ae.evaluation.relevance import liked, relevant_pairs
from recsys_ae.evaluation.report import Report
from recsys_ae.evaluation.segments import Segment, item_groups, parse_segments, user_groups
from recsys_ae.evaluation.tally import Tally
from recsys_ae.interactions import Interactions, ones
from recsys_ae.models.base import Recommender, check_counts, check_recommender, finite_predictions, users_per_block
from recsys_ae.models.recommend import Cold, TopK, recommend_blocks, scorable
from recsys_ae.next_events import NextEvents
from recsys_ae.split import Split, check_split


def evaluate(
    model: Recommender,
    split: Split,
    metrics: str | Iterable[str],
    *,
    part: Literal["test", "valid"] = "test",
    relevant_at: float | None = None,
    cold: Cold = "popular",
    candidates: Candidates | None = None,
    segments: str | Iterable[str] = (),
    item_vectors: ArrayLike | None = None,
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
        cold: policy for cold users, see `recommend`; with `skip` they do not count in ranking metrics.
        candidates: rank each user's relevant items among these only, and name metrics `sampled_...`; None ranks all items.
        segments: groups to report separately, such as "history_length" and "item_popularity", see `evaluation.segments`.
        item_vectors: a vector for each item of the split, in its order, float [M, D], for `vector_diversity`.
        batch_users: users scored at a time, see `recommend_blocks`; does not affect the values.

    Raises:
        ConfigError: an unknown metric, segment, part or policy, a `relevant_at` that is not finite, a `sampled_` metric without
            candidates, features that a metric or segment needs and the data lacks, or `model` is not a `Recommender`.
        DataError: `split` is not a `Split`, the part is empty, or the candidates have other users or items.
        TrainingError: a score, a predicted rating or a metric is not finite.
        ColdUserError: there is a cold user, and `cold` is `error`.
    """
    parsed = _labelled(parse_metrics(metrics), candidates)
    check_recommender(model)
    check_split(split)
    check_counts(batch_users=1 if batch_users is None else batch_users)
    if candidates is not None and (candidates.users != split.train.users or candidates.items != split.train.items):
        raise DataError("the candidates have other users or items than the split; sample them from it")
    catalogue, groups = _catalogue(split.history(part), item_vectors), parse_segments(segments)
    if not len(split.test if part == "test" else split.valid):
        raise DataError(f"the {part} part of the {split.protocol} split is empty; hold out more")
    evaluation = _Evaluation(model, split, parsed, part, relevant_at, cold, candidates, groups, catalogue, batch_users)
    return evaluation.of_next_events() if split.predict == "next" else evaluation.of_all_pairs()


@dataclass(frozen=True)
class _Evaluation:
    """The checked arguments of `evaluate`."""

    model: Recommender
    split: Split
    metrics: list[Metric]
    part: Literal["test", "valid"]
    relevant_at: float | None
    cold: Cold
    candidates: Candidates | None
    segments: list[Segment]
    catalogue: Catalogue
    batch_users: int | None

    @property
    def _asked(self) -> Interactions:
        """What is to be predicted."""
        return self.split.test if self.part == "test" else self.split.valid

    def of_all_pairs(self) -> Report:
        """The report on a split with `predict: all`."""
        history, truth = self.split.history(self.part), self._asked
        repeated, exclude_seen = truth.shared_with(history), self.split.repeats == "excluded"
        relevant = relevant_pairs(truth, self.relevant_at, repeated & exclude_seen)
        rows = np.flatnonzero(np.diff(relevant.matrix.indptr))
        known, trained = scorable(self.model, history, rows, self.cold), np.diff(self.split.train.matrix.indptr)[rows] > 0
        if self.cold == "skip":
            rows = rows[known]
        counts = {"users_evaluated": len(rows), "users_skipped": truth.n_users - len(rows), "relevant": len(relevant)}
        counts |= {"ratings": len(truth), "repeats": int(repeated.sum()), "events": truth.n_events} | _warmth(known, trained)
        tally = Tally(self.metrics, item_groups=item_groups(self.segments, self.catalogue))
        if tally.k and len(rows):
            wanted, step = relevant.matrix[rows], self.batch_users or users_per_block(history.n_items)
            among = None if self.candidates is None else _among(self.candidates.of(rows), wanted)
            options: dict[str, Any] = {"exclude_seen": exclude_seen, "candidates": among, "cold": self.cold, "wanted": wanted}
            blocks = recommend_blocks(self.model, history, rows, tally.k, batch_users=step, **options)
            for start, found in zip(range(0, len(rows), step), blocks, strict=True):
                block = slice(start, start + step)
                limits = {"seen": history.matrix[rows[block]], "candidates": None if among is None else among[block]}
                tally.add(_ranked(found, wanted[block], tally.k, self.catalogue, exclude_seen, **limits), rows[block])
        if self.model.predicts_ratings and tally.rates:
            pairs = truth.user_rows(), truth.item_rows()
            tally.add_ratings(finite_predictions(self.model, history, *pairs), truth.matrix.data, pairs[0], truth.n_users)
        lengths, everyone = np.diff(history.matrix.indptr), np.arange(history.n_users)
        groups = user_groups(self.segments, lengths, history.user_features, everyone)
        return tally.report(truth.users.values, rows, counts, groups)

    def of_next_events(self) -> Report:
        """The report on a split with `predict: next`."""
        targets = NextEvents.of(self.split, self.part)
        history, items, ratings = targets.known, targets.items, targets.log.ratings[targets.at]
        relevant, exclude_seen = liked(ratings, self.relevant_at), self.split.repeats == "excluded"
        tally = Tally(self.metrics, item_groups=item_groups(self.segments, self.catalogue))
        rates, lengths = tally.rates and self.model.predicts_ratings, np.empty(len(targets), np.int64)
        known, predicted, listed = np.ones(len(targets), bool), np.empty(len(targets), np.float32), []
        for block, before in targets.blocks(self.batch_users or users_per_block(history.n_items)):
            rows, lengths[block] = np.arange(len(block)), np.diff(before.matrix.indptr)
            if rates:
                predicted[block] = finite_predictions(self.model, before, rows, items[block])
            known[block] = scorable(self.model, before, rows, self.cold)
            rows = rows[relevant[block] & (known[block] | (self.cold != "skip"))]
            if tally.k and len(rows):
                wanted = ratings[block[rows]], items[block[rows]], np.arange(len(rows) + 1)
                truth = csr_array(wanted, (len(rows), history.n_items))
                among = None if self.candidates is None else _among(self.candidates.of(targets.users[block[rows]]), truth)
                options: dict[str, Any] = {
                    "exclude_seen": exclude_seen,
                    "candidates": among,
                    "cold": self.cold,
                    "wanted": truth,
                }
                (found,) = recommend_blocks(self.model, before, rows, tally.k, batch_users=len(rows), **options)
                limits = {"seen": before.matrix[rows], "candidates": among}
                tally.add(_ranked(found, truth, tally.k, self.catalogue, exclude_seen, **limits), block[rows])
            listed.append(block[rows])
        at = np.concatenate(listed)
        users, trained = targets.users, np.diff(self.split.train.matrix.indptr)[targets.users] > 0
        counts = {"users_evaluated": len(np.unique(users[at])), "users_skipped": history.n_users - len(np.unique(users[at]))}
        counts |= {"relevant": int(relevant.sum()), "ratings": len(targets), "repeats": targets.n_repeats}
        counts |= {"events": self._asked.n_events} | _warmth(known[relevant], trained[relevant])
        if rates:
            tally.add_ratings(predicted, ratings, np.arange(len(targets)), len(targets))
        groups = user_groups(self.segments, lengths, history.user_features, users)
        return tally.report(history.users.values[users], at, counts, groups)


def _ranked(
    found: TopK, truth: csr_array, k: int, catalogue: Catalogue, excludes_seen: bool, **limits: csr_array | None
) -> RankedLists:
    known: dict[str, Any] = {"catalogue": catalogue, "excludes_seen": excludes_seen, **limits}
    return RankedLists.of(found.item_rows, truth, k, scores=found.scores, tied=found.tied, **known)


def _labelled(metrics: list[Metric], candidates: Candidates | None) -> list[Metric]:
    """The metrics with the names for these candidates; `ConfigError` if a `sampled_` metric has none."""
    if candidates is not None:
        return as_sampled(metrics)
    if sampled := next((metric.name for metric in metrics if metric.sampled), None):
        raise ConfigError(f"{sampled} needs sampled candidates; give them, or use {sampled.removeprefix(SAMPLED)}")
    return metrics


def _among(candidates: csr_array, truth: csr_array) -> csr_array:
    """bool [U, M]: the candidates and the relevant items of each user."""
    return candidates + ones(truth, bool)


def _catalogue(history: Interactions, vectors: ArrayLike | None) -> Catalogue:
    given = None if vectors is None else np.asarray(vectors, np.float64)
    if given is not None and (
        given.ndim != 2 or len(given) != history.n_items or not given.size or not np.isfinite(given).all()
    ):
        expected = f"finite numbers of shape ({history.n_items}, any), a vector for each item of the split in its order"
        raise DataError(f"item_vectors must be {expected}, got shape {given.shape}")
    counts = np.bincount(history.matrix.indices, minlength=history.n_items)
    return Catalogue(counts, history.item_features, history.matrix, given)


def _warmth(known: NDArray[np.bool_], trained: NDArray[np.bool_]) -> dict[str, int]:
    return {"hot": int((known & trained).sum()), "warm": int((known & ~trained).sum()), "cold": int((~known).sum())}
