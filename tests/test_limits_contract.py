"""What happens to every registered model at the limits of arithmetic, of memory, and of what data can be."""

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import image_builders
import numpy as np
import pytest
from builders import SMALL, complete, from_dense, planted
from image_builders import others, some, some_labels

from recsys_ae import Interactions, Split, build_model, evaluate, limits, predict, recommend
from recsys_ae.core.autoencoder import Autoencoder
from recsys_ae.declaration import LARGEST_INT
from recsys_ae.errors import ColdUserError, ConfigError, DataError, TrainingError
from recsys_ae.evaluation.metrics import PARTIAL, RANKING_METRICS
from recsys_ae.images import IMAGE_MODELS
from recsys_ae.images.storage import build_image_model
from recsys_ae.models import MODELS
from recsys_ae.models.base import finite_scores

# How each model can be made to leave the range of float32; the others have no parameter that could.
OVERFLOWS = {
    "autorec": {"init_std": 1e30},
    "mf": {"l2": 1e30},
    "multvae": {"l2": 3e38},
    "multdae": {"l2": 3e38},
    "recvae": {"gamma": 3e38},
    "cdae": {"l2": 3e38},
    "elsa": {"user_exponent": 1e30},
    "ease": {"user_exponent": 1e30},
    "als": {"l2": 1e30},
    "bpr": {"l2": 1e30},
}
IMAGE_OVERFLOWS = {
    "dense": {"learning_rate": 1e38},
    "stacked": {"layer_learning_rate": 1e38},
    "convolutional": {"learning_rate": 1e30},
    "variational": {"beta": 3e38},
}
EXTREMES = (3e38, 1e30, 1e-30, 1.3e-38, -1e30)
SLOW = {"epochs", "layer_epochs", "encoder_passes"}  # only time grows with these
SIZES = {
    "autorec": "hidden",
    "mf": "factors",
    "multvae": "hidden",
    "multdae": "hidden",
    "recvae": "latent",
    "cdae": "negatives",
    "elsa": "factors",
    "als": "factors",
    "bpr": "factors",
    "wide_deep": "factors",
    "bayesian_fm": "factors",
}
IMAGE_SIZES = {"dense": "hidden", "stacked": "hidden", "convolutional": "channels", "variational": "hidden"}


def quick(name: str, **changes: Any) -> Any:
    """The recommender with small parameters and few epochs."""
    own = SMALL[name]
    return build_model(name, {**own, **({"epochs": 3} if "epochs" in own else {}), **changes})


def quick_images(name: str, **changes: Any) -> Any:
    own = {key: min(value, 2) if key in SLOW else value for key, value in image_builders.SMALL[name].items()}
    return build_image_model(name, {**own, **changes})


def test_the_lists_are_of_registered_models():
    assert set(OVERFLOWS) | set(SIZES) <= set(MODELS)
    assert set(IMAGE_OVERFLOWS) == set(IMAGE_SIZES) == set(IMAGE_MODELS) - {"pca"}


@pytest.mark.parametrize("name", OVERFLOWS)
def test_a_fit_that_overflows_names_model_and_parameter(name):
    ((parameter, value),) = OVERFLOWS[name].items()
    model = quick(name, **OVERFLOWS[name])
    with pytest.raises(TrainingError, match=rf"^{type(model).__name__}: .* is {re.escape(f'{parameter}: {value:g}')}"):
        model.fit(planted())
    assert model.fitted is None


@pytest.mark.parametrize("name", IMAGE_OVERFLOWS)
def test_a_fit_of_images_that_overflows_names_model_and_parameter(name):
    ((parameter, value),) = IMAGE_OVERFLOWS[name].items()
    model = quick_images(name, **IMAGE_OVERFLOWS[name])
    with pytest.raises(TrainingError, match=rf"^{type(model).__name__}: .* is {re.escape(f'{parameter}: {value:g}')}"):
        model.fit(some())
    assert model.fitted is None


@pytest.mark.parametrize("name", MODELS)
def test_any_number_gives_finite_scores_or_an_error(name):
    """Whatever its constructor accepts, and with warnings as errors."""
    for key, default in vars(quick(name)).items():
        if not isinstance(default, float | int) or isinstance(default, bool) or key in SLOW:
            continue
        for value in EXTREMES if isinstance(default, float) else (LARGEST_INT,):
            with suppress(ConfigError, TrainingError):
                model = quick(name, **{key: value}).fit(planted())
                assert np.isfinite(finite_scores(model, planted(), np.arange(12))).all()


def test_weights_are_checked_after_every_epoch():
    """An update of an infinite gradient makes the weights infinite, although the loss before it is finite."""
    with pytest.raises(TrainingError, match="a weight is no longer finite after epoch 1; try a lower learning_rate"):
        quick("autorec", output="sigmoid", axis="item", learning_rate=1e30).fit(planted())


