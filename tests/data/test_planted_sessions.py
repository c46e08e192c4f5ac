from dataclasses import replace

import numpy as np
import pytest

from recsys_ae.data.planted.rounding import rating_probabilities
from recsys_ae.data.planted.sessions import planted_sessions
from recsys_ae.errors import ConfigError
from recsys_ae.splitting import last_session, random, time_cut

RANKING = ["recall@1", "recall@5", "mrr@5", "ndcg@5", "precision@5", "map@5", "hit_rate@5"]


@pytest.fixture(scope="module")
def planted():
    """1,500 users with 8 sessions, and the process."""
    return planted_sessions(1500, 40, 8, seed=4)


def targets(sequences):
    """Positions of the events of last sessions, without the first of each."""
    return np.flatnonzero((sequences.position_in_session() > 0) & (sequences.session_of_event() % 8 == 7))


def as_single_sessions(sequences):
    """Each session as a user of its own, as for a model that reads only the current session."""
    return replace(sequences, user_starts=np.arange(sequences.n_sessions + 1))


def slow_beliefs(process, sequences, user):
    """P(topic | everything before) before each event of one user, event by event."""
    topics = len(process.level)
    change = np.full((topics, topics), (1 - process.regularity) / topics)
    for topic in range(topics):
        change[topic, (topic + 1) % topics] += process.regularity
    found, belief = [], np.full(topics, 1 / topics)
    for session in range(sequences.user_starts[user], sequences.user_starts[user + 1]):
        if session > sequences.user_starts[user]:
            belief = belief @ change
        begin, end = sequences.session_starts[session : session + 2]
        for event in range(begin, end):
            found.append(belief)
            item, rating = sequences.items[event], sequences.ratings[event]
            belief = belief.copy()
            for topic in range(topics):
                chance = process.popularity[item]
                if event > begin:
                    follows = process.follower[topic, sequences.items[event - 1]] == item
                    chance = process.loyalty * follows + (1 - process.loyalty) * chance
                belief[topic] *= chance * rating_probabilities(process.level[topic, item], process.noise)[int(rating) - 1]
            belief = belief / belief.sum()
    return np.array(found)


def test_beliefs_agree_with_a_filter_event_by_event(planted):
    data, process = planted
    for user in (0, 7):
        sequences = data.sequences[np.array([user, 3])]
        expected = [slow_beliefs(process, sequences, row) for row in (0, 1)]
        np.testing.assert_allclose(process.beliefs(sequences), np.concatenate(expected), atol=1e-9)


def test_the_best_figures_are_what_the_best_predictions_reach(planted):
    """The expected values against hits and errors counted on the data, from independent arithmetic."""
    data, process = planted
    best = process.best(last_session(data, test=1), [*RANKING, "rmse", "mae", "novelty@5"])
    sequences = data.sequences
    at = targets(sequences)
    beliefs = process.beliefs(sequences)
    probability = process.next_items(sequences, beliefs, at)
    np.testing.assert_allclose(probability.sum(axis=1), 1)
    wanted = probability[np.arange(len(at)), sequences.items[at]]
    rank = 1 + (probability > wanted[:, None]).sum(axis=1)
    listed = rank <= 5
    counted = {
        "recall@1": (rank == 1).mean(),
        "recall@5": listed.mean(),
        "mrr@5": (listed / rank).mean(),
        "ndcg@5": (listed / np.log2(1 + rank)).mean(),
        "precision@5": listed.mean() / 5,
    }
    counted |= {"map@5": counted["mrr@5"], "hit_rate@5": counted["recall@5"]}
    predicted = process.ratings(sequences, beliefs)[at] @ np.arange(1, 6)
    counted["rmse"] = np.sqrt(np.mean((predicted - sequences.ratings[at]) ** 2))
    assert best.pop("mae") < best["rmse"]
    assert best == pytest.approx(counted, rel=0.02)


def test_predictors_that_know_less_are_worse(planted):
    """Predictors that know the process, but use only the current session, only the current item, or no events."""
    data, process = planted
    sequences = data.sequences
    at = targets(sequences)
    uniform = np.full((len(sequences.items), len(process.level)), 1 / len(process.level))
    flat = process.beliefs(as_single_sessions(sequences))
    hits, errors = {}, {}
    for name, beliefs in {"all": process.beliefs(sequences), "session": flat, "item": uniform}.items():
        guess = process.next_items(sequences, beliefs, at).argmax(axis=1)
        hits[name] = (guess == sequences.items[at]).mean()
        predicted = process.ratings(sequences, beliefs)[at] @ np.arange(1, 6)
        errors[name] = np.sqrt(np.mean((predicted - sequences.ratings[at]) ** 2))
    assert hits["session"] < 0.9 * hits["all"]
    assert hits["item"] < 0.3 * hits["all"]
    assert process.popularity.max() < 0.2 * hits["all"]
    static = process.level.mean(axis=0)[sequences.items[at]]
    assert np.sqrt(np.mean((static - sequences.ratings[at]) ** 2)) > 1.25 * errors["all"]
    assert errors["all"] < errors["session"] < errors["item"]


def test_sessions_by_number_are_those_by_gap(planted):
    data, _ = planted
    for gap in (6, 30, 400):
        by_gap = data.with_sessions(gap).sequences
        np.testing.assert_array_equal(by_gap.session_starts, data.sequences.session_starts)
        np.testing.assert_array_equal(by_gap.items, data.sequences.items)
    assert data.sequences.n_sessions == 1500 * 8
    assert set(np.diff(data.sequences.session_starts)) == {4, 5, 6, 7}


def test_followers_of_topics_differ_everywhere(planted):
    _, process = planted
    assert (np.sort(process.follower, axis=1) == np.arange(40)).all()
    assert all(len(set(column)) == 4 for column in process.follower.T)
    assert (process.follower != np.arange(40)).all()


def test_other_protocols_have_no_known_best(planted):
    data, process = planted
    assert process.best(random(data, test=0.1), ["rmse", "recall@1"]) == {}
    assert set(process.best(last_session(data, repeats="excluded"), ["rmse", "recall@1"])) == {"rmse"}


def test_the_best_figures_do_not_depend_on_the_sessions_of_the_split(planted):
    """With one session per user, the first items of sessions are predicted too, by popularity at best."""
    data, process = planted
    log = data.log
    joined = data.with_events(replace(log, sessions=log.users))
    ones, joint = (process.best(time_cut(one, test=0.2, predict="next"), ["recall@1", "rmse"]) for one in (data, joined))
    assert joint["rmse"] == pytest.approx(ones["rmse"], rel=0.05)
    firsts = 1 / 5.5
    assert joint["recall@1"] == pytest.approx((1 - firsts) * ones["recall@1"] + firsts * process.popularity.max(), rel=0.03)


def test_the_seed_decides():
    one, same, other = (planted_sessions(20, 10, 3, seed=seed)[0].digest for seed in (1, 1, 2))
    assert one == same != other


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"topics": 10}, "2 <= topics < items"),
        ({"groups": 11}, "groups <= items"),
        ({"shortest": 9, "longest": 5}, "shortest <= longest, got .*shortest=9"),
        ({"users": 10**7, "sessions": 10**4}, "20,000,000 events at most"),
    ],
)
def test_contradicting_sizes_are_refused(wrong, message):
    with pytest.raises(ConfigError, match=message):
        planted_sessions(**{"users": 20, "items": 10, "sessions": 3, **wrong})
