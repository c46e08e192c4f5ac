"""Networks on the CPU and on a GPU: seconds per epoch, and for the top-100 lists of all users.

    RECSYS_AE_DATA=... python benchmarks/devices.py [--epochs 3] [--repeat 3]
    python benchmarks/devices.py --smoke                # smoke test on a few random ratings, on the CPU only

Data: MovieLens 1M, all ratings, as clicks for rankers; and the training images of MNIST. Models have their default parameters.
The time of an epoch is the difference between a fit of 1 + `--epochs` epochs and one of 1 epoch, divided by `--epochs`, so that
start-up, the transfer of the data and the compilation of kernels cancel out. Devices alternate, after a round that is not
counted; figures are medians. Without a GPU only the CPU is timed.

Prints a table; the last line is a JSON object with seconds by model and device.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
import torch

from recsys_ae import Interactions, build_image_model, build_model, recommend
from recsys_ae.data.cards import read_card
from recsys_ae.data.images import load_images

RATING_MODELS: dict[str, dict[str, Any]] = {"autorec, items": {"axis": "item"}, "autorec, users": {"axis": "user"}}
RANKERS = ("elsa", "cdae", "multdae", "multvae", "recvae")
IMAGE_MODELS = ("dense", "convolutional", "variational")
Fit = Callable[[int, str], Callable[[], Any] | None]  # epochs and device -> what makes lists, if there are any


def synchronised() -> float:
    """The time in seconds, once the GPU has finished."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def timed(fit: Fit, epochs: int, device: str) -> tuple[float, float]:
    """Seconds per epoch, and for lists (NaN if there are none)."""
    begin = synchronised()
    fit(1, device)
    first = synchronised()
    lists = fit(1 + epochs, device)
    end = synchronised()
    if lists is None:
        return (end - first - (first - begin)) / epochs, float("nan")
    lists()
    return (end - first - (first - begin)) / epochs, synchronised() - end


def recommender(name: str, params: dict[str, Any], data: Interactions) -> Fit:
    def fit(epochs: int, device: str) -> Callable[[], Any]:
        model = build_model(name, {**params, "epochs": epochs, "device": device}).fit(data, seed=1)
        return lambda: recommend(model, data, k=min(100, data.n_items))

    return fit


def image_model(name: str, images: np.ndarray) -> Fit:
    def fit(epochs: int, device: str) -> None:
        build_image_model(name, {"epochs": epochs, "device": device}).fit(images, seed=1)

    return fit


def fits(smoke: bool) -> dict[str, Fit]:
    """What is timed, by its name."""
    if smoke:
        rng = np.random.default_rng(0)
        pairs = pd.DataFrame(np.argwhere(rng.random((40, 30)) < 0.3), columns=["user_id", "item_id"])
        ratings = pairs.assign(rating=rng.integers(1, 6, len(pairs)))
        images = rng.random((16, 28, 28), np.float32)
    else:
        source = Path(os.environ["RECSYS_AE_DATA"])
        ratings = pd.read_parquet(source / "ml-1m/ratings.parquet")
        images = load_images(*read_card("mnist")).train  # type: ignore[arg-type]
    stars, clicks = Interactions.from_frame(ratings), Interactions.from_frame(ratings, rating=None)
    found = {name: recommender("autorec", params, stars) for name, params in RATING_MODELS.items()}
    found |= {name: recommender(name, {"popularity": 0} if name != "elsa" else {}, clicks) for name in RANKERS}
    return found | {f"images, {name}": image_model(name, images) for name in IMAGE_MODELS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, once, on the CPU")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--repeat", type=int, default=3, help="counted rounds")
    options = parser.parse_args()
    if options.epochs < 1 or options.repeat < 1:
        parser.error("--epochs and --repeat must be at least 1")
    devices = ["cpu"] if options.smoke or not torch.cuda.is_available() else ["cpu", "cuda"]
    rounds = 1 if options.smoke else options.repeat
    print(f"{'model':24}" + "".join(f"{f'{device}: epoch':>16}{'lists':>9}" for device in devices))
    results: dict[str, dict[str, dict[str, float | None]]] = {}
    for name, fit in fits(options.smoke).items():
        seconds: dict[str, list[tuple[float, float]]] = {device: [] for device in devices}
        for number in range(rounds + 1):
            for device in devices if number % 2 == 0 else devices[::-1]:
                seconds[device].append(timed(fit, 1 if options.smoke else options.epochs, device))
                print(f"round {number}: {name}, {device}: {seconds[device][-1]}", file=sys.stderr, flush=True)
        row = {
            device: {
                "epoch": median(one[0] for one in found[1:]),
                "lists": median(one[1] for one in found[1:]),
            }
            for device, found in seconds.items()
        }
        print(
            f"{name:24}" + "".join(f"{row[device]['epoch']:16.3f}{row[device]['lists']:9.2f}" for device in devices), flush=True
        )
        results[name] = {d: {what: None if s != s else s for what, s in one.items()} for d, one in row.items()}
    print(json.dumps(results))


if __name__ == "__main__":
    main()
