"""Titles of items by id, as the page of a run shows them."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from recsys_ae.data.id_tables import read_titles
from recsys_ae.data.layouts import TitleFile
from recsys_ae.errors import DataError, RecsysError
from recsys_ae.ids import IdMap, shown

TitleSource = tuple[Path, TitleFile | None] | None  # a file and its layout, which is recognised if None; None without titles

logger = logging.getLogger(__name__)


def titles_by_id(source: TitleSource, items: IdMap) -> dict[Any, str]:
    """The titles in a file; empty without one.

    Raises:
        DataError: as for `read_titles`, or no title is that of one of the items.
    """
    if source is None:
        return {}
    frame = read_titles(source[0], items.kind, source[1])
    if len(frame) and not (items.find(frame["item_id"]) >= 0).any():
        of = f"titles are of {shown(frame['item_id'].iloc[0])} and others, items are {shown(items.values[0])} and others"
        raise DataError(f"{source[0]}: no title is that of an item of the data: {of}; correct the key titles")
    return dict(zip(frame["item_id"].tolist(), frame["title"].tolist(), strict=True))


def titles_if_possible(locate: Callable[[], TitleSource], items: IdMap) -> dict[Any, str]:
    """`titles_by_id`, or none with a warning if that is an error: a page without titles is better than none."""
    try:
        return titles_by_id(locate(), items)
    except RecsysError as error:
        logger.warning("items are shown without titles: %s", error)
        return {}
