"""Whether intervals, tests and smallest differences are what they claim to be, where the truth is known.

    [RECSYS_AE_DATA=...] python benchmarks/uncertainty.py [--draws 1000] [--smoke]

A population of users with the values of several models is planted; its means are the truth. Test parts of a few users are
drawn from it again and again, and each is analysed as the test part of an experiment is. With real data, the users of MovieLens
1M with NDCG@10 of five fitted models are a population as well. Prints tables; the last line is a JSON object.
"""

import argparse
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recsys_ae import Interactions, Split, build_model, evaluate, ranking
from recsys_ae.evaluation.uncertainty.paired import paired, smallest_difference
from recsys_ae.evaluation.uncertainty.sample import Sample
from recsys_ae.evaluation.uncertainty.statistics import Findings, compare

LEVEL, ALPHA, POWER, K = 0.9, 0.05, 0.8, 10
TESTS = ("t", "randomisation", "wilcoxon")
USERS = (30, 100, 1000)
PLAIN = {"item_exponent": 0.0, "input_exponent": 0.0, "intercept": 0.0}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "cosine": ("itemknn", {}),
    "RP3beta": ("rp3beta", {"beta": 0.6}),
    "EASE": ("ease", {**PLAIN, "l2": 1000, "dropout": 0.0, "user_exponent": 0.0}),
    "EDLAE": ("ease", {**PLAIN, "l2": 500, "dropout": 0.5, "user_exponent": -0.5}),
    "popularity": ("popularity", {}),
}

Floats = NDArray[np.float64]
Row = dict[str, Any]


@dataclass(frozen=True)
class Population:
    """All users, with the values [5, P] of five models of which the second is somewhat better than the first."""

    name: str
    values: Floats
    weights: Floats | None = None
    root: bool = False

    def sample(self, users: NDArray[np.int64] | slice) -> Sample:
        return Sample(self.values[:, users], None if self.weights is None else self.weights[users], self.root, self.root)

    @property
    def truth(self) -> Floats:
        return self.sample(slice(None)).metrics

    def of(self, *models: int) -> "Population":
        return replace(self, values=self.values[list(models)])

    def rescaled(self) -> "Population":
        """With equal metrics of all models, which differ in who gains and who loses."""
        factors = (self.truth[0] / self.truth) ** (2 if self.root else 1)
        return replace(self, name=f"{self.name}, different users gain", values=self.values * factors[:, None])

    def exchanged(self, rng: np.random.Generator) -> "Population":
        """With the models of each user in random order, and in all rotations of it, so that no model is better than another."""
        mixed, m = rng.permuted(self.values, axis=0), len(self.values)
        weights = None if self.weights is None else np.tile(self.weights, m)
        values = np.concatenate([np.roll(mixed, shift, axis=0) for shift in range(m)], axis=1)
        return replace(self, name=f"{self.name}, exchangeable", values=values, weights=weights)


def planted_lists(n: int, rng: np.random.Generator) -> dict[str, Floats]:
    """NDCG and hit rate of five models, [5, n] each. A hit is as likely as the user and the model make it, at any rank less so
    than at the one before; the last three models help some users at the cost of others."""
    relevant = rng.geometric(0.1, n)
    ease = rng.beta(0.7, 4, n)
    found: dict[str, list[Floats]] = {"NDCG@10": [], "hit rate@10": []}
    for better, apart in [(1, 0), (1.15, 0), (1, 0.5), (1, 1), (1, 1.5)]:
        rates = np.clip(ease * better * np.exp(apart * rng.normal(size=n)), 0, 0.9)
        hits, left = np.zeros((n, K), bool), relevant.copy()
        for place in range(K):
            hits[:, place] = (rng.random(n) < rates * 0.93**place) & (left > 0)
            left -= hits[:, place]
        found["NDCG@10"].append(np.asarray(ranking.ndcg(hits, relevant, K)))
        found["hit rate@10"].append(hits.any(axis=1).astype(np.float64))
    return {name: np.array(values) for name, values in found.items()}


