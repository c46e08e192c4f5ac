"""A model, the lists exported from it and Python's `evaluate` have the same values, to the last bit."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from builders import SMALL, random_interactions

from recsys_ae import Split, build_model, evaluate, export_recommendations, save_model
from recsys_ae.data.cards import read_card
from recsys_ae.data.ratings import load_ratings
from recsys_ae.errors import ColdUserError, ConfigError, DataError, UnknownIdError
from recsys_ae.evaluation.per_user import PerUser
from recsys_ae.evaluation.protocols.protocol import Protocol
from recsys_ae.evaluation.segments import COMPUTED
from recsys_ae.experiment.systems import SystemEvaluator
from recsys_ae.export.histories import history_for
from recsys_ae.models.storage import load_model
from recsys_ae.parquet import write_parquet
from recsys_ae.splitting import per_user, time_cut

METRICS = ["ndcg@5", "recall@3", "graded_ndcg@10", "map@10", "mrr@4", "precision@30", "auc@25", "novelty@5", "ipw_recall@10"]
METRICS += ["coverage@10", "gini@5", "entropy@3", "popularity_lift@10", "serendipity@10", "audience_diversity@5"]
MODELS = ("ease", "popularity", "bias", "mf", "itemknn", "als", "cdae", "bpr", "multvae", "rp3beta", "autorec")


@pytest.fixture(scope="module")
def split() -> Split:
    return per_user(random_interactions(seed=3, n_users=60, n_items=25, times=False), test=0.3, seed=1)


@pytest.fixture
def files(split, tmp_path, monkeypatch) -> SystemEvaluator:
    monkeypatch.chdir(tmp_path)
    split.test.to_frame().to_csv("truth.csv", index=False)
    split.history("test").to_frame().to_csv("history.csv", index=False)
    return SystemEvaluator(Path("truth.csv"), Path("history.csv"), METRICS)


def saved(name: str, split: Split) -> str:
    save_model(build_model(name, SMALL[name]).fit(split.train, seed=0), "model")
    return "model"


def exported(evaluator: SystemEvaluator, k: int = 30, **options) -> str:
    model = load_model("model")
    history, _ = history_for(model, evaluator.history, skip_unknown=evaluator.skip_unknown)
    export_recommendations(model, history, "lists", k, **options)
    return "lists"


def assert_same(first, second) -> None:
    assert first.metrics == second.metrics
    assert first.segments == second.segments
    pd.testing.assert_frame_equal(first.to_frame(), second.to_frame(), check_exact=True, check_dtype=False)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_and_its_lists_agree(name, split, files):
    of_model, of_lists = files.evaluate(saved(name, split)), files.evaluate(exported(files))
    assert_same(of_model.report, of_lists.report)
    assert_same(of_model.report, evaluate(load_model("model"), split, METRICS, segments=COMPUTED))
    assert of_model.protocol == of_lists.protocol == Protocol.of(split)
    assert of_model.warnings == of_lists.warnings == []
    counts = {key: of_model.report.counts[key] for key in ("users_evaluated", "users_skipped", "relevant", "repeats")}
    assert counts == {key: of_lists.report.counts[key] for key in counts}


@pytest.mark.parametrize("duplicates", ["last", "mean", "max", "sum"])
def test_repeated_pairs_are_merged_as_the_card_declares(duplicates, tmp_path, monkeypatch):
    """As a run does, whose test part has the merged pairs."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    users, items, ratings = (rng.integers(*bounds, 900) for bounds in ((0, 30), (100, 112), (1, 6)))
    log = pd.DataFrame({"user": users, "item": items, "rating": ratings, "time": rng.permutation(900)})
    log.to_csv("log.csv", index=False)
    columns = {name: name for name in ("user", "item", "rating", "time")}
    card = {"name": "mine", "kind": "ratings", "duplicates": duplicates, "files": [{"path": "log.csv", "columns": columns}]}
    Path("card.yaml").write_text(json.dumps(card))
    data = load_ratings(*read_card("card.yaml")).interactions
    split = time_cut(data, at=600, repeats="wanted")
    for name, part in (("history", log[log["time"] < 600]), ("truth", log[log["time"] >= 600])):
        part.to_csv(f"{name}.csv", index=False)
    options = {"repeats": "wanted", "card": "card.yaml", "relevant_at": 3.0}
    metrics = ["graded_ndcg@5", "rmse"]
    found = SystemEvaluator(Path("truth.csv"), Path("history.csv"), metrics, **options).evaluate(saved("bias", split))
    expected = evaluate(load_model("model"), split, metrics, segments=COMPUTED, relevant_at=3.0)
    assert found.report.metrics == expected.metrics
    assert found.protocol == Protocol.of(split, relevant_at=3.0)


