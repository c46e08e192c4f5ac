"""What was written earlier and is trusted only after it has been checked: models, checkpoints, the state of a run."""

import json
import shutil
from pathlib import Path

import pytest
from robustness.catalogue import Case, cases, tree, write
from robustness.feeding import RUN, after, flipped, pipeline, small_log, small_model

from recsys_ae import build_image_model, cli, load_image_model, save_image_model

HISTORY = "user,item,rating\n1,101,5\n1,102,4\n2,103,1\n"
EXPORT = "export model --history history.csv --output lists --k 3"


def model(name: str, change, *, kind: str = "ease", says: tuple[str, ...] = ("model",), **params: object) -> Case:
    """A saved recommender that something happened to, then used."""
    return Case(name, EXPORT, {"model": after(small_model(kind, **params), change), "history.csv": HISTORY}, 1, says)


def remove(file: str):
    return lambda folder: (folder / file).unlink()


def put(file: str, content: bytes | str):
    return lambda folder: (folder / file).write_bytes(content if isinstance(content, bytes) else content.encode())


def cut(file: str, share: float = 0.5):
    return lambda folder: (folder / file).write_bytes(
        (folder / file).read_bytes()[: int(share * (folder / file).stat().st_size)]
    )


def described(**keys: object):
    """A function that changes the description of a model."""

    def change(folder: Path) -> None:
        path = folder / "model.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))

    return change


MODELS = [
    model("model-without-description", remove("model.json"), says=("model", "model.json")),
    model("model-without-arrays", remove("arrays.safetensors"), says=("model", "arrays.safetensors")),
    model("model-without-ids", remove("items.parquet"), says=("model", "items.parquet")),
    model("model-description-empty", put("model.json", "")),
    model("model-description-list", put("model.json", "[1]")),
    model("model-description-null", put("model.json", "null")),
    model("model-description-number", put("model.json", "17")),
    model("model-description-deep", put("model.json", "[" * 100_000)),
    model("model-description-not-utf-8", put("model.json", b'{"format": "\xff"}')),
    model("model-description-cut", cut("model.json")),
    model("model-arrays-empty", put("arrays.safetensors", b"")),
    model("model-arrays-cut", cut("arrays.safetensors")),
    model("model-arrays-huge-header", put("arrays.safetensors", b"\xff" * 8 + b"{}")),
    model("model-ids-cut", cut("items.parquet")),
    model("model-ids-text", put("items.parquet", "id\n1\n")),
    model("model-arrays-flipped-in-the-header", flipped("arrays.safetensors", 40)),
    model("model-arrays-flipped", flipped("arrays.safetensors", 0.9, 5)),
    model("model-parameter-changed", described(params={"l2": 1.0})),
    model("model-parameter-unknown", described(params={"l3": 1.0})),
    model("model-parameters-list", described(params=[1])),
    model("model-parameters-null", described(params=None)),
    model("model-unknown", described(model="eese"), says=("model", "eese|digest|damaged")),
    model("model-name-list", described(model=["ease"])),
    model("model-meta-null", described(meta=None)),
    model("model-meta-list", described(meta=[])),
    model("model-ids-elsewhere", described(ids=["../history"])),
    model("model-ids-number", described(ids=7)),
    model("model-format-newer", described(format=99), says=("format.*99|damaged",)),
    model("model-format-text", described(format="one"), says=("format|damaged",)),
    model("model-digest-missing", described(digest=None), says=("digest|damaged",)),
    model("model-infinite-scale", described(meta={"scale": [1, float("inf")]})),
    model("model-is-a-file", lambda folder: (shutil.rmtree(folder), folder.write_text("x")), says=("model",)),
    Case("model-missing", EXPORT, {"history.csv": HISTORY}, 1, ("model",)),
    Case(
        "model-name-of-300-characters",
        f"export {'m' * 300} --history history.csv --output lists",
        {"history.csv": HISTORY},
        1,
        ("mmm",),
    ),
    Case(
        "model-of-images",
        EXPORT,
        {"model": lambda folder: image_model(folder), "history.csv": HISTORY},
        1,
        ("image", "dense|pca"),
    ),
]


def image_model(folder: Path, name: str = "pca", **params: object) -> None:
    import numpy as np

    images = np.random.default_rng(0).random((30, 16), dtype=np.float32)
    options = params or {"components": 2}
    save_image_model(build_image_model(name, options).fit(images, shape=(1, 4, 4)), folder)


