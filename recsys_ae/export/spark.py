"""Exports by the executors of Spark: each part is a task, which scores its users as a single process would.

    lists.partial/spark/model/            the model, which each worker loads once
    lists.partial/spark/histories/        the histories of the users of each part that is to be written

A task reads the histories of the users of its part, writes the part and its record under names of its own and renames them, so
it can be repeated, or run twice at once. Rules, titles and features of users and items are sent to all workers with the task.
All these paths are on a file system that the driver and the workers share.
"""

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from recsys_ae.errors import DataError, OutputError
from recsys_ae.export.executors import executors
from recsys_ae.export.manifest import Part
from recsys_ae.export.parts import PartStore, one_by_one
from recsys_ae.export.request import ListRequest
from recsys_ae.export.scoring import BlockScorer
from recsys_ae.features import FeatureTable
from recsys_ae.files import make_folder
from recsys_ae.ids import IdMap, Rows
from recsys_ae.interactions import Interactions
from recsys_ae.models.base import Recommender, fitted_state
from recsys_ae.models.storage import load_model, model_digest, save_model
from recsys_ae.serving.histories import Histories


def on_spark(request: ListRequest, store: PartStore, parts: Mapping[str, Rows]) -> Iterator[tuple[str, Part]]:
    """The engine of many executors; the driver needs memory for the history, a worker for the model and one part.

    Raises:
        OutputError: a task has failed as often as Spark repeats it.
    """
    if not len(request.rows) or not parts:  # nothing to share out
        yield from one_by_one(request, store, parts)
        return
    folder = store.lists.parent / "spark"
    with executors("make the lists", "what is finished is kept") as workers:
        shutil.rmtree(folder, ignore_errors=True)
        make_folder(folder / "histories")
        save_model(request.scorer.model, folder / "model")
        _write_histories(request.scorer.history, parts, folder / "histories")
        if request.scorer.seen is not None:
            make_folder(folder / "seen")
            _write_histories(request.scorer.seen, parts, folder / "seen")
        task = _Task.of(request, store, folder, [*parts])
        workers.run(task, len(parts))
    for name in parts:
        if (part := store.kept(name)) is None:
            raise OutputError(f"{store.lists / name} is not there as its task has written it; repeat the command")
        yield name, part


def _write_histories(history: Interactions, parts: Mapping[str, Rows], folder: Path) -> None:
    """Write the history of the users of each part, under its name."""
    histories, ids = Histories.of(history), history.users.values
    for name, rows in parts.items():
        events = histories[rows]
        starts = np.r_[0, np.cumsum(np.bincount(events.users, minlength=len(rows)))]
        own = Histories(IdMap(ids[rows]), starts, events.items, events.ratings, events.sessions)
        own.write(folder, name)


@dataclass(frozen=True)
class _Task:
    """The task that writes a part, with everything it needs.

    Attributes:
        model: its digest.
        scoring: arguments of `BlockScorer` beside the model and the history.
        history: attributes of histories that are the same for all users.
    """

    store: PartStore
    folder: Path
    names: list[str]
    model: str
    scoring: dict[str, Any]
    history: dict[str, Any]
    user_features: FeatureTable | None

    @classmethod
    def of(cls, request: ListRequest, store: PartStore, folder: Path, names: list[str]) -> "_Task":
        scorer, history, planned = request.scorer, request.scorer.history, request.planned
        store = replace(store, lists=store.lists.absolute(), records=store.records.absolute())
        scoring = {name: getattr(scorer, name) for name in ("k", "rules", "exclude_seen", "cold", "batch_users")}
        shared = {name: getattr(history, name) for name in ("duplicates", "scale", "item_features")}
        return cls(
            store,
            folder.absolute(),
            names,
            planned.model_digest,
            scoring,
            shared,
            history.user_features,
        )

    def __call__(self, number: int) -> None:
        """Write a part, unless another attempt has finished it."""
        name, model = self.names[number], _loaded(self.folder / "model", self.model)
        if self.store.kept(name) is None:
            items = fitted_state(model).ids["items"]
            history = self._histories(self.folder / "histories", name, items)
            other = self.folder / "seen"
            seen = self._histories(other, name, items) if other.exists() else None
            self.store.write(name, BlockScorer(model, history, seen=seen, **self.scoring), np.arange(history.n_users))

    def _histories(self, folder: Path, name: str, items: IdMap) -> Interactions:
        """The histories of the users of a part, in their order."""
        found = Histories.read(folder, name)
        log = found[np.arange(len(found.users))]
        log = replace(log, order=np.arange(len(log)))
        data = Interactions.from_events(log, found.users, items, self.history["duplicates"])
        if (table := self.user_features) is not None:
            table = replace(table, ids=found.users, matrix=table.of(found.users.values))
        return replace(data, **self.history, user_features=table, merged=True)


@lru_cache(maxsize=1)
def _loaded(folder: Path, digest: str) -> Recommender:
    """The model in a folder, which a worker loads once for all of its tasks."""
    model = load_model(folder)
    if model_digest(model) != digest:
        raise DataError(f"{folder} holds another model than that of the export")
    return model