@pytest.mark.parametrize("name", SIZES)
def test_more_than_the_memory_is_refused_before_it_is_allocated(name):
    size: Any = [LARGEST_INT] if SIZES[name] == "hidden" and name != "cdae" else LARGEST_INT
    with pytest.raises(
        ConfigError, match=rf"needs .* GB of memory, but only .* GB are free; .* is {SIZES[name]}: .*2147483647"
    ):
        quick(name, **{SIZES[name]: size}).fit(planted())


@pytest.mark.parametrize("name", IMAGE_SIZES)
def test_images_that_need_more_than_the_memory_are_refused(name):
    with pytest.raises(
        ConfigError, match=rf"needs .* GB of memory, but only .* GB are free; .* is {IMAGE_SIZES[name]}: .*2147483647"
    ):
        quick_images(name, **{IMAGE_SIZES[name]: [LARGEST_INT, LARGEST_INT]}).fit(some())


def test_the_memory_of_a_container_counts(monkeypatch, tmp_path):
    for name, content in {"memory.max": "3000\n", "memory.current": "1000\n"}.items():
        (tmp_path / name).write_text(content)
    monkeypatch.setattr(limits, "CGROUP", tmp_path)
    assert limits.available_memory() == 2000
    (tmp_path / "memory.max").write_text("max\n")
    assert (limits.available_memory() or 10**9) > 10**6


@pytest.mark.parametrize(
    "allocate",
    [
        lambda: np.zeros((10**9, 10**9)),
        lambda: np.zeros((10**12, 10**12)),
        lambda: Autoencoder(10**9, [10**9]),
        lambda: Autoencoder(2**62, [2**62]),
    ],
)
def test_what_libraries_say_about_memory_becomes_a_sentence(allocate):
    with (
        pytest.raises(ConfigError, match=r"^it needs more memory than there is.*; make it smaller$"),
        limits.limits("it", "make it smaller"),
    ):
        allocate()


def test_other_errors_stay_what_they_are():
    with pytest.raises(ValueError, match="something else"), limits.limits("it", ""):
        raise ValueError("something else")


@pytest.mark.parametrize("seed", [-1, LARGEST_INT + 1, 2**64, 1.5, True])
@pytest.mark.parametrize(
    "fit", [lambda seed: quick("als").fit(planted(), seed=seed), lambda seed: quick_images("dense").fit(some(), seed=seed)]
)
def test_seeds_have_a_range(fit, seed):
    with pytest.raises(ConfigError, match="a seed must be a whole number from 0 to 2147483647"):
        fit(seed)


def nothing(data: Interactions) -> Interactions:
    return data.filter(np.zeros(len(data), bool))


SOME_PAIRS = np.random.default_rng(0).random((6, 5)) < 0.7
DEGENERATE: dict[str, Callable[[], Interactions]] = {
    "one pair": lambda: from_dense(np.array([[3]])),
    "one item": lambda: from_dense(np.array([[3], [4], [5]])),
    "one user": lambda: from_dense(np.array([[3, 4, 5, 1]])),
    "one pair of many ids": lambda: from_dense(np.ones((4, 5)), np.arange(20).reshape(4, 5) == 7),
    "equal ratings": lambda: from_dense(np.full((6, 5), 4), SOME_PAIRS),
    "zeros": lambda: from_dense(np.zeros((6, 5)), SOME_PAIRS),
    "everything seen": lambda: from_dense(np.arange(30).reshape(6, 5) % 5),
    "large ratings": lambda: from_dense(np.array([[1e9, 2, -1e9], [3, 4, 1e9], [1, 1, 2]])),
    "tiny ratings": lambda: from_dense(np.array([[1e-38, 2e-38, 0], [3e-39, 4e-38, 1e-44], [1e-38, 0, 0]])),
}
LARGER = {"factors": 50, "latent": 50, "neighbours": 100}  # than the data


@pytest.mark.parametrize("larger", [False, True], ids=["small", "larger than the data"])
@pytest.mark.parametrize("what", DEGENERATE)
@pytest.mark.parametrize("name", MODELS)
def test_degenerate_data_gives_a_result_or_a_sentence(name, what, larger):
    data = complete(DEGENERATE[what]())
    changes = {key: value for key, value in LARGER.items() if larger and key in SMALL[name]}
    if name == "pca" and (larger or what in ("one pair", "one item", "one user", "tiny ratings")):
        with pytest.raises(
            (ConfigError, DataError, TrainingError), match=r"can have at most|needs at least two|cannot be solved"
        ):
            quick(name, **changes).fit(data)
        return
    if name == "gru" and what in ("one pair", "one item", "one pair of many ids"):
        with pytest.raises(DataError, match="learns from sessions of at least two events, but there are none"):
            quick(name, **changes).fit(data)
        return
    model = quick(name, **changes).fit(data, valid=nothing(data))
    trained = np.flatnonzero(np.diff(data.matrix.indptr))
    assert np.isfinite(finite_scores(model, data, trained)).all()
    lists = recommend(model, data, k=10**9)
    assert lists.item_rows.shape == (data.n_users, data.n_items)
    left = data.n_items - np.diff(data.matrix.indptr)  # a user who has seen everything gets an empty list
    np.testing.assert_array_equal((lists.item_rows >= 0).sum(axis=1), left)
    cold = recommend(model, nothing(data), k=3)
    assert ((cold.item_rows >= 0).sum(axis=1) == min(3, data.n_items)).all()
    if model.predicts_ratings:
        users, items = data.users.values[[0, 0]], data.items.values[[0, -1]]
        assert np.isfinite(predict(model, data, users, items)).all()
        assert np.isfinite(predict(model, nothing(data), users, items)).all()


