"""Contract tests for every registered loss, optimiser and metric; a new loss or metric needs a row here."""

from collections.abc import Callable
from copy import deepcopy

import numpy as np
import pandas as pd
import pytest
import torch
from builders import from_dense
from torch import Generator, Tensor, nn
from torch.nn import functional

from recsys_ae import IdMap, Interactions, Report, Split, evaluate
from recsys_ae.core.autoencoder import Autoencoder
from recsys_ae.core.losses import LOSSES, multinomial
from recsys_ae.core.optimisers import FULL_BATCH, OPTIMISERS, make_optimiser
from recsys_ae.core.sparse import SparseRows
from recsys_ae.errors import ConfigError
from recsys_ae.evaluation.metrics import (
    BEYOND_ACCURACY,
    CATALOGUE_METRICS,
    PARTIAL,
    RANKING_METRICS,
    RATING_METRICS,
    parse_metric,
)
from recsys_ae.features import FeatureTable
from recsys_ae.models.baselines import Popularity

# Losses, written out.
DENSE_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "squared_error": lambda p, t: (p - t) * (p - t),
    "cross_entropy": lambda p, t: -(t * p.sigmoid().log() + (1 - t) * (1 - p.sigmoid()).log()),
}


def drawn(seed: int, shape: tuple[int, ...] = (3, 5)) -> tuple[Tensor, Tensor, Tensor]:
    """float64 predictions, targets between 0 and 1, and weights of which some are 0."""
    generator = Generator().manual_seed(seed)
    prediction = 2 * torch.randn(shape, generator=generator, dtype=torch.float64)
    target, weight = (torch.rand(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    return prediction.requires_grad_(), target, weight * (weight > 0.3)


def gradient(total: Tensor, *of: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(total, of))


def test_every_loss_is_written_out():
    assert set(DENSE_LOSSES) == set(LOSSES)


@pytest.mark.parametrize("name", LOSSES)
class TestEveryLoss:
    @pytest.mark.parametrize("seed", range(3))
    def test_total_count_and_gradient_are_those_of_the_formula(self, name, seed):
        prediction, target, weight = drawn(seed)
        found, expected = LOSSES.get(name)(prediction, target, weight), (weight * DENSE_LOSSES[name](prediction, target)).sum()
        torch.testing.assert_close(found.total, expected)
        torch.testing.assert_close(found.count, weight.sum())
        torch.testing.assert_close(gradient(found.total, prediction), gradient(expected, prediction))

    def test_gradient_is_that_of_finite_differences(self, name):
        prediction, target, weight = drawn(7)
        assert torch.autograd.gradcheck(lambda p: LOSSES.get(name)(p, target, weight).total, prediction)
        assert torch.autograd.gradcheck(lambda p: LOSSES.get(name)(p, target, None).total, prediction)

    @pytest.mark.parametrize("tied", [True, False])
    def test_observed_entries_give_the_gradients_of_a_masked_dense_network(self, name, tied):
        """Through the sparse layers, with more columns than rows, an empty row, and columns without entries."""
        observed = torch.rand(4, 9, generator=Generator().manual_seed(3)) < 0.4
        observed[2] = observed[:, 5] = False
        targets = torch.rand(4, 9, generator=Generator().manual_seed(4)) * observed
        network = Autoencoder(9, (3,), tied=tied, generator=Generator().manual_seed(0))
        rows = sparse_rows(targets, observed)
        sparse = LOSSES.get(name)(network(rows, rows), rows.values, None).total
        dense = (observed * DENSE_LOSSES[name](network(targets), targets)).sum()
        torch.testing.assert_close(sparse, dense)
        weights = list(network.parameters())
        torch.testing.assert_close(gradient(sparse, *weights), gradient(dense, *weights), rtol=1e-4, atol=1e-5)


def sparse_rows(values: Tensor, observed: Tensor) -> SparseRows:
    row, column = observed.nonzero(as_tuple=True)
    indptr = np.r_[0, np.cumsum(observed.sum(1).numpy())]
    return SparseRows.from_arrays(indptr, column.numpy().astype(np.int32), values[row, column].numpy(), values.shape[1])


def test_multinomial_loss_has_the_gradient_of_the_formula():
    observed = torch.rand(4, 9, generator=Generator().manual_seed(3)) < 0.4
    rows = sparse_rows(observed.float(), observed)
    logits = torch.randn(4, 9, generator=Generator().manual_seed(5)).requires_grad_()
    found, expected = multinomial(logits, rows), -(observed * functional.log_softmax(logits, 1)).sum()
    torch.testing.assert_close(found.total, expected)
    assert found.count == observed.sum()
    torch.testing.assert_close(gradient(found.total, logits), gradient(expected, logits))


class Bowl(nn.Module):
    """An ill-conditioned quadratic function of a matrix and a vector, with its minimum at 1 and -1."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix, self.vector = nn.Parameter(torch.zeros(3, 2)), nn.Parameter(torch.full((4,), 0.5))

    def forward(self) -> Tensor:
        steep = torch.tensor([[1.0, 2.0], [3.0, 1.0], [2.0, 2.0]])
        return (steep * (self.matrix - 1).square()).sum() + (self.vector + 1).square().sum()


def descend(module: Bowl, optimiser, steps: int) -> None:
    def closure() -> Tensor:
        optimiser.zero_grad()
        value = module()
        value.backward()
        return value

    for _ in range(steps):
        optimiser.step(closure)


@pytest.mark.parametrize("name", OPTIMISERS)
class TestEveryOptimiser:
    def test_it_finds_the_lowest_point(self, name):
        module = Bowl()
        before = module().item()
        descend(module, make_optimiser(name, module, 0.05), 150)
        assert module().item() < 0.01 * before

    def test_it_continues_exactly_from_its_state(self, name):
        whole, halves = Bowl(), Bowl()
        descend(whole, make_optimiser(name, whole, 0.05), 6)
        first = make_optimiser(name, halves, 0.05)
        descend(halves, first, 3)
        second = make_optimiser(name, halves, 0.05)
        second.load_state_dict(deepcopy(first.state_dict()))
        descend(halves, second, 3)
        for weight, other in zip(whole.parameters(), halves.parameters(), strict=True):
            assert torch.equal(weight, other)

    def test_its_state_matters(self, name):
        """Without it, the second half takes other steps; except for plain descent, which has no state."""
        whole, halves = Bowl(), Bowl()
        descend(whole, make_optimiser(name, whole, 0.05), 6)
        for _ in range(2):
            descend(halves, make_optimiser(name, halves, 0.05), 3)
        assert torch.equal(whole.matrix, halves.matrix) == (name == "sgd")

    def test_the_learning_rate_is_that_of_the_group(self, name):
        """The trainer decays it there."""
        module = Bowl()
        optimiser = make_optimiser(name, module, 0.05)
        assert [group["lr"] for group in optimiser.param_groups] == [0.05]
        optimiser.param_groups[0]["lr"] = 0.0
        before = deepcopy(module.state_dict())
        descend(module, optimiser, 1)
        moved = not all(torch.equal(before[key], weight) for key, weight in module.state_dict().items())
        assert moved == (name == "rprop")  # of which it is only the size of the first step, kept from the start

    def test_a_learning_rate_that_is_not_positive_is_refused(self, name):
        for wrong in (0.0, -1.0, float("nan")):
            with pytest.raises(ConfigError, match="learning_rate must be positive"):
                make_optimiser(name, Bowl(), wrong)


@pytest.mark.parametrize("name", ["Adam", "AdamW", "SGD"])
def test_optimisers_that_import_no_compiler_take_the_steps_of_pytorchs(name):
    mine, other = Bowl(), Bowl()
    descend(mine, make_optimiser(name.lower(), mine, 0.05), 20)
    descend(other, getattr(torch.optim, name)(other.parameters(), lr=0.05, fused=True), 20)
    for weight, expected in zip(mine.parameters(), other.parameters(), strict=True):
        assert torch.equal(weight, expected)


def test_optimisers_of_whole_batches_are_registered():
    assert set(OPTIMISERS) >= FULL_BATCH


# Three users and one more in training, items 100 to 105; everybody's scores fall from item 100 to item 105.
SEEN = {"u00": [105], "u01": [105, 100], "u02": [103], "u03": [100]}
WANTED = {"u00": [100, 103], "u01": [102], "u02": [104]}
# So the lists of three places are 100 101 102, 101 102 103 and 100 101 102, and the hits 1 0 0, 0 1 0 and 0 0 0.
LOG3 = np.log2(3)
RATED = {100: 3, 103: 5}  # all others with 1
KIND = {100: "a", 101: "a", 102: "b", 103: "c", 104: "b", 105: "a", 106: "d"}
VECTOR = {100: (2, 0), 101: (1, 1), 102: (0, 3), 103: (0, -1), 104: (0, 0), 105: (1, 0), 106: (1, 1)}
W = 2 ** -((1.69 + 1) / 2)  # inverse propensity of an item with two users; it is 1 for those with one or none
BY_HAND = {
    "precision": [1 / 3, 1 / 3, 0],
    "recall": [1 / 2, 1, 0],
    "capped_recall": [1 / 2, 1, 0],
    "ndcg": [1 / (1 + 1 / LOG3), 1 / LOG3, 0],
    "graded_ndcg": [3 / (5 + 3 / LOG3), 1 / LOG3, 0],
    "exponential_ndcg": [7 / (31 + 7 / LOG3), 1 / LOG3, 0],
    "map": [1 / 2, 1 / 2, 0],
    "uncapped_map": [1 / 2, 1 / 2, 0],
    "mrr": [1, 1 / 2, 0],
    "hit_rate": [1, 1, 0],
    "r_precision": [1 / 2, 0, 0],
    "rbp": [0.2, 0.2 * 0.8, 0],
    # Irrelevant candidates: 101 102 of the list; 101 of the list and 103; 101 102 of the list, 100 and 105.
    "auc": [2 / 4, 1 / 2, 0.5 / 4],
    "ipw_recall": [W / (W + 1), 1, 0],
    "ipw_dcg": [W / (W + 1), 1 / LOG3, 0],
    "ipw_ndcg": [W / (1 + W / LOG3), 1 / LOG3, 0],
    "novelty": [(np.log2(5 / 2) + 2 * np.log2(5)) / 3, np.log2(5), (np.log2(5 / 2) + 2 * np.log2(5)) / 3],
    "average_popularity": [2 / 3, 1 / 3, 2 / 3],
    "popularity_lift": [2 / 3 / 2 - 1, 1 / 3 / 2 - 1, 2 / 3 / 1 - 1],
    "serendipity": [0, 0, 0],  # all hits are expected; test_beyond_accuracy.py has others
    "feature_diversity": [2 / 3, 1, 2 / 3],
    "vector_diversity": [1 - 2 * 0.5**0.5 / 3, 4 / 3, 1 - 2 * 0.5**0.5 / 3],
    "audience_diversity": [1, 1, 1],  # no two items have users in common; test_beyond_accuracy.py has others
    "miscalibration": [-np.log(0.99 * 2 / 3 + 0.01), -np.log(0.99 / 3 + 0.01), np.log(100)],
}
CATALOGUE_BY_HAND = {  # 100 to 103 are listed 2, 3, 3 and 1 times, and 105 is only in the history
    "coverage": 4 / 5,
    "gini": (-4 * 0 - 2 * 1 + 0 * 2 + 2 * 3 + 4 * 3) / (5 * 9),
    "entropy": -(2 / 9 * np.log2(2 / 9) + 2 * 3 / 9 * np.log2(3 / 9) + 1 / 9 * np.log2(1 / 9)),
}


class Fixed(Popularity):
    """Scores each item by the number in its id, for all users."""

    def scores(self, history, rows):
        return np.tile(-history.items.values.astype(np.float32), (len(rows), 1))


def pairs(items_of: dict[str, list[int]], users: IdMap, items: IdMap) -> Interactions:
    matrix = np.zeros((len(users), len(items)), np.float32)
    for user, own in items_of.items():
        matrix[users.rows([user])[0], items.rows(own)] = [RATED.get(item, 1) for item in own]
    data = from_dense(matrix, matrix > 0)
    kinds = pd.DataFrame({"id": KIND.keys(), "kind": KIND.values()})
    features = FeatureTable.from_frame(kinds, {"kind": "category"}, ids=items)
    return Interactions(data.matrix, users, items, item_features=features)


def split(users: list[str], items: list[int]) -> Split:
    ids = IdMap(users), IdMap(np.array(items))
    return Split(pairs(SEEN, *ids), pairs({}, *ids), pairs(WANTED, *ids))


def report(name: str, parts: Split, k: int = 3, **options: object) -> Report:
    vectors = np.array([VECTOR[item] for item in parts.train.items.values])
    return evaluate(Fixed().fit(parts.train), parts, [f"{name}@{k}"], item_vectors=vectors, **options)


def values(name: str, parts: Split, k: int = 3, **options: object) -> dict[str, float]:
    """The values of each evaluated user."""
    found = report(name, parts, k, **options)
    return dict(zip(found.users, found.per_user[f"{name}@{k}"], strict=True))


USERS, ITEMS = ["u00", "u01", "u02", "u03"], [100, 101, 102, 103, 104, 105]


@pytest.mark.parametrize("name", RANKING_METRICS)
class TestEveryRankingMetric:
    def test_matches_values_computed_by_hand(self, name):
        found = values(name, split(USERS, ITEMS))
        assert found == pytest.approx(dict(zip(USERS[:3], BY_HAND[name], strict=True)))

    def test_the_order_of_users_and_items_does_not_matter(self, name):
        found = values(name, split(USERS, ITEMS))
        assert values(name, split(USERS[::-1], ITEMS)) == pytest.approx(found)
        assert values(name, split(USERS, [103, 100, 105, 101, 104, 102])) == pytest.approx(found)

    def test_users_do_not_influence_each_other(self, name):
        parts = split(USERS, ITEMS)
        assert values(name, parts, batch_users=1) == values(name, parts, batch_users=2) == values(name, parts)

    def test_a_list_cannot_be_longer_than_the_catalogue(self, name):
        """Beyond it, only the length itself changes values: precision divides by it."""
        parts = split(USERS, ITEMS)
        long, longer = np.array([list(values(name, parts, k).values()) for k in (100, 100_000)])
        np.testing.assert_allclose(longer, long / 1000 if name == "precision" else long)

    @pytest.mark.parametrize("k", [1, 2, 5, 6, 50])
    def test_it_is_a_number_at_every_length(self, name, k):
        """Even if the catalogue, or its unseen part, is shorter than the list; accuracy is between 0 and 1."""
        found = np.array(list(values(name, split(USERS, ITEMS), k).values()))
        if name in PARTIAL:
            found = found[~np.isnan(found)]
        assert np.isfinite(found).all()
        assert (found >= (-1 if name == "popularity_lift" else 0)).all()
        assert name in BEYOND_ACCURACY or (found <= 1).all()

    def test_its_name_says_what_it_is(self, name):
        metric = parse_metric(f"{name}@3")
        assert metric.per_user
        assert metric.measures_accuracy == (name not in BEYOND_ACCURACY)


@pytest.mark.parametrize("name", CATALOGUE_METRICS)
class TestEveryCatalogueMetric:
    def test_matches_values_computed_by_hand(self, name):
        found = report(name, split(USERS, ITEMS))
        assert found.metrics == {f"{name}@3": pytest.approx(CATALOGUE_BY_HAND[name])}
        assert found.per_user == {}

    def test_neither_order_nor_blocks_matter(self, name):
        """To the last bit."""
        found = report(name, split(USERS, ITEMS)).metrics
        assert report(name, split(USERS[::-1], [103, 100, 105, 101, 104, 102]), batch_users=1).metrics == found

    def test_items_that_nothing_is_known_of_do_not_matter(self, name):
        found = report(name, split(USERS, ITEMS)).metrics
        assert report(name, split(USERS, [*ITEMS, 106])).metrics == found

    def test_it_chooses_no_model(self, name):
        metric = parse_metric(f"{name}@3")
        assert not metric.measures_accuracy
        assert not metric.per_user


ERRORS_BY_HAND = {"rmse": 1.5**0.5, "mae": 1.0}


@pytest.mark.parametrize("name", RATING_METRICS)
class TestEveryRatingMetric:
    actual, predicted = np.array([1.0, 2, 5, 4]), np.array([1.0, 3, 3, 3])

    def test_matches_values_computed_by_hand(self, name):
        metric = RATING_METRICS.get(name)
        assert metric(self.predicted, self.actual) == pytest.approx(ERRORS_BY_HAND[name])
        assert metric(self.actual, self.actual) == 0

    def test_neither_the_order_of_pairs_nor_the_sign_of_errors_matters(self, name):
        metric, order = RATING_METRICS.get(name), np.array([2, 0, 3, 1])
        assert metric(self.predicted[order], self.actual[order]) == pytest.approx(metric(self.predicted, self.actual))
        assert metric(self.actual, self.predicted) == metric(self.predicted, self.actual)

    def test_long_sums_of_float32_are_exact(self, name):
        n = 3_000_000
        actual = np.zeros(n, np.float32)
        assert RATING_METRICS.get(name)(actual + np.float32(0.1), actual) == pytest.approx(np.float32(0.1), rel=1e-9)