def image(name: str, change, *, says: tuple[str, ...] = ("model",), kind: str = "dense", **params: object) -> Case:
    """A saved image model that something happened to, then loaded."""
    params = params or {"hidden": 3, "epochs": 1}
    return Case(
        name,
        lambda: load_image_model("model"),
        {"model": after(lambda folder: image_model(folder, kind, **params), change)},
        1,
        says,
    )


def meta(**keys: object):
    def change(folder: Path) -> None:
        found = json.loads((folder / "model.json").read_text())
        described(meta={**found["meta"], **keys})(folder)

    return change


IMAGES = [
    image(
        "image-model-parameter-changed",
        lambda folder: described(params={**json.loads((folder / "model.json").read_text())["params"], "activation": "relu"})(
            folder
        ),
    ),
    image(
        "image-model-noise-changed",
        lambda folder: described(params={**json.loads((folder / "model.json").read_text())["params"], "noise": 0.25})(folder),
    ),
    image("image-model-other-shape", meta(shape=[1, 2, 8])),
    image("image-model-shape-of-two", meta(shape=[4, 4])),
    image("image-model-shape-text", meta(shape="444")),
    image("image-model-shape-huge", meta(shape=[1, 10**6, 10**6])),
    image("image-model-shape-null", meta(shape=None)),
    image("image-model-classes-text", meta(classes="ten")),
    image("image-model-flipped", flipped("arrays.safetensors", 0.9, 2)),
    image("image-model-flipped-header", flipped("arrays.safetensors", 30, 1)),
    image("image-model-cut", cut("arrays.safetensors")),
    image("image-model-without-description", remove("model.json"), says=("model.json",)),
    Case("image-model-of-ratings", lambda: load_image_model("model"), {"model": small_model()}, 1, ("ease",)),
]


@cases(*MODELS, *IMAGES)
def test_saved_model(case, examine):
    examine(case)


# The state of a run that was killed.
STATE = {
    "mine.yaml": pipeline(models=[{"name": "ease"}, {"name": "mf", "factors": 2, "epochs": 4}], metrics=["rmse", "ndcg@5"]),
    "log.csv": small_log(),
}


@pytest.fixture(scope="module")
def killed(tmp_path_factory) -> Path:
    """A folder with a run that stopped in the middle of its second model, with a checkpoint of it."""
    from recsys_ae.experiment import runner

    folder = tmp_path_factory.mktemp("killed") / "run"
    folder.mkdir()
    for path, content in STATE.items():
        write(folder / path, content)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("logging.basicConfig", lambda **_: None)
        patch.setattr("signal.signal", lambda *_: None)
        patch.setattr("sys.argv", ["recsys-ae", *RUN.split()])
        saving = runner.Checkpoint.on_epoch

        def stop(self, training) -> None:
            saving(self, training)
            if len(training.history) == 2:
                raise KeyboardInterrupt

        patch.setattr(runner.Checkpoint, "on_epoch", stop)
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert end.value.code == 130
    assert (folder / "out/.work/mf.checkpoint").exists(), sorted(tree(folder))
    return folder.rename(folder.with_name("kept"))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, killed) -> dict[str, bytes]:
    """The results of the same run without an interruption."""
    folder = tmp_path_factory.mktemp("undisturbed")
    for path, content in STATE.items():
        write(folder / path, content)
    assert resumed(folder, RUN)[0] == 0
    return results(folder)


def results(folder: Path) -> dict[str, object]:
    """What a run found: metrics of every model, and the bytes of what it learned."""
    report = json.loads((folder / "out/report.json").read_text())
    found: dict[str, object] = {label: result["metrics"] for label, result in report["models"].items()}
    return found | {path.parent.name: path.read_bytes() for path in sorted(folder.glob("out/models/*/arrays.safetensors"))}


def resumed(folder: Path, command: str = RUN + " --resume") -> tuple[int, str]:
    import contextlib
    import io

    told = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stderr(told):
        patch.chdir(folder)
        patch.setattr("logging.basicConfig", lambda **_: None)
        patch.setattr("signal.signal", lambda *_: None)
        patch.setattr("sys.argv", ["recsys-ae", *command.split()])
        with pytest.raises(SystemExit) as end:
            cli.main()
    return end.value.code, told.getvalue()


def in_state(pattern: str, change):
    """A function that applies `change` to the one file of the state whose name fits."""

    def apply(out: Path) -> None:
        found = sorted(path for path in out.rglob(pattern) if path.is_file())
        assert found, (pattern, sorted(tree(out)))
        change(found[0])

    return apply


def write_bytes(content: bytes):
    return lambda path: path.write_bytes(content)


