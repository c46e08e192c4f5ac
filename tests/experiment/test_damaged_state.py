"""Whatever is damaged, exchanged or deleted between a kill and --resume is reported by name or done again, never used."""

import shutil
from pathlib import Path

import pytest
import yaml
from damage import flips, outcome
from rich.console import Console

from recsys_ae.core.checkpoint import Checkpoint
from recsys_ae.experiment.images import ImageTask
from recsys_ae.experiment.pipeline_file import read_pipeline
from recsys_ae.experiment.runner import run_pipeline
from recsys_ae.reporting.results import RunReport
from recsys_ae.tracking import Tracker

RATINGS = {
    "dataset": {"name": "small", "kind": "planted-ratings", "users": 40, "items": 30, "ratings": 240, "factors": 2},
    "split": {"kind": "random", "test": 0.2, "valid": 0.1},
    "models": [
        {"name": "popularity"},
        {"name": "bias"},
        {"name": "autorec", "hidden": 4, "epochs": 5, "search": {"learning_rate": [0.002, 0.003]}},
    ],
    "metrics": ["ndcg@5"],
    "refit": True,
    "compare": [["bias", "popularity"]],
    "export": {"k": 5, "model": "autorec"},
}
IMAGES = {
    "dataset": "digits",
    "split": {"train": 60, "valid": 20},
    "models": [
        {"name": "pca", "components": 2},
        {"name": "dense", "hidden": 2, "epochs": 2, "label": "basic"},
        {"name": "dense", "hidden": 2, "epochs": 4, "label": "last"},
    ],
    "metrics": ["mse"],
    "export": {"model": "basic"},
}
KINDS = {"ratings": (RATINGS, "autorec+refit"), "images": (IMAGES, "last")}
KILLED = {
    "ratings": {
        ".work/autorec+refit.checkpoint",
        ".work/autorec-trial-1.json",
        ".work/data.json",
        ".work/data-0.json",
        ".work/result-bias.json",
        ".work/result-popularity.json",
        ".work/run.json",
        ".work/run-autorec.json",
        ".work/selected-autorec.json",
        "models/bias/arrays.safetensors",
        "models/bias/items.parquet",
        "models/bias/model.json",
        "per-user/bias.parquet",
        "pipeline.yaml",
    },
    "images": {
        ".work/last.checkpoint",
        ".work/result-basic.json",
        "models/basic/arrays.safetensors",
        "models/basic/model.json",
        "pipeline.yaml",
    },
}


def run(keys: dict, output: str, *, resume: bool = False) -> RunReport:
    Path("mine.yaml").write_text(yaml.safe_dump(keys))
    return run_pipeline(read_pipeline("mine.yaml"), Path(output), Tracker(), Console(quiet=True), resume=resume)


def killed(keys: dict, output: str, within: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that ends in the third epoch of one training, or its last, just after its checkpoint was written."""
    update = Checkpoint.on_epoch

    def die(checkpoint, training):
        checkpoint._next = 0.0
        update(checkpoint, training)
        if checkpoint.path.name == f"{within}.checkpoint" and len(training.history) == min(3, training.config.epochs):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "on_epoch", die)
        with pytest.raises(KeyboardInterrupt):
            run(keys, output)


def results(output: str, report: RunReport) -> dict:
    """Everything that a run leaves except when it was, how long it took and its figures."""
    models = {label: [(one.params, one.metrics, one.digest) for one in m.runs.values()] for label, m in report.models.items()}
    kept = [path for path in sorted(Path(output).rglob("*")) if path.is_file() and "figures" not in path.parts]
    files = {
        str(path.relative_to(output)): path.read_bytes() for path in kept if path.stem not in ("report", "trials", "_manifest")
    }
    return {"models": models, "comparisons": report.comparisons, "files": files}


@pytest.fixture(params=KINDS)
def interrupted(request, tmp_path, monkeypatch) -> tuple[dict, str, dict]:
    """A pipeline, its kind, the results of an uninterrupted run; the folder `killed` has an interrupted one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ImageTask, "figures", lambda *_: {})  # they take seconds and decide nothing
    keys, within = KINDS[request.param]
    whole = results("whole", run(keys, "whole"))
    killed(keys, "killed", within, monkeypatch)
    return keys, request.param, whole


