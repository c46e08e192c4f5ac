"""Readers of what the program has saved itself, and checks by its own checksums."""

import io
import json
import shutil
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow.parquet as pq
import torch
from robustness.catalogue import write
from robustness.feeding import pipeline, small_log, small_model
from robustness.reader import Reader, in_folder

from recsys_ae import cli, load_image_model, load_model, read_interactions
from recsys_ae.core import checkpoint
from recsys_ae.core.trainer import Epoch, TrainConfig, Training
from recsys_ae.errors import RecsysError
from recsys_ae.export.local import export_recommendations, read_recommendations
from recsys_ae.images.storage import build_image_model, image_model_digest, save_image_model
from recsys_ae.models.storage import model_digest


def make_image_model(folder: Path) -> None:
    images = np.random.default_rng(0).random((30, 16), dtype=np.float32)
    save_image_model(build_image_model("dense", {"hidden": 3, "epochs": 1}).fit(images, shape=(1, 4, 4)), folder / "model")


def read_image_model() -> Any:
    model = load_image_model("model")
    images = np.random.default_rng(1).random((3, 16), dtype=np.float32)
    return image_model_digest(model), model.encode(images).tolist()


def read_model() -> Any:
    model = load_model("model")
    history = read_interactions("log.csv", scale=(1, 5), duplicates="last")
    return model_digest(model), model.scores(history, np.arange(2)).tolist() if history.items == model.fitted.ids[
        "items"
    ] else None


def new_training() -> Any:
    """A small training that can be saved and restored; its data plays no part in that."""
    generator = torch.Generator().manual_seed(0)
    module = torch.nn.Linear(3, 2)
    with torch.no_grad():
        for weight in module.parameters():
            weight.copy_(torch.rand(weight.shape, generator=generator))
    config = TrainConfig(epochs=3, batch_size=2)
    optimiser = torch.optim.Adam(module.parameters(), lr=0.1)
    module(torch.ones(2, 3)).sum().backward()
    optimiser.step()
    return Training(module, optimiser, generator, config, history=[Epoch(1, 0.5, None, 0.1)])


def read_checkpoint() -> Any:
    training = new_training()
    checkpoint.restore(training, Path("some.checkpoint"))
    state = [weight.tolist() for weight in training.module.state_dict().values()]
    moments = repr(training.optimiser.state_dict()["state"])
    return state, moments, repr(training.history), training.generator.get_state().tolist(), repr(training.best_weights)


def make_export(folder: Path) -> None:
    small_model()(folder / "some-model")
    write(folder / "log.csv", small_log())
    history = read_interactions(folder / "log.csv", scale=(1, 5))
    export_recommendations(load_model(folder / "some-model"), history, folder / "lists", 4)
    shutil.rmtree(folder / "some-model")
    (folder / "log.csv").unlink()


def read_export() -> Any:
    frame, length = read_recommendations("lists")
    return length, frame.to_numpy().tolist(), list(frame.columns)


def make_unfinished(folder: Path) -> None:
    """An export that was killed after its last part, before its manifest."""
    small_model()(folder / "some-model")
    write(folder / "log.csv", small_log())
    with in_folder(folder), mock.patch("os.replace", _stop_before("manifest.json")):
        try:
            finish_export()
        except KeyboardInterrupt:
            return
    raise AssertionError("the export was not interrupted")


def _stop_before(name: str) -> Callable[[Any, Any], None]:
    from os import replace

    def stop(source: Any, target: Any) -> None:
        if Path(target).name.endswith(name):
            raise KeyboardInterrupt
        replace(source, target)

    return stop


def finish_export() -> Any:
    history = read_interactions("log.csv", scale=(1, 5))
    export_recommendations(load_model("some-model"), history, "lists", 4)
    return [pq.read_table(path).to_pylist() for path in sorted(Path("lists").glob("part-*"))]


RUN = "run mine.yaml --output out --tracking-uri none"


def command(line: str) -> int:
    """The exit code of a command line in this process; `Unexpected` if it is not one of our errors."""
    told = io.StringIO()
    quiet = (
        mock.patch("logging.basicConfig"),
        mock.patch("signal.signal"),
        mock.patch.object(sys, "argv", ["recsys-ae", *line.split()]),
    )
    with quiet[0], quiet[1], quiet[2], redirect_stderr(told), redirect_stdout(io.StringIO()):
        try:
            cli.main()
        except SystemExit as end:
            code = int(end.code or 0)
    if "shows where" in told.getvalue():
        raise AssertionError(told.getvalue().strip().splitlines()[-1])
    if code in (1, 2):
        raise RecsysError(told.getvalue().strip().splitlines()[-1])
    return code


def make_state(folder: Path) -> None:
    """A run that was killed in the training of its second model."""
    write(
        folder / "mine.yaml",
        pipeline(models=[{"name": "ease"}, {"name": "mf", "factors": 2, "epochs": 4}], metrics=["rmse", "ndcg@5"]),
    )
    write(folder / "log.csv", small_log())
    saving = checkpoint.Checkpoint.on_epoch

    def stop(self: Any, training: Any) -> None:
        saving(self, training)
        if len(training.history) == 2:
            raise KeyboardInterrupt

    with in_folder(folder), mock.patch.object(checkpoint.Checkpoint, "on_epoch", stop):
        assert command(RUN) == 130


def resume() -> Any:
    command(f"{RUN} --resume")
    report = json.loads(Path("out/report.json").read_text())
    metrics = {label: (result["metrics"], result["valid_metrics"]) for label, result in report["models"].items()}
    return metrics, [path.read_bytes() for path in sorted(Path("out/models").glob("*/arrays.safetensors"))]


def make_checkpoint(folder: Path) -> None:
    checkpoint.save(new_training(), folder / "some.checkpoint")


def make_model(folder: Path) -> None:
    small_model()(folder / "model")
    write(folder / "log.csv", small_log())


SAVED = {
    "models": Reader(make_model, read_model, ("model/*",)),
    "image models": Reader(make_image_model, read_image_model, ("model/*",)),
    "checkpoints": Reader(make_checkpoint, read_checkpoint, ("some.checkpoint",)),
    "exports": Reader(make_export, read_export, ("lists/*",)),
    "unfinished exports": Reader(make_unfinished, finish_export, ("lists.partial/*/*",), cost=3),
    "state of runs": Reader(
        make_state, resume, ("out/.work/*", "out/pipeline.yaml", "out/models/*/*", "out/per-user/*"), cost=30
    ),
}
