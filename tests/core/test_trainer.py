"""The training loop: losses, steps, batches, stages, and when it ends."""

from dataclasses import dataclass
from functools import partial

import pytest
import torch
from small_training import ROWS, Plain, Reconstruction, module
from torch import nn

from recsys_ae.core import trainer
from recsys_ae.core.losses import LossSum, squared_error
from recsys_ae.core.trainer import AlternatingObjective, Callback, Phase, TrainConfig, fit, parts_of
from recsys_ae.errors import ConfigError, TrainingError
from recsys_ae.images.dense import DenseAutoencoder
from recsys_ae.images.objectives import LabelledBatch
from recsys_ae.models.autorec import AutoRec


def test_best_weights_are_restored_and_patience_ends_training():
    values = iter([3.0, 2.0, 2.5, 2.6, 2.7, 0.0])
    seen = []

    class Record(Callback):
        def on_epoch(self, training) -> None:
            seen.append(training.module.input_weight.detach().clone())

    trained = module()
    config = TrainConfig(epochs=6, batch_size=8, learning_rate=0.1, patience=3)
    history = fit(trained, Reconstruction(), ROWS, config, valid=lambda: next(values), callbacks=[Record()])
    assert len(history) == 5
    assert torch.equal(trained.input_weight, seen[1])


def test_loss_is_the_mean_over_entries_whatever_the_batches():
    """With a learning rate near zero, the loss is the same for every batch size."""

    class Plain(Reconstruction):
        def loss(self, module, batch, generator):
            return squared_error(module(batch), batch, torch.ones_like(batch))

    losses = {
        size: fit(module(), Plain(), ROWS, TrainConfig(epochs=1, batch_size=size, learning_rate=1e-12))[0].loss
        for size in (1, 7, 30)
    }
    expected = (module()(ROWS) - ROWS).square().mean().item()
    assert list(losses.values()) == pytest.approx([expected] * 3, rel=1e-5)


