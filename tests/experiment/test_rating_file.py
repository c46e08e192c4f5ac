import pytest

from recsys_ae.errors import ConfigError
from recsys_ae.experiment.pipeline_file import read_pipeline

PIPELINE = """
dataset: planted-ratings
split: {kind: random, test: 0.1, valid: 0.05}
models:
  - {name: autorec, axis: item, hidden: 20}
  - {name: mf, label: MF}
metrics: [rmse, ndcg@10]
export: {k: 5}
"""


def read(folder, text=PIPELINE, *settings):
    path = folder / "mine.yaml"
    path.write_text(text)
    return read_pipeline(str(path), settings)


def test_defaults_are_written_out(tmp_path):
    pipeline = read(tmp_path)
    assert pipeline.name == pipeline.experiment == "mine"
    assert [model.label for model in pipeline.models] == ["autorec-item", "MF"]
    assert pipeline.models[0].params["hidden"] == [20]
    assert pipeline.models[1].params["factors"] == 200
    assert pipeline.keys.split == {"kind": "random", "test": 0.1, "valid": 0.05}
    assert (pipeline.seeds, pipeline.keys.refit, pipeline.keys.device) == ([0], False, "cpu")


def test_resolved_pipeline_means_the_same(tmp_path):
    pipeline = read(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    again = read(tmp_path / "elsewhere", pipeline.to_yaml())
    assert again.to_yaml() == pipeline.to_yaml()
    assert again.models == pipeline.models


def test_several_seeds_survive_resolving(tmp_path):
    pipeline = read(tmp_path, PIPELINE + "seed: [3, 1]\nrefit: true\n")
    again = read(tmp_path, pipeline.to_yaml())
    assert (again.to_yaml(), again.models) == (pipeline.to_yaml(), pipeline.models)
    assert (again.seeds, again.keys.refit) == (pipeline.seeds, pipeline.keys.refit) == ([3, 1], True)


def test_searches_and_starts_survive_resolving(tmp_path):
    text = PIPELINE.replace("name: mf,", "name: mf, search: {factors: [2, 4]}, warm_start: old/mf,").replace(
        "k: 5}", "k: 5}\nsearch: {trials: 3}"
    )
    pipeline = read(tmp_path, text)
    (tmp_path / "elsewhere").mkdir()
    assert read(tmp_path / "elsewhere", pipeline.to_yaml()).models == pipeline.models
    assert pipeline.models[1].search == {"factors": [2, 4]}
    assert pipeline.models[1].warm_start == str(tmp_path / "old/mf")
    assert pipeline.keys.search.trials == 3


def test_searching_needs_a_validation_part(tmp_path):
    text = PIPELINE.replace("valid: 0.05", "valid: 0").replace("name: mf,", "name: mf, search: {factors: [2, 4]},")
    with pytest.raises(ConfigError, match="MF searches parameters on the validation part; give split a `valid`"):
        read(tmp_path, text)


def test_settings_reach_every_level(tmp_path):
    pipeline = read(
        tmp_path,
        PIPELINE,
        "split.seed=3",
        "models.MF.factors=7",
        "models.0.hidden=[9, 4]",
        "metrics=[mae]",
        "export.k=2",
        "seed=5",
    )
    assert pipeline.keys.split["seed"] == 3
    assert pipeline.models[1].params["factors"] == 7
    assert pipeline.models[0].params["hidden"] == [9, 4]
    assert (pipeline.keys.metrics, pipeline.keys.export.k, pipeline.seeds) == (["mae"], 2, [5])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("metrics:", "metric:"), "unknown key 'metric'; did you mean 'metrics'"),
        (("metrics:", "regster: {name: films}\nmetrics:"), "unknown key 'regster'; did you mean 'register'"),
        (("ndcg@10", "ndgc@10"), "did you mean 'ndcg'"),
        (("name: mf", "name: bais"), "unknown model 'bais'; did you mean 'bias'"),
        (("name: mf", "nam: mf"), r"models\.1: key 'name' is missing"),
        (("hidden: 20", "hiden: 20"), r"models\.0 'autorec': unknown key 'hiden'; did you mean 'hidden'"),
        (("hidden: 20", "hidden: many"), r"models\.0 'autorec': hidden"),
        (("hidden: 20", "epochs: 0"), r"epochs: expected at least 1, got 0"),
        (("axis: item", "axis: items"), "axis: expected 'item' or 'user', got 'items'"),
        (("kind: random", "kind: randm"), "unknown split 'randm'; did you mean 'random'"),
        (("kind: random, ", ""), "key 'kind' is missing"),
        (("test: 0.1", "tests: 0.1"), "split random: unknown key 'tests'; did you mean 'test'"),
        (("test: 0.1", "test: lots"), "test: expected a number, got 'lots'"),
        (("dataset: planted-ratings", "dataset: planted"), "unknown dataset 'planted'"),
        (("dataset: planted-ratings", "dataset: digits"), "split: this is a split of ratings, but the dataset holds images"),
        (("k: 5", "k: 5, model: autorek"), "export.model: no model 'autorek'"),
        (("name: mf,", "name: mff,"), r"mine\.yaml: models\.1: unknown model 'mff'"),
        (("name: mf,", "name: dense,"), r"models\.1: 'dense' is an image model, but the dataset holds ratings"),
        (("k: 5", "k: 5, by: recall@3"), "export.by 'recall@3' is not among the metrics"),
        (("label: MF", "label: autorec-item"), "two models are labelled 'autorec-item'"),
        (("label: MF", "label: ../MF"), "may have only letters, digits"),
        (("label: MF", "label: -MF"), "must begin with a letter or digit"),
        (("label: MF", 'label: "[red]x[/]"'), "may have only letters, digits"),
        (("label: MF", 'label: "a\\nb"'), "may have only letters, digits"),
        (("label: MF", "label: ''"), "may have only letters, digits"),
        (("label: MF", "label: [1, 2]"), "may have only letters, digits"),
        (("label: MF", f"label: {'é' * 51}"), "has more than 100 bytes"),
        (("label: MF", "label: Best"), "'Best' is reserved"),
        (("label: MF", "label: com1.x"), "'com1.x' is reserved"),
        (("label: MF", "label: AutoRec-Item"), "'AutoRec-Item' and 'autorec-item', which are the same folder on some"),
        (("export:", "tracking: {experiment: ''}\nexport:"), "experiment: a name needs 1 to 100 bytes of printable text"),
        (("export:", 'tracking: {experiment: "a\\eb"}\nexport:'), "experiment: a name needs 1 to 100 bytes of printable text"),
        (("export:", f"tracking: {{experiment: {'x' * 101}}}\nexport:"), "experiment: a name needs 1 to 100 bytes"),
        (("export:", "seed: 18446744073709551616\nexport:"), "seed: whole numbers may be at most 2147483647"),
        (("export:", f"seed: {list(range(101))}\nexport:"), "expected at most 100 items, got"),
        (("k: 5", f"k: {10**18}"), r"export\.k: whole numbers may be at most 2147483647"),
        (("test: 0.1", "test: .nan"), r"split\.test: numbers must be finite"),
        (("test: 0.1, valid: 0.05", f"test: 0.1, valid: 0.05, seed: {2**64}"), "seed: whole numbers may be at most"),
        (("kind: random, test: 0.1, valid: 0.05", f"kind: k_fold, k: {10**30}"), "k: whole numbers may be at most"),
        (("export:", "relevant_at: 1.0e+39\nexport:"), "relevant_at: numbers must be finite"),
        (("export:", "positive_at: -.inf\nexport:"), "positive_at: numbers must be finite"),
        (("name: mf,", "name: mf, search: {l2: [0.1, .inf]},"), r"models\.1\.search\.l2\.1: numbers must be finite"),
        (
            (
                "name: mf,",
                f"name: mf, search: {{factors: {list(range(1, 1001))}, epochs: {list(range(1, 1001))}, "
                f"patience: {list(range(1001))}}},",
            ),
            "search has more than 1000000000 combinations",
        ),
        (("dataset: planted-ratings", f"dataset: {'x' * 300}"), "unknown dataset 'xxx"),
        (("dataset: planted-ratings", f"dataset: {'x/' * 3000}y.yaml"), "there is no dataset card"),
        (("export:", "seed: [1, 2, 1]\nexport:"), r"the seeds must differ, got \[1, 2, 1\]"),
        (("valid: 0.05}", "valid: 0}\nrefit: true"), "refit adds the validation part .* give split a `valid`"),
        (("name: mf,", "name: mf, search: {facters: [1]},"), r"models\.1: search.facters of 'mf': unknown key 'facters'"),
        (("name: mf,", "name: mf, search: {factors: [4, few]},"), r"models\.1: search.factors of 'mf': factors"),
        (("name: mf,", "name: mf, search: {factors: 4},"), "search must give each parameter a list of values"),
        (("k: 5}", "k: 5}\nsearch: {by: mae}"), "search.by 'mae' is not among the metrics"),
        (("export:", "cold: popula\nexport:"), "cold: expected 'error', 'popular' or 'skip'"),
        (("export:", "compare: [[MF, autorek]]\nexport:"), "compare: there is no model 'autorek'"),
        (("export:", "device: gpu\nexport:"), "device: expected 'auto', 'cpu' or 'cuda', got 'gpu'"),
        (("split: {kind: random,", "refit: true\nsplit: {kind: user_holdout,"), "refit would train on users"),
    ],
)
def test_mistakes_are_named_with_their_place(tmp_path, change, message):
    assert change[0] in PIPELINE
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, PIPELINE.replace(*change))


