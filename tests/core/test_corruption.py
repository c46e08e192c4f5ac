import pytest
import torch
from builders import random_interactions

from recsys_ae.core.corruption import CORRUPTIONS, Gaussian, Masking, SaltAndPepper, masking
from recsys_ae.core.sparse import SparseRows
from recsys_ae.errors import ConfigError


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rows() -> SparseRows:
    matrix = random_interactions(n_users=200).matrix
    return SparseRows.from_arrays(matrix.indptr, matrix.indices, matrix.data + 1, matrix.shape[1])


EVERY = [Masking(0.3), Masking(0.3, rescale=False), Gaussian(0.5), Gaussian(0.5, within=(0, 1)), SaltAndPepper(0.3)]


@pytest.mark.parametrize("corruption", EVERY)
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


def test_gaussian_noise_is_clipped_to_what_is_given():
    x = torch.linspace(0, 1, 10_000)
    free, clipped = (corruption(x, generator()) for corruption in (Gaussian(0.5), Gaussian(0.5, within=(0.0, 1.0))))
    assert free.min() < 0 < 1 < free.max()
    assert torch.equal(clipped, free.clamp(0, 1))


def test_salt_and_pepper_are_equally_frequent():
    x = torch.full((100_000,), 0.5)
    spoilt = SaltAndPepper(0.3)(x, generator())
    for value, share in ((0.0, 0.15), (1.0, 0.15), (0.5, 0.7)):
        assert (spoilt == value).float().mean() == pytest.approx(share, abs=0.01)
    assert torch.equal(SaltAndPepper(0.0)(x, generator()), x)
    assert set(SaltAndPepper(1.0)(x, generator()).tolist()) == {0.0, 1.0}


def test_masking_as_published_leaves_the_others_as_they_are():
    x = torch.rand(10_000, generator=generator(1))
    masked = masking(0.3)(x, generator())
    kept = masked != 0
    assert torch.equal(masked[kept], x[kept])
    assert kept.float().mean() == pytest.approx(0.7, abs=0.02)
    assert masking(0.3) == Masking(0.3, rescale=False)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_every_corruption_is_made_from_one_number(name):
    x = torch.full((1000,), 0.5)
    assert torch.equal(CORRUPTIONS.get(name)(0.0)(x, generator()), x)
    changed = [(CORRUPTIONS.get(name)(number)(x, generator()) - x).square().sum() for number in (0.1, 0.5)]
    assert 0 < changed[0] < changed[1]


IMPOSSIBLE = [
    lambda: Masking(1.0),
    lambda: Masking(-0.1),
    lambda: masking(1.0),
    lambda: Gaussian(-1.0),
    lambda: SaltAndPepper(-0.1),
    lambda: SaltAndPepper(1.1),
]


@pytest.mark.parametrize("make", IMPOSSIBLE)
def test_impossible_corruption(make):
    with pytest.raises(ConfigError):
        make()
