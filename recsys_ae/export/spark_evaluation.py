"""Evaluation of exported lists by the executors of Spark: each part is a task, which measures its users as one process would.

    .lists.1f0ab2c3.evaluation/       beside the folder `lists`, removed at the end
        contents/                     which users and items each part holds
        truth/                        the truth about the users of each part, and their histories
        measured/                     their values

A task writes its file under a name of its own and renames it, so it can be repeated, or run twice at once. Facts about all
users, such as item popularity, and the item features are sent to all workers with the task.
"""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from secrets import token_hex
from typing import Any

from numpy.typing import NDArray

from recsys_ae.errors import OutputError, reason
from recsys_ae.evaluation.list_truth import ListTruth
from recsys_ae.evaluation.listed import Contents, Listed
from recsys_ae.evaluation.measured import Measured
from recsys_ae.export.executors import Executors, executors
from recsys_ae.export.reading import ExportedLists
from recsys_ae.files import make_folder, whole_file
from recsys_ae.ids import Rows
from recsys_ae.parquet import read_arrays, write_arrays

CONTENTS, TRUTH, MEASURED = "contents", "truth", "measured"


@dataclass(frozen=True, eq=False)
class PartByTask:
    """Lists that Spark measures, a part per task. This process holds the truth, the history and all values."""

    lists: ExportedLists
    folder: Path
    workers: Executors

    @cached_property
    def listed(self) -> Listed:
        self.workers.run(_Survey(self.lists, self.folder), len(self.lists))
        return Listed.of((name, Contents.from_arrays(read_arrays(self.folder / CONTENTS / name))) for name in self.lists)

    def measured(self, truth: ListTruth, shares: Mapping[str, Rows]) -> Iterator[Measured]:
        """See `GivenLists`."""
        for name, rows in shares.items():
            _write(truth.of_users(rows).to_arrays(), self.folder / TRUTH / name)
        self.workers.run(_Measurement(self.lists, self.folder, truth.shared, self.listed.starts), len(self.lists))
        for name in self.lists:
            yield Measured.from_arrays(read_arrays(self.folder / MEASURED / name), truth.catalogue.item_counts)


@contextmanager
def part_by_task(lists: ExportedLists) -> Iterator[PartByTask]:
    """The lists, ready to be measured by Spark while the block runs.

    Raises:
        OutputError: Spark cannot be started, or the folder that all processes share cannot be made.
    """
    lists = replace(lists, folder=lists.folder.absolute())
    folder = lists.folder.with_name(f".{lists.folder.name}.{token_hex(4)}.evaluation")
    try:
        _make_folders(folder)
        with executors("evaluate the lists", "repeat the command, or leave out --engine spark") as workers:
            yield PartByTask(lists, folder, workers)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _make_folders(folder: Path) -> None:
    try:
        for name in (CONTENTS, TRUTH, MEASURED):
            make_folder(folder / name)
    except OSError as error:
        why = f"cannot write to {folder.parent}, beside the lists, which all workers share: {reason(error)}"
        raise OutputError(f"{why}; evaluate a copy of the lists, or leave out --engine spark") from None


@dataclass(frozen=True)
class _Survey:
    """The task that lists the users and items of a part."""

    lists: ExportedLists
    folder: Path

    def __call__(self, number: int) -> None:
        name = [*self.lists][number]
        _write(Contents.of(self.lists[name]).to_arrays(), self.folder / CONTENTS / name)


@dataclass(frozen=True)
class _Measurement:
    """The task that measures the users of a part."""

    lists: ExportedLists
    folder: Path
    shared: ListTruth
    starts: Mapping[str, int]

    def __call__(self, number: int) -> None:
        name = [*self.lists][number]
        truth = self.shared.with_arrays(read_arrays(self.folder / TRUTH / name))
        _write(truth.measured(self.lists[name], self.starts[name]).to_arrays(), self.folder / MEASURED / name)


def _write(arrays: Mapping[str, NDArray[Any]], path: Path) -> None:
    """Write arrays as Parquet, whatever the name ends with."""
    with whole_file(path) as draft:
        write_arrays(arrays, draft)
