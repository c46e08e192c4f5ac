"""Blends: what weights and epochs are chosen by, members left out, checkpoints, and declarations that are refused."""

from dataclasses import replace

import builders
import numpy as np
import pytest

from recsys_ae import build_model, load_model, save_model
from recsys_ae.core.checkpoint import Checkpoint
from recsys_ae.core.trainer import Callback
from recsys_ae.data.planted.ratings import planted_ratings
from recsys_ae.errors import ConfigError, TrainingError
from recsys_ae.interactions import Interactions
from recsys_ae.models.base import finite_scores, fitted_state
from recsys_ae.models.experts import standardised
from recsys_ae.models.storage import model_digest
from recsys_ae.splitting import random

MF = {"name": "mf", "factors": 4, "epochs": 25, "l2": 0.06, "learning_rate": 0.05}
BIAS = {"name": "bias"}


def ratings() -> Interactions:
    return planted_ratings(users=300, items=200, ratings=12_000, factors=3, noise=0.6, seed=1)[0]


def blend(*members: dict[str, object], **params: object):
    return build_model("blend", {"members": list(members), **params})


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"members": [{"name": "ease"}]}, "blend needs at least two members"),
        ({"members": [{"name": "ease"}, {"l2": 3}]}, "member 2 needs a `name`"),
        ({"members": ["ease", "elsa"]}, "member 1 must be a model with its parameters, such as {name: ease}"),
        ({"members": {"name": "ease"}}, "needs a list of members"),
        ({"members": [{"name": "ease"}, {"name": "eas"}]}, "unknown model 'eas'; did you mean 'ease'"),
        ({"members": [{"name": "ease", "l3": 3}, {"name": "als"}]}, "unknown key .l3."),
        ({"members": [{"name": "ease"}, {"name": "gru"}]}, "gru predicts what comes next"),
        ({"holdout": 0.3, "folds": 4}, "4 folds of 0.3 are more than everything"),
        ({"combine": "sum"}, "'product' or 'mixture'"),
    ],
)
def test_declarations_that_cannot_be_carried_out_are_refused(params, message):
    with pytest.raises(ConfigError, match=message):
        build_model("blend", params)


def test_members_are_kept_with_all_their_parameters():
    assert blend(MF, BIAS).members[1] == {"name": "bias", "user_reg": 5.0, "item_reg": 3.0}
    assert "device" not in blend({"name": "elsa"}, {"name": "ease"}).members[0]
    assert blend({"name": "elsa", "device": "auto"}, {"name": "ease"}).members[0]["device"] == "auto"


def test_a_rating_is_the_weighted_mean_of_those_of_the_members():
    parts = random(ratings(), test=0.2, seed=0)
    model = blend({"name": "bias", "user_reg": 1e6}, {"name": "bias", "item_reg": 1e6}, folds=2).fit(parts.train, seed=3)
    weights = fitted_state(model).arrays["weights"]
    assert weights.sum() == pytest.approx(1)
    assert weights.min() > 0.2
    rows = np.arange(10)
    expected = sum(w * one.scores(parts.train, rows) for w, one in zip(weights, model.fitted_members(), strict=True))
    np.testing.assert_allclose(model.scores(parts.train, rows), expected, rtol=1e-6)


def rmse(model, parts) -> float:
    pairs = parts.test.user_rows(), parts.test.item_rows()
    return float(np.sqrt(np.mean((model.predict_rows(parts.train, *pairs) - parts.test.matrix.data) ** 2)))


def test_a_blend_is_better_than_its_members():
    parts = random(ratings(), test=0.2, seed=0)
    overfitted = {**MF, "factors": 30, "l2": 0.01, "init_std": 0.1}
    model = blend(overfitted, overfitted, overfitted).fit(parts.train)
    assert rmse(model, parts) < min(rmse(member, parts) for member in model.fitted_members())


def test_a_useless_member_gets_no_weight():
    """Biases that are regularised away are of no use beside a model that knows the factors."""
    model = blend(MF, {"name": "bias", "user_reg": 1e6, "item_reg": 1e6}).fit(ratings())
    assert fitted_state(model).arrays["weights"][1] < 0.2


def test_the_validation_part_has_no_influence():
    parts = random(ratings(), test=0, valid=0.1, seed=0)
    digests = {model_digest(blend(MF, BIAS).fit(parts.train, **more)) for more in ({}, {"valid": parts.valid})}
    assert len(digests) == 1


class Epochs(Callback):
    """The epochs of each stage."""

    def __init__(self) -> None:
        self.of: dict[str, int] = {}

    def on_end(self, training) -> None:
        self.of[training.stage] = len(training.history)


