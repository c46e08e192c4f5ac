"""Runs and exports name the data that they were made from, and a run is repeated from what it wrote."""

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml
from mlflow.tracking import MlflowClient

from recsys_ae.data.cards import declared_folder
from recsys_ae.experiment.pipeline_file import read_pipeline

pytestmark = pytest.mark.filterwarnings("default")  # MLflow's own dependencies warn about each other
CARD = {
    "name": "shop",
    "kind": "ratings",
    "files": [{"path": "shop.csv", "columns": {"user": "u", "item": "i", "rating": "r"}}],
}
PIPELINE = {
    "split": {"kind": "random", "test": 0.25},
    "models": [{"name": "ease", "l2": 2.0}, {"name": "popularity"}],
    "metrics": ["ndcg@3"],
    "seed": [3, 4],
    "export": {"k": 2, "model": "ease"},
}


@pytest.fixture
def shop(tmp_path, monkeypatch) -> Path:
    """A folder with a file of 30 users and 8 items, and a pipeline on it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    pairs = [
        (f"u{user:02d}", f"i{item}", 1 + (user * item) % 5) for user in range(30) for item in range(8) if (user + item) % 3
    ]
    pd.DataFrame(pairs, columns=["u", "i", "r"]).to_csv("shop.csv", index=False)
    Path("mine.yaml").write_text(yaml.safe_dump({"dataset": CARD, **PIPELINE}))
    Path("card.yaml").write_text(yaml.safe_dump(CARD))
    return tmp_path


@pytest.fixture
def store(tmp_path) -> str:
    return f"sqlite:///{tmp_path}/mlflow.db"  # absolute: MLflow keeps open what has the same URI


def metrics(folder: str) -> dict[str, object]:
    models = json.loads(Path(folder, "report.json").read_text())["models"]
    return {label: {seed: run["metrics"] for seed, run in model["runs"].items()} for label, model in models.items()}


def children(client: MlflowClient, run_id: str) -> dict[str, object]:
    experiments = [client.get_run(run_id).info.experiment_id]
    found = client.search_runs(experiments, f"tags.`mlflow.parentRunId` = '{run_id}'")
    return {run.info.run_name: run for run in found}


def pipeline_run(client: MlflowClient) -> str:
    """The latest run of the pipeline."""
    experiment = client.get_experiment_by_name("mine")
    return client.search_runs([experiment.experiment_id], "attributes.run_name = 'mine'", max_results=1)[0].info.run_id


def inputs(run) -> dict[str, str]:
    """The digests of the dataset inputs of a run, by their context."""
    return {one.tags[0].value: one.dataset.digest for one in run.inputs.dataset_inputs}


def test_runs_and_manifests_name_the_same_digests(call, shop, store):
    assert call("run", "mine.yaml", "--output", "out", "--tracking-uri", store)[0] == 0
    client = MlflowClient(tracking_uri=store)
    parent = pipeline_run(client)
    final = children(client, parent)["ease+final"]
    manifest = json.loads(Path("out/recommendations/_manifest.json").read_text())
    assert inputs(final) == {"everything": manifest["data_digest"]}
    (shipped,) = children(client, final.info.run_id).values()
    assert inputs(shipped) == {"history": manifest["data_digest"]}
    assert shipped.data.params["model_digest"] == manifest["model_digest"] == final.data.tags["model_digest"]
    assert shipped.data.metrics["rows"] == manifest["rows"]
    assert [file.path for file in client.list_artifacts(shipped.info.run_id)] == ["_manifest.json"]
    report = json.loads(Path("out/report.json").read_text())
    assert inputs(client.get_run(parent)) == {
        part: digest for part, digest in report["data"]["3"]["digests"].items() if part != "valid"
    }

    # the whole file as the history of an export of its own: the same digest again
    options = "--history", "shop.csv", "--card", "card.yaml", "--k", "2", "--tracking-uri", store
    assert call("export", "out/final", "--output", "again", *options)[0] == 0
    again = children(client, final.info.run_id)["again"]
    assert inputs(again) == {"history": manifest["data_digest"]}
    assert again.inputs.dataset_inputs[0].dataset.name == "shop"
    known = client.search_runs([again.info.experiment_id], f"dataset.digest = '{manifest['data_digest']}'")
    assert {run.info.run_name for run in known} == {"ease+final", "recommendations", "again"}

    # the run of the pipeline is not that of a model
    code, _, err = call("export", f"runs:/{parent}/model", "--output", "third", *options)
    assert (code, "this run fitted no model" in err) == (1, True), err


def test_an_export_is_recorded_only_where_a_store_is_named(call, shop, monkeypatch, store):
    assert call("run", "mine.yaml", "--output", "out", "--tracking-uri", "none")[0] == 0
    export = "export", "out/final", "--history", "shop.csv", "--card", "card.yaml", "--k", "2"
    assert call(*export, "--output", "a")[0] == 0
    assert not Path("mlflow.db").exists()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    assert call(*export, "--output", "b")[0] == 0
    assert call(*export, "--output", "b")[0] == 0  # it was complete before
    client = MlflowClient(tracking_uri=store)
    (run,) = client.search_runs([client.get_experiment_by_name("exports").experiment_id])
    assert run.info.status == "FINISHED"
    assert "mlflow.parentRunId" not in run.data.tags
    assert inputs(run)["history"] == json.loads(Path("a/_manifest.json").read_text())["data_digest"]


def test_a_run_is_repeated_from_its_folder_and_from_its_id(call, shop, store):
    assert call("run", "mine.yaml", "--output", "out", "--tracking-uri", store)[0] == 0
    client = MlflowClient(tracking_uri=store)
    first = pipeline_run(client)
    Path("mine.yaml").unlink()
    for source in ("out", first, f"runs:/{first}"):
        folder = f"again-{len(source)}"
        code, out, err = call("run", "--from-run", source, "--output", folder, "--tracking-uri", store)
        assert code == 0, err
        assert "all 4 metric values equal those of run" in out
        assert metrics(folder) == metrics("out")
        assert Path(folder, "pipeline.yaml").read_bytes() == Path("out/pipeline.yaml").read_bytes()
    repeated = client.get_run(pipeline_run(client))
    assert repeated.data.tags["recsys_ae.repeats"] == first
    assert repeated.data.params == client.get_run(first).data.params


def test_a_change_is_said(call, shop, caplog):
    assert call("run", "mine.yaml", "--output", "out", "--tracking-uri", "none")[0] == 0
    options = "--from-run", "out", "--output", "again", "--tracking-uri", "none"
    with caplog.at_level("INFO"):
        code, out, _ = call("run", *options, "--set", "models.ease.l2=50.0", "--set", "split.test=0.5")
    assert code == 0
    assert "of mine with models.ease.l2=50.0, split.test=0.5, so its metrics may differ" in caplog.text
    assert "of 4 metric values differ from run" in out
    code, out, _ = call("run", *options[:3], "other", *options[4:], "--set", "seed=1")
    assert code == 0
    assert "4 of 4 metric values of run" in out
    assert "differ or are missing now, such as ndcg@" in out


def test_a_run_whose_data_has_changed_is_not_repeated(call, shop):
    assert call("run", "mine.yaml", "--output", "out", "--tracking-uri", "none")[0] == 0
    text = Path("shop.csv").read_text()
    Path("shop.csv").write_text(text.replace("u07,i0,1", "u07,i0,2"))
    assert Path("shop.csv").read_text() != text
    options = "--from-run", "out", "--output", "again", "--tracking-uri", "none"
    for more in ((), ("--set", "models.ease.l2=50.0")):
        code, _, err = call("run", *options, *more)
        assert code == 1
        assert "the data has changed since the run" in err
        assert not Path("again").exists()
    Path("shop.csv").write_text(text)
    assert call("run", *options)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("mine.yaml", "--from-run", "out"), 2, "a pipeline or --from-run, not both"),
        ((), 2, "no pipeline given; name one"),
        (("--from-run", "no/such"), 2, "there is no folder 'no/such'"),
        (("--from-run", "."), 1, "inputs.json is missing"),
        (("--from-run", "abc"), 1, "cannot get runs:/abc/pipeline.yaml"),
    ],
)
def test_mistakes(call, shop, arguments, code, message):
    found, _, err = call("run", *arguments)
    assert (found, message in err) == (code, True), err


@pytest.mark.parametrize("path", sorted(declared_folder("pipelines").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_resolved_pipeline_is_read_as_the_same_pipeline(path, tmp_path):
    """--from-run relies on this."""
    resolved = read_pipeline(str(path))
    (tmp_path / "pipeline.yaml").write_text(resolved.to_yaml())
    again = read_pipeline(str(tmp_path / "pipeline.yaml"), name=path.stem)
    assert again.to_yaml() == resolved.to_yaml()
    assert (again.name, again.experiment, again.models) == (resolved.name, resolved.experiment, resolved.models)
