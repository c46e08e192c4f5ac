"""Reading histories for fitted models from files."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from recsys_ae.data.cards import RatingsCard
from recsys_ae.data.detection import columns_like, fits, guess_table, text_encoding
from recsys_ae.data.features import load_features
from recsys_ae.data.id_tables import column_names, read_ids
from recsys_ae.data.ratings import read_history
from recsys_ae.data.skipped import SkippedLines
from recsys_ae.data.tables import read_table
from recsys_ae.declaration import error_context
from recsys_ae.errors import ConfigError
from recsys_ae.ids import KINDS
from recsys_ae.interactions import Interactions
from recsys_ae.models.base import Recommender, fitted_state
from recsys_ae.models.side_information import stored_features


def history_for(
    model: Recommender,
    path: Path,
    card: tuple[RatingsCard, Path] | None = None,
    *,
    skip_unknown: bool = False,
    users: pd.Series | None = None,
    skipped: SkippedLines | None = None,
) -> tuple[Interactions, int]:
    """The history in a file, with the ids, the scale and the features that a fitted model needs.

    Args:
        card: a card and its folder. The layout is that of its first file, ratings are on its `scale`, repeated pairs are
            merged as it declares, its `session_gap` divides the events into sessions, and its features of users are read if
            the model uses any. Without it, the layout is inferred, the last of repeated events counts, which is also so if it
            declares that there are none, and new users have no features.
        skip_unknown: leave out events with items that the model does not know instead of raising.
        users: ids of users who get a row even if the file does not have them; without a history they are cold.
        skipped: the lines skipped under `bad_lines: skip` are added to it; see `SkippedLines.seen`.

    Returns:
        The interactions, and the number of events left out because of their items.

    Raises:
        ConfigError: no ratings, times or sessions for a model that needs them, or the card declares other types of ids.
        UnknownIdError: an item that the model does not know.
        DataError: as for `read_history` and `load_features`, or ratings on another scale.
    """
    fitted, kinds = fitted_state(model), id_kinds(model, card)
    layout = card[0].files[0] if card else guess_table(path)
    if layout.columns.rating is None and (scale := fitted.meta["scale"]) is not None and scale[0] < scale[1]:
        raise ConfigError(f"{path}: the model was trained on ratings, but {_no_column('rating', card)}")
    options: dict[str, Any] = {"user_ids": kinds["user"], "skip_unknown": skip_unknown, "users": users}
    if card:
        options |= {"scale": card[0].scale, "duplicates": "last" if card[0].duplicates == "error" else card[0].duplicates}
    data, n_unknown = read_history(path, fitted.ids["items"], table=layout, skipped=skipped, **options)
    with error_context(str(path)):
        fitted_state(model, data)
        if card and card[0].session_gap is not None:
            data = data.with_sessions(card[0].session_gap)
        if "order" in model.needs and data.times is None:
            raise ConfigError(f"the model reads events in order, but {_no_column('time', card)}")
        if "order" in model.needs and fitted.meta["sessions"] and data.stored_events.sessions is None:
            way_out = "declare them in the card (session or session_gap)" if card else "declare them with --card"
            raise ConfigError(f"the model was trained on sessions, but the history has none; {way_out}")
    known = stored_features(fitted, "user_features")
    if card and known and "users" in card[0].features:
        data = replace(data, user_features=load_features(*card, "users", data.users, features=known.features), merged=True)
    return data, n_unknown


def _no_column(role: str, card: tuple[RatingsCard, Path] | None) -> str:
    """The end of a message about a column that a history lacks."""
    if card:
        return f"the card declares no {role} column; declare it there, or use a model that needs none"
    return f"no column is recognised as the {role}; declare it with --card"


def id_kinds(model: Recommender, card: tuple[RatingsCard, Path] | None = None) -> dict[str, str]:
    """The types of the ids of users and items that a fitted model has; `ConfigError` if the card declares others."""
    fitted = fitted_state(model)
    kinds = {"user": fitted.meta["user_ids"], "item": fitted.ids["items"].kind}
    for side, declared in (card[0].ids if card else {}).items():
        if declared != kinds[side]:
            raise ConfigError(
                f"the card declares ids: {{{side}: {declared}}}, but the model was trained on {side}s whose ids are "
                f"{KINDS[kinds[side]]}; declare {side}: {kinds[side]}, or train the model anew"
            )
    return kinds


def without_unread_features(model: Recommender, history: Interactions) -> Interactions:
    """The history with no other features than `history_for` reads: those of users, if the model uses any."""
    used = history.user_features if stored_features(fitted_state(model), "user_features") else None
    return replace(history, item_features=None, user_features=used, merged=True)


def users_in(path: Path, kind: str, card: tuple[RatingsCard, Path] | None = None) -> pd.Series:
    """The distinct ids, "int" or "str", of the users in a file, in their order.

    The file is either a log, such as a truth, with the layout of the card's first file, or any table with a column of users,
    which has one of the usual names or that of the card. Text that is not UTF-8 has the encoding of the card.
    """
    table = next(iter(card[0].files), None) if card else None
    encoding = text_encoding(path, table.encoding if table else None)
    names = column_names(path, encoding)
    own = {} if table is None else {"user": table.columns.user}
    named = bool(columns_like(names)["user"]) or own.get("user") in names
    if named and not (table is not None and table.named() and fits(path, table)):
        users = read_ids(path, {"user": kind}, own_names=own, encoding=encoding)
    else:
        numbered = table is not None and not table.named()
        like_log = table is not None and (numbered or fits(path, table))
        users = read_table(path, table if table and like_log else guess_table(path, encoding=encoding), {"user": kind})
    return users["user_id"].drop_duplicates()
