"""Checkpoints: an interrupted training continues exactly, and what belongs to another or is damaged is refused."""

import pytest
import torch
from damage import flips, outcome
from small_training import ROWS, Plain, Reconstruction, Started, Stop, module
from torch import nn

from recsys_ae.core.checkpoint import Checkpoint, restore
from recsys_ae.core.optimisers import OPTIMISERS, make_optimiser
from recsys_ae.core.trainer import Callback, TrainConfig, Training, fit
from recsys_ae.errors import DataError


def error_on_others(module: nn.Module) -> float:
    others = torch.rand(20, 6, generator=torch.Generator().manual_seed(6))
    return float((module(others) - others).square().mean())


@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize("after", [1, 4])
def test_interrupted_training_continues_exactly(tmp_path, optimiser, after):
    decay = 1.0 if optimiser == "rprop" else 0.9  # it has step sizes of its own
    config = TrainConfig(9, 7, optimiser, learning_rate=0.02, learning_rate_decay=decay, seed=4)

    def run(*callbacks: Callback):
        trained = module()
        history = fit(trained, Reconstruction(0.1), ROWS, config, valid=lambda: error_on_others(trained), callbacks=callbacks)
        return trained, [(epoch.number, epoch.loss, epoch.valid) for epoch in history]

    whole, history = run()
    with pytest.raises(KeyboardInterrupt):
        run(Checkpoint(tmp_path / "checkpoint"), Stop(after))
    lengths: list[int] = []
    continued, again = run(Checkpoint(tmp_path / "checkpoint"), Started(lengths))
    assert 1 <= lengths[0] <= after
    assert again == history
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, continued.state_dict()[name])


def test_checkpoint_of_another_configuration_is_refused(tmp_path):
    path = tmp_path / "checkpoint"
    fit(module(), Reconstruction(), ROWS, TrainConfig(epochs=1, batch_size=5), callbacks=[Checkpoint(path)])
    with pytest.raises(DataError, match="other settings"):
        fit(module(), Reconstruction(), ROWS, TrainConfig(epochs=2, batch_size=5), callbacks=[Checkpoint(path)])


@pytest.mark.parametrize("what", ["weights", "history", "optimiser"])
def test_altered_checkpoint_is_refused(tmp_path, what):
    path = tmp_path / "checkpoint"
    config = TrainConfig(epochs=1, batch_size=5)
    fit(module(), Reconstruction(), ROWS, config, callbacks=[Checkpoint(path)])
    content = bytearray(path.read_bytes())
    marks = {"history": b'seconds\\": ', "optimiser": b'step\\", '}
    at = len(content) - 10 if what == "weights" else content.index(marks[what]) + len(marks[what])
    content[at] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="is damaged; delete it to train this model from scratch"):
        fit(module(), Reconstruction(), ROWS, config, callbacks=[Checkpoint(path)])


@pytest.mark.parametrize("optimiser", ["adam", "lbfgs"])
def test_every_flipped_bit_in_a_checkpoint_is_noticed_or_changes_nothing(tmp_path, optimiser):
    path = tmp_path / "checkpoint"
    config = TrainConfig(epochs=3, batch_size=7, optimiser=optimiser, learning_rate=0.02)

    def trained(*callbacks: Callback) -> list:
        made = module()
        history = fit(made, Reconstruction(), ROWS, config, callbacks=callbacks)
        return [[epoch.loss for epoch in history], *(weight.tolist() for weight in made.state_dict().values())]

    whole = trained()
    with pytest.raises(KeyboardInterrupt):
        trained(Checkpoint(path, "mine"), Stop(1))
    noticed = 0
    for what in flips(path, 200):
        found, error = outcome(lambda: trained(Checkpoint(path, "mine")))
        if error is None:
            assert found == whole, what
        else:
            assert str(path) in error, what
            assert error.endswith("; delete it to train this model from scratch"), what
            noticed += 1
    assert noticed > 190


def test_checkpoint_of_another_training_is_refused(tmp_path):
    path, config = tmp_path / "checkpoint", TrainConfig(epochs=1, batch_size=5)
    fit(module(), Reconstruction(), ROWS, config, callbacks=[Checkpoint(path, "mine")])
    fit(module(), Reconstruction(), ROWS, config, callbacks=[Checkpoint(path, "mine")])
    with pytest.raises(DataError, match="belongs to another model, stage or dataset; delete it"):
        fit(module(), Reconstruction(), ROWS, config, callbacks=[Checkpoint(path, "yours")])
    path.rename(tmp_path / "checkpoint-layer")
    with pytest.raises(DataError, match="belongs to another model, stage or dataset; delete it"):
        fit(module(), Reconstruction(), ROWS, config, callbacks=[Checkpoint(path, "mine")], stage="layer")


@pytest.mark.parametrize(
    "other", [lambda module: module.double(), lambda module: nn.Sequential(module), lambda _: nn.Linear(6, 2)]
)
def test_checkpoint_of_another_module_is_refused(tmp_path, other):
    """Other names, shapes or types of weights, whatever the configuration says."""
    path = tmp_path / "checkpoint"
    fit(module(), Reconstruction(), ROWS, TrainConfig(epochs=1, batch_size=5), callbacks=[Checkpoint(path)])
    changed = other(module())
    config, generator = TrainConfig(epochs=1, batch_size=5), torch.Generator()
    training = Training(changed, make_optimiser("adam", changed, 0.001), generator, config)
    with pytest.raises(DataError, match=r"is not a checkpoint of this training \(.*\); delete it"):
        restore(training, path)


def test_damaged_checkpoint_is_refused(tmp_path):
    path = tmp_path / "checkpoint"
    path.write_bytes(b"not safetensors")
    with pytest.raises(DataError, match="is not a checkpoint"):
        restore(None, path)


def test_every_stage_has_a_checkpoint_of_its_own(tmp_path):
    """An interrupted second stage resumes, and the finished first stage is not trained again."""

    def both(*more: Callback) -> list[dict[str, torch.Tensor]]:
        found = []
        for stage, seed in (("first", 0), ("second", 1)):
            trained = module()
            config = TrainConfig(epochs=5, batch_size=7, learning_rate=0.02, seed=seed)
            fit(trained, Reconstruction(), ROWS, config, callbacks=more, stage=stage)
            found.append(trained.state_dict())
        return found

    class StopSecond(Stop):
        def on_epoch(self, training) -> None:
            if training.stage == "second":
                super().on_epoch(training)

    whole = both()
    with pytest.raises(KeyboardInterrupt):
        both(Checkpoint(tmp_path / "model.checkpoint"), StopSecond(2))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.checkpoint-first", "model.checkpoint-second"]
    lengths: list[int] = []
    continued = both(Checkpoint(tmp_path / "model.checkpoint"), Started(lengths))
    assert lengths[0] == 5
    assert lengths[1] in (1, 2)
    for before, after in zip(whole, continued, strict=True):
        assert all(torch.equal(weight, after[name]) for name, weight in before.items())


def test_the_last_epoch_of_a_stage_is_always_written(tmp_path, monkeypatch):
    """However long writing takes, because the next stage starts from it."""
    monkeypatch.setattr("recsys_ae.core.checkpoint.AFFORDABLE", 1e9)
    lengths: list[int] = []
    for epochs, stage, expected in ((3, "layer", 3), (3, "", 1)):
        for _ in range(2):
            callbacks = [Checkpoint(tmp_path / f"checkpoint{stage}"), Started(lengths)]
            fit(module(), Plain(), ROWS, TrainConfig(epochs, 10), callbacks=callbacks, stage=stage)
        assert lengths == [0, expected]
        lengths.clear()