def planted_errors(n: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Mean squared errors [5, n] of users, and their numbers of ratings [n], a few of which are very large."""
    ratings = np.ceil(np.exp(rng.normal(3, 1.1, n)))
    variance = rng.gamma(4, 0.2, n) * (1 + 2 / np.sqrt(ratings))
    own = [(1, 0), (0.98, 0), (1, 0.1), (1, 0.2), (1, 0.4)]
    squares = [variance * better * np.exp(apart * rng.normal(size=n)) for better, apart in own]
    return np.array([mean * rng.chisquare(ratings) / ratings for mean in squares]), ratings


def planted(n: int, rng: np.random.Generator) -> list[Population]:
    errors, ratings = planted_errors(n, rng)
    lists = [Population(f"{name}, planted", values) for name, values in planted_lists(n, rng).items()]
    return [*lists, Population("RMSE, planted", errors, ratings, root=True)]


def movielens(folder: Path) -> Population:
    """The users of MovieLens 1M with NDCG@10 on the given test part, of models fitted here."""
    parts = pd.read_parquet(folder / "splits.parquet")["per_user_80_20_test"].to_numpy()
    clicks = Interactions.from_frame(pd.read_parquet(folder / "ratings.parquet"), rating=None)
    train, test = clicks.filter(~parts), clicks.filter(parts)
    split = Split(train, train.filter(np.zeros(len(train), bool)), test, "given")
    models = [build_model(name, params).fit(train) for name, params in MODELS.values()]
    values = [evaluate(model, split, "ndcg@10").per_user["ndcg@10"] for model in models]
    return Population("NDCG@10, ML-1M", np.array(values))


def analysed(population: Population, n_users: int, draws: int, seed: int, **options: Any) -> Iterator[Findings]:
    """The findings from test parts of n_users drawn from the population."""
    rng = np.random.default_rng([seed, n_users, crc32(population.name.encode())])  # independent draws in each figure
    size = population.values.shape[1]
    for draw in range(draws):
        sample = population.sample(rng.integers(size, size=n_users))
        yield compare([sample], alpha=ALPHA, level=LEVEL, power=POWER, seed=draw, **options)[0]


def about(population: Population, n_users: int) -> Row:
    return {"population": population.name, "users": n_users}


def coverage(population: Population, n_users: int, draws: int) -> Row:
    """How often 90 % intervals contain the truth: of the first model's metric, and of the difference of two models."""
    own = population.of(0, 1)
    metric, difference = own.truth[0], own.truth[0] - own.truth[1]
    inside = np.zeros((draws, 2), bool)
    for at, found in enumerate(analysed(own, n_users, draws, seed=1, replicates=1000, flips=100)):
        assert found.intervals is not None
        for which, (truth, interval) in enumerate([(metric, found.intervals[0]), (difference, found.pairs[0].interval)]):
            assert interval is not None
            inside[at, which] = interval[0] <= truth <= interval[1]
    return {"metric": inside[:, 0].mean(), "difference": inside[:, 1].mean()}


def rejections(population: Population, n_users: int, draws: int) -> Row:
    """How often each test, with Holm's correction, finds any difference."""
    found = analysed(population, n_users, draws, seed=2, replicates=100, flips=2000)
    any_found = [[min(getattr(pair, test).corrected for pair in one.pairs) <= ALPHA for test in TESTS] for one in found]
    return dict(zip(TESTS, np.mean(any_found, axis=0), strict=True))


def power(population: Population, draws: int) -> Row:
    """How often the difference of two models is found where it equals the smallest difference of a test part."""
    own, n_users, rng = population.of(0, 1), 30, np.random.default_rng(4)
    facts, size = paired(own.sample(slice(None))), own.values.shape[1]
    for _ in range(20):
        smallest = smallest_difference(own.sample(rng.integers(size, size=n_users)), facts.deviations, ALPHA, POWER)[0]
        n_users = max(10, round(n_users * (smallest / facts.differences[0]) ** 2))
    found = [one.pairs[0] for one in analysed(own, n_users, draws, seed=3, replicates=100, flips=100)]
    reported = np.median([pair.smallest or 0.0 for pair in found])
    share = np.mean([pair.different for pair in found])
    return {"users": n_users, "difference": abs(facts.differences[0]), "reported": reported, "found": share}


def print_models(population: Population, users: NDArray[np.int64]) -> None:
    """The table of an experiment with these users as its test part."""
    (found,) = compare([population.sample(users)])
    assert found.intervals is not None
    print(f"\n{len(users)} users of MovieLens 1M\n\n| model | NDCG@10 | 95 % interval | letters |\n|---|---|---|---|")
    for model in np.argsort(-np.array(found.metrics)):
        low, high = found.intervals[model]
        print(f"| {[*MODELS][model]} | {found.metrics[model]:.4f} | {low:.4f} to {high:.4f} | {found.letters[model]} |")
    low, high = found.smallest or (0.0, 0.0)
    print(f"\nSmallest difference that they can show: {low:.4f} to {high:.4f}", flush=True)


def print_by_users(title: str, rows: list[Row]) -> None:
    """A line for each population, with the values at each number of users."""
    cells: dict[str, list[str]] = {}
    for row in rows:
        shares = [f"{value:.1%}" for value in row.values() if isinstance(value, float)]
        cells.setdefault(row["population"], []).append(" / ".join(shares))
    numbers = sorted({row["users"] for row in rows})
    print(
        f"\n{title}\n\n| population | " + " | ".join(f"{n} users" for n in numbers) + " |\n" + "|---" * (1 + len(numbers)) + "|"
    )
    for name, own in cells.items():
        print(f"| {name} | " + " | ".join(own) + " |", flush=True)


def print_power(rows: list[Row]) -> None:
    print("\nTrue differences equal to the smallest difference of a test part, and how often they were found\n")
    print("| population | users | difference | reported as smallest, median | found |\n|---|---|---|---|---|")
    for row in rows:
        name, users, difference, reported, found = row.values()
        print(f"| {name} | {users} | {difference:.4f} | {reported:.4f} | {found:.1%} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--draws", type=int, default=1000, help="test parts per figure; four times as many for the levels of tests"
    )
    parser.add_argument("--smoke", action="store_true", help="smoke test on tiny sizes")
    options = parser.parse_args()
    draws, size, numbers = (3, 500, USERS[:1]) if options.smoke else (options.draws, 200_000, USERS)
    rng, source = np.random.default_rng(0), os.environ.get("RECSYS_AE_DATA")
    populations = planted(size, rng)
    if source and not options.smoke:
        populations.append(movielens(Path(source, "ml-1m")))
        everyone = rng.permutation(populations[-1].values.shape[1])
        print_models(populations[-1], everyone)
        print_models(populations[-1], everyone[:400])
    same = [one.exchanged(rng) for one in populations]
    equal = [null for one in populations for null in (one.of(0, 1).exchanged(rng), one.of(0, 4).rescaled())]
    figures = {
        "coverage": [about(one, n) | coverage(one, n, draws) for one in populations for n in numbers],
        "level": [about(one, n) | rejections(one, n, 4 * draws) for one in equal for n in numbers],
        "family": [about(one, n) | rejections(one, n, 4 * draws) for one in same for n in numbers],
        "power": [{"population": one.name} | power(one, draws) for one in populations],
    }
    tests = "by t / randomisation / Wilcoxon, at 5 %"
    print_by_users("90 % intervals that contain the truth: of a metric / of a difference", figures["coverage"])
    print_by_users(f"Two equal models told apart {tests}", figures["level"])
    print_by_users(f"Any of five equal models told apart {tests} with Holm's correction", figures["family"])
    print_power(figures["power"])
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
