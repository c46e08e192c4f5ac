"""Image autoencoders: this package against a plain PyTorch script with the same network.

    RECSYS_AE_DATA=... python benchmarks/image_models.py [--images 20000] [--epochs 3] [--rounds 3]
    python benchmarks/image_models.py --smoke           # smoke test on a few random images; its figures mean nothing

The plain script is what one would write by hand: `nn.Sequential`, `torch.optim.Adam`, and a loop over shuffled slices of one
tensor in memory, without a data loader, which would be slower. Both sides have the same layers, batches, loss and precision
(float32), and two threads. They alternate, each round in a new process. The result is the median time of an epoch, without the
first epoch of each process. A third column is this package with `precision: auto`, which multiplies in bfloat16 if the
processor supports it.

    deep             784-512-128-10-128-512-784, ELU, squared error, batches of 1024
    convolutional    32-64-128 channels and back, Gaussian noise 0.5, cross-entropy, batches of 128

Prints a table; the last line is a JSON object with the ratios of plain seconds to ours.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from recsys_ae.data.cards import read_card
from recsys_ae.data.images import load_images
from recsys_ae.images.storage import build_image_model

MODELS: dict[str, dict[str, Any]] = {
    "deep": {
        "name": "dense",
        "hidden": [512, 128, 10],
        "activation": "elu",
        "code_activation": "identity",
        "loss": "squared_error",
        "batch_size": 1024,
    },
    "convolutional": {"name": "convolutional", "channels": [32, 64, 128], "noise": 0.5, "batch_size": 128},
}
SIDES = ("plain", "ours", "ours, auto")
SMOKE_IMAGES = 16


def plain_network(name: str) -> nn.Module:
    if name == "deep":
        sizes = [784, 512, 128, 10, 128, 512, 784]
        layers: list[nn.Module] = []
        for place, (inputs, outputs) in enumerate(pairwise(sizes)):
            layers.append(nn.Linear(inputs, outputs))
            if place not in (2, 5):
                layers.append(nn.ELU())
        return nn.Sequential(*layers, nn.Sigmoid())

    def convolution(inputs: int, outputs: int) -> list[nn.Module]:
        return [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()]

    return nn.Sequential(
        nn.Unflatten(1, (1, 28, 28)),
        *convolution(1, 32),
        nn.MaxPool2d(2),
        *convolution(32, 64),
        nn.MaxPool2d(2),
        *convolution(64, 128),
        *convolution(128, 128),
        nn.Upsample(size=(14, 14)),
        *convolution(128, 64),
        nn.Upsample(size=(28, 28)),
        *convolution(64, 32),
        nn.Conv2d(32, 1, 3, padding=1),
        nn.Flatten(),
    )


def plain(name: str, images: Tensor, epochs: int) -> list[float]:
    """Seconds of each epoch."""
    network, size = plain_network(name), MODELS[name]["batch_size"]
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    seconds = []
    for _ in range(epochs):
        started = time.perf_counter()
        for index in torch.randperm(len(images)).split(size):
            batch = images[index]
            optimiser.zero_grad()
            if name == "deep":
                loss = functional.mse_loss(network(batch), batch)
            else:
                noisy = (batch + 0.5 * torch.randn_like(batch)).clamp(0, 1)
                loss = functional.binary_cross_entropy_with_logits(network(noisy), batch)
            loss.backward()
            optimiser.step()
        seconds.append(time.perf_counter() - started)
    return seconds


def ours(name: str, images: Tensor, epochs: int, precision: str) -> list[float]:
    """Seconds of each epoch."""
    params = {key: value for key, value in MODELS[name].items() if key != "name"}
    model = build_image_model(MODELS[name]["name"], {**params, "epochs": epochs, "precision": precision})
    model.fit(images.numpy())
    return [epoch.seconds for epoch in model.fitted.histories[""]]


def images_to_train_on(n: int | None) -> Tensor:
    """float32 [n, 784]: MNIST digits, or a few random images if `n` is None."""
    return torch.from_numpy(load_images(*read_card("mnist")).train[:n]) if n else torch.rand(SMOKE_IMAGES, 784)


def measure(side: str, name: str, n: int | None, epochs: int) -> float:
    images = images_to_train_on(n)
    precision = "auto" if side.endswith("auto") else "float32"
    run: Callable[[], list[float]] = (
        (lambda: plain(name, images, epochs)) if side == "plain" else (lambda: ours(name, images, epochs, precision))
    )
    return statistics.median(run()[1:])


def in_child(side: str, name: str, n: int | None, epochs: int) -> float:
    job = json.dumps([side, name, n, epochs])
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "GOMP_SPINCOUNT": "3000"}
    command = [sys.executable, __file__, "--child", job]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return float(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, once")
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--epochs", type=int, default=3, help="timed in each process, after the first")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        side, name, n, epochs = json.loads(options.child)
        print(measure(side, name, n, epochs))
        return
    if options.smoke:
        options.images, options.epochs, options.rounds = None, 1, 1
    run = measure if options.smoke else in_child
    results: dict[str, dict[str, float]] = {}
    print(f"{'':16}{'plain s':>10}{'ours s':>10}{'ratio':>8}{'auto s':>10}{'ratio':>8}", flush=True)
    for name in options.only:
        rounds: dict[str, list[float]] = {side: [] for side in SIDES}
        for number in range(options.rounds):
            for side in SIDES if number % 2 == 0 else SIDES[::-1]:
                rounds[side].append(run(side, name, options.images, options.epochs + 1))
        ratios = {
            side: statistics.median(a / b for a, b in zip(rounds["plain"], rounds[side], strict=True)) for side in SIDES[1:]
        }
        seconds = {side: statistics.median(rounds[side]) for side in SIDES}
        line = "".join(f"{seconds[side]:10.2f}{ratios[side]:8.2f}" for side in SIDES[1:])
        print(f"{name:16}{seconds['plain']:10.2f}{line}", flush=True)
        results[name] = {"throughput_ratio": ratios["ours"], "throughput_ratio_auto": ratios["ours, auto"]}
    print(json.dumps(results))


if __name__ == "__main__":
    main()