def test_messages_are_short(tmp_path):
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, PIPELINE, f"seed={'x' * 100_000}", f"export={'y' * 100_000}")
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("split.seed", "needs key=value"),
        ("split.sed=1", "unknown key 'sed'"),
        ("models.5.hidden=1", "no entry '5'; there are autorec-item, MF"),
        ("seed=[", "not valid YAML"),
        ("seed.deeper=1", "seed: expected a whole number"),
        ("metrics.0.deeper=1", "the value above 'deeper' has no keys"),
        ("models.²=1", "no entry '²'"),
        (f"models.{'9' * 5000}=1", "no entry '999"),
        ("x." * 5000 + "y=1", "keys are nested more than 32 levels deep"),
        ("seed=" + "[" * 3000, "nested more than 32 levels deep"),
        ("seed=2001-13-45", "'2001-13-45' is not a valid date"),
        ("seed=!!int abc", "'abc' is not a valid whole number"),
        ("seed=\udcff", "not a text file"),
        ("seed=" + "x" * 5000, "seed"),
        (
            "dataset={name: a, kind: ratings, scale: [-.inf, .inf], files: [{path: a, columns: {user: u, item: i}}]}",
            r"dataset: the scale must be \[lowest, highest\] within \+-1e\+09, got \[-inf, inf\]",
        ),
        ("dataset={name: a, kind: planted-ratings, noise: .inf}", "dataset: noise: numbers must be finite"),
    ],
)
def test_wrong_settings(tmp_path, setting, message):
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, PIPELINE, setting)


