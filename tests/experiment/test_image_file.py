"""Pipeline files of image models: defaults, mistakes, and equivalence of the resolved file."""

import struct

import numpy as np
import pytest
import yaml
from PIL import Image

from recsys_ae.data.images import IMAGES, LABELS
from recsys_ae.errors import ConfigError
from recsys_ae.experiment.images import ImageFile, ImageTask
from recsys_ae.experiment.pipeline_file import read_pipeline
from recsys_ae.experiment.ratings import RatingFile

PIPELINE = """
dataset: digits
split: {train: 1000, valid: 200}
models:
  - {name: dense, hidden: 20}
  - {name: stacked, label: deep, hidden: [30, 10], layer_noise: 0.2, corruption: masking}
metrics: [mse, error_rate]
seed: [0, 1]
compare: [[dense, deep]]
"""
FOLDER = "{name: own, kind: image-folder, folder: pictures}"
IDX = "{name: own, kind: idx-images, train_images: images, train_labels: labels, test_images: images, test_labels: labels}"


def read(folder, text=PIPELINE, *settings):
    path = folder / "mine.yaml"
    path.write_text(text)
    return read_pipeline(str(path), settings)


def test_defaults_are_written_out(tmp_path):
    pipeline = read(tmp_path)
    assert isinstance(pipeline.keys, ImageFile)
    assert pipeline.name == pipeline.experiment == "mine"
    assert [model.label for model in pipeline.models] == ["dense", "deep"]
    assert pipeline.models[0].params["hidden"] == [20]
    assert pipeline.models[0].params["activation"] == "sigmoid"
    assert pipeline.models[1].params["layer_noise"] == [0.2]
    assert (pipeline.keys.split.train, pipeline.keys.split.valid) == (1000, 200)
    assert (pipeline.seeds, pipeline.keys.compare) == ([0, 1], [("dense", "deep")])
    least = read(tmp_path, "dataset: digits\nmodels: [{name: pca}]\nmetrics: [mse]\ntracking: {experiment: all}\n")
    keys = least.keys
    assert (keys.split.train, keys.split.valid, least.seeds, keys.compare, keys.white) == (None, 0, [0], [], None)
    assert least.experiment == "all"


def test_a_label_has_the_words_among_the_parameters(tmp_path):
    text = PIPELINE.replace("{name: dense, hidden: 20}", "{name: dense, hidden: 20, activation: tanh}")
    pipeline = read(tmp_path, text.replace("[dense, deep]", "[dense-tanh, deep]"))
    assert pipeline.models[0].label == "dense-tanh"


