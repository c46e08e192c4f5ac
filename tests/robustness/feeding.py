"""Builders that the modules of the catalogue share: a log, cards and pipelines around it, and what was read from a file."""

import copy
import gzip
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from robustness.catalogue import Case, Content

from recsys_ae import build_model, read_interactions, save_model
from recsys_ae.data.cards import read_card
from recsys_ae.data.ratings import load_ratings
from recsys_ae.interactions import Interactions

COLUMNS = {"user": "user", "item": "item", "rating": "rating", "time": "time"}
HEADER = "user,item,rating,time\n"
SECOND = 1_000_000  # times are microseconds
DEEP = 3000  # levels of nesting, more than any parser of YAML takes
Row = tuple[Any, Any, float, int | None]


def lines(*rows: object, header: str = HEADER) -> str:
    """A CSV file: the header and one line per row."""
    return header + "".join(f"{row}\n" for row in rows)


ONE = [(1, 7, 5.0, 10 * SECOND)]
TWO = [(1, 7, 5.0, 10 * SECOND), (2, 8, 4.0, 20 * SECOND)]
TWO_LINES = lines("1,7,5,10", "2,8,4,20")
MANY = [f"{user},7,5,{user}" for user in range(1, 1500)]  # more lines than any sample


def events(data: Interactions) -> list[Row]:
    """(user, item, rating, time in microseconds or None) of every event, in the order of the log."""
    log = data.log
    times = [None] * len(log) if log.times is None else log.times.tolist()
    users, items = data.users.values[log.users].tolist(), data.items.values[log.items].tolist()
    return list(zip(users, items, log.ratings.tolist(), times, strict=True))


def from_card() -> list[Row]:
    """The events of the log that `card.yaml` describes."""
    return events(load_ratings(*read_card("card.yaml")).interactions)


def merged() -> list[tuple[Any, Any, float]]:
    """(user, item, rating) of every pair of the log that `card.yaml` describes, after merging."""
    frame = load_ratings(*read_card("card.yaml")).interactions.to_frame()
    return list(frame[["user_id", "item_id", "rating"]].itertuples(index=False, name=None))


def card(path: str = "log.csv", *, header: bool = True, table: Mapping[str, Any] | None = None, **keys: Any) -> dict[str, Any]:
    """A card of one file; `table` has further keys of the file, `keys` those of the card."""
    columns = COLUMNS if header else {role: place for place, role in enumerate(COLUMNS, 1)}
    file = {"path": path, "columns": columns, **({} if header else {"header": False}), **(table or {})}
    return {"name": "own", "kind": "ratings", "files": [file], **keys}


def log(
    name: str,
    content: Content,
    *,
    rows: Any = ...,
    then: Callable[[], Any] = from_card,
    path: str = "log.csv",
    code: int | None = None,
    says: tuple[str, ...] = (),
    header: bool = True,
    table: Mapping[str, Any] | None = None,
    **keys: Any,
) -> Case:
    """A log described by a card, read by `datasets fetch`: `rows` if it is right, else an error that `says` so."""
    code = (0 if rows is not ... else 1) if code is None else code
    files = {path: content, "card.yaml": card(path, header=header, table=table, **keys)}
    return Case(name, "datasets fetch card.yaml", files, code, says, then=then, gives=rows)


def guess(
    name: str, content: Content, *, rows: Any = ..., path: str = "log.csv", code: int | None = None, says: tuple[str, ...] = ()
) -> Case:
    """A log without a card, read from Python."""
    code = (0 if rows is not ... else 1) if code is None else code
    return Case(name, lambda: events(read_interactions(path, duplicates="last")), {path: content}, code, says, gives=rows)


def parquet(**columns: Any) -> bytes:
    """A Parquet file of these columns (Arrow arrays, lists or series)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    target = io.BytesIO()
    pq.write_table(pa.table(columns), target)
    return target.getvalue()


def gz(text: str) -> bytes:
    return gzip.compress(text.encode(), mtime=0)


def small_log(n_users: int = 30, n_items: int = 12, *, first_user: int = 1) -> str:
    """A CSV log in which every user rates about half of the items 1 to 5, at times that increase."""
    rng = np.random.default_rng(3)
    picked = [(user, item) for user in range(n_users) for item in range(n_items) if (user * 7 + item * 5) % 11 < 6]
    stars = rng.integers(1, 6, len(picked))
    rows = (
        f"{user + first_user},{item + 101},{rating},{1_000_000 + 60 * at}"
        for at, ((user, item), rating) in enumerate(zip(picked, stars, strict=True))
    )
    return lines(*rows)


PIPELINE: dict[str, Any] = {
    "dataset": card(scale=[1, 5]),
    "split": {"kind": "random", "test": 0.2, "valid": 0.1},
    "models": [{"name": "popularity"}],
    "metrics": ["ndcg@5"],
}
RUN = "run mine.yaml --output out --tracking-uri none"


def pipeline(*, without: tuple[str, ...] = (), **changes: Any) -> dict[str, Any]:
    """The small pipeline with some keys changed."""
    keys = copy.deepcopy({**PIPELINE, **changes})
    return {key: value for key, value in keys.items() if key not in without}


def run(
    name: str,
    *,
    code: int | tuple[int, ...] = 2,
    says: tuple[str, ...] = (),
    more: str = "",
    text: Content | None = None,
    **keys: Any,
) -> Case:
    """A pipeline on the small log; by default a wrong one. `keys` change it, `more` is added to the command."""
    options = {key: keys.pop(key) for key in ("then", "gives", "never", "slow", "corrected", "without") if key in keys}
    declared = text if text is not None else pipeline(without=options.pop("without", ()), **keys)
    files = {"mine.yaml": declared, "log.csv": small_log()}
    return Case(name, f"{RUN} {more}".strip(), files, code, says, **options)


def small_model(name: str = "ease", **params: Any) -> Callable[[Path], None]:
    """A function that saves a model fitted on the small log in a folder."""

    def save(folder: Path) -> None:
        source = folder.with_name("training.csv")
        source.write_text(small_log())
        save_model(build_model(name, params).fit(read_interactions(source, scale=(1, 5))), folder)
        source.unlink()

    return save


def after(build: Callable[[Path], object], change: Callable[[Path], object]) -> Callable[[Path], None]:
    """A function that builds something at a path, then changes it."""

    def both(path: Path) -> None:
        build(path)
        change(path)

    return both


def replaced(file: str, old: str, new: str) -> Callable[[Path], None]:
    """A function that replaces a text in a file of a folder, which has to be there."""

    def change(folder: Path) -> None:
        text = (folder / file).read_text()
        assert old in text, f"{old!r} is not in {text[:500]}"
        (folder / file).write_text(text.replace(old, new))

    return change


def flipped(file: str, at: int | float, bit: int = 0) -> Callable[[Path], None]:
    """A function that flips a bit in a file of a folder; `at` is a position, or a share of the length."""

    def change(folder: Path) -> None:
        content = bytearray((folder / file).read_bytes())
        content[int(at * len(content)) if isinstance(at, float) else at] ^= 1 << bit
        (folder / file).write_bytes(content)

    return change


def frame(path: str) -> pd.DataFrame:
    """The table in a folder of Parquet files, or in a file."""
    return pd.read_parquet(path)
