"""Every tensor of a loss lies on the right device, checked without a GPU: on tensors that have a device, but no data.

Such tensors cannot go through `backward`, nor through ELSA and Mult-VAE, whose shapes and factors depend on data. What these
lack is compared with a GPU in test_devices.py, where there is one.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from builders import SMALL, clicks, planted
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from recsys_ae import build_image_model, build_model
from recsys_ae.core import trainer

GPU = torch.device("cuda")
pytestmark = pytest.mark.skipif(
    torch.__version__ < (2, 14), reason="older versions ask the driver even for tensors without data"
)


class Captured(Exception):  # noqa: N818 - no error
    """The arguments of a training."""


def training(fit, monkeypatch) -> tuple:
    """(module, objectives, rows) as the trainer gets them."""

    def capture(training, objective, rows, number):
        raise Captured(training.module, objective, rows)

    monkeypatch.setattr(trainer, "_run_epoch", capture)
    with pytest.raises(Captured) as found:
        fit()
    module, objective, rows = found.value.args
    phases = objective.phases if isinstance(objective, trainer.AlternatingObjective) else [trainer.Phase(objective)]
    return module, [phase.objective for phase in phases], rows


@contextmanager
def on_fake_gpu(module: nn.Module) -> Iterator[None]:
    """Parameters and buffers of the module are replaced by fake ones on a GPU; whatever is computed inside is fake too."""
    with FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True):
        for part in module.modules():
            for name, weight in part._parameters.items():
                if weight is not None:
                    part._parameters[name] = nn.Parameter(weight.detach().to(GPU), requires_grad=weight.requires_grad)
            for name, buffer in part._buffers.items():
                part._buffers[name] = buffer.to(GPU)
        yield


def look(module: nn.Module, objectives: list, batch) -> None:
    """Loss and penalty as the trainer computes them; raises if tensors of an operation are on different devices."""
    for objective in objectives:
        shown = batch.to(GPU)
        loss = objective.loss(module, shown, torch.Generator().manual_seed(0))
        assert loss.total.device == (loss.total + objective.penalty(module, shown)).device == torch.device("cuda", 0)


@pytest.mark.parametrize("name", ["autorec", "cdae", "multdae", "recvae"])
def test_rating_models(name, monkeypatch):
    data = planted() if name == "autorec" else clicks()
    more = {"l2": 0.1} if name in ("autorec", "cdae", "multdae") else {}
    module, objectives, rows = training(lambda: build_model(name, {**SMALL.get(name, {}), **more}).fit(data), monkeypatch)
    batch = rows[torch.arange(5)]
    with on_fake_gpu(module):
        look(module, objectives, batch)


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("dense", {"corruption": "masking", "noise": 0.3, "sparsity": "kl", "strength": 0.1, "weight_decay": 0.1}),
        ("convolutional", {}),
        ("variational", {}),
        ("stacked", {"fine_tune": "classes", "layer_epochs": 0}),
    ],
)
def test_image_models(name, params, monkeypatch):
    images = np.random.default_rng(0).random((12, 64), np.float32)
    labels = np.arange(12) % 3
    module, objectives, rows = training(lambda: build_image_model(name, params).fit(images, labels), monkeypatch)
    with on_fake_gpu(module):
        look(module, objectives, rows)
