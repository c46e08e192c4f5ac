"""The search of one model's parameters with Optuna: seeded, resumable, in parallel, and repeatable in all of these.

What a trial tries depends only on the seed and on the trials before it. Whose results it may use is decided by their numbers,
not by the clock. So an interrupted search goes on as if nothing had happened, and a search with several jobs gives the same
trials when it is repeated.
"""

import logging
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict
from math import inf
from time import monotonic
from typing import Any

import numpy as np
import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial
from pydantic import TypeAdapter

from recsys_ae.errors import TrainingError
from recsys_ae.experiment.callbacks import LogLosses, validation_name
from recsys_ae.experiment.job import Job
from recsys_ae.experiment.output import TRIALS, OutputFolder
from recsys_ae.experiment.page import record_trial
from recsys_ae.experiment.pipeline_file import ModelSpec
from recsys_ae.experiment.points import Point, Points
from recsys_ae.experiment.search import SearchSpec, extremes
from recsys_ae.experiment.task import Task
from recsys_ae.experiment.trial_storage import Storage
from recsys_ae.experiment.trials import Outcome, Request, quiet_optuna
from recsys_ae.experiment.workers import Fitters, open_fitters
from recsys_ae.reporting.results import Trial
from recsys_ae.reporting.trials import short
from recsys_ae.tracking import TRIAL_STATE, TrackedRun

REDRAWS = 20  # of a point that was tried before
STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}

logger = logging.getLogger(__name__)


def tune(
    task: Task[Any, Any, Any],
    job: Job,
    metric: str,
    folder: OutputFolder,
    open_trial: Callable[[str, ModelSpec], AbstractContextManager[Job]],
) -> list[Trial]:
    """The trials of a search for the best value of a metric on the validation part.

    Args:
        folder: keeps the finished trials, from which an interrupted search continues.
        open_trial: opens the job of a trial, given its name and model.

    Raises:
        TrainingError: no trial could be completed.
        DataError: the storage of the trials is damaged or cannot be written.
    """
    space, search = job.spec.search or {}, task.keys.search
    lowest = {key: extremes(values)[0] for key, values in space.items()}
    model = task.build(job.spec.with_params(lowest))
    job.progress.valid_name = validation_name(model)
    points = Points(space, model)
    with quiet_optuna(), open_fitters(task, search.jobs) as fitters:
        storage = Storage(folder.path / TRIALS, job.name, lower_is_better=task.lower_is_better(metric))
        return Tuning(job, metric, points, search, storage, fitters, open_trial).run()


