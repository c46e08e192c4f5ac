"""Pipelines of models with features: what is loaded, what is refused, and exports for users who are new."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner

from recsys_ae import load_model
from recsys_ae.cli import app
from recsys_ae.data.features import load_features
from recsys_ae.errors import ConfigError
from recsys_ae.experiment.pipeline_file import read_pipeline
from recsys_ae.experiment.ratings import RatingTask
from recsys_ae.experiment.runner import run_pipeline
from recsys_ae.export.histories import history_for
from recsys_ae.ids import IdMap
from recsys_ae.reporting.html.facts import CloserLook, RunFiles
from recsys_ae.reporting.html.run import run_content
from recsys_ae.reporting.report import summary_lines
from recsys_ae.reporting.results import Best
from recsys_ae.tracking import Tracker

CARD = {
    "name": "mine",
    "kind": "ratings",
    "files": [{"path": "log.csv", "columns": {"user": "user_id", "item": "item_id", "rating": "rating"}}],
    "scale": [1, 5],
    "features": {
        "users": {"path": "users.csv", "id": "user_id", "columns": {"group": {"kind": "category", "column": "group"}}},
        "items": {"path": "items.csv", "id": "item_id", "columns": {"size": {"kind": "numeric", "column": "size"}}},
    },
}
MODEL = {
    "name": "hybrid",
    "label": "hybrid",
    "hidden": 12,
    "factors": 3,
    "epochs": 60,
    "learning_rate": 0.02,
    "batch_size": 8,
    "l2": 2.0,
    "who_l2": 10.0,
    "feature_l2": 1.0,
}


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """30 users of two groups, who like the small or the large ones of 20 items; the features of item 3 are unknown."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    user, item = np.divmod(np.flatnonzero(rng.random(600) < 0.6), 20)
    likes = (user % 2 == 0) == (item < 10)
    pd.DataFrame({"user_id": user, "item_id": item, "rating": np.where(likes, 5, 1)}).to_csv("log.csv", index=False)
    users = np.arange(40)
    pd.DataFrame({"user_id": users, "group": np.where(users % 2, "odd", "even")}).to_csv("users.csv", index=False)
    pd.DataFrame({"item_id": np.arange(20), "size": np.arange(20.0)}).query("item_id != 3").to_csv("items.csv", index=False)
    return tmp_path


def read(models: list[dict], card: dict = CARD, **more: object):
    split = {"kind": "cold_items", "test": 0.2, "valid": 0.1}
    declared = {"dataset": card, "split": split, "models": models, "metrics": ["rmse", "ndcg@3"], **more}
    Path("mine.yaml").write_text(yaml.safe_dump(declared))
    return read_pipeline("mine.yaml")


def test_features_that_the_models_need_are_loaded_and_fitted_on_the_training_part(folder):
    bias = {"name": "bias"}
    pipeline = read([bias, {**MODEL, "features": "items"}])
    data = RatingTask(pipeline).data(0)
    seen = IdMap(np.unique(data.train.items.values[data.train.item_rows()]))
    expected = load_features(pipeline.card, folder, "items", data.train.items, fit_ids=seen)
    assert expected.digest != load_features(pipeline.card, folder, "items", data.train.items).digest
    for part in (data.train, data.valid, data.test):
        assert part.item_features.digest == expected.digest
        assert part.user_features is None
    without = RatingTask(read([bias])).data(0)
    assert without.train.item_features is None
    searched = {**MODEL, "features": "none", "search": {"features": ["none", "users"]}}
    tried = RatingTask(read([bias, searched])).data(0)
    assert (tried.train.user_features is None, tried.train.item_features is None) == (False, True)


