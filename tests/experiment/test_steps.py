import pytest

from recsys_ae.experiment.steps import choose

METRICS = ["rmse", "ndcg@10"]


def results(**values):
    """label=(test rmse, test ndcg, validation rmse, validation ndcg); None for no validation part."""
    named = {}
    for label, (rmse, ndcg, *valid) in values.items():
        valid_metrics = dict(zip(METRICS, valid, strict=True)) if valid else None
        named[label] = {"metrics": {"rmse": rmse, "ndcg@10": ndcg}, "valid_metrics": valid_metrics}
    return named


def test_validation_decides_and_the_first_ranking_metric_is_the_measure():
    found = choose(results(a=(1.0, 0.9, 1.0, 0.2), b=(2.0, 0.1, 2.0, 0.3)), METRICS, None)
    assert found == {"model": "b", "metric": "ndcg@10", "part": "valid"}


def test_of_an_error_the_lowest_is_the_best_and_unknown_is_the_worst():
    values = results(a=(1.0, 0.9, 1.5, 0.2), b=(2.0, 0.1, 0.7, 0.3), c=(2.0, 0.1, None, 0.3))
    assert choose(values, METRICS, "rmse")["model"] == "b"


def test_no_value_no_choice():
    assert choose(results(a=(None, None)), METRICS, None)["model"] is None


def test_without_validation_the_test_part_decides_and_it_is_said():
    assert choose(results(a=(1.0, 0.9), b=(2.0, 0.1)), METRICS, None) == {"model": "a", "metric": "ndcg@10", "part": "test"}


@pytest.mark.parametrize("metrics", [["rmse"], ["mae", "rmse"]])
def test_without_a_ranking_metric_the_first_one_is_the_measure(metrics):
    values = {label: {"metrics": dict.fromkeys(metrics, value), "valid_metrics": None} for label, value in (("a", 2), ("b", 1))}
    assert choose(values, metrics, None) == {"model": "b", "metric": metrics[0], "part": "test"}
