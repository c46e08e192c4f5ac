import pytest
import torch
from torch.distributions import Normal, kl_divergence

from recsys_ae.core.axes import inner_weights, wide_weights
from recsys_ae.core.sparse import SparseRows
from recsys_ae.core.variational import VariationalAutoencoder, kl_from_standard_normal, sample


def network() -> VariationalAutoencoder:
    return VariationalAutoencoder(7, (5, 3), generator=torch.Generator().manual_seed(0))


def test_divergence_is_that_of_the_distributions():
    mean, log_variance = torch.randn(4, 3), torch.randn(4, 3)
    expected = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(kl_from_standard_normal(mean, log_variance), expected)


def test_samples_have_the_mean_and_the_variance():
    mean, log_variance = torch.tensor([[1.0, -2.0]]), torch.tensor([[0.0, 1.0]])
    drawn = sample(mean.repeat(100_000, 1), log_variance.repeat(100_000, 1), torch.Generator().manual_seed(0))
    torch.testing.assert_close(drawn.mean(0), mean[0], atol=0.02, rtol=0)
    torch.testing.assert_close(drawn.var(0), log_variance[0].exp(), atol=0.05, rtol=0)


def test_forward_is_the_equations_for_sparse_and_dense_rows():
    module = network()
    x = torch.randn(2, 7)
    rows = SparseRows.from_arrays([0, 7, 14], list(range(7)) * 2, x.flatten(), 7)
    hidden = torch.tanh(x @ module.body.input_weight + module.body.encoder_biases[0])
    code = hidden @ module.mean_weight.T + module.mean_bias
    back = torch.tanh(code @ module.decoder_weight.T + module.decoder_bias)
    expected = back @ module.body.output_weight.T + module.body.output_bias
    torch.testing.assert_close(module(x), expected)
    torch.testing.assert_close(module(rows), expected)
    torch.testing.assert_close(module.decode(code, rows), expected.flatten())


def one_layer() -> VariationalAutoencoder:
    """With nonzero biases."""
    module = VariationalAutoencoder(7, (3,), generator=torch.Generator().manual_seed(0))
    for bias in (module.body.encoder_biases[0], module.log_variance_bias, module.body.output_bias):
        torch.nn.init.normal_(bias, generator=torch.Generator().manual_seed(1))
    return module


def test_one_layer_is_linear_for_sparse_and_dense_rows():
    module = one_layer()
    x = torch.randn(2, 7)
    rows = SparseRows.from_arrays([0, 7, 14], list(range(7)) * 2, x.flatten(), 7)
    mean = x @ module.body.input_weight + module.body.encoder_biases[0]
    log_variance = x @ module.input_weight + module.log_variance_bias
    logits = mean @ module.body.output_weight.T + module.body.output_bias
    for given in (x, rows):
        torch.testing.assert_close(module.encode(given), (mean, log_variance))
        torch.testing.assert_close(module(given), logits)
    torch.testing.assert_close(module.decode(mean, rows), logits.flatten())


def test_one_layer_learns_the_same_from_sparse_and_dense_rows():
    x = torch.randn(2, 7)
    rows = SparseRows.from_arrays([0, 7, 14], list(range(7)) * 2, x.flatten(), 7)
    gradients = []
    for given in (x, rows):
        module = one_layer()
        mean, log_variance = module.encode(given)
        (module.decode(mean).square().sum() + log_variance.exp().sum()).backward()
        gradients.append([weight.grad for weight in module.parameters()])
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize(("hidden", "wide", "inner"), [((3,), 3, 0), ((5, 3), 2, 3), ((6, 5, 3), 2, 5)])
def test_all_weights_are_wide_or_inner_ones(hidden, wide, inner):
    module = VariationalAutoencoder(7, hidden, generator=torch.Generator().manual_seed(0))
    assert (len(wide_weights(module)), len(inner_weights(module))) == (wide, inner)
    matrices = {id(weight) for weight in module.parameters() if weight.ndim == 2}
    assert {id(weight) for weight in (*wide_weights(module), *inner_weights(module))} == matrices


@pytest.mark.parametrize("hidden", [[3], [4, 3]])
def test_input_and_output_may_have_different_columns(hidden):
    network = VariationalAutoencoder(7, hidden, out_width=5, generator=torch.Generator().manual_seed(0))
    assert network(torch.rand(2, 7)).shape == (2, 5)