def test_features_that_the_card_does_not_declare_are_refused_before_anything_is_loaded(folder):
    half = {**CARD, "features": {"items": CARD["features"]["items"]}}
    Path("log.csv").unlink()
    both, bias = {"name": "hybrid", "features": "both"}, {"name": "bias"}
    lacking, none = ("users", half, "use `features: items`"), {**CARD, "features": {}}
    nested, gru = [{"name": "blend", "members": [{"name": "mf"}, both]}, bias], {"name": "gru", "item_features": True}
    content = {"name": "blend", "members": [{"name": "hybrid"}, {"name": "feature_ease"}]}
    for model, label, needed, card, way_out in (
        (both, "hybrid-both", *lacking),
        (both, "hybrid-both", "users", none, "use `features: none`"),
        ({"name": "blend", "members": [both, bias]}, "member 1 (hybrid) of blend", *lacking),
        ({"name": "blend", "members": nested}, "member 2 (hybrid) of member 1 (blend) of blend", *lacking),
        (content, "member 2 (feature_ease) of blend", "items", none, "choose another model"),
        ({"name": "feature_ease"}, "feature_ease", "items", none, "choose another model"),
        (gru, "gru", "items", none, "use `item_features: false`"),
    ):
        stated = f"{label} needs features of {needed}, but dataset 'mine' declares none; add features.{needed} to its card, or "
        with pytest.raises(ConfigError) as caught:
            RatingTask(read([model], card))
        assert str(caught.value) == stated + way_out
    RatingTask(read([{**MODEL, "features": "items"}], half))


@pytest.mark.parametrize("sides", [(), ("items",), ("users",), ("items", "users")])
def test_available_features_are_those_that_the_card_declares(folder, sides):
    """The pipeline with its defaults says which these are, also of members."""
    card = {**CARD, "features": {side: CARD["features"][side] for side in sides}}
    (expected,) = ["both"] if len(sides) > 1 else sides or ["none"]
    members = [{"name": "hybrid"}, {"name": "bias"}]
    pipeline = read([{"name": "hybrid"}, {"name": "blend", "members": members}, {"name": "wide_deep"}], card)
    hybrid, blend, wide = (spec.params for spec in pipeline.models)
    assert [spec.label for spec in pipeline.models] == ["hybrid", "blend", "wide_deep"]
    assert hybrid["features"] == blend["members"][0]["features"] == wide["features"] == expected
    assert [entry.get("features") for entry in yaml.safe_load(pipeline.to_yaml())["models"]] == [expected, None, expected]
    train = RatingTask(pipeline).data(0).train
    assert (train.user_features is not None, train.item_features is not None) == ("users" in sides, "items" in sides)


def test_available_features_are_also_known_in_a_search(folder):
    (spec,) = read([{"name": "wide_deep", "search": {"features": ["available", "none"]}}]).models
    assert spec.search["features"] == ["both", "none"]
    half = {**CARD, "features": {"items": CARD["features"]["items"]}}
    (spec,) = read([{"name": "wide_deep", "search": {"features": ["available", "items", "none"]}}], half).models
    assert spec.search["features"] == ["items", "none"]
    with pytest.raises(ConfigError, match=r"search\.features has a value twice: \['items', 'items'\]"):
        read([{"name": "wide_deep", "search": {"features": ["items", "available", "items"]}}], half)


def test_features_of_generated_data_are_available(folder):
    for name, expected in (("planted-features", "both"), ("planted-ratings", "none")):
        assert read([{"name": "hybrid"}], name).models[0].params["features"] == expected


@pytest.mark.parametrize("name", ["hybrid", "wide_deep"])
def test_a_model_without_further_keys_runs_on_data_without_features(folder, name):
    report = run_pipeline(
        read([{"name": name, "epochs": 1}], {**CARD, "features": {}}), Path("out"), Tracker(), Console(quiet=True)
    )
    assert report.models[name].params["features"] == "none"
    assert load_model("out/models/" + name).features == "none"


