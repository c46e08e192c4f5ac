"""Recurrent networks on planted sessions; only the earlier sessions of a user reveal their direction."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from recsys_ae import Bias, Interactions, RatingGRU, SessionGRU, build_model, evaluate, predict
from recsys_ae.core.session_heads import ColumnValue
from recsys_ae.core.trainer import Callback
from recsys_ae.errors import DataError
from recsys_ae.models import factors
from recsys_ae.splitting import last_session

N_ITEMS = 7
QUICK: dict[str, Any] = {
    "hidden": 24,
    "batch_events": 128,
    "learning_rate": 0.03,
    "epochs": 25,
    "dropout": 0.0,
    "learning_rate_decay": 1.0,
}


def walks(users: int = 80, sessions: int = 5, events: int = 4, seed: int = 0) -> Interactions:
    """Users who walk round a ring of items, each always up or always down; ratings depend on direction and item."""
    rng = np.random.default_rng(seed)
    up = np.where(rng.random(users) < 0.5, 1, -1)
    first = rng.integers(N_ITEMS, size=(users, sessions, 1))
    items = (first + up[:, None, None] * np.arange(events)) % N_ITEMS
    user, session, event = (index.ravel() for index in np.indices(items.shape))
    frame = pd.DataFrame({"user_id": user, "item_id": items.ravel(), "session": user * sessions + session})
    frame["rating"] = 3 + up[user] * np.where(frame["item_id"] < 4, 1.5, -1.5) + 0.1 * rng.normal(size=len(frame))
    frame["time"] = 100_000 * session + 60 * event + user
    return Interactions.from_frame(frame, time="time", session="session", duplicates="last")


def last_sessions(**options: Any):
    return last_session(walks(**options), valid=1)


def hits(model, split) -> tuple[float, float]:
    """Shares of hits at the second event of sessions, and at later ones."""
    report = evaluate(model, split, "recall@1")
    in_turn = report.per_user["recall@1"].reshape(3, -1)  # the first target of every user, then the second, and so on
    return float(in_turn[0].mean()), float(in_turn[1:].mean())


HIERARCHIES = [
    {},
    {"hierarchy": "init"},
    {"user_state": "attention"},
    {"input": "embedding"},
    {"input": "one_hot", "hierarchy": "init"},
]


@pytest.mark.parametrize("options", HIERARCHIES)
def test_earlier_sessions_predict_the_second_event(options):
    split = last_sessions()
    second, later = hits(SessionGRU(**QUICK, ratings=False, **options).fit(split.train, seed=0), split)
    assert second > 0.7
    assert later > 0.85


def test_without_a_hierarchy_only_the_current_session_counts():
    split = last_sessions()
    model = SessionGRU(**QUICK, hierarchy="none", ratings=False).fit(split.train, seed=0)
    second, later = hits(model, split)
    assert 0.3 < second < 0.7
    assert later > 0.9
    history = split.history("test")
    log = history.stored_events
    rows = np.arange(history.n_users)
    alone = history.filter_events(log.sessions % 5 == 3)  # the last one before the test part
    np.testing.assert_allclose(model.scores(alone, rows), model.scores(history, rows), atol=1e-5)


@pytest.mark.parametrize("options", [{"loss": "top1"}, {"loss": "bpr_max", "negatives": 3}, {"negatives": 4}])
def test_other_losses_learn_as_well(options):
    split = last_sessions()
    second, later = hits(SessionGRU(**QUICK, ratings=False, **options).fit(split.train, seed=0), split)
    assert second > 0.8
    assert later > 0.9


@pytest.mark.parametrize("options", [{}, {"hierarchy": "all", "user_state": "attention"}])
def test_ratings_follow_the_direction_of_a_user(options):
    split = last_sessions()
    model = RatingGRU(**QUICK, **options).fit(split.train, seed=0)
    error, of_bias = (evaluate(one, split, "rmse").metrics["rmse"] for one in (model, Bias().fit(split.train)))
    assert error < 0.3
    assert of_bias > 1.2
    rows = np.arange(split.train.n_users)
    scores = model.scores(split.everything, rows)
    pairs = predict(model, split.everything, split.train.users.values[[5, 2]], split.train.items.values[[0, 6]])
    np.testing.assert_allclose(pairs, scores[[5, 2], [0, 6]].clip(*split.train.rating_range), atol=1e-5)


def test_ratings_do_not_matter_to_a_ranking_that_does_not_read_them():
    split = last_sessions(users=20)
    short = {**QUICK, "epochs": 2, "ratings": False}
    log = split.train.stored_events
    other = split.train.with_events(replace(log, ratings=log.ratings[::-1].copy()))
    rows = np.arange(20)
    for options in (short, {**short, "ratings": True}):
        scores = [SessionGRU(**options).fit(data, seed=0).scores(data, rows) for data in (split.train, other)]
        assert np.array_equal(*scores) == (not options["ratings"])


class Values(Callback):
    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_epoch(self, training) -> None:
        self.seen.append(training.history[-1].valid)


@pytest.mark.parametrize(("name", "metric"), [("gru", "mrr@20"), ("gru_ratings", "rmse")])
@pytest.mark.parametrize("hierarchy", ["none", "all"])
def test_the_validation_value_is_what_the_evaluation_says(name, metric, hierarchy, monkeypatch):
    monkeypatch.setattr("recsys_ae.models.gru.BLOCK_EVENTS", 50)
    split, values = last_sessions(users=20), Values()
    model = build_model(name, {**QUICK, "hierarchy": hierarchy, "epochs": 2, "patience": 0})
    model.fit(split.train, valid=split.valid, valid_history=split.history("valid"), seed=0, callbacks=[values])
    found = evaluate(model, split, metric, part="valid").metrics[metric]
    assert min(values.seen) == pytest.approx(1 - found if metric == "mrr@20" else found, abs=1e-3)


def test_long_histories_are_scored_in_blocks(monkeypatch):
    data = walks(users=20)
    model = SessionGRU(**{**QUICK, "epochs": 1}).fit(data, seed=0)
    rows = np.array([3, 0, 17, 3])
    expected = model.scores(data, rows)
    monkeypatch.setattr("recsys_ae.models.gru.BLOCK_EVENTS", 7)
    np.testing.assert_allclose(model.scores(data, rows), expected, atol=1e-5)
    assert model.scores(data, rows[:0]).shape == (0, N_ITEMS)


def test_many_pairs_are_rated_a_batch_at_a_time(monkeypatch):
    """Computed all at once, half a million of them would take a gigabyte."""
    data = walks(users=20)
    model = RatingGRU(**{**QUICK, "epochs": 1}).fit(data, seed=0)
    users, items = np.array([3, 0, 17, 3, 5, 3, 0]), np.array([6, 0, 2, 1, 4, 6, 5])
    monkeypatch.setattr(factors, "BATCH_USERS", 2)
    monkeypatch.setattr(factors, "BATCH_PAIRS", 2)
    at, sizes = ColumnValue.at, []
    monkeypatch.setattr(ColumnValue, "at", lambda head, *pairs: sizes.append(len(pairs[1])) or at(head, *pairs))
    scores = model.scores(data, np.arange(20))
    np.testing.assert_allclose(model.predict_rows(data, users, items), scores[users, items], atol=1e-5)
    assert sizes == [2, 2, 1, 2]
    assert model.predict_rows(data, users[:0], items[:0]).shape == (0,)


def test_items_and_users_have_vectors():
    data = walks(users=20)
    model = SessionGRU(**{**QUICK, "epochs": 1}).fit(data, seed=0)
    assert model.item_vectors().shape == (N_ITEMS, 24)
    assert model.user_vectors(data, np.array([2, 1])).shape == (2, 24)


def test_sessions_of_single_events_are_refused():
    data = walks(users=5, events=1)
    with pytest.raises(DataError, match="SessionGRU learns from sessions of at least two events"):
        SessionGRU(**QUICK).fit(data)
