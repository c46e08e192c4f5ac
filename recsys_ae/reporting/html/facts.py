"""What a page shows beside the report: values that are computed from the data and the tested models of a run."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Explained = Literal[
    "weights",  # by the weights of the model, which are exact
    "left out",  # by leaving out each item of the history, for some users only
    "independent",  # not at all: no item of a history adds to the score of a listed one
    "costly",  # not at all: leaving out each item would take too many scorings
    "indivisible",  # not at all: the model cannot score users without a part of their history
    "cold",  # not at all: the model cannot score the users
]


@dataclass(frozen=True)
class Depths:
    """Metrics of lists of several lengths.

    Attributes:
        users: number of users on whom they are measured, of the `relevant_users` with relevant items.
        lengths: of the lists.
        values: by metric (without a length) and model, a value for each length.
        beyond: other metrics by full name and model: coverage and novelty.
    """

    users: int
    relevant_users: int
    lengths: list[int]
    values: dict[str, dict[str, list[float | None]]] = field(default_factory=dict)
    beyond: dict[str, dict[str, float | None]] = field(default_factory=dict)


@dataclass(frozen=True)
class Errors:
    """Predicted minus actual ratings of `pairs` of the `test_pairs`.

    Attributes:
        edges: of the bins [B + 1].
        shares: of the pairs in each bin [B], by model; errors beyond the edges are in the outer bins.
    """

    pairs: int
    test_pairs: int
    edges: list[float]
    shares: dict[str, list[float]] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainingData:
    """The training part.

    Attributes:
        users, items: with interactions.
        density: share of the pairs of these users and items that are observed.
        tail: points of the curve of popularity: share of the items, most popular first, and share of the interactions on them.
        half: share of the items that have half of the interactions.
        grid: share of the pairs observed in each cell [rows, columns]: users by activity, items by popularity, highest first.
        ratings: number of interactions by rating; empty if all are equal or there are too many values.
        counts: whether these ratings are numbers of events.
        median_user, median_item: median numbers of interactions.
    """

    users: int
    items: int
    interactions: int
    density: float
    tail: list[tuple[float, float]]
    half: float
    grid: list[list[float]]
    ratings: dict[str, int]
    counts: bool
    median_user: float
    median_item: float


@dataclass(frozen=True)
class Listed:
    """The list of a model: places of `Explorer.items`, best first.

    Attributes:
        why: for each of them, the items of the history that add most to its score, and how much; None if that is unknown.
        constants: the part of each score that does not depend on the history; None if all are 0.
    """

    items: list[int]
    why: list[list[tuple[int, float]]] | None = None
    constants: list[float] | None = None


@dataclass(frozen=True)
class ShownUser:
    """A user of the explorer; items are places of `Explorer.items`.

    Attributes:
        history: the latest items before the test part, of `known` ones, with their ratings (None if all ratings are equal).
        relevant: relevant items of the test part.
        lists: by model.
    """

    id: str
    known: int
    history: list[tuple[int, float | None]]
    relevant: list[int]
    lists: dict[str, Listed]


@dataclass(frozen=True)
class Explorer:
    """Lists for some users.

    Attributes:
        relevant_users: number of users from whom the shown ones were drawn.
        in_time: whether histories are in the order of time, latest first.
        items: id and title (None if unknown) of each item that occurs.
        explained: by model.
    """

    relevant_users: int
    k: int
    in_time: bool
    items: list[tuple[str, str | None]]
    users: list[ShownUser]
    explained: dict[str, Explained]


@dataclass(frozen=True)
class CloserLook:
    """Everything that a page shows beside the report; None where it does not apply."""

    training: TrainingData | None = None
    depths: Depths | None = None
    errors: Errors | None = None
    explorer: Explorer | None = None


@dataclass(frozen=True)
class RunFiles:
    """What a page takes from the folder of a run.

    Attributes:
        pipeline: the pipeline with every default written out.
        pictures: PNG files by model.
    """

    pipeline: str
    pictures: dict[str, list[Path]] = field(default_factory=dict)