def test_a_run_says_which_models_can_rank_items_without_training_interactions(folder):
    models = [{"name": "popularity"}, {"name": "feature_ease"}, {**MODEL, "epochs": 1, "features": "users"}]
    report = run_pipeline(read(models), Path("out"), Tracker(), Console(quiet=True))

    def lines(**changes: object) -> list[str]:
        found = summary_lines(replace(report, **changes), Path("out"))
        return [line for line in found if line.startswith("nearly all test items are new")]

    (line,) = lines()
    assert line == "nearly all test items are new, so compare only models that use features of items: feature_ease"
    assert line in Path("out/report.html").read_text(encoding="utf-8")
    (line,) = lines(feature_models=[])
    assert line.endswith("no model of this run uses features of items, so its ranking metrics do not show which is better")
    for able, said in (
        ([], "chosen by ndcg@3 on validation data: popularity, by chance, bec"),
        (list(report.models), "best by ndcg@3 on valid"),
    ):
        changed = replace(report, best=Best("popularity", "ndcg@3", "valid"), feature_models=able)
        assert said in "\n".join(summary_lines(changed, Path("out")))
        for best in (changed.best, None):
            page = run_content(replace(changed, best=best, metrics=["ndcg@3"]), CloserLook(), RunFiles(""))
            assert ("by chance, because" in "".join(text for text, _ in page.message)) == (not able)
    assert lines(feature_models=None) == []  # a report of an earlier version
    assert lines(metrics=["rmse"]) == []
    assert [len(lines(audit=replace(report.audit, cold_item_pairs=share))) for share in (0.89, 0.9)] == [0, 1]


def test_new_users_of_an_export_have_the_features_of_the_card(folder):
    """The history has a new user of each group without a liked item, one of whom the card does not know."""
    report = run_pipeline(read([{**MODEL, "features": "both", "cold": 0.3}]), Path("out"), Tracker(), Console(quiet=True))
    assert report.models["hybrid"].metrics["rmse"] is not None
    Path("new.csv").write_text("user_id,item_id,rating\n34,3,3\n35,3,3\n77,3,3\n")
    model = load_model("out/models/hybrid")
    pipeline = read_pipeline("mine.yaml")
    with_card, skipped = history_for(model, Path("new.csv"), (pipeline.card, folder))
    without, _ = history_for(model, Path("new.csv"))
    assert skipped == 0
    assert with_card.user_features.to_frame().loc[34, "group=even"] == 1
    assert with_card.user_features.to_frame().loc[77, "group:missing"] == 1
    assert without.user_features is None
    scores, bare = (model.scores(history, np.arange(3)) for history in (with_card, without))
    assert (scores[0, :10].mean() > scores[0, 10:].mean(), scores[1, :10].mean() > scores[1, 10:].mean()) == (True, False)
    np.testing.assert_array_equal(bare[0], bare[2])
    np.testing.assert_allclose(bare[2], scores[2], rtol=1e-5)


@pytest.mark.parametrize("given", [False, True])
def test_new_users_and_items_with_features_get_lists_and_are_in_them(folder, given):
    """The users 30 to 39 and the item 20 have features only; small items have small numbers."""
    sizes = pd.read_csv("items.csv")
    pd.concat([sizes, pd.DataFrame({"item_id": [-1], "size": [1.5]})]).to_csv("items.csv", index=False)
    card = {**CARD, "features": {side: {**file, "unrated": "keep"} for side, file in CARD["features"].items()}}
    more: dict = {"split": {"kind": "random", "test": 0.2}}
    if given:
        log = pd.read_csv("log.csv")
        log[::5].to_csv("test.csv", index=False)
        log.drop(log.index[::5]).to_csv("train.csv", index=False)
        card["splits"] = {"parts": {"train": "train.csv", "test": "test.csv"}}
        more = {"split": {"kind": "given", "name": "parts"}}
    cold = {**MODEL, "cold": 0.3}
    run_pipeline(read([cold], card, export={"k": 21}, **more), Path("out"), Tracker(), Console(quiet=True))
    lists = pd.read_parquet("out/recommendations")
    assert sorted(lists["user_id"].unique()) == list(range(40))
    rank = lists[lists["item_id"] == -1].set_index("user_id")["rank"]
    even, odd = rank[[30, 32, 34, 36, 38]], rank[[31, 33, 35, 37, 39]]
    assert even.max() < odd.min()
    assert load_model("out/final").fitted.ids["items"].values[0] == -1
    without = RatingTask(read([{"name": "bias"}], card, **more)).data(0)
    assert (without.train.n_users, without.train.n_items) == (30, 20)


