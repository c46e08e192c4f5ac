"""Models of a run evaluated again, and systems compared, as users see it."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

PIPELINE = """
dataset: {name: small, kind: planted-ratings, users: 200, items: 60, ratings: 2400, factors: 2}
split: {kind: random, test: 0.2, valid: 0.1}
seed: [3, 5]
models: [{name: ease}, {name: mf, factors: 4, epochs: 3}, {name: popularity}]
metrics: [rmse, ndcg@5, recall@10]
"""


@pytest.fixture(scope="module")
def output(tmp_path_factory) -> Path:
    """A folder with the output `out` of a run with two seeds, tracked in `mlflow.db`, and the files of its first seed."""
    from rich.console import Console

    from recsys_ae.experiment.pipeline_file import read_pipeline
    from recsys_ae.experiment.ratings import RatingTask
    from recsys_ae.experiment.runner import run_pipeline
    from recsys_ae.tracking import make_tracker

    folder = tmp_path_factory.mktemp("run")
    (folder / "mine.yaml").write_text(PIPELINE)
    pipeline = read_pipeline(str(folder / "mine.yaml"), [])
    tracker = make_tracker(f"sqlite:///{folder}/mlflow.db", "tests")
    run_pipeline(pipeline, folder / "out", tracker, Console(quiet=True))
    split = RatingTask(pipeline).data(3)
    split.test.to_frame().to_csv(folder / "truth.csv", index=False)
    split.history("test").to_frame().to_csv(folder / "history.csv", index=False)
    return folder


@pytest.fixture
def within(output, tmp_path, monkeypatch) -> Path:
    """A copy of these files, in which the test runs."""
    shutil.copytree(output / "out", tmp_path / "out")
    for name in ("truth.csv", "history.csv"):
        shutil.copy(output / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


EXAM = ("--truth", "truth.csv", "--history", "history.csv")


class TestEvaluateModel:
    def test_a_tested_model_has_the_metrics_of_its_run(self, call, within):
        names = ("--metrics", "rmse,ndcg@5", "recall@10")
        command = ("evaluate", "out/models/mf-seed-3", *EXAM, *names, "--per-user", "mf.parquet", "--output", "mf.json")
        code, out, err = call(*command)
        assert (code, err) == (0, "")
        report = json.loads(Path("out/report.json").read_text())
        found = json.loads(Path("mf.json").read_text())
        run = report["models"]["mf"]["runs"]["3"]
        assert found["metrics"] == run["metrics"]
        assert {**found["protocol"], "digest": None} == {**report["data"]["3"]["protocol"], "digest": None}
        assert all(low < found["metrics"][name] < high for name, (low, high) in found["intervals"].items())
        assert found["counts"]["users_evaluated"] == run["counts"]["users_evaluated"]
        assert f"{found['metrics']['ndcg@5']:.4f}" in out
        pd.testing.assert_frame_equal(pd.read_parquet("mf.parquet"), pd.read_parquet("out/per-user/mf-seed-3.parquet"))

    def test_a_model_needs_a_history(self, call, within):
        code, out, err = call("evaluate", "out/models/ease-seed-3", "--truth", "truth.csv")
        assert (code, out) == (2, "")
        assert "ease-seed-3 is a model, which needs a history to recommend from; pass it as --history FILE" in err

    def test_users_of_another_file(self, call, within):
        """Lists for the users of the truth, some of whom the history does not have, are worth as much as the model."""
        known = pd.read_csv("history.csv")
        known[known["user_id"].isin(known["user_id"].unique()[::2])].to_csv("history.csv", index=False)
        model, lists = "out/models/ease-seed-3", "lists"
        assert call("export", model, *EXAM[2:], "--users", "truth.csv", "--k", 10, "--output", lists)[0] == 0
        for system in (model, lists):
            assert call("evaluate", system, *EXAM, "--metrics", "ndcg@5", "--output", f"{Path(system).name}.json")[0] == 0
        found, expected = (json.loads(Path(name).read_text()) for name in ("lists.json", "ease-seed-3.json"))
        assert found["metrics"] == expected["metrics"]
        assert expected["counts"]["cold"] > 10


class TestCompare:
    def test_a_run_is_compared_as_in_its_report(self, call, within, output):
        code, out, err = call("compare", "out", "--output", "a.json")
        assert (code, err) == (0, "")
        found = json.loads(Path("a.json").read_text())
        report = json.loads(Path("out/report.json").read_text())
        by_metric = {one["metric"]: one for one in report["findings"]}
        assert {one["metric"]: one for one in found["findings"]} == by_metric
        assert (found["models"], found["seeds"], found["metric"]) == (["ease", "mf", "popularity"], [3, 5], "ndcg@5")
        letters = by_metric["ndcg@5"]["findings"]["letters"]
        assert all(f" {own}" in out for own in letters)
        assert "values are means over the seeds 3, 5" in out
        for protocol in found["protocol_digests"]:
            assert f"protocol {protocol[:12]}: all items are ranked" in out
        assert len({*found["protocol_digests"]}) == 2  # a split for each seed

    def test_a_run_in_mlflow_is_its_output(self, call, within, output):
        from mlflow.tracking import MlflowClient

        uri = f"sqlite:///{output}/mlflow.db"
        client = MlflowClient(tracking_uri=uri)
        (parent,) = [
            run.info.run_id
            for run in client.search_runs([client.get_experiment_by_name("tests").experiment_id])
            if "mlflow.parentRunId" not in run.data.tags
        ]
        for source, run in (("out", f"runs:/{parent}"), ("out:mf", f"runs:/{parent}:mf")):
            second = "out:popularity" if source != "out" else ""
            for name, first in (("folder", source), ("mlflow", run)):
                command = [one for one in (first, second) if one]
                assert call("compare", *command, "--tracking-uri", uri, "--output", f"{name}.json")[0] == 0
            assert json.loads(Path("folder.json").read_text()) == json.loads(Path("mlflow.json").read_text())
        code, _, err = call("compare", "runs:/nothing", "--tracking-uri", uri)
        assert code == 1
        assert "cannot get runs:/nothing/report.json" in err

    def test_models_lists_and_files_side_by_side(self, call, within):
        assert call("export", "out/models/ease-seed-3", *EXAM[2:], "--k", 10, "--output", "lists")[0] == 0
        call("evaluate", "out/models/mf-seed-3", *EXAM, "--metrics", "ndcg@5", "--per-user", "mf.parquet")
        sources = ("out/per-user/ease-seed-3.parquet", "lists", "mf.parquet", "out/models/popularity-seed-3")
        code, _, err = call("compare", *sources, *EXAM, "--output", "a.json")
        assert (code, err) == (0, "")
        found = json.loads(Path("a.json").read_text())
        assert found["models"] == ["ease-seed-3", "lists", "mf", "popularity-seed-3"]
        report = json.loads(Path("out/report.json").read_text())["models"]
        values = [report[label]["runs"]["3"]["metrics"]["ndcg@5"] for label in ("ease", "ease", "mf", "popularity")]
        (findings,) = [one["findings"] for one in found["findings"] if one["metric"] == "ndcg@5"]
        assert findings["metrics"] == pytest.approx(values, abs=1e-12)
        same = findings["pairs"][0]
        assert (same["difference"], same["different"], same["effect"]) == (0, False, None)

    def test_warnings_about_lists(self, call, within, caplog):
        call("export", "out/models/ease-seed-3", *EXAM[2:], "--k", 10, "--output", "lists")
        Path("other.csv").write_text("".join(Path("history.csv").read_text().splitlines(keepends=True)[:-1]))
        both = ("lists", "out/models/mf-seed-3", "--truth", "truth.csv", "--history", "other.csv")
        code, _, err = call("compare", *both)
        assert code == 0, err
        assert caplog.text.count("lists was made from another history than other.csv") == 1

    def test_markdown(self, call, within):
        code, out, _ = call("compare", "out", "--metric", "recall@10", "--output", "a.md")
        text = Path("a.md").read_text()
        assert code == 0
        assert text.startswith("**3 models on ")
        rows = [line for line in text.splitlines() if line.startswith("| ease - popularity |")]
        assert len(rows) == 1
        assert "pairs by recall@10" in text
        assert text.count("| --- |") == 2
        for line in [line for line in text.splitlines() if line.startswith("- ")]:
            assert line[2:] in out

    def test_what_cannot_be_compared(self, call, within):
        pd.read_csv("truth.csv").iloc[1:].to_csv("less.csv", index=False)
        call("evaluate", "out/models/mf-seed-3", "--truth", "less.csv", *EXAM[2:], "--per-user", "less.parquet")
        one = "out/per-user/ease-seed-3.parquet"
        cases = {
            ("out:eas", "out:mf"): (2, "out has no model 'eas'; did you mean 'ease'?"),
            ("out:ease",): (2, "there is only out:ease to compare; name at least two"),
            ("out:ease", "out:ease"): (2, "out:ease is named twice"),
            ("out:ease", one): (2, "ease has 2 seeds, ease-seed-3 1; compare files of single seeds"),
            (one, "out/per-user/ease-seed-5.parquet"): (2, "ease-seed-5 were evaluated in different ways (the test part"),
            (one, "less.parquet"): (2, "ease-seed-3 and less were evaluated in different ways (the test part); evaluate"),
            (one, "a:b"): (1, "there is no file or folder a:b"),
            (one, "out/models/mf-seed-3"): (2, "out/models/mf-seed-3 is neither the output of a run nor a file of values"),
            (one, "nothing", *EXAM): (1, "there is no file or folder nothing"),
            ("out", "--metric", "mrr@5"): (2, "no model has values of mrr@5; known are"),
            ("out:ease", "out:mf", "--metric", "rmse"): (2, "only mf has values of rmse"),
            ("out", "--by", "age"): (2, "ease has no values by 'age'"),
            ("out", "--output", "a.txt"): (2, "--output a.txt must end in .json, .md or .html"),
        }
        for command, (code, message) in cases.items():
            found, out, err = call("compare", *command)
            assert (found, out) == (code, ""), command
            assert message in err

    def test_damage_is_noticed(self, call, within):
        path = Path("out/per-user/mf-seed-5.parquet")
        path.write_bytes(path.read_bytes()[:-1] + b"x")
        code, out, err = call("compare", "out", "--output", "a.json")
        assert (code, out) == (1, "")
        assert "mf-seed-5.parquet is damaged: its content has changed; run the pipeline again" in err
        assert not Path("a.json").exists()
