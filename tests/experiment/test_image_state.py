"""Image pipelines that are interrupted, resumed and tracked."""

import json
import logging
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from commands import Command
from image_builders import own
from image_runs import PIPELINE, files, run
from PIL import Image

from recsys_ae.errors import ConfigError, DataError
from recsys_ae.images.dense import DenseAutoencoder
from recsys_ae.reporting.results import RunReport


def metrics(report: RunReport) -> dict:
    return {label: [result.metrics, result.valid_metrics] for label, result in report.models.items()}


@pytest.mark.slow
def test_killed_run_resumes_to_the_same_result(folder, caplog):
    """SIGKILL during fine-tuning with the first seed; the resumed run ends with exactly the figures of an uninterrupted one."""
    slow = {**PIPELINE["models"][2], "epochs": 40, "batch_size": 20}
    changes = {"models": [slow], "seed": [1, 0], "split": {"train": 200, "valid": 50}}
    whole = run("whole", **changes)
    checkpoint = folder / "killed/.work/classifier-seed-1.checkpoint-tuning"
    with Command("run", "mine.yaml", "--tracking-uri", "none", "--output", "killed") as process:
        while not checkpoint.exists() and process.poll() is None:
            time.sleep(0.002)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert not Path("killed/report.json").exists()
    with caplog.at_level(logging.INFO, "recsys_ae"):
        resumed = run("killed", resume=True, **changes)
    assert "classifier-seed-1 layer-2: continuing after epoch 2" in caplog.messages
    assert any(message.startswith("classifier-seed-1 tuning: continuing after epoch") for message in caplog.messages)
    assert metrics(resumed) == metrics(whole)
    assert [(path / "arrays.safetensors").read_bytes() for path in sorted(Path("killed/models").iterdir())] == [
        (path / "arrays.safetensors").read_bytes() for path in sorted(Path("whole/models").iterdir())
    ]
    assert not Path("killed/.work").exists()


def interrupted(monkeypatch, **changes: object) -> None:
    """An unfinished run whose first model is done and whose second is not."""

    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(DenseAutoencoder, "fit", stop)
        with pytest.raises(KeyboardInterrupt):
            run(models=PIPELINE["models"][:2], **changes)


def test_a_resumed_run_repeats_nothing(folder, monkeypatch, caplog):
    interrupted(monkeypatch)
    trained = Path("out/models/pca/arrays.safetensors").stat().st_mtime_ns
    with pytest.raises(ConfigError, match="out holds a run of another pipeline"):
        run(models=PIPELINE["models"][:2], resume=True, metrics=["mse"])
    with caplog.at_level(logging.INFO, "recsys_ae"):
        report = run(models=PIPELINE["models"][:2], resume=True)
    assert "pca: done before" in caplog.messages
    assert set(report.models) == {"pca", "basic"}
    assert Path("out/models/pca/arrays.safetensors").stat().st_mtime_ns == trained
    assert run(models=PIPELINE["models"][:2], resume=True) == report


def test_unfinished_figures_of_a_killed_run_are_removed(folder, monkeypatch):
    interrupted(monkeypatch)
    draft = Path("out/figures/.pca.1.draft")
    draft.mkdir()
    (draft / "codes.png").write_bytes(b"half of it")
    run(models=PIPELINE["models"][:2], resume=True)
    assert {path.name for path in Path("out/figures").iterdir()} == {"pca", "basic", "metrics.png"}


def test_images_that_have_changed_meanwhile_are_noticed(folder, monkeypatch):
    card = own(20)
    interrupted(monkeypatch, dataset=card, split={})
    Image.fromarray(np.zeros((4, 6), np.uint8)).save("pictures/0/7.png")
    with pytest.raises(DataError, match="the data has changed since the run in out started; start a new run in another"):
        run(models=PIPELINE["models"][:2], resume=True, dataset=card, split={})


def test_labels_that_have_changed_meanwhile_are_noticed(folder, monkeypatch):
    """The same pixels in the same order, but one image is in the class of the next."""
    card = own(10, 2)
    interrupted(monkeypatch, dataset=card, split={})
    Path("pictures/0/9.png").rename("pictures/1/-.png")
    with pytest.raises(DataError, match="has changed since the run in out started"):
        run(models=PIPELINE["models"][:2], resume=True, dataset=card, split={})


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_figures_and_models_are_tracked(folder, call):
    from mlflow.tracking import MlflowClient

    Path("mine.yaml").write_text(yaml.safe_dump({**PIPELINE, "models": PIPELINE["models"][::2]}))
    code, out, _ = call("run", "mine.yaml", "--output", "out")
    assert code == 0
    assert f"mlflow ui --backend-store-uri sqlite:///{folder}/mlflow.db" in out
    client = MlflowClient(tracking_uri=f"sqlite:///{folder}/mlflow.db")
    experiment = client.get_experiment_by_name("mine")
    runs = {found.info.run_name: found for found in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {"mine", "pca", "classifier"}
    assert {found.info.status for found in runs.values()} == {"FINISHED"}
    parent, child = runs["mine"], runs["classifier"]
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert "below_popularity" not in child.data.tags  # images have no popularity
    report = json.loads(Path("out/report.json").read_text())
    assert child.data.metrics["error_rate"] == report["models"]["classifier"]["metrics"]["error_rate"]
    assert child.data.metrics["valid/error_rate"] == report["models"]["classifier"]["valid_metrics"]["error_rate"]
    assert "error_rate" not in runs["pca"].data.metrics
    for history, length in (
        ("by_epoch/layer-1_train_loss", 2),
        ("by_epoch/layer-2_valid_loss", 2),
        ("by_epoch/head_train_loss", 50),
        ("by_epoch/tuning_valid_loss", 3),
    ):
        assert len(client.get_metric_history(child.info.run_id, history)) == length
    assert {one.path for one in client.list_artifacts(child.info.run_id)} == {"figures", "model"}
    assert {Path(one.path).name for one in client.list_artifacts(child.info.run_id, "figures")} == files(
        "out/figures/classifier"
    )
    assert {one.tags[0].value for one in parent.inputs.dataset_inputs} == {"train", "valid", "test"}
    assert {one.path for one in client.list_artifacts(parent.info.run_id)} == {
        "figures",
        "inputs.json",
        "pipeline.yaml",
        "report.csv",
        "report.html",
        "report.json",
    }
