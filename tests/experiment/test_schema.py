"""The schemas accept what the readers accept, and refuse typos, as a validator of another origin sees it."""

import copy
import json
from pathlib import Path

import pytest
import yaml
from documents.blocks import PAGES, blocks_of
from jsonschema import Draft202012Validator

from recsys_ae.data.cards import declared_folder, read_card
from recsys_ae.declaration import parameters
from recsys_ae.experiment.pipeline_file import read_pipeline
from recsys_ae.experiment.schema import SCHEMAS, card_schema, pipeline_schema
from recsys_ae.images import IMAGE_MODELS
from recsys_ae.models import MODELS

PIPELINES = sorted(declared_folder("pipelines").glob("*.yaml"))
CARDS = sorted(declared_folder("datasets").glob("*.yaml"))
PIPELINE, CARD = Draft202012Validator(pipeline_schema()), Draft202012Validator(card_schema())
VALID = {
    "dataset": "shop.yaml",
    "split": {"kind": "k_fold", "k": 5, "fold": "each"},
    "models": [
        {"name": "autorec", "axis": "item", "hidden": 30, "warm_start": "yesterday"},
        {"name": "ease", "search": {"l2": [1, 2], "dropout": {"low": 0.1, "high": 0.5}}},
        {"name": "blend", "members": [{"name": "elsa"}, {"name": "ease", "l2": 3}]},
    ],
    "metrics": ["rmse", "ndcg@10", "sampled_hit_rate@5"],
    "export": {"k": 10, "block": "blocked.csv"},
    "register": {"name": "films"},
}
IMAGES = {"dataset": "digits", "models": [{"name": "stacked", "hidden": [9, 4], "noise": 0.2}], "metrics": ["mse"]}
TYPOS = {
    "a key": {"modles": []},
    "a model": {"models": [{"name": "esae"}]},
    "a parameter": {"models": [{"name": "ease", "l3": 1}]},
    "a parameter of another model": {"models": [{"name": "ease", "hidden": 3}]},
    "a value": {"models": [{"name": "autorec", "axis": "itme"}]},
    "a bound": {"models": [{"name": "ease", "l2": -1}]},
    "a type": {"models": [{"name": "ease", "l2": "much"}]},
    "a searched parameter": {"models": [{"name": "ease", "search": {"l3": [1]}}]},
    "a key of a range": {"models": [{"name": "ease", "search": {"l2": {"lo": 1, "high": 2}}}]},
    "a member": {"models": [{"name": "blend", "members": [{"name": "elsa", "factor": 3}, {"name": "ease"}]}]},
    "the label of a member": {"models": [{"name": "blend", "members": [{"name": "elsa", "label": "a"}, {"name": "ease"}]}]},
    "a metric": {"metrics": ["ndgc@10"]},
    "a metric without a length": {"metrics": ["ndcg"]},
    "a split": {"split": {"kind": "randm"}},
    "a parameter of a split": {"split": {"kind": "random", "tset": 0.1}},
    "a given split without a name": {"split": {"kind": "given"}},
    "a key of export": {"export": {"kk": 10}},
    "a key of a card": {"dataset": {"name": "a", "kind": "planted-ratings", "user": 10}},
    "the kind of a card": {"dataset": {"name": "a", "kind": "planted"}},
}


def plain(path: Path):
    """The content of a YAML file with dates as text, as editors see it."""
    return json.loads(json.dumps(yaml.safe_load(path.read_text(encoding="utf-8")), default=str))


@pytest.mark.parametrize("kind", SCHEMAS)
def test_schemas_are_valid(kind, call):
    Draft202012Validator.check_schema(SCHEMAS[kind]())
    code, out, _ = call("schema", kind)
    assert code == 0
    assert json.loads(out) == SCHEMAS[kind]()


@pytest.mark.parametrize("path", PIPELINES, ids=lambda path: path.stem)
def test_shipped_pipelines_are_valid(path):
    PIPELINE.validate(plain(path))


@pytest.mark.parametrize("path", PIPELINES, ids=lambda path: path.stem)
def test_pipelines_with_all_defaults_are_valid(path):
    PIPELINE.validate(yaml.safe_load(read_pipeline(str(path)).to_yaml()))


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.stem)
def test_shipped_cards_are_valid(path):
    CARD.validate(plain(path))
    content = read_card(str(path))[0].model_dump(mode="json")
    CARD.validate({key: value for key, value in content.items() if value is not None})


def test_other_valid_files_are_accepted():
    PIPELINE.validate(VALID)
    PIPELINE.validate(IMAGES)


@pytest.mark.parametrize("change", TYPOS.values(), ids=TYPOS)
def test_typos_are_refused(change):
    assert not PIPELINE.is_valid({**copy.deepcopy(VALID), **change})


def test_typos_in_cards_are_refused():
    content = plain(declared_folder("datasets") / "ml-100k.yaml")
    for key, value in {"fiels": [], "duplicates": "frist", "scale": [1], "splits": {"u1": {"tran": "a"}}, "k_core": 0}.items():
        assert not CARD.is_valid({**content, key: value}), key


def test_every_parameter_of_every_model_is_known():
    found = {name: (MODELS if name in MODELS else IMAGE_MODELS).get(name) for name in (*MODELS, *IMAGE_MODELS)}
    definitions = pipeline_schema()["$defs"]
    branches = {one["if"]["properties"]["name"]["const"]: one["then"] for one in definitions["model"]["allOf"]}
    branches |= {one["if"]["properties"]["name"]["const"]: one["then"] for one in definitions["image-model"]["allOf"]}
    for name, kind in found.items():
        if name != "pca":  # of which there are two
            assert {*parameters(kind()), "name", "label", "search"} <= {*branches[name]["properties"]}, name


def test_pipelines_in_the_documents_are_valid():
    pages = [page for page in PAGES if page.name != "extending.md"]  # whose model the schema cannot know
    read = [yaml.safe_load(block.text) for page in pages for block in blocks_of(page) if block.language == "yaml"]
    whole = [one for one in read if {"dataset", "models"} <= set(one)]
    assert len(whole) > 3
    for content in whole:
        PIPELINE.validate(json.loads(json.dumps(content, default=str)))