def state_files() -> list[Path]:
    """The files of the interrupted run that the resumed run needs."""
    finished = {f"{state}-{label}.json" for state in ("run", "selected") for label in ("popularity", "bias", "pca", "basic")}
    unread = {*finished, "run-autorec-trial-1.json", "run-autorec-trial-2.json", "autorec.checkpoint", ".lock", "losses.png"}
    return [
        path.relative_to("killed") for path in sorted(Path("killed").rglob("*")) if path.is_file() and path.name not in unread
    ]


def attempt(keys: dict, output: str = "copy") -> dict | str:
    """The results of a resumed run, or the message of the error that ended it."""
    found, error = outcome(lambda: results(output, run(keys, output, resume=True)))
    return found if error is None else error


def copied() -> None:
    shutil.rmtree("copy", ignore_errors=True)
    shutil.copytree("killed", "copy")


def test_an_undamaged_run_is_continued(interrupted):
    keys, kind, whole = interrupted
    assert {str(path) for path in state_files()} >= KILLED[kind]
    copied()
    assert attempt(keys) == whole


def test_a_flipped_bit_is_named_or_changes_nothing(interrupted):
    keys, _, whole = interrupted
    noticed, names = 0, state_files()
    for number, name in enumerate(names):
        for what in flips(Path("killed") / name, 5, seed=number):
            copied()
            found = attempt(keys)
            if isinstance(found, str):
                assert str(Path("copy") / name) in found, (what, found)
                assert "delete" in found or "another pipeline" in found
                noticed += 1
            else:
                assert found == whole, what
    assert noticed > 4 * len(names)  # hardly any bit is without meaning


def test_a_truncated_file_is_named(interrupted):
    keys, _, _ = interrupted
    for name in state_files():
        for size in (0, 7, (Path("killed") / name).stat().st_size - 2):
            copied()
            path = Path("copy") / name
            path.write_bytes(path.read_bytes()[:size])
            found = attempt(keys)
            assert str(path) in found, name


def test_deleted_results_are_redone(interrupted):
    """Every file alone, and every model's folder; as messages about damage advise."""
    keys, _, whole = interrupted
    deleted = [name for name in state_files() if name.parts[0] != "models"]
    for name in [*deleted, *(Path("models") / path.name for path in Path("killed/models").iterdir())]:
        copied()
        path = Path("copy") / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        found = attempt(keys)
        if name.name == "pipeline.yaml":
            assert "holds no run to resume" in found
        else:
            assert found == whole, name


def another(keys: dict, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same interrupted run on other data in the folder `other`."""
    changed = {"dataset": {**RATINGS["dataset"], "seed": 1}} if kind == "ratings" else {"split": {"train": 61, "valid": 20}}
    killed({**keys, **changed}, "other", KINDS[kind][1], monkeypatch)


def test_state_of_another_run_is_refused(interrupted, monkeypatch):
    """Each file is valid, but belongs to a run on other data."""
    keys, kind, whole = interrupted
    another(keys, kind, monkeypatch)
    for name in state_files():
        copied()
        shutil.copy(Path("other") / name, Path("copy") / name)
        found = attempt(keys)
        same = (Path("other") / name).read_bytes() == (Path("killed") / name).read_bytes()  # such as ids
        named = name.parent if name.name == "model.json" else name  # it lists other files than those beside it
        assert found == whole if same else str(Path("copy") / named) in found, name


def test_the_model_of_another_run_is_refused(interrupted, monkeypatch):
    keys, kind, _ = interrupted
    label = "bias" if kind == "ratings" else "basic"
    another(keys, kind, monkeypatch)
    copied()
    shutil.rmtree(f"copy/models/{label}")
    shutil.copytree(f"other/models/{label}", f"copy/models/{label}")
    assert f"copy/models/{label} holds another model than this run saved there; delete it" in attempt(keys)


def test_a_state_file_under_another_name_is_refused(interrupted):
    keys, kind, _ = interrupted
    first, second = ("popularity", "bias") if kind == "ratings" else ("pca", "basic")
    copied()
    shutil.copy(f"copy/.work/result-{first}.json", f"copy/.work/result-{second}.json")
    assert f"result-{second}.json is damaged or belongs to another run or model" in attempt(keys)


def test_a_flipped_bit_in_the_report_is_named_or_changes_nothing(interrupted):
    keys, _, whole = interrupted
    for what in flips(Path("whole/report.json"), 30):
        found = attempt(keys, "whole")
        assert found == whole or str(found).startswith("whole/report.json is damaged: "), what
