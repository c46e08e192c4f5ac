import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from session_logs import LOGS, current_items, from_rows, repeat_share, sessions_of

from recsys_ae import build_model, limits
from recsys_ae.errors import ConfigError

SETTINGS = st.fixed_dictionaries(
    {
        "alpha": st.sampled_from([0.0, 0.3, 1.0]),
        "dropout": st.sampled_from([0.0, 0.6]),
        "l2": st.sampled_from([0.5, 20.0]),
        "position_decay": st.sampled_from([0.01, 0.6, 3.0, 1e9]),
        "session_decay": st.sampled_from([0.01, 2.0, 1e9]),
        "repeat_weight": st.sampled_from([0.0, 0.5]),
        "time_decay": st.sampled_from([0.5, 1e9]),
    }
)


def by_hand(rows, alpha, dropout, l2, position_decay, time_decay, repeat_weight) -> np.ndarray:
    """B from the three matrices of the definition, a row at a time."""
    sessions = sessions_of(rows)
    latest = max(hour for _, hour, _ in sessions)
    whole, past, future, of_session, of_cut = [], [], [], [], []
    for _, hour, items in sessions:
        weight = np.exp(-(latest - hour) / 24 / time_decay)
        whole.append([float(item in items) for item in range(6)])
        of_session.append(weight)
        for cut in range(1, len(items)):
            s, t = np.zeros(6), np.zeros(6)
            for d, item in enumerate(reversed(items[:cut])):
                s[item] += np.exp(-d / position_decay)
            for d, item in enumerate(items[cut:]):
                t[item] += np.exp(-d / position_decay)
            past.append(s)
            future.append(t)
            of_cut.append(weight)
    x, s, t = (np.array(rows).reshape(-1, 6) for rows in (whole, past, future))
    xx = alpha * x.T @ np.diag(of_session) @ x
    gram = xx + (1 - alpha) * s.T @ np.diag(of_cut) @ s
    ridge = dropout / (1 - dropout) * np.diag(gram.diagonal()) + l2 * np.eye(6)
    others = xx - np.diag(xx.diagonal()) + (1 - alpha) * s.T @ np.diag(of_cut) @ t
    return np.linalg.solve(gram + ridge, others + repeat_weight * repeat_share(sessions) * ridge)


@settings(deadline=None, max_examples=50)
@given(rows=LOGS, now=LOGS, params=SETTINGS)
def test_scores_are_those_of_the_definition(rows, now, params):
    model, history = build_model("slist", params).fit(from_rows(rows)), from_rows(now)
    session_decay = params.pop("session_decay")
    weights = by_hand(rows, **params)
    np.testing.assert_allclose(model.fitted.arrays["weights"], weights, atol=2e-4)
    for user, items in current_items(now).items():
        x = np.zeros(6)
        for d, item in enumerate(reversed(items)):
            x[item] += np.exp(-d / session_decay)
        np.testing.assert_allclose(model.scores(history, history.users.rows([user]))[0], x @ weights, atol=2e-3)


def test_order_matters_only_if_alpha_is_below_one():
    rows = [(user, 0, item, 10 * user + place) for user in range(4) for place, item in enumerate([0, 1, 2])]
    history = from_rows([(0, 0, 1, 0)])
    for alpha, ordered in ((0.0, True), (1.0, False)):
        model = build_model("slist", {"alpha": alpha, "l2": 1.0}).fit(from_rows(rows))
        before, _, after, *_ = model.scores(history, np.array([0]))[0]
        assert after > before + 0.1 if ordered else after == pytest.approx(before, abs=1e-6)


def test_memory_that_is_not_there_is_an_error_before_it_is_allocated(monkeypatch):
    monkeypatch.setattr(limits, "available_memory", lambda: 300)
    with pytest.raises(ConfigError, match=r"slist on 6 items needs .* for that many items use vsknn"):
        build_model("slist", {}).fit(from_rows([(0, 0, 1, 0), (0, 0, 2, 1)]))
