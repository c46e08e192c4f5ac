"""A stand-in for Spark, for tests of what its tasks do."""

import pickle
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pyarrow as pa


class Session:
    """A stand-in for Spark: tasks are pickled, run in any order, and some twice, as a retry or a slow twin would."""

    def __init__(self, seed: int = 0) -> None:
        self._order = np.random.default_rng(seed)

    def range(self, start: int, end: int, step: int, partitions: int) -> "Session":
        assert (start, step, partitions) == (0, 1, end)
        self._tasks = self._order.permutation(np.r_[np.arange(end), np.arange(end // 2)])
        return self

    def mapInArrow(self, task, schema: str) -> "Session":  # noqa: N802 - a name of Spark
        assert schema == "id long"
        self._task = pickle.dumps(task)
        return self

    def collect(self) -> None:
        for number in self._tasks.tolist():
            batch = pa.record_batch({"id": [number]})
            assert list(pickle.loads(self._task)(iter([batch]))) == [batch]


@contextmanager
def stand_in() -> Iterator[Session]:
    yield Session()