def test_unrated_ids_and_cores_exclude_each_other(folder):
    items = {**CARD["features"]["items"], "unrated": "keep"}
    with pytest.raises(ConfigError, match="`unrated: keep` would bring back what `k_core` removes"):
        read([MODEL], {**CARD, "features": {"items": items}, "k_core": 2})


def test_metrics_and_segments_load_the_features_that_they_need(folder):
    bias = {"name": "bias"}
    for keys, users, items in (
        ({"metrics": ["ndcg@3", "feature_diversity@3"]}, True, False),
        ({"segments": ["users.group"]}, False, True),
        ({"segments": ["history_length"]}, True, True),
    ):
        train = RatingTask(read([bias], **keys)).data(0).train
        assert (train.user_features is None, train.item_features is None) == (users, items)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"metrics": ["ndcg@3", "miscalibration@3"]}, "miscalibration@3 needs features of items, but dataset 'mine' declares"),
        ({"segments": ["items.size"]}, "segment items.size needs features of items, but dataset 'mine' declares none"),
        ({"segments": ["items"]}, "mine.yaml: segments: unknown segment 'items'"),
        ({"metrics": ["ndcg@3", "vector_diversity@3"]}, "vector_diversity@3 needs vectors of the items, which a pipeline does"),
    ],
)
def test_what_the_card_cannot_give_is_refused_before_training(folder, keys, message):
    card = {**CARD, "features": {"users": CARD["features"]["users"]}}
    with pytest.raises(ConfigError, match=message):
        RatingTask(read([{"name": "bias"}], card, **keys))


def test_groups_are_in_the_report_and_in_the_file_of_values_per_user(folder):
    split = {"kind": "per_user", "test": 0.3}
    pipeline = read([{"name": "bias"}], split=split, segments=["users.group", "items.size"])
    report = run_pipeline(pipeline, folder / "out", Tracker(), Console(quiet=True))
    segments = report.models["bias"].runs[0].segments
    assert set(segments["users.group"]) == {"even", "odd"}
    assert sum(values["users:rmse"] for values in segments["users.group"].values()) == 30
    assert set(segments["items.size"]["missing"]) == {"ndcg@3", "users:ndcg@3"}
    table = pd.read_parquet(folder / "out/per-user/bias.parquet")
    assert {"segment:users.group", "ndcg@3|items.size=missing"} <= set(table)
    means = table.groupby("segment:users.group", observed=True)["ndcg@3"].mean()
    assert means.to_dict() == pytest.approx({group: values["ndcg@3"] for group, values in segments["users.group"].items()})


@pytest.mark.parametrize("model", [{**MODEL, "features": "items", "epochs": 2}, {**MODEL, "epochs": 2}, {"name": "ease"}])
def test_the_lists_of_a_run_are_verified(folder, model):
    """Their history has the features that the model reads from a file, whatever the run has loaded."""
    declared = {"split": {"kind": "random", "test": 0.2, "valid": 0.1}, "segments": ["items.size", "users.group"]}
    run_pipeline(read([model], export={"k": 3}, **declared), Path("out"), Tracker(), Console(quiet=True))
    found = CliRunner().invoke(app, ["verify", "out/recommendations", "--sample", "5", "--tracking-uri", "none"])
    assert found.exit_code == 0, found.output
