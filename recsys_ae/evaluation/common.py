"""Whether the truth, the lists and the history speak of the same users and items."""

import logging
from collections.abc import Mapping
from typing import Literal

import pandas as pd

from recsys_ae.errors import DataError
from recsys_ae.ids import KINDS, IdMap, encode, id_index, shown

FEW = 0.01  # share of the users or items of the smaller side below which it is doubtful that both mean the same ones

logger = logging.getLogger(__name__)


def id_maps(tables: Mapping[str, pd.DataFrame], side: Literal["user", "item"]) -> tuple[IdMap, IdMap]:
    """The distinct ids of the truth, and of all tables; a warning if the truth shares few with the others.

    Args:
        tables: "the truth", "the lists" and "the history", of which the last two may be empty.

    Raises:
        DataError: ids of several types, or none in common. Users of the truth are sought in the lists, items in the history
            too, because a list need not hold any of the right ones.
    """
    column = f"{side}_id"
    ids = {what: id_index(table[column], f"column {column!r} of {what}") for what, table in tables.items() if len(table)}
    truth = encode(ids["the truth"], None)[1]
    for what, index in ids.items():
        if index.dtype != ids["the truth"].dtype:
            right, wrong = (f"{_counted(one, side)}, which are {KINDS[one.kind]}" for one in (truth, encode(index, None)[1]))
            raise DataError(f"the truth has {right}, but {what} {wrong}; write the ids alike")
    sought = [what for what in ids if what == "the lists" or (what == "the history" and side == "item")]
    if sought:
        where, others = " and ".join(sought), encode(_joined([ids[what] for what in sought]), None)[1]
        common = int((others.find(truth.values) >= 0).sum())
        counts = f"{_counted(truth, side)}, against {_counted(others, side)}"
        if not common:
            raise DataError(f"the truth and {where} have no {side} in common: {counts}; are the ids written alike?")
        if common < FEW * min(len(truth), len(others)):
            logger.warning("warning: the truth and %s have only %d %s(s) in common: %s", where, common, side, counts)
    return truth, encode(_joined(list(ids.values())), None)[1]


def _joined(parts: list[pd.Index]) -> pd.Index:
    return parts[0].append(parts[1:])


def _counted(ids: IdMap, side: str) -> str:
    """The number of ids and an example: of text, one that is not a number, if there is any."""
    example = next((one for one in ids.values if isinstance(one, str) and not one.isdecimal()), ids.values[0])
    return f"{len(ids)} {side}{'s' if len(ids) > 1 else ''} such as {shown(example)}"