def test_penalty_of_an_epoch_does_not_depend_on_the_batches():
    """Plain gradient descent on the penalty alone shrinks weights by the same factor for any batch size (to first order)."""

    class Shrink(Reconstruction):
        def loss(self, module, batch, generator):
            return squared_error(batch, batch, torch.ones_like(batch))

    weights = {}
    for size in (6, 30):
        trained = module()
        fit(trained, Shrink(l2=1.0), ROWS, TrainConfig(epochs=1, batch_size=size, optimiser="sgd", learning_rate=1e-3))
        weights[size] = trained.input_weight
    torch.testing.assert_close(weights[6], weights[30], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(weights[30], module().input_weight * (1 - 1e-3))


def test_diverging_training_is_an_error():
    class Explode(Reconstruction):
        def penalty(self, module: nn.Module, batch):
            return module.input_weight.sum() * torch.nan

    with pytest.raises(TrainingError, match="the loss is nan in epoch 1; try a lower learning_rate"):
        fit(module(), Explode(), ROWS, TrainConfig(epochs=2, batch_size=5))


@pytest.mark.parametrize(
    "wrong", [{"epochs": 0}, {"batch_size": 0}, {"patience": -1}, {"learning_rate": 0.0}, {"optimiser": "adm"}]
)
def test_impossible_configurations(wrong):
    with pytest.raises(ConfigError):
        fit(module(), Reconstruction(), ROWS, TrainConfig(**{"epochs": 1, "batch_size": 5, **wrong}))


def test_objectives_alternate_as_often_as_declared():
    calls: list[str] = []

    @dataclass
    class Named(Reconstruction):
        name: str = ""

        def loss(self, module, batch, generator):
            calls.append(self.name)
            return super().loss(module, batch, generator)

    phases = [Phase(Named(name="a"), 2, after=lambda _: calls.append("after a")), Phase(Named(name="b"))]
    history = fit(module(), AlternatingObjective(phases), ROWS, TrainConfig(2, 15))
    assert calls == ["a", "a", "a", "a", "after a", "b", "b"] * 2
    assert len(history) == 2


def test_products_in_bfloat16_are_near_those_in_float32():
    losses = []
    for precision in ("float32", "bfloat16"):
        history = fit(module(), Reconstruction(), ROWS, TrainConfig(5, 10, learning_rate=0.01, precision=precision))
        losses.append([epoch.loss for epoch in history])
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


def weights(config: TrainConfig, objective: Reconstruction) -> dict[str, torch.Tensor]:
    trained = module()
    fit(trained, objective, ROWS, config)
    return trained.state_dict()


@pytest.mark.parametrize("l2", [0.0, 0.5])
def test_mean_reduction_takes_the_step_of_the_batch_mean(l2):
    config = TrainConfig(epochs=3, batch_size=10, optimiser="sgd", learning_rate=0.1, reduction="mean")
    summed = TrainConfig(epochs=3, batch_size=10, optimiser="sgd", learning_rate=0.01)
    for name, weight in weights(config, Plain(l2)).items():
        torch.testing.assert_close(weight, weights(summed, Plain(l2))[name])


def test_averaging_does_not_change_the_reported_loss():
    losses = [
        fit(module(), Plain(), ROWS, TrainConfig(1, 7, learning_rate=1e-12, reduction=reduction))[0].loss
        for reduction in ("sum", "mean")
    ]
    assert losses[0] == losses[1]


@pytest.mark.parametrize(("optimiser", "rate"), [("rprop", 0.05), ("lbfgs", 1.0)])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_whole_batches_in_parts_are_whole_batches(monkeypatch, optimiser, rate, reduction):
    """30 rows in parts of 7 give the same loss and steps as all at once."""
    config = TrainConfig(epochs=3, batch_size=3, optimiser=optimiser, learning_rate=rate, reduction=reduction)
    whole, in_parts = module(), module()
    histories = [fit(whole, Plain(0.1), ROWS, config)]
    monkeypatch.setattr(trainer, "PART", 7)
    histories.append(fit(in_parts, Plain(0.1), ROWS, config))
    losses = [[epoch.loss for epoch in history] for history in histories]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert losses[0][-1] < losses[0][0]
    for name, weight in whole.state_dict().items():
        torch.testing.assert_close(weight, in_parts.state_dict()[name], rtol=1e-3, atol=1e-4)


def test_parts_of_rows_are_in_their_order():
    labelled = LabelledBatch(ROWS, torch.arange(30))
    for rows in (ROWS, labelled):
        parts = list(parts_of(rows, 7))
        assert [len(part) for part in parts] == [7, 7, 7, 7, 2]
        assert torch.equal(torch.cat([part if isinstance(part, torch.Tensor) else part.x for part in parts]), ROWS)
    assert torch.cat([part.labels for part in parts]).tolist() == list(range(30))


@pytest.mark.parametrize(("optimiser", "sizes"), [("adam", [8, 8, 8, 6]), ("rprop", [30])])
def test_rows_keep_their_labels_and_whole_batches_their_order(optimiser, sizes):
    seen: list[LabelledBatch] = []

    class Look(Reconstruction):
        def loss(self, module, batch, generator):
            seen.append(batch)
            return squared_error(module(batch.x), batch.x)

    fit(module(), Look(), LabelledBatch(ROWS, torch.arange(30)), TrainConfig(1, 8, optimiser))
    assert [len(batch) for batch in seen] == sizes
    labels = torch.cat([batch.labels for batch in seen])
    assert (labels.tolist() == list(range(30))) == (optimiser == "rprop")
    assert sorted(labels.tolist()) == list(range(30))
    assert torch.equal(torch.cat([batch.x for batch in seen]), ROWS[labels])


class Stages(Callback):
    """Records the stage of each call."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []

    def on_start(self, training) -> None:
        self.calls.append(("start", training.stage))

    def on_epoch(self, training) -> None:
        self.calls.append(("epoch", training.stage))

    def on_end(self, training) -> None:
        self.calls.append(("end", training.stage))


def test_callbacks_get_the_stage():
    told = Stages()
    for stage in ("layer", ""):
        fit(module(), Plain(), ROWS, TrainConfig(1, 10), callbacks=[told], **({"stage": stage} if stage else {}))
    assert told.calls == [(call, stage) for stage in ("layer", "") for call in ("start", "epoch", "end")]


def test_a_loss_may_count_rows_instead_of_entries():
    class ByRow(Plain):
        def loss(self, module, batch, generator):
            return LossSum(super().loss(module, batch, generator).total, torch.tensor(len(batch)))

    config = TrainConfig(1, 7, learning_rate=1e-12)
    by_row, by_entry = (fit(module(), objective, ROWS, config)[0].loss for objective in (ByRow(), Plain()))
    assert by_row == pytest.approx(6 * by_entry, rel=1e-6)


@pytest.mark.parametrize(("optimiser", "different"), [("lbfgs", 2), ("rprop", 2), ("adam", 6)])
def test_an_optimiser_that_evaluates_again_gets_the_same_random_numbers(optimiser, different):
    """L-BFGS must compare values of one function; random numbers differ between epochs only."""
    seen = []

    class Drawing(Reconstruction):
        def loss(self, module, batch, generator):
            seen.append(float(torch.rand(1, generator=generator)))
            return super().loss(module, batch, generator)

    fit(module(), Drawing(), ROWS, TrainConfig(2, 10, optimiser, 0.1))
    assert len(set(seen)) == different
    assert optimiser != "lbfgs" or len(seen) > 2


@pytest.mark.parametrize("number", [float("inf"), float("nan")])
def test_weights_that_are_not_finite_are_an_error_after_their_epoch(number):
    class Spoil(Reconstruction):
        def loss(self, module, batch, generator):
            found = super().loss(module, batch, generator)
            with torch.no_grad():
                module.output_bias[2] = number
            return found

    with pytest.raises(TrainingError, match="a weight is no longer finite after epoch 1; try a lower learning_rate"):
        fit(module(), Spoil(), ROWS, TrainConfig(epochs=5, batch_size=len(ROWS)))


def test_rprop_takes_no_learning_rate_decay():
    for make in (partial(TrainConfig, 1, 1), AutoRec, DenseAutoencoder):
        with pytest.raises(ConfigError, match=r"rprop .* would ignore learning_rate_decay: 0.5; set it to 1"):
            make(optimiser="rprop", learning_rate_decay=0.5)
        assert make(optimiser="rprop", learning_rate_decay=1.0).optimiser == "rprop"


def test_a_validation_value_of_nan_is_an_error():
    with pytest.raises(TrainingError, match="the validation value is nan in epoch 1; try a lower learning_rate"):
        fit(module(), Reconstruction(), ROWS, TrainConfig(2, 10), valid=lambda: float("nan"))
