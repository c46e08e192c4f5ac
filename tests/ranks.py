"""A program that fits small models, in one process or in several of torch.distributed.run, and writes the results."""

import json
import sys
from pathlib import Path
from typing import Any

import builders
import image_builders
import numpy as np

from recsys_ae.core.distributed import connected
from recsys_ae.core.followers import follow
from recsys_ae.core.trainer import Callback, Training
from recsys_ae.errors import RanksError
from recsys_ae.exits import in_ranks, leave
from recsys_ae.models.storage import build_model

# 7 items and 12 users. The last batch of an epoch has one row, so one of two ranks has none; no other batch of 5 is divisible.
ROWS = {"item": 6, "user": 11}
IMAGES = 141  # the same, in batches of 20
OF_CLICKS = {"multvae", "multdae", "recvae", "cdae", "elsa"}
OF_RATINGS = {"autorec", "hybrid", "wide_deep", "gru", "gru_ratings", "mf"}
CHANGED = {  # dropout and regularisation everywhere; products in bfloat16 depend on the number of rows
    **{name: {"precision": "float32", "dropout": 0.3, "epochs": 4} for name in OF_CLICKS},
    **{"autorec": {"dropout": 0.3, "epochs": 4}, "hybrid": {"cold": 0.2, "epochs": 4}, "gru": {"dropout": 0.2, "epochs": 3}},
    **{"wide_deep": {"epochs": 2}, "gru_ratings": {"dropout": 0.2, "epochs": 3}, "mf": {"epochs": 2}},
}


class Watch(Callback):
    """Records the losses of each stage, and how many processes trained."""

    def __init__(self) -> None:
        self.curves: dict[str, list[tuple[float, float | None]]] = {}
        self.processes: list[int] = []

    def on_end(self, training: Training[Any]) -> None:
        self.curves[training.stage] = [(epoch.loss, epoch.valid) for epoch in training.history]
        self.processes.append(1 if training.team is None else training.team.size)


class Disturb(Callback):
    """Changes a weight after the first epoch, on rank 0 only."""

    def on_epoch(self, training: Training[Any]) -> None:
        next(training.module.parameters()).data[0] += 1


def recommender(label: str, *more: Callback) -> tuple[Any, Watch]:
    """A fitted variant, with validation where there are ratings, and its record."""
    name, params = builders.VARIANTS[label]
    params = {**params, **CHANGED[name]}
    if "batch_size" in params:
        params["batch_size"] = 5 if name in ("recvae", "hybrid") else ROWS[str(params.get("axis", "user"))]
    data, valid = builders.planted(), builders.from_dense(builders.taste(), builders.held_out(), scale=(1.0, 5.0))
    if name in OF_CLICKS:
        data, valid = builders.clicks(), None
    watch = Watch()
    model = build_model(name, params)
    model.fit(data, valid=valid if name in ("autorec", "hybrid") else None, seed=3, callbacks=[watch, *more])
    return model, watch


def image_model(label: str) -> tuple[np.ndarray, Watch]:
    """The codes of images by a fitted variant, and its record."""
    tuning = {"tune_weight_decay": 0.1} if label.endswith("classes") else {}  # else rounding grows as the weights do
    watch, model = Watch(), image_builders.make(label, epochs=2, **tuning)
    labels = image_builders.some_labels()[:IMAGES] if label.endswith("classes") else None
    model.fit(image_builders.some()[:IMAGES], labels, shape=image_builders.SIDE, seed=3, callbacks=[watch])
    return model.encode(image_builders.others()), watch


def outcomes() -> dict[str, Any]:
    """Curves, number of processes and outputs of each model; the message of a training that was disturbed."""
    found: dict[str, Any] = {}
    for label, (name, _) in builders.VARIANTS.items():
        if name in OF_CLICKS | OF_RATINGS:
            model, watch = recommender(label)
            data = builders.clicks() if name in OF_CLICKS else builders.planted()
            found[label] = watch, model.scores(data, np.arange(data.n_users))
    for label, (name, _) in image_builders.VARIANTS.items():
        if name != "pca":
            outputs, watch = image_model(label)
            found[f"images-{label}"] = watch, outputs
    values = {label: [watch.curves, watch.processes, outputs.tolist()] for label, (watch, outputs) in found.items()}
    try:
        recommender("autorec-item", Disturb())
        values["disturbed"] = None
    except RanksError as error:
        values["disturbed"] = str(error)
    values["afterwards"] = recommender("autorec-item")[1].curves
    return values


def main() -> None:
    path = Path(sys.argv[1])
    if not in_ranks():
        path.write_text(json.dumps(outcomes()))
        return
    with connected() as team:
        if team.rank:
            follow(team)
        else:
            path.write_text(json.dumps(outcomes()))


if __name__ == "__main__":
    main()
    leave(0)