class Tuning:
    """A search with TPE (Bergstra et al. 2011), whose first trial has the parameters that the model is declared with.

    Trial n is drawn from the results of all trials up to n - `lag`; of the ones between, only the parameters are taken into
    account ("constant liar"). If the space has no more points than there are trials, all of them are tried in order.
    """

    def __init__(
        self,
        job: Job,
        metric: str,
        points: Points,
        search: SearchSpec,
        storage: Storage,
        fitters: Fitters,
        open_trial: Callable[[str, ModelSpec], AbstractContextManager[Job]],
    ) -> None:
        self.job, self.metric, self.points, self.search = job, metric, points, search
        self.storage, self.fitters, self.open_trial = storage, fitters, open_trial
        self.lag = 2 * search.jobs - 1  # with fewer, all jobs would wait for the slowest
        self.all = points.all_of_them(search.trials)
        self.total = len(self.all) or search.trials
        self.running: dict[int, tuple[Point, TrackedRun, ExitStack]] = {}

    def run(self) -> list[Trial]:
        """All trials by number; `TrainingError` if every one of them failed."""
        end = monotonic() + (self.search.timeout or inf)
        if self.storage.trials:
            logger.info("%s: %d trials done before", self.job.name, len(self.storage.trials))
        with ExitStack() as unfinished:
            while True:
                while (number := self._next(in_time=monotonic() < end)) is not None:
                    self._start(number, unfinished)
                if not self.running:
                    break
                self._finish(*self.fitters.wait())
        trials = [_trial(trial) for _, trial in sorted(self.storage.trials.items())]
        if all(trial.state == "failed" for trial in trials):
            which = "the only trial" if len(trials) == 1 else f"all {len(trials)} trials"
            raise TrainingError(f"{self.job.name}: {which} failed; the last error: {trials[-1].problem}")
        return trials

    def _next(self, *, in_time: bool) -> int | None:
        """The number of the next trial, if it may begin now."""
        begun = {*self.storage.trials, *self.running}
        number = next(number for number in range(len(begun) + 1) if number not in begun)
        known = all(earlier in self.storage.trials for earlier in range(number - self.lag + 1))
        may = number < self.total and len(self.running) < self.search.jobs and known
        return number if may and (in_time or not begun) else None

    def _start(self, number: int, unfinished: ExitStack) -> None:
        point = self.all[number] if self.all else self._draw(number)
        spec = self.job.spec.with_params(self.points.params(point))
        own = unfinished.enter_context(ExitStack())
        run = own.enter_context(self.open_trial(f"{self.job.name}-trial-{number + 1}", spec)).run
        self.running[number] = point, run, own
        complete = [trial for trial in self._known(number) if trial.state is TrialState.COMPLETE]
        earlier = [{at: self._sign * value for at, value in trial.intermediate_values.items()} for trial in complete]
        request = Request(spec, self.job.seed, self.metric, earlier)
        self.fitters.start(number, request, [self.job.progress])

    def _finish(self, number: int, outcome: Outcome) -> None:
        point, run, own = self.running.pop(number)
        epochs = sum(map(len, outcome.curves.values())) or None
        params = self.points.params(point)
        trial = Trial(params, outcome.valid_metrics, outcome.fit_seconds, outcome.state, epochs, outcome.problem)
        run.tags({TRIAL_STATE: outcome.state})
        record_trial(run, outcome.valid_metrics, outcome.fit_seconds)
        LogLosses(run, outcome.valid_name).repeat(outcome.curves)
        failure = TrainingError(outcome.problem) if outcome.state == "failed" else None
        own.__exit__(type(failure) if failure else None, failure, None)
        frozen = create_trial(
            state=STATES[outcome.state],
            value=outcome.valid_metrics[self.metric] if outcome.state == "complete" else None,
            params=point,
            distributions=self.points.distributions,
            intermediate_values={at: self._sign * value for at, value in outcome.by_epoch.items()},
            user_attrs={"trial": number, "result": asdict(trial)},
        )
        self.storage.add(number, frozen)
        self._tell(number, trial)
        if outcome.traceback:
            logger.debug("%s: trial %d failed here:\n%s", self.job.name, number + 1, outcome.traceback.rstrip())

    def _tell(self, number: int, trial: Trial) -> None:
        """Log a line about a trial and the best one so far."""
        values = {at: one.value for at, one in self.storage.trials.items() if one.value is not None}
        metric = self.metric
        best = max(values, key=lambda at: (-self._sign * values[at], -at), default=None)
        found = {
            "complete": f"{metric} {trial.valid_metrics.get(metric) or 0:.4f}",
            "pruned": f"stopped after epoch {trial.epochs}",
            "failed": f"failed ({trial.problem})",
        }[trial.state]
        so_far = "" if best is None else " (the best)" if best == number else f" (best {values[best]:.4f} in trial {best + 1})"
        params = ", ".join(f"{key} {short(value)}" for key, value in trial.params.items())
        logger.info("%s: trial %d of %d: %s%s: %s", self.job.name, number + 1, self.total, found, so_far, params)

    @property
    def _sign(self) -> int:
        """Of validation values in the study: lower ones are always better, but higher values of the metric may be."""
        return 1 if self.storage.lower_is_better else -1

    def _known(self, number: int) -> list[FrozenTrial]:
        """The finished trials that trial `number` may know."""
        return [self.storage.trials[earlier] for earlier in range(number - self.lag + 1)]

    def _draw(self, number: int) -> Point:
        """The point of a trial: first the declared parameters that are in the space, then points that were not tried yet."""
        begun = [self.storage.trials[at].params if at in self.storage.trials else self.running[at][0] for at in range(number)]
        first = self.points.point(self.job.spec.params) if number == 0 else {}
        point: Point = {}
        for redraw in range(REDRAWS):
            point = self._drawn(number, redraw, begun, first)
            if point not in begun:
                break
        return point

    def _drawn(self, number: int, redraw: int, begun: list[Point], first: Point) -> Point:
        known = self._known(number)
        seed = int(np.random.SeedSequence([self.job.seed, number, redraw]).generate_state(1)[0])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)  # older versions call these options experimental
            sampler = TPESampler(seed=seed, multivariate=True, constant_liar=True)
        study = optuna.create_study(sampler=sampler, direction="minimize" if self.storage.lower_is_better else "maximize")
        study.add_trials(known)
        for point in begun[len(known) :]:
            study.add_trial(create_trial(state=TrialState.RUNNING, params=point, distributions=self.points.distributions))
        if first:
            study.enqueue_trial(first)
        return self.points.rounded(study.ask(self.points.distributions).params)


def _trial(stored: FrozenTrial) -> Trial:
    return TypeAdapter(Trial).validate_python(stored.user_attrs["result"])
