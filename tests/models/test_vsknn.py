import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from session_logs import LOGS, current_items, from_rows, popularity, repeat_share, sessions_of

from recsys_ae import build_model

SETTINGS = st.fixed_dictionaries(
    {
        "neighbours": st.sampled_from([1, 2, 100]),
        "sample_size": st.sampled_from([1, 3, 100]),
        "position_decay": st.sampled_from([0.1, 1.0, 1e9]),
        "distance_decay": st.sampled_from([0.1, 2.0, 1e9]),
        "time_decay": st.sampled_from([0.2, 1e9]),
        "repeat_weight": st.sampled_from([0.0, 0.8]),
        "idf": st.sampled_from([0.0, 0.7]),
    }
)


def by_hand(
    rows, items: list[int], neighbours, sample_size, position_decay, distance_decay, time_decay, idf, repeat_weight
) -> np.ndarray:
    """Scores by the definition, with dictionaries and loops."""

    def decay(d: int, length: float) -> float:
        weight = float(np.exp(-d / length))
        return weight if weight >= 1e-6 else 0.0

    sessions = sorted(sessions_of(rows), key=lambda session: session[1])  # stable, as users and their sessions are in order
    latest = max(hour for _, hour, _ in sessions)
    rarity = [1 + idf * float(np.log(len(sessions) / max(1, sum(item in own for _, _, own in sessions)))) for item in range(6)]
    weights: dict[int, float] = {}
    for d, item in enumerate(reversed(items)):
        if item not in weights and decay(d, position_decay):
            weights[item] = decay(d, position_decay) * rarity[item]
    related = [number for number, (_, _, own) in enumerate(sessions) if set(own) & set(weights)][::-1][:sample_size]
    similarity = {}
    for number in related:
        shared = sum(weight for item, weight in weights.items() if item in sessions[number][2])
        similarity[number] = shared * float(np.exp(-(latest - sessions[number][1]) / 24 / time_decay))
    scores = np.zeros(6)
    for number in sorted(related, key=lambda number: -similarity[number])[:neighbours]:
        own = sessions[number][2]
        newest = next(item for item in weights if item in own)
        at = max(place for place, item in enumerate(own) if item == newest)
        for place, item in enumerate(own):
            score = similarity[number] * decay(abs(place - at), distance_decay) * rarity[item]
            only_shared = item in weights and item not in own[place + 1 :]
            scores[item] += score * (min(1, repeat_weight * repeat_share(sessions)) if only_shared else 1)
    counts = np.array(popularity(rows))
    return np.where(scores > 0, scores, counts / (counts.max() + 1) - 1)


@settings(deadline=None, max_examples=70)
@given(rows=LOGS, now=LOGS, params=SETTINGS)
def test_scores_are_those_of_the_definition(rows, now, params):
    """Similarities are summed in the same order, so that ties are the same too."""
    model, history = build_model("vsknn", params).fit(from_rows(rows)), from_rows(now)
    for user, items in current_items(now).items():
        found = model.scores(history, history.users.rows([user]))[0]
        np.testing.assert_allclose(found, by_hand(rows, items, **params), rtol=1e-5)


def log_of(*sessions: list[int]):
    """One user per session, later sessions later."""
    return from_rows(
        [(user, 0, item, 10 * user + place) for user, items in enumerate(sessions) for place, item in enumerate(items)]
    )


def best(model, items: list[int], k: int) -> list[int]:
    scores = model.scores(log_of(items), np.array([0]))[0]
    return np.argsort(-scores, kind="stable")[:k].tolist()


def test_of_equal_sessions_the_more_recent_counts():
    """Two sessions that end at the same time are in the order of the users."""
    train = from_rows([(0, 0, 0, 0), (0, 0, 1, 5), (1, 0, 0, 0), (1, 0, 2, 5), (2, 0, 0, 0), (2, 0, 3, 4)])
    options = {"idf": 0.0, "time_decay": 1e9}
    assert best(build_model("vsknn", {"neighbours": 1, **options}).fit(train), [0], 1) == [2]
    assert set(best(build_model("vsknn", {"neighbours": 2, **options}).fit(train), [0], 2)) == {1, 2}
    assert set(best(build_model("vsknn", {"sample_size": 2, **options}).fit(train), [0], 2)) == {1, 2}


def test_the_last_item_counts_most():
    model = build_model("vsknn", {}).fit(log_of([0, 2], [1, 3]))
    assert best(model, [0, 1], 2) == [3, 2]
    assert best(model, [1, 0], 2) == [2, 3]


def test_items_near_the_shared_item_count_most():
    model = build_model("vsknn", {}).fit(log_of([4, 1, 0, 2, 3]))
    assert best(model, [2], 4) == [0, 3, 1, 4]


@pytest.mark.parametrize("kind", ["vsknn", "slist"])
def test_the_current_items_come_again_only_if_that_happens(kind):
    """In training, either no session repeats an item, or every one does."""
    once = build_model(kind, {}).fit(log_of([0, 1, 2], [0, 1, 3]))
    assert best(once, [0, 1], 2) == [3, 2]
    twice = build_model(kind, {}).fit(log_of([0, 0, 1, 1, 2, 2], [0, 0, 1, 1, 3, 3]))
    assert best(twice, [0, 1], 1) == [1]


@pytest.mark.parametrize("threads", [1, 2])
def test_long_sessions_are_scored(threads, two_threads):
    """Weights that are negligible are left out: only the end of a long current session matters."""
    two_threads(threads)
    rng = np.random.default_rng(0)
    train = log_of(*rng.integers(0, 5, (5, 300)).tolist())
    model = build_model("vsknn", {}).fit(train)
    long, short = log_of([0] * 500 + [1] * 20 + [2]), log_of([1] * 20 + [2])
    np.testing.assert_array_equal(model.scores(long, np.array([0])), model.scores(short, np.array([0])))
