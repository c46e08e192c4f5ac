"""Image pipelines end to end: results, figures, and what is refused."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from image_builders import digits, own
from image_runs import PIPELINE, files, run
from PIL import Image
from scipy.stats import ttest_rel

from recsys_ae.errors import ConfigError, DataError
from recsys_ae.experiment.images import ImageTask
from recsys_ae.experiment.pipeline_file import read_pipeline
from recsys_ae.files import CHECKSUM
from recsys_ae.images import dense
from recsys_ae.images.dense import DenseAutoencoder
from recsys_ae.images.metrics import EvaluationData, error_rate, mse
from recsys_ae.images.storage import load_image_model
from recsys_ae.reporting.report import summary_lines
from recsys_ae.reporting.results import Best, Comparison


def test_the_command_leaves_everything_and_prints_the_table(folder, call):
    Path("mine.yaml").write_text(yaml.safe_dump(PIPELINE))
    code, out, _ = call("run", "mine.yaml", "--output", "out", "--tracking-uri", "none")
    assert code == 0
    for text in ("images of 8 x 8 pixels: 300 train, 50 valid, 359 test", "classifier", "error_rate", "figures: out/figures"):
        assert text in out
    assert files("out") == {"figures", "inputs.json", "models", "pipeline.yaml", "report.csv", "report.html", "report.json"}
    assert files("out/models") == {"pca", "basic", "classifier"}
    assert files("out/figures") == {"pca", "basic", "classifier", "metrics.png"}
    common = {"reconstructions.png", "activations.png", "codes.png", "filters-1.png"}
    assert files("out/figures/pca") == common
    assert files("out/figures/basic") == common | {"losses.png"}
    assert files("out/figures/classifier") == common | {"losses.png", "filters-2.png"}
    for path in Path("out/figures").glob("*/*.png"):
        with Image.open(path) as image:
            image.load()
    report = json.loads(Path("out/report.json").read_text())
    assert report["data"]["0"]["sizes"] == {"train": 300, "valid": 50, "test": 359}
    assert (report["dataset"], report["data"]["0"]["profile"]) == ("digits", {"shape": [1, 8, 8]})
    assert report["models"]["basic"]["params"]["hidden"] == [2]
    assert report["models"]["basic"]["fit_seconds"] > 0
    table = pd.read_csv("out/report.csv", index_col="model")
    assert table.loc["basic", "mse"] == report["models"]["basic"]["metrics"]["mse"]
    assert np.isnan(table.loc["basic", "error_rate"])
    assert not list(Path().glob("*.db"))


def test_the_metrics_are_those_of_the_saved_models(folder):
    report = run()
    data = digits()
    parts = {
        "metrics": EvaluationData(data.test, data.test_labels, data.train),
        "valid_metrics": EvaluationData(data.train[300:350], data.train_labels[300:350], data.train),
    }
    for label in ("pca", "basic", "classifier"):
        model = load_image_model(f"out/models/{label}")
        for part, judged in parts.items():
            found = getattr(report.models[label], part)
            assert found["mse"] == mse(model, judged)
            assert found["error_rate"] == error_rate(model, judged)
            assert (found["denoising_mse"] is None) == (label != "basic")
    fitted = DenseAutoencoder(hidden=(2,), epochs=3, corruption="masking", noise=0.2).fit(
        data.train[:300], valid=data.train[300:350], seed=0
    )
    assert report.models["basic"].metrics["mse"] == mse(fitted, parts["metrics"])
    run_of_basic = report.models["basic"].runs[0]
    assert run_of_basic.fit.epochs == 3
    assert run_of_basic.best_epoch == 1 + np.argmin([epoch.valid for epoch in fitted.fitted.histories[""]])


def test_without_validation_everything_is_trained_on(folder):
    report = run(split={}, models=PIPELINE["models"][:1])
    assert report.data[0].sizes == {"train": 1438, "valid": 0, "test": 359}
    assert report.models["pca"].valid_metrics is None


def test_several_seeds_are_compared(folder):
    known = {"name": "dense", "epochs": 2}
    models = [{**known, "label": "narrow", "hidden": 1}, {**known, "label": "wide", "hidden": 2}]
    report = run(seed=[3, 0, 5], models=models, compare=[["narrow", "wide"]], metrics=["mse", "last_loss"])
    values = {label: [model.runs[seed].metrics["mse"] for seed in (3, 0, 5)] for label, model in report.models.items()}
    assert len(set(values["wide"])) == 3
    assert report.models["wide"].metrics["mse"] == pytest.approx(np.mean(values["wide"]))
    assert report.models["wide"].deviations["mse"] == pytest.approx(np.std(values["wide"], ddof=1))
    difference = np.mean(values["narrow"]) - np.mean(values["wide"])
    p_value = ttest_rel(values["narrow"], values["wide"]).pvalue
    expected = Comparison(("narrow", "wide"), "mse", "seeds", pytest.approx(difference), pytest.approx(p_value), 3)
    assert report.comparisons == [expected]
    assert files("out/models") == {f"{label}-seed-{seed}" for label in values for seed in (3, 0, 5)}
    assert files("out/figures") == {"narrow", "wide", "metrics.png"}
    alone = run("alone", seed=3, models=models, metrics=["mse"])
    assert alone.models["wide"].metrics["mse"] == values["wide"][0]
    for figure in files("out/figures/wide"):
        assert Path("out/figures/wide", figure).read_bytes() == Path("alone/figures/wide", figure).read_bytes()


def test_the_comparison_is_printed(folder, call):
    models = [{"name": "pca", "components": size, "label": f"pca-{size}"} for size in (1, 2)]
    Path("mine.yaml").write_text(
        yaml.safe_dump({**PIPELINE, "models": models, "seed": [0, 1], "compare": [["pca-1", "pca-2"]]})
    )
    code, out, _ = call("run", "mine.yaml", "--output", "out", "--tracking-uri", "none")
    assert code == 0
    assert "mse: pca-1 - pca-2 = +0." in out
    assert "(the seed decides nothing: there is nothing to test)" in out
    assert "identical for all seeds, so the variation is unknown: pca-1, pca-2" in out


def test_a_metric_that_one_model_lacks_cannot_be_compared(folder):
    models = [{"name": "pca", "components": size, "label": f"pca-{size}"} for size in (1, 2)]
    report = run(models=models, seed=[0, 1], compare=[["pca-1", "pca-2"]], metrics=["error_rate"])
    assert report.comparisons == [Comparison(("pca-1", "pca-2"), "error_rate", "seeds")]
    assert "error_rate: pca-1 - pca-2 has no value" in summary_lines(report, Path("out"))


def test_search_and_refit(folder):
    """Trials are compared on the validation images; the refit is a fit on all training images for the best epoch."""
    searched = {"name": "dense", "hidden": 4, "epochs": 4, "label": "basic", "search": {"learning_rate": [1e-4, 0.01]}}
    report = run(models=[searched], metrics=["mse"], refit=True)
    (result,) = report.models["basic"].runs.values()
    slow, quick = result.trials
    assert (slow.params, quick.params) == ({"learning_rate": 1e-4}, {"learning_rate": 0.01})
    assert quick.valid_metrics["mse"] < slow.valid_metrics["mse"]
    assert (result.params["learning_rate"], result.valid_metrics) == (0.01, quick.valid_metrics)
    data = digits()
    refitted = DenseAutoencoder(hidden=(4,), epochs=result.best_epoch, learning_rate=0.01).fit(data.train[:350], seed=0)
    assert result.metrics["mse"] == mse(refitted, EvaluationData(data.test, data.test_labels, data.train))
    assert result.select.epochs == 4


def test_codes_are_exported(folder):
    report = run(models=PIPELINE["models"][:2], export={"by": "denoising_mse"})
    assert report.best == Best("basic", "denoising_mse", "valid")
    assert report.exported.folder == "codes"
    table = pd.read_parquet("out/codes/part-00000.parquet")
    codes = load_image_model("out/models/basic").encode(digits().test)
    np.testing.assert_array_equal(np.stack(table["vector"]), codes)
    np.testing.assert_array_equal(table["class"], digits().test_labels)
    manifest = json.loads(Path("out/codes/_manifest.json").read_text())
    assert (manifest["model"], manifest["rows"], manifest["width"]) == ("dense", 359, 2)
    assert manifest == {**report.exported.manifest, CHECKSUM: manifest[CHECKSUM]}
    assert not Path("out/final").exists()


def test_the_device_of_a_pipeline_reaches_models_that_have_one(folder, monkeypatch):
    @dataclass
    class OnDevice(DenseAutoencoder):
        device: str = "auto"

    monkeypatch.setattr(dense, "DenseAutoencoder", OnDevice)
    models = [{"name": "dense", "label": "a"}, {"name": "dense", "label": "b", "device": "cuda"}, {"name": "pca"}]
    Path("mine.yaml").write_text(yaml.safe_dump({**PIPELINE, "models": models, "device": "cpu"}))
    pipeline = read_pipeline("mine.yaml")
    task = ImageTask(pipeline)
    assert [getattr(task.build(spec), "device", None) for spec in pipeline.models] == ["cpu", "cuda", None]
    assert "device" not in pipeline.models[0].params


def test_a_map_of_codes_with_more_than_two_numbers(folder):
    model = {"name": "variational", "hidden": [12, 5], "epochs": 1}
    run(models=[model], metrics=["negative_elbo"])
    assert {"codes.png", "samples.png", "walks.png"} <= files("out/figures/variational")


@pytest.mark.parametrize(("split", "numbers"), [({"train": 1400, "valid": 50}, "1400 \\+ 50"), ({"valid": 1438}, "0 \\+ 1438")])
def test_more_images_than_there_are(folder, split, numbers):
    with pytest.raises(ConfigError, match=f"split: {numbers} images are needed, but dataset 'digits' has 1438"):
        run(split=split)
    assert not Path("out").exists()


def test_validation_images_follow_those_for_training(folder):
    Path("mine.yaml").write_text(yaml.safe_dump(PIPELINE))
    found, data = ImageTask(read_pipeline("mine.yaml")).data(0), digits()
    np.testing.assert_array_equal(found.images.train, data.train[:300])
    np.testing.assert_array_equal(found.images.train_labels, data.train_labels[:300])
    np.testing.assert_array_equal(found.valid, data.train[300:350])
    np.testing.assert_array_equal(found.valid_labels, data.train_labels[300:350])
    np.testing.assert_array_equal(found.images.test, data.test)


@pytest.mark.parametrize("components", [1, 3])
def test_a_folder_with_a_single_test_image(folder, components):
    report = run(dataset=own(9), split={}, models=[{"name": "pca", "components": components}], metrics=["mse"])
    assert report.data[0].sizes == {"train": 8, "valid": 0, "test": 1}
    assert report.data[0].profile == {"shape": [1, 4, 6]}
    assert files("out/figures/pca") == {"reconstructions.png", "activations.png", "codes.png", "filters-1.png"}


def test_a_folder_without_a_test_image_is_refused(folder):
    with pytest.raises(DataError, match="test"):
        run(dataset=own(4), split={}, models=[{"name": "pca", "components": 1}], metrics=["mse"])