def test_resolved_pipeline_means_the_same(tmp_path):
    pipeline = read(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    assert read(tmp_path / "elsewhere", pipeline.to_yaml()) == pipeline
    assert yaml.safe_load(pipeline.to_yaml())["models"][0]["noise"] == 0.0


def test_a_single_seed_and_another_white_survive_resolving(tmp_path):
    text = PIPELINE.replace("seed: [0, 1]\ncompare: [[dense, deep]]", "seed: 3\nwhite: 256")
    pipeline = read(tmp_path, text.replace("dataset: digits", "dataset: mnist"))
    assert (pipeline.seeds, pipeline.keys.white) == ([3], 256)
    again = read(tmp_path, pipeline.to_yaml())
    assert again == pipeline


@pytest.mark.parametrize("card", [FOLDER, IDX])
def test_own_images_are_found_from_wherever_the_pipeline_is_resolved(tmp_path, card):
    (tmp_path / "pictures").mkdir()
    for number in range(5):
        Image.new("L", (3, 2), 10 * number).save(tmp_path / f"pictures/{number}.png")
    (tmp_path / "images").write_bytes(struct.pack(">4I", IMAGES, 1, 2, 3) + bytes(6))
    (tmp_path / "labels").write_bytes(struct.pack(">2I", LABELS, 1) + bytes(1))
    text = PIPELINE.replace("dataset: digits", f"dataset: {card}").replace("{train: 1000, valid: 200}", "{}")
    pipeline = read(tmp_path, text)
    (tmp_path / "elsewhere").mkdir()
    again = read(tmp_path / "elsewhere", pipeline.to_yaml())
    found = [ImageTask(one).data(0).images.test for one in (pipeline, again)]
    np.testing.assert_array_equal(*found)
    assert found[0].shape == (1, 6)


@pytest.mark.parametrize(("white", "pixel"), [(None, 1.0), (510, 0.5)])
def test_white_is_the_byte_that_becomes_one(tmp_path, white, pixel):
    (tmp_path / "images").write_bytes(struct.pack(">4I", IMAGES, 1, 1, 2) + bytes([0, 255]))
    (tmp_path / "labels").write_bytes(struct.pack(">2I", LABELS, 1) + bytes(1))
    text = PIPELINE.replace("dataset: digits", f"dataset: {IDX}").replace("{train: 1000, valid: 200}", "{}")
    pipeline = read(tmp_path, text if white is None else f"{text}white: {white}\n")
    np.testing.assert_array_equal(ImageTask(pipeline).data(0).images.train, np.float32([[0, pixel]]))


def test_a_card_in_a_file_is_found_from_wherever_the_pipeline_is_resolved(tmp_path):
    (tmp_path / "own.yaml").write_text("{name: own, kind: image-folder, folder: pictures}")
    pipeline = read(tmp_path, PIPELINE.replace("dataset: digits", "dataset: own.yaml"))
    (tmp_path / "elsewhere").mkdir()
    again = read(tmp_path / "elsewhere", pipeline.to_yaml())
    assert again.card_folder == pipeline.card_folder == tmp_path
    assert again.card == pipeline.card


def test_settings_reach_every_level(tmp_path):
    pipeline = read(
        tmp_path, PIPELINE, "split.valid=3", "models.deep.epochs=7", "models.0.hidden=[9, 4]", "metrics=[mse]", "seed=[5, 6]"
    )
    assert pipeline.keys.split.valid == 3
    assert pipeline.models[1].params["epochs"] == 7
    assert pipeline.models[0].params["hidden"] == [9, 4]
    assert (pipeline.keys.metrics, pipeline.seeds) == (["mse"], [5, 6])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("metrics:", "metric:"), "mine.yaml: unknown key 'metric'; did you mean 'metrics'"),
        (("[mse, error_rate]", "[mes, error]"), "mine.yaml: unknown metric 'mes' of images; did you mean 'mse'"),
        (("[mse, error_rate]", "[]"), "mine.yaml: metrics: expected at least 1 item, got"),
        (("[mse, error_rate]", "[ndcg@10]"), "mine.yaml: unknown metric 'ndcg@10' of images"),
        (("name: dense", "name: dens"), "unknown image model 'dens'; did you mean 'dense'"),
        (("name: dense", "name: autorec"), "unknown image model 'autorec'"),
        (("name: dense", "nam: dense"), r"mine.yaml: models\.0: key 'name' is missing"),
        (("hidden: 20", "hiden: 20"), r"mine.yaml: models\.0 'dense': unknown key 'hiden'; did you mean 'hidden'"),
        (("hidden: 20", "hidden: many"), r"mine.yaml: models\.0 'dense': hidden"),
        (
            ("hidden: 20", "epochs: 0"),
            r"mine.yaml: models\.0 'dense': epochs: expected at least 1, got 0",
        ),
        (
            ("hidden: 20", "loss: squared"),
            r"mine.yaml: models\.0 'dense': loss: unknown loss",
        ),
        (("hidden: 20", "activation: sigmod"), "unknown activation 'sigmod'; did you mean 'sigmoid'"),
        (("layer_noise: 0.2", "layer_noise: [0.1, 0.1, 0.1]"), "layer_noise needs one number per layer: 2, got 3"),
        (("label: deep", "label: dense"), "mine.yaml: two models are labelled 'dense'"),
        (("label: deep", "label: ../deep"), "may have only letters, digits"),
        (("train: 1000", "train: 0"), r"mine.yaml: split\.train: expected at least 1, got 0"),
        (("train: 1000", "test: 1000"), r"mine.yaml: unknown key 'split\.test'"),
        (("dataset: digits", "dataset: digit"), "unknown dataset 'digit'; did you mean 'digits'"),
        (("dataset: digits", ""), "mine.yaml: key 'dataset' is missing; give it the name of a card"),
        (("dataset: digits", "dataset: 3"), "mine.yaml: key 'dataset' is missing; give it the name of a card"),
        (("dataset: digits", "dataset: {name: own, kind: image-folder}"), "mine.yaml: dataset: key 'folder' is missing"),
        (
            ("dataset: digits", "dataset: digits\nwhite: 256"),
            "mine.yaml: white applies only to IDX datasets, but 'digits' is not one",
        ),
        (
            ("dataset: digits", "dataset: mnist\nwhite: 100"),
            "mine.yaml: white: expected at least 255, got 100",
        ),
        (("seed: [0, 1]", "seed: 0"), r"mine.yaml: compare needs several seeds, such as seed: \[0, 1, 2\]"),
        (("seed: [0, 1]", "seed: [0, 0]"), r"mine.yaml: seed: the seeds must differ, got \[0, 0\]"),
        (("seed: [0, 1]", "seed: -1"), "seed"),
        (("[[dense, deep]]", "[[dense, deeep]]"), "mine.yaml: compare: there is no model 'deeep'; did you mean 'deep'"),
        (("[[dense, deep]]", "[[dense]]"), "compare"),
        (
            ("split: {", "split: {kind: random, "),
            "mine.yaml: split: this is a split of ratings, but the dataset holds images; use the keys",
        ),
        (("metrics:", "export: {k: 5}\nmetrics:"), r"mine.yaml: unknown key 'export\.k'"),
        (("metrics:", "export: {model: deeep}\nmetrics:"), "export.model: no model 'deeep'; did you mean 'deep'"),
        (
            ("metrics:", "refit: true\nmetrics:"),
            "refit trains for the best number of epochs, but 'stacked' is trained in several",
        ),
        (("hidden: 20", "search: {hiden: [20]}"), r"models\.0: search.hiden of 'dense': unknown key 'hiden'"),
        (("hidden: 20", "warm_start: out"), r"models\.0 'dense': unknown key 'warm_start'"),
        (("metrics:", "cold: skip\nmetrics:"), "mine.yaml: unknown key 'cold'"),
    ],
)
def test_mistakes_are_named_with_their_place(tmp_path, change, message):
    assert change[0] in PIPELINE
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, PIPELINE.replace(*change))


@pytest.mark.parametrize("change", [("name: dense", "name: dens"), ("layer_noise: 0.2", "layer_noise: [0.1, 0.1, 0.1]")])
def test_mistakes_found_by_a_model_are_named_with_their_place(tmp_path, change):
    place = 0 if "dens" in change[0] else 1
    with pytest.raises(ConfigError, match=rf"mine\.yaml: models\.{place}"):
        read(tmp_path, PIPELINE.replace(*change))


def test_the_dataset_determines_the_kind_of_a_pipeline(tmp_path):
    ratings = "dataset: planted-ratings\nsplit: {kind: random, test: 0.1}\nmodels: [{name: bias}]\nmetrics: [rmse]\n"
    assert isinstance(read(tmp_path, ratings).keys, RatingFile)
    with pytest.raises(ConfigError, match="'dense' is an image model"):
        read(tmp_path, ratings.replace("name: bias", "name: dense"))
    with pytest.raises(ConfigError, match="unknown key 'white'"):
        read(tmp_path, ratings + "white: 256\n")
