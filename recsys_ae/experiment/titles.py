"""The titles of a pipeline's items, for its page."""

from pathlib import Path
from typing import Any

from recsys_ae.data.cards import PlantedCard, RatingsCard
from recsys_ae.data.fetch import locate_titles
from recsys_ae.data.id_tables import read_titles
from recsys_ae.errors import DataError
from recsys_ae.ids import IdMap, shown, spelling_hint


def item_titles(card: RatingsCard | PlantedCard, folder: Path, given: str | None, items: IdMap) -> dict[Any, str]:
    """Titles by item id, from the file `given` or else that of the card in `folder`; none if there is neither.

    Raises:
        DataError: the file is missing or not as declared, or has no title of any of the `items`.
    """
    place = locate_titles(card, folder, Path(given) if given else None, download=False)
    if place is None:
        return {}
    frame = read_titles(place[0], items.kind, place[1])
    titles = dict(zip(frame["item_id"].tolist(), frame["title"].tolist(), strict=True))
    if titles and items.find(frame["item_id"]).max() < 0:
        hint = spelling_hint(frame["item_id"], items)
        raise DataError(
            f"{place[0]}: no title belongs to an item of the data: its titles are of {shown(next(iter(titles)))} and others, "
            f"items are {shown(items.values[0])} and others{hint}; correct the file, or the key titles"
        )
    return titles
