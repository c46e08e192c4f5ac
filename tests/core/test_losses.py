import numpy as np
import pytest
import torch
from scipy.stats import entropy
from torch.nn import functional

from recsys_ae.core.losses import LOSSES, cross_entropy, kl_sparsity, l1_sparsity, squared_error

PREDICTION = torch.tensor([[0.5, -1.0, 2.0], [0.0, 3.0, -2.0]])
TARGET = torch.tensor([[1.0, 0.0, 0.3], [0.5, 1.0, 0.0]])


@pytest.mark.parametrize("name", LOSSES)
class TestEveryLoss:
    def test_total_and_count_add_up_over_batches(self, name):
        loss, weight = LOSSES.get(name), torch.rand(2, 3)
        whole = loss(PREDICTION, TARGET, weight)
        parts = [loss(PREDICTION[[row]], TARGET[[row]], weight[[row]]) for row in range(2)]
        torch.testing.assert_close(whole.total, parts[0].total + parts[1].total)
        torch.testing.assert_close(whole.count, parts[0].count + parts[1].count)

    def test_entries_with_weight_zero_do_not_count(self, name):
        loss, weight = LOSSES.get(name), torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
        kept = weight.bool()
        dense, flat = loss(PREDICTION, TARGET, weight), loss(PREDICTION[kept], TARGET[kept], weight[kept])
        torch.testing.assert_close(dense.total, flat.total)
        assert dense.count == flat.count == 4

    def test_no_weight_is_1_everywhere(self, name):
        loss = LOSSES.get(name)
        for prediction, target in ((PREDICTION, TARGET), (PREDICTION.flatten(), TARGET.flatten())):
            plain, ones = loss(prediction, target), loss(prediction, target, torch.ones_like(target))
            torch.testing.assert_close(plain.total, ones.total)
            assert plain.count == ones.count == 6

    def test_no_weight_has_the_same_gradient(self, name):
        loss, gradients = LOSSES.get(name), []
        for weight in (None, torch.ones(2, 3)):
            prediction = PREDICTION.clone().requires_grad_()
            loss(prediction, TARGET, weight).total.backward()
            gradients.append(prediction.grad)
        torch.testing.assert_close(*gradients)

    def test_never_negative_and_least_at_the_target(self, name):
        loss, ones = LOSSES.get(name), torch.ones(2, 3)
        best = torch.logit(TARGET.clamp(1e-6, 1 - 1e-6)) if name == "cross_entropy" else TARGET
        assert 0 <= loss(best, TARGET, ones).total < loss(PREDICTION, TARGET, ones).total


def test_agree_with_pytorch():
    ones = torch.ones(2, 3)
    torch.testing.assert_close(
        squared_error(PREDICTION, TARGET, ones).total, functional.mse_loss(PREDICTION, TARGET, reduction="sum")
    )
    manual = -(TARGET * PREDICTION.sigmoid().log() + (1 - TARGET) * (1 - PREDICTION.sigmoid()).log()).sum()
    torch.testing.assert_close(cross_entropy(PREDICTION, TARGET, ones).total, manual)


CODE = torch.tensor([[0.1, 0.9, 0.2], [0.3, 0.5, 0.2], [0.2, 0.4, 0.2]])


@pytest.mark.parametrize("target", [0.05, 0.2, 0.9])
def test_kl_sparsity_is_the_divergence_of_bernoulli_distributions(target):
    mean = CODE.numpy().mean(axis=0)
    manual = (target * np.log(target / mean) + (1 - target) * np.log((1 - target) / (1 - mean))).sum()
    coins = sum(entropy([target, 1 - target], [share, 1 - share]) for share in mean)
    assert kl_sparsity(CODE, target).item() == pytest.approx(manual, rel=1e-5)
    assert manual == pytest.approx(coins, rel=1e-5)


def test_kl_sparsity_is_least_where_the_means_are_the_target():
    assert kl_sparsity(CODE[:, [2]], 0.2).item() == pytest.approx(0, abs=1e-6)
    assert torch.isfinite(kl_sparsity(torch.tensor([[0.0, 1.0]]), 0.05))


def test_l1_sparsity_is_the_mean_over_rows():
    code = CODE * torch.tensor([1.0, -1.0, 0.0])
    assert l1_sparsity(code).item() == pytest.approx(np.abs(code.numpy()).sum(axis=1).mean(), rel=1e-6)
    torch.testing.assert_close(l1_sparsity(code.repeat(4, 1)), l1_sparsity(code))
