"""From values per user to findings: alignment, weights, users who do not count."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_rel

from recsys_ae.evaluation.metrics import parse_metrics
from recsys_ae.evaluation.uncertainty.findings import find


def table(users: list[int], **values: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"user_id": users, **{name.replace("_at_", "@"): own for name, own in values.items()}})


def test_rows_are_aligned_by_user_whatever_their_order():
    a = table([1, 2, 3, 4], ndcg_at_5=[0.5, 0.1, 0.9, 0.4])
    b = table([4, 2, 1, 3], ndcg_at_5=[0.1, 0.0, 0.3, 0.8])
    (found,) = find({"a": [a], "b": [b]}, parse_metrics("ndcg@5"))
    assert (found.metric, found.models, found.left_out) == ("ndcg@5", ["a", "b"], {})
    assert found.findings.metrics == pytest.approx([0.475, 0.3])
    (pair,) = found.findings.pairs
    assert pair.t.raw == pytest.approx(ttest_rel([0.5, 0.1, 0.9, 0.4], [0.3, 0.0, 0.8, 0.1]).pvalue)


def test_users_with_no_value_for_a_model_are_left_out_and_counted():
    a = table([1, 2, 3], ndcg_at_5=[0.5, np.nan, 0.9])
    b = table([1, 2, 4], ndcg_at_5=[0.3, 0.2, 0.4])
    (found,) = find({"a": [a], "b": [b]}, parse_metrics("ndcg@5"))
    assert (found.findings.n_users, found.left_out) == (1, {"a": 1, "b": 2})
    assert found.findings.metrics == pytest.approx([0.5, 0.3])


def test_several_predicted_events_of_a_user_are_one_observation():
    """The metric is the mean over events, and users are what is resampled."""
    a = table([1, 1, 1, 2], ndcg_at_5=[1.0, 0.0, 0.5, 0.1])
    b = table([1, 1, 1, 2], ndcg_at_5=[0.0, 0.0, 0.0, 0.3])
    (found,) = find({"a": [a], "b": [b]}, parse_metrics("ndcg@5"))
    assert found.findings.n_users == 2
    assert found.findings.metrics == pytest.approx([0.4, 0.075])


def test_rmse_is_that_of_all_ratings():
    errors = {1: [1.0, -2.0], 2: [0.5], 3: [0.0, 3.0, 1.0]}
    rmse = [float(np.sqrt(np.mean(np.square(own)))) for own in errors.values()]
    one = table([1, 2, 3], rmse=rmse, ratings=[2.0, 1.0, 3.0])
    (found,) = find({"a": [one]}, parse_metrics("rmse"))
    assert found.findings.metrics == pytest.approx([np.sqrt(np.mean(np.square([1.0, -2.0, 0.5, 0.0, 3.0, 1.0])))])
    assert found.findings.letters == ["a"]


def test_seeds_are_averaged_per_user_first():
    seeds = [table([1, 2], ndcg_at_5=[0.2, 0.4]), table([2, 1], ndcg_at_5=[0.6, 0.4])]
    (found,) = find({"a": seeds, "b": seeds[:1] * 2}, parse_metrics("ndcg@5"))
    assert found.findings.metrics == pytest.approx([0.4, 0.3])
    assert found.findings.pairs[0].difference == pytest.approx(0.1)


def test_models_without_a_metric_are_not_among_its_findings():
    ranked = table([1, 2], ndcg_at_5=[0.2, 0.4])
    rated = table([1, 2, 3], ndcg_at_5=[0.1, 0.4, np.nan], rmse=[1.0, 2.0, 0.5], ratings=[1.0, 3.0, 1.0])
    found = {one.metric: one for one in find({"a": [ranked], "b": [rated]}, parse_metrics(["rmse", "ndcg@5"]))}
    assert found["ndcg@5"].models == ["a", "b"]
    assert (found["ndcg@5"].findings.n_users, found["ndcg@5"].left_out) == (2, {})
    assert (found["rmse"].models, found["rmse"].findings.n_users) == (["b"], 3)


def test_nothing_to_compare():
    assert find({}, parse_metrics("ndcg@5")) == []
    assert find({"a": [table([1], recall_at_5=[0.5])]}, parse_metrics("ndcg@5")) == []
