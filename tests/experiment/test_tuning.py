"""The search with Optuna, on planted objectives: what it finds, and that interruptions and the order do not matter."""

import json
from contextlib import contextmanager
from math import log10
from types import SimpleNamespace

import numpy as np
import optuna
import pytest

from recsys_ae.errors import DataError, TrainingError
from recsys_ae.experiment import tuning
from recsys_ae.experiment.job import Job
from recsys_ae.experiment.pipeline_file import ModelSpec
from recsys_ae.experiment.points import Points
from recsys_ae.experiment.search import SearchSpec
from recsys_ae.experiment.trial_storage import Storage
from recsys_ae.experiment.trials import Outcome
from recsys_ae.experiment.tuning import Tuning
from recsys_ae.space import Range
from recsys_ae.tracking import TrackedRun

DECLARED = {"l2": 1000.0, "neighbours": 20, "hidden": [8], "device": "cpu"}
SPACE = {"l2": Range(low=1, high=10000, log=True), "neighbours": Range(low=5, high=40), "hidden": [[8], [16, 8], [32]]}


def planted(params) -> float:
    """A planted metric, which is highest, 1, at an l2 of 10, 30 neighbours and two layers."""
    layers = {"[8]": 0.3, "[16, 8]": 0.0, "[32]": 0.2}[str(params["hidden"])]
    return 1 - (log10(params["l2"]) - 1) ** 2 / 4 - ((params["neighbours"] - 30) / 40) ** 2 - layers


class Fake:
    """Fits nothing, and returns the planted value of one of the started trials, chosen at random.

    `stop_after` so many it is interrupted. Trials with many neighbours take epochs, those with most are pruned, and those with
    an l2 `fails_above` fail.
    """

    def __init__(self, order: int = 0, stop_after: float = np.inf, fails_above: float = np.inf) -> None:
        self.started: dict[int, dict] = {}
        self.requests: dict[int, object] = {}
        self.rng, self.left, self.fails_above = np.random.default_rng(order), stop_after, fails_above

    def start(self, number, request, callbacks=()) -> None:
        self.started[number], self.requests[number] = request.spec.params, request

    def wait(self) -> tuple[int, Outcome]:
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        number = int(self.rng.choice(sorted(self.started)))
        params = self.started.pop(number)
        value = planted(params)
        curves = {"": [(1.0, 1 - value), (0.5, 0.9 - value)]} if params["neighbours"] > 25 else {}
        if params["l2"] > self.fails_above:
            return number, Outcome("failed", problem="it is planted")
        if params["neighbours"] == 40:
            return number, Outcome("pruned", 0.1, curves=curves)
        return number, Outcome("complete", 0.1, {"ndcg@10": value}, "valid_rmse", curves)


@pytest.fixture
def search(tmp_path):
    """A function that searches, and returns the trials."""

    def searched(name="search", fitters=None, space=SPACE, seed=0, declared=DECLARED, folder=tmp_path, **keys):
        spec = ModelSpec("fake", "fake", declared, space)
        lowest = {
            key: values[0] if isinstance(values, list) else type(declared[key])(values.low) for key, values in space.items()
        }
        points = Points(space, SimpleNamespace(**lowest))
        progress = SimpleNamespace(valid_name="")
        job = Job("fake", spec, seed, TrackedRun(), progress)
        storage = Storage(folder / f"{name}.db", "fake", lower_is_better=False)

        @contextmanager
        def open_trial(trial, changed):
            yield Job(trial, changed, seed, TrackedRun(), progress)

        found = Tuning(job, "ndcg@10", points, SearchSpec(sampler="tpe", **keys), storage, fitters or Fake(), open_trial)
        return found.run()

    return searched


def test_it_finds_what_is_planted(search):
    """The best of thirty random points has 0.96 in the median, and seldom more than 0.98."""
    trials = search(trials=30)
    assert len(trials) == 30
    best = max((trial for trial in trials if trial.state == "complete"), key=lambda trial: trial.valid_metrics["ndcg@10"])
    assert best.valid_metrics["ndcg@10"] > 0.985
    assert best.params["hidden"] == [16, 8]
    assert planted(best.params) == best.valid_metrics["ndcg@10"]


def test_points_are_in_the_space_and_none_is_tried_twice(search):
    trials = search(trials=25, seed=3)
    for trial in trials:
        assert trial.params["l2"] in SPACE["l2"]
        assert trial.params["l2"] == float(f"{trial.params['l2']:.4g}")
        assert isinstance(trial.params["neighbours"], int)
        assert trial.params["neighbours"] in SPACE["neighbours"]
        assert trial.params["hidden"] in SPACE["hidden"]
    assert len({json.dumps(trial.params) for trial in trials}) == 25