def flip(at: float, bit: int = 0):
    def change(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[int(at * (len(content) - 1))] ^= 1 << bit
        path.write_bytes(content)

    return change


DISTURBED = {
    "nothing": lambda out: None,
    "checkpoint-flipped-in-the-header": in_state("mf.checkpoint", flip(0.02, 1)),
    "checkpoint-flipped-in-the-facts": in_state("mf.checkpoint", flip(0.1, 0)),
    "checkpoint-flipped-in-the-middle": in_state("mf.checkpoint", flip(0.5, 3)),
    "checkpoint-flipped-late": in_state("mf.checkpoint", flip(0.95, 6)),
    "checkpoint-history-changed": in_state(
        "mf.checkpoint", lambda path: path.write_bytes(path.read_bytes().replace(b"train_loss", b"train_lost", 1))
    ),
    "checkpoint-empty": in_state("mf.checkpoint", write_bytes(b"")),
    "checkpoint-cut": in_state("mf.checkpoint", lambda path: path.write_bytes(path.read_bytes()[:-40])),
    "checkpoint-text": in_state("mf.checkpoint", write_bytes(b"hello")),
    "checkpoint-deep": in_state("mf.checkpoint", write_bytes((200_000).to_bytes(8, "little") + b"[" * 200_000)),
    "checkpoint-missing": in_state("mf.checkpoint", lambda path: path.unlink()),
    "checkpoint-folder": in_state("mf.checkpoint", lambda path: (path.unlink(), path.mkdir())),
    "model-deleted": lambda out: shutil.rmtree(out / "models/ease"),
    "model-emptied": in_state("models/ease/arrays.safetensors", write_bytes(b"")),
    "model-flipped": in_state("models/ease/arrays.safetensors", flip(0.9, 4)),
    "model-replaced-by-another": lambda out: (
        shutil.rmtree(out / "models/ease"),
        small_model("ease", l2=3.0)(out / "models/ease"),
    ),
    "result-empty": in_state("result-ease.json", write_bytes(b"")),
    "result-list": in_state("result-ease.json", write_bytes(b"[]")),
    "result-null": in_state("result-ease.json", write_bytes(b"null")),
    "result-number": in_state("result-ease.json", write_bytes(b"17")),
    "result-deep": in_state("result-ease.json", write_bytes(b"[" * 100_000)),
    "result-not-utf-8": in_state("result-ease.json", write_bytes(b'"\xff"')),
    "result-metric-changed": in_state(
        "result-ease.json", lambda path: path.write_text(path.read_text().replace('"ndcg@5": 0.', '"ndcg@5": 0.9', 1))
    ),
    "result-nan": in_state(
        "result-ease.json", lambda path: path.write_text(path.read_text().replace('"rmse": null', '"rmse": NaN', 1))
    ),
    "data-of-another-type": in_state("data-0.json", write_bytes(b"{}")),
    "data-changed": in_state("data-0.json", write_bytes(b'"0123"')),
    "run-of-another-type": in_state("run.json", write_bytes(b"[1]")),
    "pipeline-changed": in_state("pipeline.yaml", write_bytes(b"seed: 1\n")),
    "pipeline-not-utf-8": in_state("pipeline.yaml", write_bytes(b"\xff\xfe")),
    "pipeline-missing": in_state("pipeline.yaml", lambda path: path.unlink()),
    "per-user-cut": in_state("per-user/ease.parquet", lambda path: path.write_bytes(path.read_bytes()[:-9])),
    "log-changed": lambda out: (out.parent / "log.csv").write_text(
        small_log().replace(",101,", ",102,", 1).replace("1,102", "1,113", 1)
    ),
    "work-emptied": lambda out: (shutil.rmtree(out / ".work"), (out / ".work").mkdir()),
    "draft-left": lambda out: (out / "models/.ease.1.draft").mkdir(),
}


@pytest.mark.parametrize("disturbance", DISTURBED)
def test_a_disturbed_run_resumes_to_the_same_result_or_says_what_is_wrong(disturbance, killed, undisturbed):
    folder = killed.with_name("run")  # at the same place, because the resolved pipeline names its data by absolute path
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(killed, folder)
    DISTURBED[disturbance](folder / "out")
    code, told = resumed(folder)
    sentences = [line for line in told.splitlines() if line.startswith("recsys-ae:")]
    assert "shows where" not in told, told[-2000:]
    if code == 0:
        assert results(folder) == undisturbed
    else:
        assert code in (1, 2)
        assert len(sentences) == 1
        assert len(sentences[0]) <= 500
        assert "out" in sentences[0] or "log" in sentences[0], sentences[0]
    if disturbance in ("nothing", "checkpoint-missing", "draft-left"):
        assert code == 0, told[-2000:]
