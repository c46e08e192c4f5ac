"""A run whose texts are hostile, its page, and what a parser finds in a page."""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from rich.console import Console

from recsys_ae.experiment.pipeline_file import read_pipeline
from recsys_ae.experiment.runner import run_pipeline
from recsys_ae.reporting.results import RunReport
from recsys_ae.tracking import Tracker

HOSTILE = "<img src=x onerror=alert(1)>"
SCRIPT = "</script><script>alert(2)</script>\u2028&lt;"
N_USERS, N_ITEMS = 60, 25


def hostile_files(folder: Path) -> None:
    """A log, titles, groups of users and a pipeline, with markup in ids, titles and names of groups."""
    rng = np.random.default_rng(3)
    pairs = [(user, item) for user in range(N_USERS) for item in rng.permutation(N_ITEMS)[: 8 + user % 5]]
    users = [f"{HOSTILE}{user}" if user == 7 else f"u{user}" for user, _ in pairs]
    items = [f"{SCRIPT}{item}" if item == 3 else f"i{item}" for _, item in pairs]
    stars = [1 + (user % 4 + item % 3) % 5 for user, item in pairs]
    log = pd.DataFrame({"user": users, "item": items, "stars": stars, "time": range(len(pairs))})
    log.to_csv(folder / "log.csv", index=False)
    names = [f"{SCRIPT}{item}" if item == 3 else f"i{item}" for item in range(1, N_ITEMS)]  # item 0 has no title
    titles = [HOSTILE if item == 1 else f"{SCRIPT} {item}" if item == 2 else f"Title {item}" for item in range(1, N_ITEMS)]
    pd.DataFrame({"key": names, "called": titles}).to_csv(folder / "titles.csv", index=False)
    groups = pd.DataFrame({"id": sorted(set(users)), "<b>group</b>": [HOSTILE, "b"] * (N_USERS // 2)})
    groups.to_csv(folder / "users.csv", index=False)
    columns = {"<b>group</b>": {"kind": "category", "column": "<b>group</b>"}}
    dataset = {
        "name": "shop",
        "kind": "ratings",
        "files": [{"path": "log.csv", "columns": {"user": "user", "item": "item", "rating": "stars", "time": "time"}}],
        "scale": [1, 5],
        "titles": {"path": "titles.csv", "id": "key", "title": "called"},
        "features": {"users": {"path": "users.csv", "id": "id", "columns": columns}},
    }
    pipeline = {
        "dataset": dataset,
        "split": {"kind": "per_user", "test": 0.3, "valid": 0.1},
        "models": [
            {"name": "ease", "l2": 5},
            {"name": "autorec", "label": "network", "axis": "user", "hidden": 4, "epochs": 4, "patience": 0},
            {"name": "popularity"},
        ],
        "metrics": ["ndcg@5", "rmse", "recall@10"],
        "segments": ["history_length", "users.<b>group</b>"],
    }
    (folder / "mine.yaml").write_text(yaml.safe_dump(pipeline, allow_unicode=True))


def run_in(folder: Path, name: str = "mine", output: str = "out", tracker: Tracker | None = None) -> RunReport:
    declared = read_pipeline(str(folder / f"{name}.yaml"))
    return run_pipeline(declared, folder / output, tracker or Tracker(), Console(stderr=True))


@dataclass
class Parsed(HTMLParser):
    """The elements of a page with their attributes, in order, and its texts."""

    elements: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    @classmethod
    def of(cls, page: str) -> "Parsed":
        parsed = cls()
        parsed.feed(page)
        parsed.close()
        return parsed

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def tagged(self, tag: str) -> list[dict[str, Any]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def check_safe(self) -> None:
        """No script but those of the page, no handlers, and nothing that loads anything."""
        assert [one.get("type") for one in self.tagged("script")].count(None) == 2
        assert {tag for tag, _ in self.elements}.isdisjoint({"iframe", "object", "embed", "link", "base", "form", "b"})
        for tag, attributes in self.elements:
            assert not [name for name in attributes if name.startswith("on")], tag
            for name in ("src", "href", "srcset", "action", "xlink:href", "data"):
                assert (attributes.get(name) or "#").startswith(("#", "data:image/png;base64,")), (tag, attributes)
