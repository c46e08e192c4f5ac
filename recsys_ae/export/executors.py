"""Numbered tasks, run by the executors of Spark."""

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from recsys_ae import errors
from recsys_ae.errors import ConfigError, DataError, OutputError, RecsysError, reason
from recsys_ae.export.manifest import versions

ERROR = re.compile(r"^(recsys_ae\.errors\.)?([\w.]+(?:Error|Exception)): (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Executors:
    """The executors of a Spark session.

    Attributes:
        purpose: what they are used for, in error messages, such as "make the lists".
        way_out: what to do if that fails.
    """

    session: Any
    purpose: str
    way_out: str

    def run(self, task: Callable[[int], None], n: int) -> None:
        """Call a picklable task with each number below `n` in other processes; Spark may repeat a call or run it twice at once.

        Raises:
            RecsysError: a task has failed as often as Spark repeats it. Errors of this package keep their class; others become
                an `OutputError`.
        """
        try:
            self.session.range(0, n, 1, n).mapInArrow(_Numbered(task, versions()), "id long").collect()
        except RecsysError:
            raise
        except Exception as error:
            raise self._error_of_task(error) from error

    def _error_of_task(self, error: Exception) -> RecsysError:
        """The error of the task, from the traceback in Spark's message."""
        found = ERROR.findall(str(error))
        own, name, text = found[-1] if found else ("", "", str(error))
        kind = getattr(errors, name, None) if own else None
        if isinstance(kind, type) and issubclass(kind, RecsysError):
            return kind(text)
        return OutputError(f"Spark could not {self.purpose}: {reason(text)}; {self.way_out}")


@contextmanager
def executors(purpose: str, way_out: str) -> Iterator[Executors]:
    """The executors of the active session, or of one that lasts as long as the block; `OutputError` if Spark cannot start."""
    with _session() as session:
        yield Executors(session, purpose, way_out)


def check_installed() -> None:
    """Raise `ConfigError` unless PySpark is installed."""
    try:
        import pyspark  # noqa: F401
    except ImportError:
        raise ConfigError("the engine spark needs the package pyspark: pip install recsys-ae[spark]") from None


@dataclass(frozen=True)
class _Numbered:
    """A task in the form that `mapInArrow` calls: batches of numbers in, the same batches out."""

    task: Callable[[int], None]
    versions: dict[str, str]

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        if (found := versions()) != self.versions:
            other = [f"{name} {found.get(name)}" for name, number in self.versions.items() if found.get(name) != number]
            raise DataError(f"a worker of Spark has {', '.join(other)}, unlike the driver; install the same versions")
        for batch in batches:
            for number in batch.column(0).to_pylist():
                self.task(number)
            yield batch


@contextmanager
def _session() -> Iterator[Any]:
    """The active session of Spark, or one that lasts as long as the block."""
    from pyspark.sql import SparkSession

    active = SparkSession.getActiveSession()
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # otherwise the workers run any `python3`
    try:
        session = active or SparkSession.builder.getOrCreate()
    except Exception as error:
        raise OutputError(f"cannot start Spark: {reason(error)}") from None
    try:
        yield session
    finally:
        if active is None:
            session.stop()