def parts(train: Any, test: Any) -> Split:
    data = planted()
    user, item = data.user_rows(), data.item_rows()
    return Split(data.filter(train(user, item)), nothing(data), data.filter(test(user, item)))


SPLITS = {
    "all users cold": lambda: parts(lambda u, _: u < 6, lambda u, _: u >= 6),
    "all items cold": lambda: parts(lambda _, i: i < 4, lambda _, i: i >= 4),
    "both": lambda: parts(lambda u, i: (u < 6) & (i < 4), lambda u, i: (u >= 6) & (i >= 4)),
    "one pair to train on": lambda: parts(lambda u, i: (u == 0) & (i == 1), lambda u, i: (u != 0) | (i != 1)),
    "one pair to test on": lambda: parts(lambda u, i: (u != 0) | (i != 1), lambda u, i: (u == 0) & (i == 1)),
}


@pytest.mark.parametrize("what", SPLITS)
@pytest.mark.parametrize("name", MODELS)
def test_cold_users_and_items_are_evaluated(name, what):
    split = SPLITS[what]()
    if name == "gru" and what == "one pair to train on":
        with pytest.raises(DataError, match="learns from sessions of at least two events, but there are none"):
            quick(name).fit(split.train)
        return
    metrics = ["rmse", "mae", *(f"{metric}@{k}" for metric in RANKING_METRICS for k in (1, 100))]
    model = quick(name).fit(split.train, valid=split.valid)
    options = {"item_vectors": np.eye(split.train.n_items)}
    found = evaluate(model, split, metrics, **options)
    values = [
        value
        for metric, value in found.metrics.items()
        if ("@" in metric or model.predicts_ratings) and metric.partition("@")[0] not in PARTIAL
    ]
    assert np.isfinite(np.array(values, float)).all()
    one_by_one = evaluate(model, split, metrics, batch_users=1, **options)
    assert one_by_one.metrics == pytest.approx(found.metrics)
    cold = found.counts["cold"]
    if what in ("all users cold", "both"):
        assert cold == (0 if "user_features" in model.needs else found.counts["users_evaluated"])
    assert (
        evaluate(model, split, metrics, cold="skip", **options).counts["users_evaluated"]
        == found.counts["users_evaluated"] - cold
    )
    if cold:
        with pytest.raises(ColdUserError, match="cannot score user"):
            evaluate(model, split, metrics, cold="error", **options)


def with_rating(value: float, scale: tuple[float, float] | None) -> Interactions:
    """The planted data with another first rating."""
    matrix = planted().matrix.copy()
    matrix.data[0] = value
    return replace(planted(), matrix=matrix, scale=scale)


@pytest.mark.parametrize("name", [name for name in MODELS if quick(name).predicts_ratings])
def test_a_history_on_another_scale_is_refused(name):
    """With a declared scale exactly; without one, if ratings are more than ten times as far away as those in training."""
    declared, observed = quick(name).fit(planted()), quick(name).fit(replace(planted(), scale=None))
    for model, value, accepted in ((declared, 5, True), (declared, 5.5, False), (observed, 45, True), (observed, 1e8, False)):
        history = with_rating(value, None)
        if accepted:
            assert np.isfinite(model.scores(history, np.arange(3))).all()
            continue
        with pytest.raises(DataError, match=rf"ratings from 1 to {re.escape(f'{value:g}')}, but .* accepts"):
            model.scores(history, np.arange(3))
        with pytest.raises(DataError, match="use ratings on the same scale"):
            recommend(model, history)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30, -2e9])
def test_ratings_are_numbers_of_a_sensible_size(value):
    with pytest.raises(DataError, match=r"must be a finite number of at most 1e\+09 in size"):
        with_rating(value, None)


@pytest.mark.parametrize("scale", [(-np.inf, np.inf), (np.nan, 5.0), (5.0, 1.0), (0.0, 1e30)])
def test_a_scale_is_finite_and_goes_up(scale):
    with pytest.raises(ConfigError, match=r"possible rating, two finite numbers of at most 1e\+09 in size"):
        replace(planted(), scale=scale)


def test_images_with_labels_and_validation_still_fit():
    model = quick_images("stacked", fine_tune="classes").fit(some(), some_labels(), valid=others())
    assert np.isfinite(model.classify(others())).all()


def test_codes_and_images_are_finite():
    model = quick_images("dense").fit(some())
    with pytest.raises(TrainingError, match="DenseAutoencoder: a number in the images is not finite; fit the model again"):
        model.decode(np.full((1, 16), np.nan, np.float32))
