"""Lists of a made-up shop, with all that can be asked of their evaluation."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from recsys_ae import Interactions, Report, build_model
from recsys_ae.digests import digest_of_file
from recsys_ae.evaluation.metrics import CATALOGUE_METRICS, RANKING_METRICS
from recsys_ae.export.local import with_parts
from recsys_ae.export.manifest import MANIFEST, Part
from recsys_ae.export.request import ListRequest
from recsys_ae.export.writing import Writing
from recsys_ae.features import FeatureTable
from recsys_ae.files import write_json

METRICS = [f"{name}@{k}" for name in RANKING_METRICS if name != "vector_diversity" for k in (3, 7)]  # which no lists have
METRICS += [f"{name}@{k}" for name in CATALOGUE_METRICS for k in (2, 7)]
SEGMENTS = ["history_length", "item_popularity", "users.region", "items.kind", "items.price"]


@dataclass
class Shop:
    """Lists of 60 users with up to 9 of 40 items, and what they did before and afterwards.

    Some users have no list, some no history, some nothing afterwards; some items are only listed, or only bought. Scores have
    few levels, so that many are equal, at the ends of lists too.
    """

    lists: pd.DataFrame
    truth: pd.DataFrame
    history: pd.DataFrame
    user_features: FeatureTable
    item_features: FeatureTable

    @property
    def options(self) -> dict[str, Any]:
        """Arguments of `evaluate_recommendations` beside lists, truth and metrics."""
        features = {"user_features": self.user_features, "item_features": self.item_features}
        return {"list_length": 9, "history": self.history, "segments": SEGMENTS, **features}


def shop(text_users: bool = False, text_items: bool = False, seed: int = 0) -> Shop:
    rng = np.random.default_rng(seed)
    users, items = rng.permutation(1000)[:60], rng.permutation(1000)[:40]
    names = [f"u{one}" for one in users] if text_users else users, [f"é{one}" for one in items] if text_items else items
    user_ids, item_ids = (np.array(ids, object if isinstance(ids, list) else np.int64) for ids in names)

    def rows(some_users: np.ndarray, some_items: np.ndarray, most: int) -> pd.DataFrame:
        counts = rng.integers(0, most + 1, len(some_users))
        chosen = [rng.permutation(some_items)[:count] for count in counts]
        pairs = np.repeat(some_users, counts), np.concatenate(chosen), np.concatenate([np.arange(n) + 1 for n in counts])
        return pd.DataFrame({"user_id": user_ids[pairs[0]], "item_id": item_ids[pairs[1]], "rank": pairs[2]})

    lists = rows(np.arange(10, 60), np.arange(30), 9)
    lists["score"] = (np.float32(1) - lists["rank"] // 3 / 8).astype(np.float32)
    truth = rows(np.arange(50), np.arange(5, 38), 8).drop(columns="rank")
    truth["rating"] = rng.integers(1, 6, len(truth)).astype(float)
    history = rows(np.arange(3, 56), np.arange(2, 40), 12).drop(columns="rank")
    regions = pd.DataFrame({"id": user_ids[:45], "region": rng.choice(["north", "south"], 45)})
    kinds = pd.DataFrame({"id": item_ids[:36], "kind": rng.choice(["a", "b", "c"], 36), "price": rng.random(36).round(2)})
    return Shop(
        lists,
        truth,
        history,
        FeatureTable.from_frame(regions, {"region": "category"}),
        FeatureTable.from_frame(kinds, {"kind": "category", "price": "numeric"}),
    )


def assert_same(first: Report, second: Report) -> None:
    """Check that two reports are equal to the last bit."""
    for name in (one.name for one in fields(Report) if one.name not in ("users", "per_user", "groups")):
        assert getattr(first, name) == getattr(second, name), name
    pd.testing.assert_frame_equal(first.to_frame(), second.to_frame(), check_exact=True)


def write_lists(data: Shop, folder: Path, part_users: int = 7, writing: Writing | None = None) -> Path:
    """The lists of a shop as an export with so many users in each file."""
    number = pd.factorize(data.lists["user_id"])[0] // part_users
    return write_parts(data, [data.lists[number == part] for part in range(number.max() + 1)], folder, writing)


def write_parts(data: Shop, parts: list[pd.DataFrame], folder: Path, writing: Writing | None = None) -> Path:
    """An export with these rows in its files."""
    known = Interactions.from_frame(data.history, rating=None)
    planned = ListRequest.of(build_model("popularity", {}).fit(known), known, 9, writing=writing).planned
    files, schema = dict[str, Part](), planned.arrow_schema()
    folder.mkdir()
    for number, rows in enumerate(parts):
        path = folder / f"part-{number:05d}.{planned.writing.format}"
        planned.writing.write(pa.Table.from_pandas(rows[schema.names], schema, preserve_index=False), None, path)
        files[path.name] = Part(digest_of_file(path), len(rows), rows["user_id"].nunique())
    write_json(with_parts(planned, files), folder / MANIFEST)
    return folder