def test_thresholds_and_repeats(split, files, tmp_path):
    again = pd.concat([split.test.to_frame(), split.train.to_frame()[::3]])
    again.to_csv("truth.csv", index=False)
    saved("itemknn", split)
    for repeats in ("excluded", "wanted"):
        asked = SystemEvaluator(files.truth, files.history, METRICS, relevant_at=3, repeats=repeats)
        export_recommendations(
            load_model("model"),
            history_for(load_model("model"), files.history)[0],
            repeats,
            30,
            exclude_seen=repeats == "excluded",
        )
        of_model, of_lists = asked.evaluate("model"), asked.evaluate(repeats)
        assert_same(of_model.report, of_lists.report)
        assert of_model.report.counts["repeats"] == len(split.train.to_frame()[::3])
        assert of_model.protocol.repeats == repeats


def test_items_and_users_that_the_model_does_not_know(split, files):
    """Unknown items are relevant, but never listed; users without a history get what cold users get."""
    more = pd.DataFrame({"user_id": [split.train.users.values[0], "new", "new"], "item_id": [9001, 9000, 101], "rating": 4.0})
    known = pd.DataFrame({"user_id": split.train.users.values[1], "item_id": [9001], "rating": [2.0]})
    pd.concat([split.test.to_frame(), more]).to_csv("truth.csv", index=False)
    pd.concat([split.train.to_frame(), known]).to_csv("history.csv", index=False)
    saved("ease", split)
    with pytest.raises(UnknownIdError, match=r"does not know item 9001 .1 such row.; --skip-unknown"):
        files.evaluate("model")
    skipping = SystemEvaluator(files.truth, files.history, METRICS, skip_unknown=True)
    lists = exported(skipping)
    of_model, of_lists = skipping.evaluate("model"), skipping.evaluate(lists)
    assert of_model.report.counts["cold"] == 1
    assert of_lists.report.counts["users_without_list"] == 1
    old = of_model.report.to_frame().query("user_id != 'new'").reset_index(drop=True)
    pd.testing.assert_frame_equal(old, of_lists.report.to_frame().query("user_id != 'new'").reset_index(drop=True))
    assert "made from another history than history.csv" in of_lists.warnings[0]
    counting = SystemEvaluator(files.truth, files.history, METRICS, skip_unknown=True, cold="skip")
    assert_same(counting.evaluate("model").report, counting.evaluate(lists).report)
    assert "new" not in counting.evaluate("model").report.users
    for system in ("model", lists):
        with pytest.raises(ColdUserError):
            SystemEvaluator(files.truth, files.history, METRICS, skip_unknown=True, cold="error").evaluate(system)


@pytest.mark.parametrize("items", [[], [9001]], ids=["known", "unknown"])
def test_rating_metrics_of_a_model(items, split, files):
    more = "".join(f"{split.train.users.values[0]},{item},4\n" for item in items)
    files.truth.write_text(files.truth.read_text() + more)
    asked = SystemEvaluator(files.truth, files.history, ["rmse", "mae", "ndcg@5"])
    saved("mf", split)
    if items:
        with pytest.raises(UnknownIdError, match=r"cannot predict ratings of item 9001, which it does not know .1 such pairs"):
            asked.evaluate("model")
    else:
        assert_same(asked.evaluate("model").report, evaluate(load_model("model"), split, asked.metrics, segments=COMPUTED))
    with pytest.raises(ConfigError, match="rmse needs predicted ratings"):
        asked.evaluate(exported(files))
    pd.read_csv("truth.csv").drop(columns="rating").to_csv("truth.csv", index=False)
    with pytest.raises(ConfigError, match=r"rmse needs ratings, but truth.csv has none"):
        asked.evaluate("model")


def test_users_who_are_exported_on_request(split, files):
    pd.concat([split.test.to_frame(), pd.DataFrame({"user_id": ["new"], "item_id": [101], "rating": [1.0]})]).to_csv(
        "truth.csv", index=False
    )
    saved("popularity", split)
    users = pd.read_csv("truth.csv")["user_id"]
    history, _ = history_for(load_model("model"), files.history, users=users)
    export_recommendations(load_model("model"), history, "lists", 30, users=users.unique())
    assert_same(files.evaluate("model").report, files.evaluate("lists").report)


def test_another_history_is_noticed(split, files):
    saved("ease", split)
    lists = exported(files)
    pd.read_csv("history.csv")[1:].to_csv("other.csv", index=False)
    assert (
        "lists was made from another history than other.csv"
        in SystemEvaluator(files.truth, Path("other.csv"), METRICS).evaluate(lists).warnings[0]
    )
    pd.read_csv("history.csv").assign(rating=1.5)[::-1].to_csv("history.csv", index=False)  # the same pairs
    assert files.evaluate(lists).warnings == []


