import torch
from torch.distributions import Normal, kl_divergence

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
