"""The protocol of an evaluation: everything but the model on which a value depends."""

from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np

from recsys_ae.digests import digest_of, digest_of_json
from recsys_ae.events import Duplicates, Events
from recsys_ae.frames import Frame, read_frame
from recsys_ae.ids import IdMap, Rows
from recsys_ae.interactions import Interactions, ones
from recsys_ae.split import Predict, Repeats, Split

if TYPE_CHECKING:
    from recsys_ae.evaluation.candidates import Candidates


@dataclass(frozen=True)
class Protocol:
    """What was predicted from what, and how. Values of two models are comparable only under the same protocol.

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
        """What tells the two apart, in words."""
        names = {"test": "the test part", "history": "what was known before", "candidates": "the sampled candidates"}
        return [names.get(one.name, one.name) for one in fields(self) if getattr(self, one.name) != getattr(other, one.name)]


def content_digest(data: Interactions, *, ordered: bool = False) -> str:
    """Content hash (32 hex digits) of pairs and ratings by external ids, whatever else `data` has: other ids, times, features.

    Args:
        ordered: whether the order and the sessions of the events count too.
    """
    pairs = Events(data.user_rows(), data.item_rows(), data.matrix.data)
    log = data.log if ordered else pairs
    (users, user), (items, item) = _ranked(data.users, log.users), _ranked(data.items, log.items)
    order = np.argsort(user, kind="stable") if ordered else np.argsort(user * len(items) + item)
    columns = [user, item, *([] if not ordered or log.sessions is None else [log.sessions])]
    content = [column[order].astype("<i8").tobytes() for column in columns]
    return digest_of([users.digest, items.digest, *content, log.ratings[order].astype("<f4").tobytes()])


def pairs_digest(data: Interactions) -> str:
    """Content hash (32 hex digits) of pairs by external ids, whatever their ratings."""
    return content_digest(Interactions(ones(data.matrix), data.users, data.items))


def _merged(table: Frame, what: str, duplicates: Duplicates) -> Interactions:
    """The interactions in a table with the columns user_id, item_id and, if known, rating."""
    frame = read_frame(table, {"user": "user_id", "item": "item_id"}, what, optional=["rating"])
    return Interactions.from_frame(frame, rating="rating" if "rating" in frame else None, duplicates=duplicates)


def _ranked(ids: IdMap, rows: Rows) -> tuple[IdMap, Rows]:
    """The ids at `rows` [E], sorted, and the place of each row's id among them."""
    present = np.unique(rows)
    values = ids.values[present]
    order = np.argsort(values, kind="stable")
    places = np.empty(len(ids), np.int64)
    places[present[order]] = np.arange(len(present))
    return IdMap(values[order]), places[rows]