def test_members_are_fitted_again_for_the_mean_of_their_best_epochs():
    """With a large step, matrix factorisation overfits soon, and training stops; the last fit does not overfit."""
    counted = Epochs()
    overfits = {"name": "mf", "factors": 30, "epochs": 60, "l2": 0.0, "learning_rate": 0.03, "patience": 4}
    blend(overfits, BIAS, folds=2).fit(ratings(), callbacks=[counted])
    tried = [counted.of["fold-1-1-mf"], counted.of["fold-2-1-mf"]]
    assert max(tried) < 60
    assert counted.of["1-mf"] == round(np.mean([epochs - 4 for epochs in tried]))


def test_equal_members_are_trained_with_different_seeds():
    first, second = blend(MF, MF).fit(ratings()).fitted_members()
    assert np.abs(first.item_vectors() - second.item_vectors()).max() > 0.01


def test_a_member_that_cannot_score_a_user_is_left_out():
    clicks = builders.clicks()
    model = blend({"name": "bpr", "factors": 2, "epochs": 300}, {"name": "ease", "l2": 1.0}).fit(clicks)
    stranger = builders.of_users(clicks, [9], ["stranger"])
    ease, weight = model.fitted_members()[1], fitted_state(model).arrays["weights"][1]
    alone = standardised(finite_scores(ease, stranger, np.array([0])), stranger.matrix)
    np.testing.assert_allclose(model.scores(stranger, np.array([0])), weight * alone, rtol=1e-5)
    assert model.can_score(stranger, np.array([0])).all()
    nobody = stranger.filter(np.zeros(len(stranger), bool))
    assert not model.can_score(nobody, np.array([0])).any()


def test_a_member_whose_scores_are_not_numbers_is_an_error():
    clicks = builders.clicks()
    model = blend({"name": "ease", "l2": 1.0}, {"name": "itemknn"}).fit(clicks)
    ease = model.fitted_members()[0]
    weights = np.full_like(fitted_state(ease).arrays["weights"], np.nan)
    ease.fitted = replace(ease.fitted, arrays={**ease.fitted.arrays, "weights": weights})
    with pytest.raises(TrainingError, match="EASE returned scores that are NaN"):
        model.scores(clicks, np.array([0]))


class InterruptionError(Exception):
    pass


class Interrupt(Callback):
    """Stops in the middle of the last fit of a member."""

    def on_epoch(self, training) -> None:
        if training.stage == "1-mf" and len(training.history) == 3:
            raise InterruptionError


def test_an_interrupted_fit_resumes_to_the_same_model(tmp_path):
    whole = blend(MF, {**MF, "l2": 0.1}).fit(ratings(), seed=5)
    path = tmp_path / "checkpoint"
    with pytest.raises(InterruptionError):
        blend(MF, {**MF, "l2": 0.1}).fit(ratings(), seed=5, callbacks=[Checkpoint(path), Interrupt()])
    assert (tmp_path / "checkpoint-fold-1-2-mf").exists()
    again = blend(MF, {**MF, "l2": 0.1}).fit(ratings(), seed=5, callbacks=[Checkpoint(path)])
    assert model_digest(again) == model_digest(whole)


def test_a_blend_starts_only_from_one_of_the_same_members():
    data = ratings()
    before = blend(MF, BIAS).fit(data)
    warm = blend({**MF, "epochs": 1, "learning_rate": 1e-6}, BIAS).fit(data, seed=1, warm_start=before)
    assert np.abs(warm.fitted_members()[0].item_vectors() - before.fitted_members()[0].item_vectors()).max() < 1e-3
    with pytest.raises(ConfigError, match="has the members mf, bias; use one with the same members"):
        blend(BIAS, MF).fit(data, warm_start=before)


def test_blends_can_be_members(tmp_path):
    inner = {"name": "blend", "members": [{"name": "ease", "l2": 1.0}, {"name": "popularity"}]}
    model = blend(inner, {"name": "als", "factors": 2}).fit(builders.clicks())
    save_model(model, tmp_path / "model")
    rows = np.arange(12)
    np.testing.assert_array_equal(
        load_model(tmp_path / "model").scores(builders.clicks(), rows), model.scores(builders.clicks(), rows)
    )


def test_a_blend_among_the_members_finds_the_epochs_of_its_own():
    inner = {"name": "blend", "members": [{**MF, "patience": 25}, BIAS]}  # it improves little in the first epochs
    parts = random(ratings(), test=0.1, seed=1)
    assert rmse(blend(inner, BIAS).fit(parts.train), parts) < 0.98 * rmse(build_model("bias").fit(parts.train), parts)


def test_a_blend_with_a_member_that_only_ranks_does_not_predict_ratings():
    assert blend(MF, BIAS).predicts_ratings
    assert not blend(MF, {"name": "ease"}).predicts_ratings
