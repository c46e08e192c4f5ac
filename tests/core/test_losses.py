import pytest
import torch
from torch.nn import functional

from recsys_ae.core.losses import LOSSES, absolute_error, cross_entropy, squared_error

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

    def test_weight_zero_means_not_there(self, name):
        loss, weight = LOSSES.get(name), torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
        kept = weight.bool()
        dense, flat = loss(PREDICTION, TARGET, weight), loss(PREDICTION[kept], TARGET[kept], weight[kept])
        torch.testing.assert_close(dense.total, flat.total)
        assert dense.count == flat.count == 4

    def test_never_negative_and_least_at_the_target(self, name):
        loss, ones = LOSSES.get(name), torch.ones(2, 3)
        best = torch.logit(TARGET.clamp(1e-6, 1 - 1e-6)) if name == "cross_entropy" else TARGET
        assert 0 <= loss(best, TARGET, ones).total < loss(PREDICTION, TARGET, ones).total


def test_agree_with_pytorch():
    ones = torch.ones(2, 3)
    torch.testing.assert_close(
        squared_error(PREDICTION, TARGET, ones).total, functional.mse_loss(PREDICTION, TARGET, reduction="sum")
    )
    torch.testing.assert_close(
        absolute_error(PREDICTION, TARGET, ones).total, functional.l1_loss(PREDICTION, TARGET, reduction="sum")
    )
    manual = -(TARGET * PREDICTION.sigmoid().log() + (1 - TARGET) * (1 - PREDICTION.sigmoid()).log()).sum()
    torch.testing.assert_close(cross_entropy(PREDICTION, TARGET, ones).total, manual)
