"""Where the finished trials of a search with Optuna are kept."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.exceptions import OptunaError
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from recsys_ae.errors import DataError, reason


class Storage:
    """The finished trials of one search, by number, in a SQLite file that Optuna's own tools read.

    Raises:
        DataError: the file is damaged, of another version of Optuna, or cannot be written.
    """

    def __init__(self, path: Path, name: str, *, lower_is_better: bool) -> None:
        self._path, self.lower_is_better = path, lower_is_better
        url = URL.create("sqlite", database=str(path.absolute())).render_as_string(hide_password=False)
        direction = StudyDirection.MINIMIZE if lower_is_better else StudyDirection.MAXIMIZE
        with self._errors():
            storage = optuna.storages.RDBStorage(url, engine_kwargs={"poolclass": NullPool})
            self._study = optuna.create_study(storage=storage, study_name=name, direction=direction, load_if_exists=True)
            self.trials: dict[int, FrozenTrial] = {trial.user_attrs["trial"]: trial for trial in self._study.get_trials()}

    def add(self, number: int, trial: FrozenTrial) -> None:
        """Keep a finished trial."""
        with self._errors():
            self._study.add_trial(trial)
        self.trials[number] = trial

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, OptunaError, RuntimeError, KeyError) as error:
            what = f"cannot keep trials in {self._path}: {reason(error)}"
            raise DataError(f"{what}; delete it to begin the search again") from None
