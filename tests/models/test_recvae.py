"""RecVAE: the composite prior against torch.distributions, and the alternation of training."""

import numpy as np
import torch
from builders import random_interactions
from torch.distributions import Categorical, MixtureSameFamily, Normal

from recsys_ae import build_model
from recsys_ae.core.trainer import Callback, TrainConfig, Training, fit
from recsys_ae.interactions import ones
from recsys_ae.models.neural import l2_normalise
from recsys_ae.models.recvae import (
    SHARES,
    DecoderPhase,
    EncoderPhase,
    InTraining,
    Network,
    composite_log_density,
    normal_log_density,
)
from recsys_ae.models.training import observed_rows

ROWS = l2_normalise(observed_rows(ones(random_interactions().matrix)))


def module() -> InTraining:
    return InTraining(Network(25, 8, 3, torch.Generator().manual_seed(0)), ROWS)


def test_densities_are_those_of_the_distributions():
    code, mean, log_variance = torch.randn(3, 5, 4)
    expected = Normal(mean, (log_variance / 2).exp()).log_prob(code)
    torch.testing.assert_close(normal_log_density(code, mean, log_variance), expected)
    zero = torch.zeros_like(code)
    parts = Normal(
        torch.stack([zero, mean, zero], -1),
        torch.stack([zero + 1, (log_variance / 2).exp(), zero + torch.tensor(5.0).exp()], -1),
    )
    mixture = MixtureSameFamily(Categorical(torch.tensor(SHARES)), parts)
    torch.testing.assert_close(composite_log_density(code, mean, log_variance), mixture.log_prob(code))


def weights(of: InTraining) -> dict[str, torch.Tensor]:
    return {name: weight.clone() for name, weight in of.state_dict().items()}


def changed(before: dict[str, torch.Tensor], of: InTraining) -> set[str]:
    return {".".join(name.split(".")[:2]) for name, weight in of.state_dict().items() if not torch.equal(weight, before[name])}


def test_encoder_and_decoder_are_trained_in_alternation():
    config = TrainConfig(1, 8, "adam", 0.01)
    network = module()
    before = weights(network)
    fit(network, EncoderPhase(0.5, 0.005), ROWS, config)
    assert {part for part in changed(before, network) if "encoder" in part} == {"network.encoder"}
    assert not {part for part in changed(before, network) if part.startswith(("earlier", "network.output"))}
    before = weights(network)
    fit(network, DecoderPhase(), ROWS, config)
    assert changed(before, network) == {"network.output_weight", "network.output_bias"}


def test_the_prior_keeps_the_encoder_after_its_phase():
    network = module()
    first = network.earlier.clone()
    torch.nn.init.normal_(network.network.encoder.mean_bias)
    assert torch.equal(network.earlier, first)
    build_model("recvae", {"hidden": 8, "latent": 3})._objective(ROWS).phases[0].after(network)
    for code, expected in zip(network.earlier, network.network.encoder(ROWS), strict=True):
        torch.testing.assert_close(code[ROWS.row_ids], expected)
        assert not torch.equal(code, first[0])


def test_weights_are_averaged_over_epochs():
    """Uniform average for 1 / (1 - 0.75) = 4 epochs, then a quarter for the latest; the module ends with the average."""
    given = Network(25, 8, 3, torch.Generator().manual_seed(0))
    training = InTraining(given, ROWS, ema_decay=0.75)
    seen: list[list[torch.Tensor]] = []

    class Watch(Callback):
        def on_epoch(self, training: Training) -> None:
            assert isinstance(training.module, InTraining)
            seen.append([weight.detach().clone() for weight in training.module.network.parameters()])

    model = build_model("recvae", {"hidden": 8, "latent": 3})
    fit(training, model._objective(ROWS), ROWS, TrainConfig(5, 8, "adam", 0.05), callbacks=[Watch()])
    for mean, *epochs in zip(given.parameters(), *seen, strict=True):
        assert not torch.equal(epochs[0], epochs[4])
        torch.testing.assert_close(mean, sum(epochs[:4]) * 3 / 16 + epochs[4] / 4)
    assert not any(weight.requires_grad for weight in given.parameters())


def test_a_model_averages_with_its_own_decay():
    scores = []
    for ema_decay in (0.0, 0.9):
        params = {"hidden": 8, "latent": 3, "epochs": 3, "learning_rate": 0.05, "ema_decay": ema_decay}
        scores.append(build_model("recvae", params).fit(random_interactions(), seed=0).fitted.arrays["module.output_weight"])
    assert not np.allclose(*scores)


def test_without_averaging_the_last_weights_count():
    given = Network(25, 8, 3, torch.Generator().manual_seed(0))
    assert InTraining(given, ROWS).network is given
    assert len(list(InTraining(given, ROWS).parameters())) == len(list(given.parameters()))


def test_the_divergence_counts_by_the_length_of_the_history():
    """gamma * n for a user with n items: twice gamma, twice the difference to gamma 0."""
    network = module()

    def loss(gamma: float, rows=ROWS) -> float:
        return float(EncoderPhase(0.0, gamma).loss(network, rows, torch.Generator().manual_seed(0)).total.detach())

    one, two = loss(0.1) - loss(0.0), loss(0.2) - loss(0.0)
    assert abs(two - 2 * one) < 1e-3 * abs(one) + 1e-3
