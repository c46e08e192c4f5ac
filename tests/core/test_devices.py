"""The two implementations of the sparse layers, and models on the CPU and on a GPU."""

import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders import SMALL, clicks, planted

from recsys_ae import build_image_model, build_model
from recsys_ae.core import devices
from recsys_ae.core.devices import device_named, exact_convolutions, shapes_only
from recsys_ae.core.sparse import SparseRows, with_negatives
from recsys_ae.errors import ConfigError

TRAINED = ["autorec", "cdae", "elsa", "gru", "gru_ratings", "multdae", "multvae", "recvae"]
OF_RATINGS = ["autorec", "gru_ratings"]
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="compares with a GPU, and PyTorch finds none here")


def scores(name: str, **params) -> np.ndarray:
    data = planted() if name in OF_RATINGS else clicks()
    params = {**SMALL.get(name, {}), "epochs": 4, **params} | ({} if name == "autorec" else {"precision": "float32"})
    model = build_model(name, params).fit(data, valid=data, seed=3)
    return model.scores(data, np.arange(data.n_users))


@pytest.mark.parametrize("name", TRAINED)
def test_both_implementations_train_the_same_model(name, monkeypatch):
    compiled = scores(name)
    monkeypatch.setattr(devices, "uses_kernels", lambda _: False)
    np.testing.assert_allclose(scores(name), compiled, rtol=2e-3, atol=2e-3)


@needs_gpu
@pytest.mark.parametrize("name", TRAINED)
def test_a_gpu_trains_the_same_model(name):
    np.testing.assert_allclose(scores(name, device="cuda"), scores(name, device="cpu"), rtol=1e-2, atol=1e-2)


@needs_gpu
@pytest.mark.parametrize(("name", "rate"), [("dense", 0.1), ("convolutional", 0.01), ("stacked", 0.1), ("variational", 0.01)])
def test_a_gpu_trains_the_same_image_model(name, rate):
    """Uses SGD: Adam's first steps have full length even where the gradient is only rounding error."""
    images = np.random.default_rng(0).random((40, 64), np.float32)
    params = {"epochs": 5, "optimiser": "sgd", "learning_rate": rate}
    fitted = [build_image_model(name, {**params, "device": device}).fit(images) for device in ("cpu", "cuda")]
    np.testing.assert_allclose(*(model.encode(images) for model in fitted), rtol=1e-4, atol=1e-4)


@needs_gpu
def test_a_gpu_trains_the_same_convolutions_each_time():
    """Otherwise sums in another order change now and then which pixel is the maximum of a pool."""
    images = np.random.default_rng(0).random((40, 64), np.float32)
    params = {"epochs": 5, "optimiser": "sgd", "learning_rate": 0.01, "device": "cuda"}
    first, *others = (build_image_model("convolutional", params).fit(images).encode(images) for _ in range(12))
    for other in others:
        np.testing.assert_array_equal(other, first)


@pytest.mark.parametrize("index", [[5, 0, 5], []])
def test_both_implementations_select_the_same_rows_and_draw_the_same_negatives(index, monkeypatch):
    matrix = planted().matrix
    rows = SparseRows.from_arrays(matrix.indptr, matrix.indices, matrix.data, matrix.shape[1])

    def drawn() -> list[torch.Tensor]:
        some = rows[torch.tensor(index, dtype=torch.int64)]
        negatives, weights = with_negatives(some, 3, torch.Generator().manual_seed(1))
        return [some.dense(), some.row_ids, negatives.columns, negatives.values, negatives.indptr, weights]

    compiled = drawn()
    monkeypatch.setattr(devices, "uses_kernels", lambda _: False)
    for one, other in zip(compiled, drawn(), strict=True):
        assert torch.equal(one, other)


def test_devices_by_name(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_named("auto").type == device_named("cpu").type == device_named("cuda", fallback=True).type == "cpu"
    with pytest.raises(ConfigError, match="device: cuda, but PyTorch finds no GPU here; use device: auto or cpu"):
        build_model("multdae", {**SMALL["multdae"], "device": "cuda"}).fit(clicks())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device_named("auto").type == device_named("cuda").type == "cuda"
    assert device_named("cpu").type == "cpu"


def test_convolutions_are_exact_in_a_block_and_as_before_after_it():
    cudnn = torch.backends.cudnn
    before = cudnn.allow_tf32, cudnn.deterministic
    with suppress(ValueError), exact_convolutions():
        assert (cudnn.allow_tf32, cudnn.deterministic) == (False, True)
        raise ValueError
    assert (cudnn.allow_tf32, cudnn.deterministic) == before


@pytest.mark.skipif(not hasattr(torch.backends.cudnn, "conv"), reason="this PyTorch has one kind of switches only")
def test_a_choice_of_precision_by_the_newer_switches_is_kept():
    conv: Any = torch.backends.cudnn.conv
    before = conv.fp32_precision
    conv.fp32_precision = "ieee"
    try:
        with exact_convolutions():
            assert conv.fp32_precision == "ieee"
    finally:
        conv.fp32_precision = before
    assert isinstance(torch.backends.cudnn.allow_tf32, bool)


def test_a_model_made_for_a_gpu_scores_without_one():
    model = build_model("multdae", {**SMALL["multdae"], "epochs": 1}).fit(clicks())
    expected = model.scores(clicks(), np.arange(3))
    model._derived, model.device = None, "cuda"
    if not torch.cuda.is_available():
        np.testing.assert_array_equal(model.scores(clicks(), np.arange(3)), expected)


def test_shapes_are_found_without_data_and_without_a_compiler():
    with shapes_only():
        drawn = [torch.rand(10**6, 10**6), torch.randn(2, 3, generator=torch.Generator())]
    assert [tensor.shape for tensor in drawn] == [(10**6, 10**6), (2, 3)]
    assert all(tensor.is_meta for tensor in drawn)
    assert torch.rand(2).is_cpu


def test_training_does_not_import_a_compiler():
    """It would take 150 MB, and seconds."""
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
import numpy
from builders import SMALL, clicks, planted
from recsys_ae import build_image_model, build_model

for name in ("autorec", "mf", "multvae", "recvae"):
    data = planted() if name in ("autorec", "mf") else clicks()
    build_model(name, {{**SMALL.get(name, {{}}), "epochs": 1}}).fit(data, seed=0)
for optimiser in ("adam", "adamw", "sgd"):
    build_image_model("dense", {{"hidden": 2, "epochs": 1, "optimiser": optimiser}}).fit(numpy.ones((9, 4), "float32"))
sys.exit("torch._dynamo" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
