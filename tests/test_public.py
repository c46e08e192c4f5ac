"""What every public name does with arguments of the wrong kind, and how its values look in a session."""

import numpy as np
import pandas as pd
import pytest
from builders import SMALL, planted
from scipy.sparse import csr_array

import recsys_ae
from recsys_ae import Interactions, Split, build_model, evaluate, recommend
from recsys_ae.errors import ConfigError, DataError, RecsysError
from recsys_ae.features import FeatureTable
from recsys_ae.images import IMAGE_MODELS
from recsys_ae.models import MODELS
from recsys_ae.splitting import SPLITS

FRAME = pd.DataFrame({"user_id": ["a", "b", "b"], "item_id": [1, 1, 2], "rating": [1.0, 2.0, 3.0]})
WRONG = {
    "path": "absent/log.csv",
    "frame": FRAME,
    "none": None,
    "list": [1, 2],
    "matrix": csr_array(np.eye(3, dtype=np.float32)),
    "number": 7,
    "class": dict,
}
SPLIT = Split.from_frames(FRAME[:2], FRAME[2:])
FITTED = build_model("popularity").fit(SPLIT.train)
CALLS = {
    "read_interactions": recsys_ae.read_interactions,
    "save_interactions": lambda wrong: recsys_ae.save_interactions(wrong, "never"),
    "open_interactions": recsys_ae.open_interactions,
    **{f"splitting.{name}": lambda wrong, name=name: SPLITS.get(name)(wrong) for name in SPLITS},
    "evaluate model": lambda wrong: evaluate(wrong, SPLIT, "ndcg@10"),
    "evaluate split": lambda wrong: evaluate(FITTED, wrong, "ndcg@10"),
    "evaluate metrics": lambda wrong: evaluate(FITTED, SPLIT, wrong),
    "evaluate_recommendations": lambda wrong: recsys_ae.evaluate_recommendations(wrong, FRAME, "ndcg@1", list_length=1),
    "evaluate_recommendations truth": lambda wrong: recsys_ae.evaluate_recommendations(
        pd.DataFrame({"user_id": ["a"], "item_id": [1], "rank": [1]}), wrong, "ndcg@0", list_length=1
    ),
    "export_recommendations model": lambda wrong: recsys_ae.export_recommendations(wrong, SPLIT.train, "never", 2),
    "export_recommendations history": lambda wrong: recsys_ae.export_recommendations(FITTED, wrong, "never", 2),
    "read_recommendations": recsys_ae.read_recommendations,
    "build_image_model": recsys_ae.build_image_model,
    "save_image_model": lambda wrong: recsys_ae.save_image_model(wrong, "never"),
    "load_image_model": recsys_ae.load_image_model,
    "explain model": lambda wrong: recsys_ae.explain(wrong, SPLIT.train, "a", 1),
    "explain history": lambda wrong: recsys_ae.explain(FITTED, wrong, "a", 1),
    "similar_items": lambda wrong: recsys_ae.similar_items(wrong, [1]),
    "similar_users model": lambda wrong: recsys_ae.similar_users(wrong, SPLIT.train, ["a"]),
    "similar_users history": lambda wrong: recsys_ae.similar_users(FITTED, wrong, ["a"]),
    "recommend model": lambda wrong: recommend(wrong, SPLIT.train),
    "recommend history": lambda wrong: recommend(FITTED, wrong),
    "predict model": lambda wrong: recsys_ae.predict(wrong, SPLIT.train, ["a"], [1]),
    "predict history": lambda wrong: recsys_ae.predict(FITTED, wrong, ["a"], [1]),
    "build_model": build_model,
    "save_model": lambda wrong: recsys_ae.save_model(wrong, "never"),
    "load_model": recsys_ae.load_model,
    "Interactions.from_frame": lambda wrong: Interactions.from_frame(FRAME[:0] if wrong is FRAME else wrong),
    "Interactions": lambda wrong: Interactions(wrong, SPLIT.train.users, SPLIT.train.items),
    "Interactions users": lambda wrong: Interactions(SPLIT.train.matrix, wrong, SPLIT.train.items),
    "Split": lambda wrong: Split(wrong, SPLIT.valid, SPLIT.test),
    "Split.from_frames": lambda wrong: Split.from_frames(FRAME[:0] if wrong is FRAME else wrong, FRAME[:0]),
    "IdMap": lambda wrong: recsys_ae.IdMap([1, 1] if isinstance(wrong, list) else wrong),
    **{f"{name} fit": lambda wrong, name=name: build_model(name).fit(wrong) for name in MODELS},
    **{f"{name} fit": lambda wrong, name=name: recsys_ae.build_image_model(name).fit(wrong) for name in IMAGE_MODELS},
}