def test_own_card_inside_the_pipeline(tmp_path):
    own = "dataset: {name: own, kind: ratings, files: [{path: log.csv, columns: {user: u, item: i}}]}"
    pipeline = read(tmp_path, PIPELINE.replace("dataset: planted-ratings", own))
    assert pipeline.card.name == "own"
    assert pipeline.card_folder == tmp_path


def test_missing_and_unknown_pipelines(tmp_path):
    with pytest.raises(ConfigError, match="there is no pipeline file"):
        read_pipeline(str(tmp_path / "absent.yaml"))
    with pytest.raises(ConfigError, match="unknown pipeline 'dmo'; did you mean 'demo'"):
        read_pipeline("dmo")
    for name in ("x" * 300, "a\0b"):
        with pytest.raises(ConfigError, match="unknown pipeline"):
            read_pipeline(name)


@pytest.mark.parametrize("name", ["a\nb", "x" * 101, " "])
def test_a_pipeline_is_named_after_its_file(tmp_path, name):
    (tmp_path / f"{name}.yaml").write_text(PIPELINE)
    with pytest.raises(ConfigError, match="the file gives the pipeline its name, and a name needs 1 to 100 bytes"):
        read_pipeline(str(tmp_path / f"{name}.yaml"))


def test_numbers_in_a_list_are_addressed_by_place(tmp_path):
    assert read(tmp_path, PIPELINE.replace("export:", "seed: [1, 2, 3]\nexport:"), "seed.1=9").seeds == [1, 9, 3]
