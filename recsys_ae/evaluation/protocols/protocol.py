"""The protocol of an evaluation: everything, except the model, that determines a value."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys_ae.digests import BLOCK, bytes_of, digest_of, digest_of_json
from recsys_ae.events import Duplicates
from recsys_ae.frames import Frame, read_frame
from recsys_ae.ids import IdMap, Rows
from recsys_ae.interactions import Interactions
from recsys_ae.split import Predict, Repeats, Split

if TYPE_CHECKING:
    from recsys_ae.evaluation.candidates import Candidates


@dataclass(frozen=True)
class Protocol:
    """What was predicted, from which history, and how. Values of two models are comparable only under the same protocol.

    Attributes:
        test: content hash of the pairs that were held out, see `content_digest`.
        history: content hash of what was known before; None if unknown.
        relevant_at: lowest rating of a relevant item; None if all are relevant.
        repeats, predict: as in `Split`.
        candidates: content hash of the sampled candidates; None if all items are ranked.
    """

    test: str
    history: str | None
    relevant_at: float | None = None
    repeats: Repeats = "excluded"
    predict: Predict = "all"
    candidates: str | None = None

    @classmethod
    def of(
        cls,
        split: Split,
        part: Literal["valid", "test"] = "test",
        *,
        relevant_at: float | None = None,
        candidates: "Candidates | None" = None,
    ) -> "Protocol":
        """The protocol of `evaluate` with these arguments."""
        ordered, asked = split.predict == "next", split.test if part == "test" else split.valid
        return cls(
            content_digest(asked, ordered=ordered),
            content_digest(split.history(part), ordered=ordered),
            None if relevant_at is None else float(relevant_at),
            split.repeats,
            split.predict,
            None if candidates is None else candidates.digest,
        )

    @classmethod
    def of_tables(
        cls,
        truth: Frame,
        history: Frame | None = None,
        *,
        relevant_at: float | None = None,
        repeats: Repeats = "excluded",
    ) -> "Protocol":
        """The protocol of `evaluate_recommendations` with these arguments; of repeated pairs of the history the last counts."""
        return cls(
            content_digest(_merged(truth, "the truth", "max")),
            None if history is None else content_digest(_merged(history, "the history", "last")),
            None if relevant_at is None else float(relevant_at),
            repeats,
        )

    @cached_property
    def digest(self) -> str:
        """Content hash (32 hex digits) of the protocol."""
        return digest_of_json(asdict(self))

    @property
    def summary(self) -> str:
        """The protocol in a line."""
        ranked = "all items are ranked" if self.candidates is None else "only sampled candidates are ranked"
        seen = ", without those already seen" if self.repeats == "excluded" else ", seen ones too"
        relevant = (
            "all test pairs are relevant" if self.relevant_at is None else f"relevant: rated at least {self.relevant_at:g}"
        )
        asked = "each event is predicted from all earlier ones" if self.predict == "next" else relevant
        return f"{ranked}{seen}; {asked}; test part {self.test[:12]}"

    def differences(self, other: "Protocol") -> list[str]:
        """The names of the fields in which the two differ, in words."""
        names = {"test": "the test part", "history": "what was known before", "candidates": "the sampled candidates"}
        return [names.get(one.name, one.name) for one in fields(self) if getattr(self, one.name) != getattr(other, one.name)]


def content_digest(data: Interactions, *, ordered: bool = False) -> str:
    """Content hash (32 hex digits) of pairs and ratings by external ids; times, features and ids without pairs are ignored.

    Args:
        ordered: whether the order and the sessions of the events count too.
    """
    return digest_of(_events(data) if ordered else _pairs(data, data.matrix.data))


def pairs_digest(data: Interactions) -> str:
    """Content hash (32 hex digits) of pairs by external ids; ratings are ignored."""
    return digest_of(_pairs(data, np.ones(len(data), np.float32)))


def _pairs(data: Interactions, ratings: NDArray[np.float32]) -> Iterator[str | bytes]:
    """The pairs and their ratings [nnz], sorted by the ids of users, then of items, as numbers from 0."""
    matrix = data.matrix
    users, rows, _ = _sorted(data.users, np.flatnonzero(np.diff(matrix.indptr)))
    items, _, places = _sorted(data.items, np.flatnonzero(np.bincount(matrix.indices, minlength=data.n_items)))
    by_user = csr_array((ratings, matrix.indices, matrix.indptr), matrix.shape)[rows]
    by_item = csr_array((by_user.data, places[by_user.indices], by_user.indptr), (len(rows), len(items)))
    by_item.sort_indices()
    yield from (users.digest, items.digest)
    lengths = np.diff(by_item.indptr)
    for start in range(0, len(rows), BLOCK):
        yield from bytes_of(np.repeat(np.arange(start, min(start + BLOCK, len(rows))), lengths[start : start + BLOCK]), "<i8")
    yield from bytes_of(by_item.indices, "<i8")
    yield from bytes_of(by_item.data, "<f4")


def _events(data: Interactions) -> Iterator[str | bytes]:
    """The events in the order of each user, sorted by the ids of users, with ids as numbers from 0."""
    log = data.log
    (users, _, user), (items, _, item) = _sorted(data.users, np.unique(log.users)), _sorted(data.items, np.unique(log.items))
    order = np.argsort(user[log.users], kind="stable")
    yield from (users.digest, items.digest)
    columns: list[NDArray[Any]] = [user[log.users], item[log.items], *([] if log.sessions is None else [log.sessions])]
    for column in columns:
        yield from bytes_of(column[order], "<i8")
    yield from bytes_of(log.ratings[order], "<f4")


def _merged(table: Frame, what: str, duplicates: Duplicates) -> Interactions:
    """The interactions in a table with the columns user_id, item_id and, if known, rating."""
    frame = read_frame(table, {"user": "user_id", "item": "item_id"}, what, optional=["rating"])
    return Interactions.from_frame(frame, rating="rating" if "rating" in frame else None, duplicates=duplicates)


def _sorted(ids: IdMap, rows: Rows) -> tuple[IdMap, Rows, NDArray[np.int32]]:
    """The ids at `rows` [n], sorted; their rows in this order; and for each row of `ids` its place there, int32."""
    values = ids.values[rows]
    order = np.argsort(values, kind="stable")
    places = np.empty(len(ids), np.int32)
    places[rows[order]] = np.arange(len(rows))
    return IdMap(values[order]), rows[order], places
