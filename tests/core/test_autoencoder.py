import pytest
import torch
from torch import nn

from recsys_ae.core.autoencoder import ACTIVATIONS, INITIALISERS, Autoencoder
from recsys_ae.core.axes import inner_weights, wide_weights
from recsys_ae.errors import ConfigError


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def test_matches_the_usual_network():
    """Same weights, same input: values and gradients of a dense nn.Sequential."""
    ours = Autoencoder(9, [5, 3], activation="tanh", output_activation="sigmoid", generator=generator())
    theirs = nn.Sequential(
        nn.Linear(9, 5), nn.Tanh(), nn.Linear(5, 3), nn.Tanh(), nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 9), nn.Sigmoid()
    )
    with torch.no_grad():
        theirs[0].weight.copy_(ours.input_weight.T)
        theirs[2].weight.copy_(ours.encoder_weights[0])
        theirs[4].weight.copy_(ours.decoder_weights[0].T)
        theirs[6].weight.copy_(ours.output_weight)
        for layer, bias in zip(
            (theirs[0], theirs[2], theirs[4], theirs[6]),
            (*ours.encoder_biases, *ours.decoder_biases, ours.output_bias),
            strict=True,
        ):
            bias.copy_(torch.randn(bias.shape))
            layer.bias.copy_(bias)
    x = torch.rand(4, 9)
    torch.testing.assert_close(ours(x), theirs(x))
    ours(x).square().sum().backward()
    theirs(x).square().sum().backward()
    torch.testing.assert_close(ours.input_weight.grad, theirs[0].weight.grad.T)
    torch.testing.assert_close(ours.decoder_weights[0].grad, theirs[4].weight.grad.T)
    torch.testing.assert_close(ours.output_weight.grad, theirs[6].weight.grad)


def test_tied_decoder_has_no_weights_of_its_own():
    tied = Autoencoder(9, [5, 3], tied=True, generator=generator())
    untied = Autoencoder(9, [5, 3], generator=generator())
    assert (len(wide_weights(tied)), len(inner_weights(tied))) == (1, 1)
    assert (len(wide_weights(untied)), len(inner_weights(untied))) == (2, 2)
    code = torch.rand(2, 3)
    hidden = torch.sigmoid(code @ tied.encoder_weights[0] + tied.decoder_biases[0])
    torch.testing.assert_close(tied.decode(code), hidden @ tied.input_weight.T + tied.output_bias)


def test_encoder_and_decoder_are_usable_alone():
    module = Autoencoder(9, [5, 3], generator=generator())
    x = torch.rand(4, 9)
    assert module.encode(x).shape == (4, 3)
    torch.testing.assert_close(module.decode(module.encode(x)), module(x))


def test_generator_decides_the_weights():
    first, second = (Autoencoder(9, [5], generator=generator()) for _ in range(2))
    torch.testing.assert_close(first.input_weight, second.input_weight, rtol=0, atol=0)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_runs(name):
    assert torch.isfinite(Autoencoder(4, [3], activation=name, generator=generator())(torch.randn(2, 4))).all()


@pytest.mark.parametrize("hidden", [[5], [5, 3]])
def test_the_code_may_have_an_activation_of_its_own(hidden):
    """No other layer uses it: the layers before and after the code are unchanged."""
    own = Autoencoder(9, hidden, activation="tanh", code_activation="identity", generator=generator())
    common = Autoencoder(9, hidden, activation="tanh", generator=generator())
    x, code = torch.rand(4, 9), torch.rand(4, hidden[-1])
    torch.testing.assert_close(own.encode(x).tanh(), common.encode(x))
    assert not torch.allclose(own.encode(x), common.encode(x))
    assert torch.equal(own.decode(code), common.decode(code))


BOUND = (6 / (200 + 100)) ** 0.5


@pytest.mark.parametrize(
    ("initial", "std", "bound"),
    [
        ("glorot_normal", BOUND / 3**0.5, None),
        ("glorot_uniform", BOUND / 3**0.5, BOUND),
        ("sigmoid_uniform", 4 * BOUND / 3**0.5, 4 * BOUND),
        (0.3, 0.3, None),
    ],
)
def test_initial_weights_have_the_published_spread(initial, std, bound):
    module = Autoencoder(200, [100, 100], initial=initial, generator=generator())
    for weight in (module.input_weight, module.output_weight):
        assert weight.std().item() == pytest.approx(std, rel=0.02)
        assert weight.mean().item() == pytest.approx(0, abs=0.02 * std * 3)
        largest = weight.abs().max().item()
        assert largest > 3.5 * std if bound is None else 0.99 * bound < largest <= bound
    assert not any(bias.any() for bias in (*module.encoder_biases, *module.decoder_biases, module.output_bias))


@pytest.mark.parametrize("initial", INITIALISERS)
def test_every_initialiser_draws_from_the_generator(initial):
    first, second = (Autoencoder(9, [5], initial=initial, generator=generator()) for _ in range(2))
    other = Autoencoder(9, [5], initial=initial, generator=torch.Generator().manual_seed(4))
    assert torch.equal(first.input_weight, second.input_weight)
    assert not torch.equal(first.input_weight, other.input_weight)


@pytest.mark.parametrize("hidden", [[], [0], [5, -1]])
def test_impossible_sizes(hidden):
    with pytest.raises(ConfigError, match="hidden sizes"):
        Autoencoder(4, hidden)


def test_unknown_activation():
    with pytest.raises(ConfigError, match="did you mean 'sigmoid'"):
        Autoencoder(4, [3], activation="sigmod")
    with pytest.raises(ConfigError, match="did you mean 'sigmoid'"):
        Autoencoder(4, [3], code_activation="sigmod")


def test_unknown_initialiser():
    with pytest.raises(ConfigError, match="unknown initialiser 'glorot_norma'; did you mean 'glorot_normal'"):
        Autoencoder(4, [3], initial="glorot_norma")


def test_input_and_output_may_have_different_columns():
    network = Autoencoder(7, [4, 3], out_width=5, generator=torch.Generator().manual_seed(0))
    assert network(torch.rand(2, 7)).shape == (2, 5)
    assert [tuple(weight.shape) for weight in wide_weights(network)] == [(7, 4), (5, 4)]
    with pytest.raises(ConfigError, match="tied weights need equal widths, got 7 input and 5 output columns"):
        Autoencoder(7, [4, 3], out_width=5, tied=True)