def test_every_public_function_is_called_below():
    called = {name.split(" ")[0].split(".")[0] for name in CALLS}
    classes = {name for name in recsys_ae.__all__ if isinstance(getattr(recsys_ae, name), type)}
    assert set(recsys_ae.__all__) - classes <= called


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_wrong_arguments_give_one_sentence(call, wrong, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecsysError) as error:
        call(wrong)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 700
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", MODELS)
def test_fitted_models_refuse_a_data_frame_as_history(name):
    quick = {key: value for key, value in SMALL[name].items() if key != "epochs"}
    model = build_model(name, quick | ({"epochs": 1} if "epochs" in SMALL[name] else {})).fit(planted())
    for wrong in (FRAME, None):
        with pytest.raises(DataError, match=r"a history must be Interactions, got .*; make them with Interactions.from_frame"):
            model.scores(wrong, np.array([0]))


def test_fit_says_how_to_make_interactions():
    with pytest.raises(DataError, match=r"train must be Interactions, got DataFrame; make them with Interactions.from_frame"):
        build_model("ease").fit(FRAME)


def test_one_metric_needs_no_list():
    assert list(evaluate(FITTED, SPLIT, "ndcg@10").metrics) == ["ndcg@10"]


@pytest.mark.parametrize("k", [0, -1, 2.5, "10", None, True])
def test_lengths_are_whole_numbers(k):
    for call in (
        lambda: recommend(FITTED, SPLIT.train, k=k),
        lambda: recsys_ae.export_recommendations(FITTED, SPLIT.train, "never", k),
        lambda: recsys_ae.similar_items(build_model("ease").fit(SPLIT.train), [1], k=k),
    ):
        with pytest.raises(ConfigError, match="k must be a whole number of at least 1"):
            call()


LISTS = pd.DataFrame({"user_id": ["a"], "item_id": [1], "rank": [1]})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: recommend(FITTED, SPLIT.train, cold="ignore"), "cold must be one of error, popular, skip, got 'ignore'"),
        (lambda: Interactions.from_frame(FRAME, duplicates="first"), "duplicates must be one of error, last, .* got 'first'"),
        (lambda: Interactions.from_frame(FRAME, scale="15"), "two finite numbers .* got '15'"),
        (lambda: Interactions.from_frame(FRAME, scale=(5, 1)), r"two finite numbers .* got \(5, 1\)"),
        (lambda: Interactions.from_frame(FRAME, scale=(1, np.inf)), r"two finite numbers .* got \(1, inf\)"),
        (lambda: Interactions.from_frame(FRAME, users=["a", "b"]), "users must be an IdMap, got list"),
        (lambda: Interactions.from_frame(FRAME, user=None), "the user column of the table needs a name, got None"),
        (lambda: Split(SPLIT.train, SPLIT.valid, SPLIT.test, repeats="yes"), "repeats must be excluded or wanted, got 'yes'"),
        (lambda: evaluate(FITTED, SPLIT, "ndcg@1", part="train"), "'valid' or 'test', got 'train'"),
        (
            lambda: evaluate(FITTED, SPLIT, "ndcg@1", relevant_at="4"),
            "relevant_at must be a finite number, got '4'",
        ),
        (
            lambda: recsys_ae.evaluate_recommendations(LISTS, FRAME, "ndcg@1", list_length=1, repeats="yes"),
            "repeats must be excluded or wanted, got 'yes'",
        ),
        (
            lambda: recsys_ae.predict(build_model("bias").fit(SPLIT.train), SPLIT.train, ["a", "b"], [1]),
            "predict needs as many users as items, got 2 and 1",
        ),
        (lambda: FeatureTable.from_frame(FRAME, ["rating"], id_column="user_id"), "must map columns to kinds"),
        (lambda: FeatureTable.from_frame(FRAME, [1], id_column="user_id"), "must map columns to kinds, .* got list"),
    ],
)
def test_invalid_options_are_named(call, message):
    with pytest.raises(RecsysError, match=message):
        call()


def test_values_are_shown_in_one_short_line():
    data = planted()
    repeated = Interactions.from_frame(pd.concat([FRAME, FRAME]), duplicates="last")
    features = FeatureTable.from_frame(pd.DataFrame({"id": [1, 2], "size": [1.0, 2.0]}), {"size": "numeric"})
    values = {
        repr(data): f"Interactions(12 users, 7 items, {len(data)} pairs)",
        repr(repeated): "Interactions(2 users, 2 items, 3 pairs from 6 events)",
        repr(repeated.log): "Events(6 events)",
        repr(SPLIT): "Split(given: 2 train, 0 valid, 1 test)",
        repr(recommend(FITTED, SPLIT.train, k=5)): "TopK(2 users, at most 2 of 2 items each)",
        repr(evaluate(FITTED, SPLIT, ["ndcg@1", "rmse"])): "Report(ndcg@1: 1.0000, rmse: -; 1 users)",
        repr(features): "FeatureTable(2 ids, 1 features in 2 columns)",
        repr(FITTED): "Popularity()",
        repr(FITTED.fitted): "Fitted(popularity)",
        repr(SPLIT.train.items): "IdMap(2 int ids)",
    }
    assert list(values) == list(values.values())
