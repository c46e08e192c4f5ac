import pytest
import torch
from builders import random_interactions

from recsys_ae.core.corruption import Gaussian, Masking
from recsys_ae.core.sparse import SparseRows
from recsys_ae.errors import ConfigError


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rows() -> SparseRows:
    matrix = random_interactions(n_users=200).matrix
    return SparseRows.from_arrays(matrix.indptr, matrix.indices, matrix.data + 1, matrix.shape[1])


@pytest.mark.parametrize("corruption", [Masking(0.3), Masking(0.3, rescale=False), Gaussian(0.5)])
class TestEveryCorruption:
    def test_the_generator_decides(self, corruption):
        x = torch.ones(50, 8)
        assert torch.equal(corruption(x, generator(1)), corruption(x, generator(1)))
        assert not torch.equal(corruption(x, generator(1)), corruption(x, generator(2)))

    def test_the_input_stays_clean(self, corruption):
        x, sparse = torch.ones(50, 8), rows()
        before = sparse.values.clone()
        corruption(x, generator())
        corruption(sparse, generator())
        assert torch.equal(x, torch.ones(50, 8))
        assert torch.equal(sparse.values, before)

    def test_sparse_rows_keep_their_pattern(self, corruption):
        sparse = rows()
        corrupted = corruption(sparse, generator())
        assert corrupted.columns is sparse.columns
        assert corrupted.indptr is sparse.indptr
        assert not torch.equal(corrupted.values, sparse.values)


def test_masking_rate_and_rescaling():
    x = torch.ones(100_000)
    masked = Masking(0.3)(x, generator())
    assert (masked == 0).float().mean() == pytest.approx(0.3, abs=0.01)
    assert masked.mean() == pytest.approx(1, abs=0.02)
    assert set(Masking(0.3, rescale=False)(x, generator()).tolist()) == {0.0, 1.0}


def test_gaussian_noise_has_its_standard_deviation():
    assert Gaussian(0.5)(torch.zeros(100_000), generator()).std() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("make", [lambda: Masking(1.0), lambda: Masking(-0.1), lambda: Gaussian(-1.0)])
def test_impossible_corruption(make):
    with pytest.raises(ConfigError):
        make()
