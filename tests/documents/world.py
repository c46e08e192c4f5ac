"""What the blocks of the pages start from: a log, rules, a card, finished runs, and names for Python."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

N_USERS, N_ITEMS = 240, 80
CARD = """\
name: films
kind: ratings
files:
  - {path: log.csv, columns: {user: user_id, item: item_id, rating: stars, time: timestamp}}
scale: [1, 5]
features:
  items: {path: items.csv, id: item_id, columns: {price: {kind: numeric, column: price}, shop: {kind: category, column: shop}}}
  users: {path: users.csv, id: user_id, columns: {age: {kind: numeric, column: age}}}
"""
PIPELINE = """\
dataset: card.yaml
split: {kind: per_user, test: 0.2, valid: 0.1}
relevant_at: 4
models:
  - {name: ease}
  - {name: elsa, factors: 8, epochs: 2}
  - {name: popularity}
metrics: [ndcg@10, recall@20]
export: {k: 20, model: ease}
register: {name: films, alias: champion}
"""


def log() -> pd.DataFrame:
    """Ratings by tastes: users like the items of their half of the catalogue."""
    rng = np.random.default_rng(5)
    rows = []
    for user in range(1, N_USERS + 1):
        items = rng.choice(N_ITEMS, 30, replace=False, p=_popularity()) + 1
        liked = (items % 2) == (user % 2)
        rows.append(pd.DataFrame({"user_id": user, "item_id": items, "stars": np.where(liked, 5, 2) - rng.integers(0, 2, 30)}))
    frame = pd.concat(rows, ignore_index=True)
    frame["timestamp"] = 1_260_000_000 + rng.permutation(len(frame)) * 997
    return frame.sort_values("timestamp", ignore_index=True)


def _popularity() -> np.ndarray:
    weights = 1 / np.arange(3, N_ITEMS + 3)
    return weights / weights.sum()


def write_files(folder: Path) -> None:
    """The log, its card, a pipeline and all files that commands on the pages read."""
    frame, items = log(), np.arange(1, N_ITEMS + 1)
    cut = len(frame) * 9 // 10
    files = {
        "log.csv": frame[:cut],
        "tomorrow.csv": frame[cut:],
        "events.csv": frame.assign(event=np.where(frame["stars"] > 3, "buy", "view")),
        "in-stock.csv": pd.DataFrame({"item_id": items[:70]}),
        "adult.csv": pd.DataFrame({"item_id": [3, 5]}),
        "blocked.csv": pd.DataFrame({"item_id": [3, 5]}),
        "opted-out.csv": pd.DataFrame({"user_id": [1, 2], "item_id": [7, 8]}),
        "groceries.csv": pd.DataFrame({"item_id": [10, 11]}),
        "categories.csv": pd.DataFrame({"item_id": items, "category": items % 7}),
        "active.csv": pd.DataFrame({"user_id": np.arange(1, N_USERS + 1)}),
        "titles.csv": pd.DataFrame({"item_id": items, "title": [f"Film {item}" for item in items]}),
        "items.csv": pd.DataFrame({"item_id": items, "price": items / 10, "shop": np.where(items % 2, "north", "south")}),
        "users.csv": pd.DataFrame({"user_id": np.arange(1, N_USERS + 1), "age": np.arange(N_USERS) % 60 + 18}),
    }
    popular = frame["item_id"].value_counts().index[:20]
    users = frame["user_id"].unique()
    files["theirs.csv"] = pd.DataFrame(
        {
            "user_id": np.repeat(users, 20),
            "rank": np.tile(np.arange(1, 21), len(users)),
            "item_id": np.tile(popular, len(users)),
        }
    )
    for name, content in files.items():
        content.to_csv(folder / name, index=False)
    for name in ("log", "tomorrow"):
        files[f"{name}.csv"].to_parquet(folder / f"{name}.parquet")
    (folder / "card.yaml").write_text(CARD)
    (folder / "shop.yaml").write_text(PIPELINE)


def names(folder: Path) -> dict[str, Any]:
    """Values for blocks of Python; see the marks `given`."""
    import recsys_ae as ra
    from recsys_ae.data.cards import read_card
    from recsys_ae.data.ratings import load_ratings
    from recsys_ae.splitting import per_user

    card, place = read_card(str(folder / "card.yaml"))
    data = load_ratings(card, place, features=True).interactions
    split = per_user(data, test=0.2, valid=0.1, seed=0)
    clicks = log().rename(columns={"user_id": "visitor", "item_id": "page", "timestamp": "time"})
    rng = np.random.default_rng(1)
    return {
        "ra": ra,
        "data": data,
        "split": split,
        "train": split.train,
        "valid": split.valid,
        "history": split.history("test"),
        "model": ra.ELSA(factors=8, epochs=2).fit(split.train, valid=split.valid),
        "frame": pd.read_csv(folder / "items.csv"),
        "new_frame": pd.read_csv(folder / "items.csv").head(3),
        "candidates": pd.read_csv(folder / "in-stock.csv"),
        "categories": pd.read_csv(folder / "categories.csv"),
        "clicks": clicks,
        "lists": pd.read_csv(folder / "theirs.csv"),
        "truth": pd.read_csv(folder / "truth.csv"),
        "values": rng.random((3, 50)),
        "squared_errors": rng.random((3, 50)),
        "ratings_per_user": rng.integers(1, 9, 50),
    }