def test_what_is_no_system(split, files):
    saved("ease", split)
    with pytest.raises(ConfigError, match="model is a model, which needs a history to recommend from; pass it as --history"):
        SystemEvaluator(files.truth, None, METRICS).evaluate("model")
    Path("run").mkdir()
    Path("run/report.json").touch()
    with pytest.raises(ConfigError, match="run is the output of a run; name one of its models, as run/models/LABEL"):
        files.evaluate("run")
    with pytest.raises(DataError, match="there is no file or folder nothing"):
        files.evaluate("nothing")
    Path("model/arrays.safetensors").write_bytes(b"other")
    with pytest.raises(DataError, match=r"arrays.safetensors is damaged"):
        files.evaluate("model")


class TestPerUser:
    def test_what_is_written_is_read(self, split, files, tmp_path):
        found = files.evaluate(saved("ease", split)).per_user
        found.write(tmp_path / "a.parquet")
        kept = PerUser.read(tmp_path / "a.parquet")
        pd.testing.assert_frame_equal(kept.values, found.values)
        assert kept.protocol == found.protocol
        assert kept.metrics == [name for name in METRICS if not name.startswith(("coverage", "gini", "entropy"))]
        assert kept.segments == ["history_length", "item_popularity"]
        for what in (b"recall@3", b"history_length"):
            damaged = (tmp_path / "a.parquet").read_bytes().replace(what, what[:-1] + b"x")
            (tmp_path / "b.parquet").write_bytes(damaged)
            with pytest.raises(DataError, match=r"b.parquet: it is damaged: .*; make the file again"):
                PerUser.read(tmp_path / "b.parquet")
        twice = pa.table([["u"], [0.1], [0.2]], ["user_id", "ndcg@5", "ndcg@5"])
        write_parquet(twice.schema, [twice], tmp_path / "b.parquet")
        with pytest.raises(DataError, match=r"cannot read .*b.parquet as Parquet: .*(Multiple matches|duplicate field)"):
            PerUser.read(tmp_path / "b.parquet")
        PerUser(found.values, None).write(tmp_path / "a.parquet")
        assert PerUser.read(tmp_path / "a.parquet").protocol is None

    @pytest.mark.parametrize(
        ("table", "problem"),
        [
            ({"user": [1], "ndcg@5": [0.5]}, "there is no column 'user_id'; did you mean 'user'"),
            ({"user_id": [1]}, "there are no metrics of users"),
            ({"user_id": [1], "ndgc@5": [0.5]}, "column 'ndgc@5' is not a metric: unknown metric 'ndgc'; did you mean 'ndcg'"),
            ({"user_id": [1], "ndcg@5": ["x"]}, "column 'ndcg@5' must hold finite numbers"),
            ({"user_id": [1], "ndcg@5": [np.inf]}, "column 'ndcg@5' must hold finite numbers"),
            ({"user_id": [1], "rmse": [0.5]}, "rmse needs the column 'ratings'"),
            ({"user_id": [None], "ndcg@5": [0.5]}, "column 'user_id' has no id in row 0"),
        ],
    )
    def test_other_tables(self, table, problem, tmp_path):
        pd.DataFrame(table).to_parquet(tmp_path / "a.parquet")
        with pytest.raises(DataError, match=problem):
            PerUser.read(tmp_path / "a.parquet")


def test_features_of_a_card(split, files):
    """For metrics and segments; the model itself has none."""
    sides = {"users": split.train.users.values, "items": split.train.items.values}
    for side, ids in sides.items():
        table = pd.DataFrame({"id": ids, "kind": np.where(np.arange(len(ids)) % 3, "b", "a"), "size": np.arange(len(ids)) % 7})
        table[1:].to_csv(f"{side}.csv", index=False)  # one is missing
    columns = "{kind: {kind: category, column: kind}, size: {kind: numeric, column: size}}"
    Path("card.yaml").write_text(
        "{name: small, kind: ratings, files: [{path: log.csv, columns: {user: user_id, item: item_id, rating: rating}}],\n"
        f"features: {{users: {{path: users.csv, id: id, columns: {columns}}},\n items: {{path: items.csv, id: id, "
        f"columns: {columns}}}}}}}"
    )
    segments = ["users.kind", "users.size", "items.kind", "items.size", "history_length"]
    metrics = ["ndcg@5", "feature_diversity@5", "miscalibration@10"]
    asked = replace(files, card="card.yaml", segments=segments, metrics=metrics)
    of_model, of_lists = asked.evaluate(saved("ease", split)).report, asked.evaluate(exported(files)).report
    assert_same(of_model, of_lists)
    assert set(of_model.segments) == set(segments)
    assert of_model.segments["users.kind"].keys() == {"a", "b", "missing"}
    for system in ("model", "lists"):
        for changes, problem in (
            ({"card": None}, "needs features of"),
            ({"segments": ["users.age"]}, "users.age: the users have no feature 'age'"),
        ):
            with pytest.raises(ConfigError, match=problem):
                replace(asked, **changes).evaluate(system)