def test_the_first_trial_has_the_declared_parameters(search):
    assert search(trials=2)[0].params == {"l2": 1000.0, "neighbours": 20, "hidden": [8]}
    outside = search("other", declared={**DECLARED, "l2": 0.5}, trials=2)[0].params
    assert (outside["neighbours"], outside["hidden"]) == (20, [8])
    assert outside["l2"] in SPACE["l2"]


def test_the_order_in_which_trials_end_changes_nothing(search):
    first, second = (search(f"order-{order}", Fake(order), trials=14, jobs=3) for order in (1, 2))
    assert first == second
    assert first != search("seed", Fake(1), trials=14, jobs=3, seed=1)


@pytest.mark.parametrize(("jobs", "stop_after"), [(1, 9), (3, 1), (3, 7)])
def test_an_interrupted_search_goes_on_as_if_nothing_had_happened(search, jobs, stop_after):
    """What was finished is not fitted again, and the number of trials is that of an uninterrupted search."""
    whole = search("whole", Fake(1), trials=14, jobs=jobs)
    with pytest.raises(KeyboardInterrupt):
        search("broken", Fake(2, stop_after), trials=14, jobs=jobs)
    rest = Fake(3)
    assert search("broken", rest, trials=14, jobs=jobs) == whole
    assert len(rest.requests) == 14 - stop_after
    assert search("broken", Fake(stop_after=0), trials=14, jobs=jobs) == whole


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_trial_is_compared_with_those_it_may_know(search, jobs):
    """Complete trials that are 2 * jobs - 1 or more before it; validation values are lower if better."""
    fake = Fake(4)
    trials = search(fitters=fake, trials=12, jobs=jobs)
    for number, request in fake.requests.items():
        known = [trial for trial in trials[: max(number - 2 * jobs + 2, 0)] if trial.state == "complete"]
        values = [planted(trial.params) for trial in known]
        curves = [
            {1: 1 - v, 2: 0.9 - v} if trial.params["neighbours"] > 25 else {} for v, trial in zip(values, known, strict=True)
        ]
        assert request.earlier == curves


def test_no_more_trials_begin_than_jobs(search):
    class Counting(Fake):
        most = 0

        def wait(self):
            self.most = max(self.most, len(self.started))
            return super().wait()

    fake = Counting()
    search(fitters=fake, trials=10, jobs=3)
    assert fake.most == 3


def test_a_small_space_is_tried_out(search):
    space = {"neighbours": Range(low=5, high=7), "hidden": [[8], [32]]}
    trials = search(space=space, trials=6, jobs=2)
    assert [(trial.params["neighbours"], trial.params["hidden"]) for trial in trials] == [
        (neighbours, hidden) for neighbours in (5, 6, 7) for hidden in ([8], [32])
    ]
    assert len(search("larger", space=space, trials=100)) == 6


def test_a_trial_that_fails_ends_nothing_unless_all_do(search, tmp_path):
    trials = search(fitters=Fake(fails_above=100), trials=12)
    assert [trial.state == "failed" for trial in trials] == [trial.params["l2"] > 100 for trial in trials]
    assert {trial.problem for trial in trials} == {None, "it is planted"}
    with pytest.raises(TrainingError, match=r"^fake: all 3 trials failed; the last error: it is planted$"):
        search("none", Fake(fails_above=0), trials=3)


def test_a_timeout_ends_the_search_after_what_runs(search, monkeypatch):
    now = iter(np.arange(1000.0))  # a second passes with each look at the clock
    monkeypatch.setattr(tuning, "monotonic", lambda: float(next(now)))
    assert len(search(trials=50, timeout=1)) == 1
    assert 2 < len(search("longer", trials=50, timeout=20)) < 20


def test_the_storage_is_one_that_other_tools_read(search, tmp_path):
    """Optuna's own functions find the same best trial."""
    trials = search(trials=10)
    study = optuna.load_study(study_name="fake", storage=f"sqlite:///{tmp_path}/search.db")
    assert study.best_value == max(trial.valid_metrics["ndcg@10"] for trial in trials if trial.state == "complete")
    assert study.best_params["hidden"] in {"[8]", "[16, 8]", "[32]"}


def test_a_damaged_storage_is_an_error_with_a_way_out(search, tmp_path):
    (tmp_path / "search.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(DataError, match=r"search\.db: .*; delete it to begin the search again"):
        search(trials=2)
