"""Check that truth, lists and history have users and items in common."""

import logging
from collections.abc import Mapping
from typing import Literal

import pandas as pd

from recsys_ae.errors import DataError, counted
from recsys_ae.ids import KINDS, IdMap, encode, id_index, shown, spelling_hint

FEW = 0.01  # share of common ids, of the smaller side, below which a warning is logged

logger = logging.getLogger(__name__)

Side = Literal["user", "item"]


def ids_in(tables: Mapping[str, pd.DataFrame], side: Side) -> dict[str, pd.Index]:
    """The ids of users or of items in each of the tables that have rows."""
    column = f"{side}_id"
    return {what: id_index(table[column], f"column {column!r} of {what}") for what, table in tables.items() if len(table)}


def id_maps(ids: Mapping[str, pd.Index], side: Side) -> tuple[IdMap, IdMap]:
    """The distinct ids of the truth, and of all tables; warns if the truth has few in common with the others.

    Args:
        ids: in "the truth", "the lists" or "the model", and "the history", as far as they have any, see `ids_in`.

    Raises:
        DataError: ids of several types; or no user of the truth in the lists, or no item of it in any other table.
    """
    truth = _distinct([ids["the truth"]])
    for what, index in ids.items():
        if index.dtype != ids["the truth"].dtype:
            other = _distinct([index])
            right, wrong = (f"{_counted(one, side)}, which are {KINDS[one.kind]}" for one in (truth, other))
            hint = _lost_zeros(*((truth, other) if truth.kind == "int" else (other, truth)), side)
            raise DataError(f"the truth has {right}, but in {what} there are {wrong}; use ids of one type{hint}")
    others = {what: [index] for what, index in ids.items() if what != "the truth"}
    if side == "item":  # lists may miss all relevant items, but the history should hold some
        others = {" and ".join(others): [index for (index,) in others.values()]} if others.keys() - {"the history"} else {}
    for where, indexes in others.items():
        _compare(truth, _distinct(indexes), where, side)
    return truth, _distinct(list(ids.values()))


def _compare(truth: IdMap, others: IdMap, where: str, side: str) -> None:
    """Raise `DataError` or warn if the truth has no or few ids in common with `others`, the ids of `where`."""
    found = others.find(truth.values) >= 0
    common, hint = int(found.sum()), spelling_hint(pd.Index(truth.values[~found]), others)
    if common >= FEW * min(len(truth), len(others)):
        if hint:
            logger.warning("%d of %d %ss of the truth are not in %s%s", len(truth) - common, len(truth), side, where, hint)
        return
    counts = f"{_counted(truth, side)}, against {_counted(others, side)}{hint}"
    if not common and where != "the history":  # all users may be new
        raise DataError(f"the truth and {where} have no {side} in common: {counts}; check that the ids are written alike")
    logger.warning("the truth and %s have only %d %ss in common: %s", where, common, side, counts)


def _lost_zeros(numbers: IdMap, texts: IdMap, side: str) -> str:
    """The end of a message about integers that seem to be texts without their leading zeros or `.0`; empty if none is."""
    written = pd.Index(numbers.values.astype(str))
    hint = spelling_hint(written[texts.find(written) < 0], texts)
    way_out = f"; to keep zeros, read and write ids as text (ids: {{{side}: str}} in a card, dtype=str in pandas)"
    return hint + way_out if hint else ""


def _distinct(parts: list[pd.Index]) -> IdMap:
    first, *others = (part.unique() for part in parts)  # one by one, because lists are long
    return encode(first.append(others), None)[1]


def _counted(ids: IdMap, side: str) -> str:
    """The number of ids and an example, if possible one that is not a number."""
    example = next((one for one in ids.values if isinstance(one, str) and not one.isdecimal()), ids.values[0])
    return f"{counted(len(ids), side)} such as {shown(example)}"
